// The request of this page as commands that do the same elsewhere.
import { base } from "./api.js";

function quoted(text) { return `'${text.replaceAll("'", "'\\''")}'`; }

export function curl(text, query) {
  const address = new URL(`forecast?${query}`, base);
  return `curl ${quoted(String(address))} -H 'Content-Type: text/csv' --data-binary @- <<'END'\n${text.trim()}\nEND\n`;
}

export function python(text, query) {
  const address = new URL("forecast", base);
  const options = [...query].map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ");
  return `import urllib.parse, urllib.request

table = ${JSON.stringify(text.trim())}
query = urllib.parse.urlencode({${options}})
request = urllib.request.Request(
    ${JSON.stringify(String(address))} + "?" + query, table.encode(), {"Content-Type": "text/csv"}
)
print(urllib.request.urlopen(request).read().decode())
`;
}
