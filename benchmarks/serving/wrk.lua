-- Sends prepared requests in turn: `wrk … -s wrk.lua URL -- FILE`. FILE holds for each request a line
-- "PATH<tab>CONTENT-TYPE<tab>BYTES" and then that many bytes and a newline. At the end one line for the caller to read.

function init(args)
   requests = {}
   local file = assert(io.open(args[1], "rb"))
   local head = file:read("*l")
   while head do
      local path, kind, size = head:match("^([^\t]*)\t([^\t]*)\t(%d+)$")
      local body = file:read(tonumber(size))
      file:read("*l")
      table.insert(requests, wrk.format("POST", path, {["Content-Type"] = kind}, body))
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
