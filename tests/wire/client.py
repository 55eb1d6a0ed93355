"""Cases, asked over real ports: two servers, and what they answer, free of what differs from one run to the next.

`ask` returns the bytes as they came, but for the id of a request that named none, the signature and the issue time of
tokens, the name of a temporary folder, and headers that tell a time; `readable` makes of that what `answers.json`
keeps.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.integration.servers import ROOT, TIMEOUT, Server, running
from tests.wire.cases import KEY, NARROW, Case, Conversation, Request

MODELS = ROOT / "models"
VERSIONS = (
    "digits@4",
    "digits-rnn-10@1",
    "digits-rnn-16-8-4@1",
    "forecaster@7",
    "forecaster@5",
    "linear@1",
    "naive@1",
    "rnn-1@1",
    "rnn-20@1",
    "sines@2",
)
REQUEST_ID, LENGTH, FOLDER = "<a new request id>", "<the length of the body>", "<the folder of the models>"
# At warm-up, by each machine, and perhaps after the answer.
MEASURED = {"batch_invariant": "<true or false>", "batch_deviation": "<a number>"}

_MASKED = {"date": "<a date>", "sec-websocket-accept": "<an answer to the client's key>"}
_NEW_ID = re.compile(r"[0-9a-f]{12}-[0-9a-f]+")
_TOKEN = re.compile(rb"<(old |altered |strange |)token (\d+)>")
_TIMELESS = "<token>"
_SIGNATURE = 43  # characters at the end of a token
_ISSUED = slice(2, 10)  # bytes of its content: when it was made
_EIGHT_DAYS = 8 * 86_400
_HOST = "wire.test"

Json = Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What one exchange brought: one body, or all messages of a connection and how the server closed it."""

    status: int
    headers: list[tuple[str, str]]
    bodies: list[bytes]
    closed: tuple[int, str] | None = None


class Servers:
    """Both servers, started where a case first needs them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._running: dict[str, Server] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Server:
        if name not in self._running:
            settings: dict[str, object] = {"state_keys": KEY, "allowed_hosts": "*"}
            if name == "narrow":
                settings |= {"models": narrow_models(self._folder), **NARROW}
            else:
                settings |= {"models": recorded_models(self._folder.with_name("recorded"))}
            self._running[name] = self._stack.enter_context(running(**settings)).settled()  # type: ignore[arg-type]
        return self._running[name]

    def ask(self, case: Case, pause: float = 0.0) -> list[Answer]:
        """The answers to all exchanges of `case`; bodies are sent `pause` seconds after their heads."""
        server = self[case.server]
        if case.drained:
            server.signal(signal.SIGTERM)
            until = time.monotonic() + TIMEOUT
            while b"going down" not in _send(server, Request("GET", "/readyz")).bodies[0]:
                assert time.monotonic() < until
                time.sleep(0.02)
        tokens: list[str] = []
        answers = []
        for exchange in case.exchanges:
            if isinstance(exchange, Request):
                answer = _send(server, exchange, tokens, pause)
            else:
                answer = _talk(server, exchange, tokens)
            answers.append(_masked(answer, tokens, str(self._folder)))
        return answers


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Both servers; the models of the narrow one are written into `folder`."""
    with Servers(folder) as both:
        yield both


def recorded_models(folder: Path) -> Path:
    """The versions that `answers.json` was recorded with: later ones in `models/` change no answer here."""
    for reference in VERSIONS:
        name, _, version = reference.partition("@")
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / version).symlink_to(MODELS / name / version)
    return folder


def narrow_models(folder: Path) -> Path:
    """Two small models, one of them in two versions, one that cannot be loaded and one that cannot be read."""
    if folder.exists() and any(folder.iterdir()):
        return folder
    for name in ("naive", "digits-rnn-10"):
        shutil.copytree(MODELS / name / "1", folder / name / "1")
    for name, version in (("naive", "2"), ("broken", "1")):
        shutil.copytree(MODELS / "naive" / "1", folder / name / version)
        manifest = folder / name / version / "manifest.json"
        document = json.loads(manifest.read_text("utf-8")) | {"name": name, "version": int(version)}
        manifest.write_text(json.dumps(document), "utf-8")
    (folder / "broken" / "1" / "model.pt").write_bytes(b"no model")
    (folder / "unreadable" / "1").mkdir(parents=True)
    (folder / "unreadable" / "1" / "manifest.json").write_text("{", "utf-8")
    return folder


class _OneWriteConnection(http.client.HTTPConnection):
    """Sends head and body in one write: an early refusal says `Connection: close` where the body has not arrived.

    With a `pause` it sends the body so many seconds later.
    """

    def __init__(self, host: str, port: int, timeout: float, pause: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._pause = pause
        self._parts: list[bytes] = []

    def send(self, data: Any) -> None:
        self._parts.append(bytes(data))

    def flush(self) -> None:
        head, separator, body = b"".join(self._parts).partition(b"\r\n\r\n")
        if self._pause and body:
            super().send(head + separator)
            time.sleep(self._pause)
            super().send(body)
        else:
            super().send(head + separator + body)


def _send(server: Server, request: Request, tokens: list[str] | None = None, pause: float = 0.0) -> Answer:
    body = _filled(request.body, tokens or [])
    connection = _OneWriteConnection("127.0.0.1", server.port, TIMEOUT, pause)
    try:
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("host", _HOST)
        for name, value in request.headers:
            connection.putheader(name, value.encode("latin-1"))
        named = {name.lower() for name, _ in request.headers}
        if request.method not in {"GET", "HEAD"} and not named & {"content-length", "transfer-encoding"}:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        connection.flush()
        response = connection.getresponse()
        answer = Answer(response.status, response.getheaders(), [response.read()])
    finally:
        connection.close()
    if request.method != "HEAD":
        declared = [value for name, value in answer.headers if name.lower() == "content-length"]
        assert declared in ([], [str(len(answer.bodies[0]))]), declared
    return answer


def _connected(server: Server, path: str) -> ClientConnection:
    address = f"ws://127.0.0.1:{server.port}{path}"
    return connect(address, compression=None, proxy=None, max_size=None, open_timeout=TIMEOUT, close_timeout=TIMEOUT)


def _talk(server: Server, conversation: Conversation, tokens: list[str]) -> Answer:
    if conversation.beside is not None:
        with _connected(server, conversation.beside):
            return _talk(server, Conversation(conversation.path, conversation.messages, conversation.ended), tokens)
    try:
        socket = _connected(server, conversation.path)
    except InvalidStatus as refusal:
        response = refusal.response
        return Answer(response.status_code, list(response.headers.raw_items()), [bytes(response.body or b"")])
    bodies: list[bytes] = []
    closed = None
    with socket:
        for message in conversation.messages:
            content = message.content
            raw = _filled(content.encode() if isinstance(content, str) else content, tokens)
            socket.send(raw.decode() if isinstance(content, str) else raw)
            if message.answered:
                answer = socket.recv(TIMEOUT)
                assert isinstance(answer, str), "binary answer"
                bodies.append(answer.encode())
        if conversation.ended:
            with contextlib.suppress(ConnectionClosed):
                raise AssertionError(f"unexpected message: {socket.recv(TIMEOUT)!r}")
            assert socket.close_code is not None
            closed = socket.close_code, socket.close_reason or ""
    assert socket.response is not None
    return Answer(socket.response.status_code, list(socket.response.headers.raw_items()), bodies, closed)


# --- what differs from one run to the next ----------------------------------------------------------------------------


def _filled(body: bytes, tokens: list[str]) -> bytes:
    """`body` with the tokens that it names."""
    return _TOKEN.sub(lambda found: _changed(tokens[int(found[2])], found[1].decode().strip()).encode(), body)


def _changed(token: str, how: str) -> str:
    content = bytearray(_content(token))
    if how == "altered":
        return token[:80] + ("A" if token[80] != "A" else "B") + token[81:]
    if how == "old":
        issued = int.from_bytes(content[_ISSUED], "little") - _EIGHT_DAYS
        content[_ISSUED] = issued.to_bytes(8, "little")
    if how == "strange":
        content[0] += 1
    text = base64.urlsafe_b64encode(content).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.new(KEY.encode(), text, hashlib.sha256).digest())[:_SIGNATURE]
    changed = (text + signature).decode()
    assert how or changed == token, "tokens are no longer made as this file expects"
    return changed


def _content(token: str) -> bytes:
    text = token[:-_SIGNATURE]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _masked(answer: Answer, tokens: list[str], folder: str) -> Answer:
    """`answer` without what is new in every run, like the name of `folder`; its tokens are added to `tokens`."""
    names = [value for name, value in answer.headers if name.lower() == "x-request-id" and _NEW_ID.fullmatch(value)]
    bodies = []
    for body in answer.bodies:
        given = body.replace(folder.encode(), FOLDER.encode())
        for token in _tokens(body):
            tokens.append(token)
            content = bytearray(_content(token))
            content[_ISSUED] = bytes(8)
            timeless = _TIMELESS + base64.urlsafe_b64encode(content).decode().rstrip("=")
            given = given.replace(token.encode(), timeless.encode())
        for name in names:
            given = given.replace(name.encode(), REQUEST_ID.encode())
        bodies.append(given)
    headers = []
    for name, value in answer.headers:
        kept = _MASKED.get(name.lower(), value)
        if name.lower() == "server-timing":
            kept = re.sub(r"dur=\d+\.\d{3}\b", "dur=<ms>", value)
        if name.lower() == "x-request-id" and value in names:
            kept = REQUEST_ID
        if name.lower() == "content-length":
            kept = LENGTH
        headers.append((name, kept))
    return Answer(answer.status, sorted(headers), bodies, answer.closed)


def _tokens(body: bytes) -> list[str]:
    """The state tokens of an answer, in their order."""
    try:
        document = json.loads(body)
    except ValueError:
        return []
    if not isinstance(document, dict):
        return []
    predictions = document.get("predictions", [document])
    return [each["state"] for each in predictions if isinstance(each.get("state"), str)]


# --- what answers.json keeps ------------------------------------------------------------------------------------------


def readable(answer: Answer) -> dict[str, Json]:
    """`answer` as a JSON document, in which a token is only its length."""
    document: dict[str, Json] = {"status": answer.status, "headers": [list(header) for header in answer.headers]}
    kind = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
    if answer.status == 101:
        document["messages"] = [_parsed(body) for body in answer.bodies]
        document["closed"] = None if answer.closed is None else list(answer.closed)
    elif "json" in kind:
        document["body"] = _parsed(answer.bodies[0])
    else:
        text = answer.bodies[0].decode()
        # Of the metrics only what they are called: their values are about this very run.
        document["text"] = [line for line in text.splitlines() if not kind.startswith("text/plain") or line[:1] == "#"]
    return document


def _parsed(body: bytes) -> Json:
    return _without_tokens(json.loads(body)) if body else ""


def _without_tokens(document: Json) -> Json:
    if isinstance(document, list):
        return [_without_tokens(each) for each in document]
    if not isinstance(document, dict):
        return document
    kept = {}
    for name, value in document.items():
        if name == "state" and isinstance(value, str) and value.startswith(_TIMELESS):
            kept[name] = f"<a token of {len(value) - len(_TIMELESS) + _SIGNATURE} characters>"
        elif name in MEASURED and (value is None or isinstance(value, (bool, float))):  # not measured yet, or measured
            kept[name] = MEASURED[name]
        else:
            kept[name] = _without_tokens(value)
    return kept
