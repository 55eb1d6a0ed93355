-- Sends prepared requests in turn: `wrk … -s wrk.lua URL -- FILE`. FILE holds for each request a line
-- "PATH<tab>CONTENT-TYPE<tab>BYTES<tab>NAME<tab>VALUE" (NAME and VALUE of one more header, or empty) and then that many
-- bytes and a newline. At the end it prints one line of figures for the program that started it.

function init(args)
   requests = {}
   local file = assert(io.open(args[1], "rb"))
   local head = file:read("*l")
   while head do
      local path, kind, size, name, value = head:match("^([^\t]*)\t([^\t]*)\t(%d+)\t([^\t]*)\t([^\t]*)$")
      local body = file:read(tonumber(size))
      file:read("*l")
      local headers = {["Content-Type"] = kind}
      if name ~= "" then headers[name] = value end
      table.insert(requests, wrk.format("POST", path, headers, body))
      head = file:read("*l")
   end
   file:close()
   next_request = 0
end

function request()
   next_request = next_request % #requests + 1
   return requests[next_request]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      "RESULT requests=%d seconds=%.6f p50=%.1f p90=%.1f p99=%.1f max=%.1f status=%d socket=%d timeout=%d\n",
      summary.requests, summary.duration / 1e6,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
      errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
