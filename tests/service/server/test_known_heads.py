"""Heads that were parsed before: what follows a known head is treated as if the parser had read it, to the byte."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from service.server.known_heads import KnownHeads
from tests.service.server.harness import TIMEOUT
from tests.service.server.test_fast_path import LAST, FastApplication, running_fast

FIRST = b"POST /a?q=1 HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nX-Other: 1\r\n\r\nfirst"


def variant(old: bytes, new: bytes) -> bytes:
    changed = FIRST.replace(old, new)
    assert changed != FIRST
    return changed


CASES: dict[str, tuple[bytes | float, ...]] = {
    "the same": (FIRST,),
    "another length": (variant(b"5\r\nX-Other: 1\r\n\r\nfirst", b"11\r\nX-Other: 1\r\n\r\na long body"),),
    "no body": (variant(b"5\r\nX-Other: 1\r\n\r\nfirst", b"0\r\nX-Other: 1\r\n\r\n"),),
    "zeros before the length": (variant(b": 5", b": 005"),),
    "a body that follows": (FIRST[:-5], b"again"),
    "a body that comes late": (FIRST[:-5], 0.1, b"again"),
    "a head in pieces": (FIRST[:30], 0.02, FIRST[30:]),
    "more than a request": (FIRST + FIRST, 0.02, FIRST),
    "a piece of the next": (FIRST + FIRST[:20], 0.02, FIRST[20:]),
    "an empty line before it": (b"\r\n" + FIRST,),
    "an odd length": (variant(b": 5", b": +5"),),
    "a length with a space": (variant(b": 5", b": 5 "),),
    "a length of other digits": (variant(b": 5", ": \u0665".encode()),),
    "two lengths": (variant(b"X-Other: 1", b"Content-Length: 5"),),
    "another field of a similar name": (variant(b"Content-Length", b"X-Content-Length"),),
    "chunked": (variant(b"X-Other: 1", b"Transfer-Encoding: chunked"),),
    "another target": (variant(b"/a", b"/b"),),
    "another method": (variant(b"POST", b"PUT"),),
    "the last of its connection": (variant(b"X-Other: 1", b"Connection: close"),),
    "an upgrade": (variant(b"X-Other: 1", b"Connection: Upgrade\r\nUpgrade: h2c"),),
    "none of this": (b"nonsense\r\n\r\n",),
}


async def received(pieces: Sequence[bytes | float]) -> tuple[bytes, FastApplication, int]:
    async with running_fast() as (server, application):
        answer = await server.ask(FIRST, 0.02, *pieces, 0.02, LAST)
        return answer, application, server.budget.held_bytes


@pytest.mark.parametrize("pieces", CASES.values(), ids=CASES.keys())
async def test_a_known_head_changes_nothing(pieces: tuple[bytes | float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.http_protocol.request_id", lambda _: "an id")
    answer, application, held_bytes = await received(pieces)
    with monkeypatch.context() as patch:
        patch.setattr(KnownHeads, "find", lambda *_: None)
        expected, parsed, _ = await received(pieces)
    assert answer == expected
    assert application.begun == parsed.begun
    assert held_bytes == 0


async def test_a_known_head_is_not_parsed_again_and_its_scope_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scopes: list[dict[str, Any]] = []
    begin = FastApplication.begin

    def recorded(self: FastApplication, scope: Any, content: bytes, reply: Any) -> Any:
        scopes.append(scope)
        return begin(self, scope, content, reply)

    monkeypatch.setattr(FastApplication, "begin", recorded)
    found: list[bool] = []
    find = KnownHeads.find

    def counted(self: KnownHeads, data: bytes) -> Any:
        head = find(self, data)
        found.append(head is not None)
        return head

    monkeypatch.setattr(KnownHeads, "find", counted)
    other = variant(b"5\r\nX-Other: 1\r\n\r\nfirst", b"6\r\nX-Other: 1\r\n\r\nsecond")
    await received((FIRST, 0.02, other))
    assert found[:3] == [False, True, True]
    timeless = [{key: value for key, value in scope.items() if key != "ritmo.arrived"} for scope in scopes]
    first, same, second = timeless[:3]
    assert same == first
    assert second.pop("headers") == [(b"host", b"test"), (b"content-length", b"6"), (b"x-other", b"1")]
    assert second == {key: value for key, value in first.items() if key != "headers"}


async def test_a_declined_request_with_a_known_head_takes_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    declined = False
    begin = FastApplication.begin
    monkeypatch.setattr(FastApplication, "begin", lambda *arguments: None if declined else begin(*arguments))
    async with running_fast() as (server, application), asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(FIRST)
        assert (await reader.readuntil(b"first")).startswith(b"HTTP/1.1 200 OK")
        declined = True
        writer.write(FIRST)
        assert b"HTTP/1.1 200 OK" in await reader.readuntil(b"b'first']")
        assert len(application.scopes) == 1
        assert server.budget.held_bytes == 0
        writer.close()


@pytest.mark.parametrize(
    "refused",
    [
        variant(b"X-Other: 1", b"X-Other: \x7f"),
        variant(b"X-Other: 1", b"Host: test"),
        variant(b"Host: test", b"Host: te\xff"),
        variant(b"X-Other: 1", b"Transfer-Encoding: gzip, chunked"),
    ],
    ids=["a control character", "two hosts", "no host", "an unknown coding"],
)
async def test_a_refused_head_is_not_known_by_what_came_before_it(
    refused: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be answered as that request, with its path and its fields, whoever sends it next."""
    of_the_process = KnownHeads()
    monkeypatch.setattr("service.server.http_protocol.KnownHeads", lambda: of_the_process)
    async with running_fast() as (server, application):
        earlier = FIRST.replace(b"/a?q=1", b"/earlier")
        assert b"HTTP/1.1 400 Bad Request" in await server.ask(earlier, 0.05, refused)
        n_begun = len(application.begun)
        for _ in range(2):
            assert (await server.ask(refused, 0.05, LAST)).startswith(b"HTTP/1.1 400 Bad Request")
        assert len(application.begun) == n_begun


def test_heads_are_forgotten_when_they_are_too_many() -> None:
    heads = KnownHeads()
    scope = {
        "headers": [(b"content-length", b"1")],
        "http_version": "1.1",
        "method": "POST",
        "path": "/",
    } | dict.fromkeys(("raw_path", "query_string", "extensions"))
    requests = [b"POST / HTTP/1.1\r\nX: %d\r\nContent-Length: 1\r\n\r\nx" % number for number in range(300)]
    for request in requests:
        heads.learn(request, scope)
    assert heads.find(requests[0]) is None
    assert heads.find(requests[-1]) is not None
