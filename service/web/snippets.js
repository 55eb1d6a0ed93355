// The request of this page as commands that do the same elsewhere.
import { base } from "./api.js";

function quoted(text) { return `'${text.replaceAll("'", "'\\''")}'`; }

// source: { text }, or { name, type } of a file beside whoever runs the command.
export function curl(source, query) {
  const address = quoted(String(new URL(`forecast?${query}`, base)));
  if (source.name) return `curl ${address} -H 'Content-Type: ${source.type}' --data-binary @${quoted(source.name)}\n`;
  return `curl ${address} -H 'Content-Type: text/csv' --data-binary @- <<'END'\n${source.text.trim()}\nEND\n`;
}

export function python(source, query) {
  const address = new URL("forecast", base);
  const options = [...query].map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ");
  const table = source.name ? `open(${JSON.stringify(source.name)}, "rb").read()` : `${JSON.stringify(source.text.trim())}.encode()`;
  return `import urllib.parse, urllib.request

table = ${table}
query = urllib.parse.urlencode({${options}})
request = urllib.request.Request(
    ${JSON.stringify(String(address))} + "?" + query, table, {"Content-Type": ${JSON.stringify(source.type ?? "text/csv")}}
)
print(urllib.request.urlopen(request).read().decode())
`;
}
