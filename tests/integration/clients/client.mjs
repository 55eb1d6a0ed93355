// Node's fetch, with the bodies that a program may send.
const [, , url, body] = process.argv;
for (const content of [body, body, "{", " ".repeat(6_000_000), body]) {
  const answer = await fetch(`${url}/forecast`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: content,
  });
  await answer.text();
  console.log(answer.status);
}
