"""Our protocol compared with uvicorn's: the same bytes for the same bytes, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import uvloop
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.request import ARRIVED, COMPLETE_RESPONSE
from service.contract.errors import RitmoError
from service.server.http_protocol import PlainProtocol, Protocol
from service.settings import Settings
from tests.service.server.harness import HUGE, LARGE, TIMEOUT, Running, pause_reading, post, running, until

ROOT = Path(__file__).resolve().parents[3]
LAST = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
CLOSE = b"Connection: close"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"

REQUESTS: dict[str, tuple[bytes | float, ...]] = {
    "one": (post(b"/a", b"hello", CLOSE),),
    "keep-alive": (post(b"/a", b"hello"), 0.05, post(b"/b", b"again"), 0.05, LAST),
    "pipelined": (post(b"/a", b"1") + post(b"/b", b"2") + post(b"/c", b"3") + LAST,),
    "pipelined behind a large answer": (post(b"/large", b"1") + post(b"/large", b"2") + LAST,),
    "HTTP/1.0": (post(b"/a", b"hello", version=b"1.0"),),
    "HTTP/1.0 keep-alive": (post(b"/a", b"hello", b"Connection: keep-alive", version=b"1.0"),),
    "HEAD": (b"HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n", 0.05, LAST),
    "HEAD of parts": (b"HEAD /parts HTTP/1.1\r\nHost: test\r\n\r\n", 0.05, LAST),
    "no content": (post(b"/empty", b"x"), 0.05, LAST),
    "streamed": (post(b"/parts", b"x"), 0.05, LAST),
    "chunked": (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 0.05, LAST),
    "chunked, slowly": (CHUNKED, b"3\r\nab", 0.05, b"c\r\n", 0.05, b"0\r\n\r\n", 0.05, LAST),
    "a body in pieces": (post(b"/a", b"hello world", CLOSE)[:-6], 0.05, b" world"),
    "a head in pieces": (post(b"/a", b"hello", CLOSE)[:20], 0.05, post(b"/a", b"hello", CLOSE)[20:]),
    "a large body": (post(b"/a", b"y" * LARGE, CLOSE),),
    "expect": (post(b"/a", b"hello", b"Expect: 100-continue", CLOSE)[:-5], 0.05, b"hello"),
    "expect, body at once": (post(b"/a", b"hello", b"Expect: 100-continue", CLOSE),),
    "expect, refused": (post(b"/early", b"hello", b"Expect: 100-continue", CLOSE)[:-5],),
    "a large head": (b"GET /a HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n",),
    "refused before the body": (post(b"/early", b"y" * LARGE, CLOSE),),
    "percent and query": (post(b"/a%20b/%C3%A9?x=%31&y", b"", CLOSE),),
    "a long target": (post(b"/" + b"z" * 3000 + b"?q=" + b"z" * 3000, b"", CLOSE),),
    "an absolute target": (post(b"http://test/a?b", b"", CLOSE),),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",),
    "an upgrade that is not ours": (post(b"/a", b"", b"Connection: upgrade, close", b"Upgrade: h2c"), LAST),
    "an application that fails": (post(b"/fail", b"x"), 0.05, LAST),
    "an application that answers twice": (post(b"/twice", b"x", CLOSE),),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_protocols_answer_alike(name: str) -> None:
    answers = []
    for protocol in (HttpToolsProtocol, Protocol):
        async with running(protocol) as server:
            answers.append(await server.ask(*REQUESTS[name]))
            offered = server.application.offered
            assert offered <= {protocol is Protocol}
    plain, ours = answers
    assert ours == plain
    assert plain.startswith(b"HTTP/1.1 ")


UNREADABLE: dict[str, tuple[bytes | float, ...]] = {
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n",),
    "a bad length": (b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n",),
    "a bad chunk": (CHUNKED + b"zz\r\n",),
    "a bad chunk later": (CHUNKED, 0.05, b"3\r\nabc\r\n", 0.05, b"zz\r\n"),
    "two lengths": (post(b"/a", b"hello", b"Content-Length: 7"),),
    "a length and chunks": (post(b"/a", b"0\r\n\r\n", b"Transfer-Encoding: chunked"),),
    "no host": (b"GET /a HTTP/1.1\r\n\r\n",),
    "a host of bytes that are none": (b"GET /a HTTP/1.1\r\nHost: a\xff\xfe\r\n\r\n",),
    "a host with a blank": (b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",),
    "a host with a path": (b"POST /a HTTP/1.1\r\nHost: a/b\r\nContent-Length: 0\r\n\r\n",),
    "a host with a user": (b"GET /a HTTP/1.1\r\nHost: me@a\r\n\r\n",),
    "a host with a port that is none": (b"GET /a HTTP/1.1\r\nHost: a:b\r\n\r\n",),
    "a WebSocket with such a host": (
        b"GET /a HTTP/1.1\r\nHost: a\xff\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    "two hosts": (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",),
    "another coding": (CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",),
    "no target": (b"GET a b HTTP/1.1\r\nHost: a\r\n\r\n",),
    "a target that cannot be read": (b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",),
    "a WebSocket with such a target": (
        b"GET http://[ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    "CONNECT": (b"CONNECT test:443 HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\njunk",),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_no_request_is_a_problem(name: str) -> None:
    async with running(Protocol, ws="websockets-sansio") as server:
        received = await server.ask(*UNREADABLE[name])
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-type: application/problem+json" in head
        assert head.endswith(b"\r\nconnection: close")
        assert json.loads(body)["code"] == "bad_request"
        reached = bool(server.application.scopes)  # then the application counts it
        assert server.metric('ritmo_requests_total{code="400"') == (not reached)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), "a handshake of TLS was sent"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 is not spoken here"),
        (b"hello\r\n\r\n", "no valid HTTP request"),
    ],
)
async def test_another_protocol_is_named(data: bytes, words: str) -> None:
    async with running(Protocol) as server:
        received = await server.ask(data)
        assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert words.encode() in received


async def test_plain_http_where_tls_is_spoken_has_its_answer() -> None:
    async with running(PlainProtocol) as server:
        received = await server.ask(post(b"/a", b"hello"))
        assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"https://" in received
        assert not server.application.scopes
        assert server.metric('ritmo_requests_total{code="400"') == 1


@pytest.mark.parametrize("host", [b"", b"a", b"127.0.0.1:80", b"[::1]:8000", b"shop_1.example.:", b"%C3%A9.example "])
async def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(host: bytes) -> None:
    async with running(Protocol) as server:
        received = await server.ask(LAST.replace(b"Host: test", b"Host: " + host))
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_head_that_was_read_before_has_no_other_host() -> None:
    async with running(Protocol) as server:
        good = post(b"/a", b"1")
        received = await server.ask(good, 0.05, good, 0.05, good.replace(b"Host: test", b"Host: te\xff\xff"))
        assert received.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert received.count(b"HTTP/1.1 400 Bad Request\r\n") == 1


BAD_SECOND: dict[str, tuple[bytes, int]] = {
    "garbage": (b"\x00\x01garbage\r\n\r\n", 400),
    "no host": (b"GET /a HTTP/1.1\r\n\r\n", 400),
    "a bad length": (UNREADABLE["a bad length"][0], 400),  # type: ignore[dict-item]
    "a large head": (b"GET /a HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("waiting", [1, 3])
@pytest.mark.parametrize("name", BAD_SECOND)
async def test_a_bad_request_behind_others_has_its_own_answer_after_theirs(name: str, waiting: int) -> None:
    bad, status = BAD_SECOND[name]
    async with running(Protocol) as server:
        received = await server.ask(post(b"/slow", b"1") * waiting + bad)
        *answers, refusal = [b"HTTP/1.1 " + text for text in received.split(b"HTTP/1.1 ")[1:]]
        assert len(answers) == waiting
        assert all(text.startswith(b"HTTP/1.1 200 OK\r\n") and b"connection: close" not in text for text in answers)
        assert refusal.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nconnection: close\r\n" in refusal
        assert server.metric(f'ritmo_requests_total{{code="{status}"') == 1


async def test_a_bad_request_behind_the_last_one_has_no_answer() -> None:
    async with running(Protocol) as server:
        received = await server.ask(post(b"/slow", b"1", CLOSE) + b"\x00\x01garbage\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.count(b"HTTP/1.1 ") == 1


OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
CHUNKED_OFFER = CHUNKED[:-2] + b"\r\n".join(OFFER) + b"\r\n\r\n"

DECLINED: dict[str, tuple[bytes | float, ...]] = {
    "a body": (post(b"/a", b"hello", *OFFER), 0.05, LAST),
    "no body": (post(b"/a", b"", *OFFER), 0.05, LAST),
    "a body in pieces": (post(b"/a", b"hello", *OFFER)[:-5], 0.05, b"he", 0.05, b"llo", 0.05, LAST),
    "a head in pieces": (post(b"/a", b"hello", *OFFER)[:40], 0.05, post(b"/a", b"hello", *OFFER)[40:], 0.05, LAST),
    "a body that looks like a request": (post(b"/a", SMUGGLED, *OFFER), 0.05, LAST),
    "chunked": (CHUNKED_OFFER + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 0.05, LAST),
    "followed by another": (post(b"/a", b"hello", *OFFER) + post(b"/b", b"again", *OFFER) + LAST,),
    "expect": (post(b"/a", b"hello", b"Expect: 100-continue", *OFFER)[:-5], 0.05, b"hello", 0.05, LAST),
    "a bad chunk": (CHUNKED_OFFER + b"zz\r\n",),
    "two lengths": (post(b"/a", b"hello", b"Content-Length: 7", *OFFER),),
    "another connection option": (post(b"/a", b"hello", b"Connection: upgrade, close", b"Upgrade: TLS/1.0"),),
    "several fields": (post(b"/a", b"hello", b"Connection: upgrade", b"Connection: close", b"Upgrade: a, b"),),
    "HTTP/1.0": (post(b"/a", b"hello", *OFFER, version=b"1.0"),),
    "a WebSocket with a body": (
        b"GET /a HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
        0.05,
        LAST,
    ),
    "a WebSocket of HTTP/1.0": (b"GET /a HTTP/1.0\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",),
    "a WebSocket by POST": (post(b"/a", b"hello", b"Connection: upgrade", b"Upgrade: websocket"), 0.05, LAST),
}


def without_offer(piece: bytes | float) -> bytes | float:
    """The same bytes as a client sends them that offers no upgrade."""
    if isinstance(piece, bytes):
        for line in OFFER:
            piece = piece.replace(line + b"\r\n", b"")
        piece = re.sub(rb"Connection: upgrade\r\n|(?<=Connection: )upgrade, |Upgrade: .*?\r\n", b"", piece)
    return piece


def without_id(received: bytes) -> bytes:
    return re.sub(rb'"request_id":"[^"]*"|content-length: \d+', b"", received)


@pytest.mark.parametrize("ws", ["none", "websockets-sansio"])
@pytest.mark.parametrize("name", [name for name in DECLINED if name != "a head in pieces"])
async def test_a_declined_upgrade_is_an_ordinary_request(name: str, ws: str) -> None:
    async with running(Protocol, ws=ws) as server:
        offered = await server.ask(*DECLINED[name])
        plain = await server.ask(*(without_offer(piece) for piece in DECLINED[name]))
    assert without_id(offered) == without_id(plain)
    assert b"/smuggled HTTP" in offered or b"smuggled" not in offered


async def test_a_head_with_an_offer_may_come_in_pieces() -> None:
    async with running(Protocol) as server:
        received = await server.ask(*DECLINED["a head in pieces"])
        assert received.count(b"HTTP/1.1 200 OK") == 2
        assert b"b'hello']" in received


HEAD = b"GET /a HTTP/1.1\r\nHost: test\r\n"
TOO_LARGE: dict[str, tuple[int, tuple[bytes | float, ...]]] = {
    "one line": (431, (HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",)),
    "many lines": (431, (HEAD + b"X: abc\r\n" * 20_000 + b"\r\n",)),
    "a line without end": (431, (HEAD + b"X: ", *[b"a" * 10_000] * 20)),
    "a name without end": (431, (HEAD, *[b"a" * 10_000] * 20)),
    "a target": (414, (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n",)),
    "a target without end": (414, (b"GET /", *[b"a" * 10_000] * 20)),
    "after another request": (431, (post(b"/a", b"1"), 0.05, HEAD + b"X: ", *[b"a" * 10_000] * 20)),
    "nothing but blank lines": (431, (b"\r\n" * 40_000,)),
    "an endless method": (400, (b"A" * 70_000,)),
    "with an offer": (431, (post(b"/a", b"hello", b"X: " + b"a" * 70_000, *OFFER),)),
}


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_a_large_head_is_refused(name: str) -> None:
    status, pieces = TOO_LARGE[name]
    async with running(Protocol) as server:
        received = await server.ask(*pieces)
        assert b"HTTP/1.1 %d " % status in received
        assert received.count(b"HTTP/1.1 200") == (name == "after another request")
        assert server.metric(f'ritmo_requests_total{{code="{status}"') == 1
        await until(lambda: not server.server.server_state.connections)
        assert server.budget.held_bytes == 0


async def test_a_large_body_in_the_same_segment_is_no_large_head() -> None:
    async with running(Protocol) as server:
        assert (await server.ask(post(b"/a", b"y" * 200_000, CLOSE))).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ((), b""),
        ((post(b"/a", b"x")[:30], 0.01, post(b"/a", b"x")[30:40]), b"HTTP/1.1 408 Request Timeout\r\n"),
        ((post(b"/a", b"x"), 0.05, b"GET"), b"HTTP/1.1 200 OK\r\n"),
    ],
)
async def test_a_head_that_does_not_arrive_ends_the_connection(
    pieces: tuple[bytes | float, ...], answer: bytes
) -> None:
    async with running(Protocol, Settings(receive_seconds=0.3)) as server:
        received = await server.ask(*pieces)  # ends only because the server closes
        assert received.startswith(answer)
        assert (received == b"") == (answer == b"")


async def test_a_head_that_arrives_in_time_has_no_deadline() -> None:
    async with running(Protocol, Settings(receive_seconds=0.3)) as server:
        received = await server.ask(post(b"/slow", b"hello")[:-5], 0.2, b"he", 0.2, b"llo", 0.6, LAST)
        assert received.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 431)])
@pytest.mark.parametrize("piece", [100, 1000, 5000])
async def test_the_largest_head(extra: int, status: int, piece: int) -> None:
    head = HEAD + b"Connection: close\r\nX: %s\r\n\r\n"
    head %= b"a" * (4000 - len(head) + 2 + extra)
    async with running(Protocol, Settings(max_head_bytes=4000)) as server:
        received = await server.ask(*(head[start : start + piece] for start in range(0, len(head), piece)))
        assert received.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 414)])
async def test_the_longest_target(extra: int, status: int) -> None:
    head = b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    head %= b"a" * (9000 - len(head) + 2 + extra)
    async with running(Protocol, Settings(max_head_bytes=9000)) as server:
        assert (await server.ask(head)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(("count", "status"), [(4, 200), (5, 200), (6, 431)])
async def test_the_number_of_fields(count: int, status: int) -> None:
    fields = b"".join(b"X: 1\r\n" for _ in range(count - 2))
    async with running(Protocol, Settings(max_header_fields=5)) as server:
        received = await server.ask(HEAD + fields + b"Connection: close\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 %d " % status)
        assert (b"too_many_headers" in received) is (status == 431)
        received = await server.ask(HEAD, *(b"X: 1\r\n" for _ in range(40)))  # a head without an end
        assert b"too_many_headers" in received


async def test_trailers_are_bounded_and_no_headers() -> None:
    chunked = CHUNKED[:-2] + b"Connection: close\r\n\r\n3\r\nabc\r\n0\r\n"
    async with running(Protocol) as server:
        assert (await server.ask(chunked + b"X-Late: 1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert b"x-late" not in dict(server.application.scopes[-1]["headers"])
        for line in (b"a" * 1000, b"b: " + b"c" * 1000 + b"\r\n"):
            assert b"HTTP/1.1 431 " in await server.ask(chunked + b"X: ", *[line] * 100)


async def test_a_host_among_the_trailers_is_none_of_the_next_request() -> None:
    chunked = CHUNKED + b"3\r\nabc\r\n0\r\nHost: other\r\n\r\n"
    async with running(Protocol) as server:
        assert (await server.ask(chunked, 0.05, LAST)).count(b"HTTP/1.1 200 ") == 2
        assert b"HTTP/1.1 400 " in await server.ask(chunked, 0.05, LAST.replace(b"Host: test\r\n", b""))


@pytest.mark.parametrize(("target", "query"), [(b"http://test", b""), (b"http://test?a=b", b"a=b")])
async def test_a_target_without_a_path_is_the_root(target: bytes, query: bytes) -> None:
    async with running(Protocol) as server:
        assert (await server.ask(post(target, b"", CLOSE))).startswith(b"HTTP/1.1 200 ")
        scope = server.application.scopes[-1]
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/", b"/", query)


async def test_a_length_may_have_thousands_of_zeros(caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: " + b"0" * 5000
    async with running(Protocol) as server:
        for pieces in ((head + b"5\r\n\r\nhello",), (head + b"5\r\n\r\nhel", 0.05, b"lo"), (head + b"\r\n\r\n",)):
            assert (await server.ask(*pieces)).startswith(b"HTTP/1.1 200 ")
            assert (b"content-length", b"5" if b"5" in pieces[0][-12:] else b"0") in server.application.scopes[-1][
                "headers"
            ]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_an_answer_of_unknown_length_to_http_1_0_has_no_chunks() -> None:
    async with running(Protocol) as server:
        head, _, body = (await server.ask(post(b"/parts", b"x", version=b"1.0"))).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body == b"abcd"


async def test_who_expects_to_be_asked_for_the_body() -> None:
    async with running(Protocol) as server:
        for version, expected in ((b"1.1", b"HTTP/1.1 100 "), (b"1.0", b"HTTP/1.1 200 ")):
            request = post(b"/a", b"hello", b"Expect:  100-continue ", CLOSE, version=version)
            assert (await server.ask(request[:-5], 0.05, b"hello")).startswith(expected)


async def test_chunks_may_be_small_and_many() -> None:
    async with running(Protocol) as server:
        chunks = b"1;extension=1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
        received = await server.ask(CHUNKED[:-2] + b"Connection: close\r\n\r\n" + chunks)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"x" * 20_000 in received


async def test_the_request_counts_from_its_first_byte() -> None:
    """Also where it waits behind another one."""
    async with running(Protocol) as server:
        first = post(b"/a", b"1")
        await server.ask(first[:20], 0.2, first[20:] + LAST[:-2], 0.2, LAST[-2:])
        first_at, last_at = (scope[ARRIVED] for scope in server.application.scopes)
        assert last_at - first_at > 0.15
        await server.ask(post(b"/slow", b"1") + LAST)
        first_at, last_at = (scope[ARRIVED] for scope in server.application.scopes[2:])
        assert last_at == first_at


async def test_a_flood_of_requests_waits_unread_and_is_counted() -> None:
    request = b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n"
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        flooding = asyncio.create_task(flood(writer, request * 1000, 1000))
        await reader.readuntil(b"HTTP/1.1 200 OK")
        await reader.readuntil(b"HTTP/1.1 200 OK")
        connection = only_connection(server)
        assert connection.flow.read_paused
        assert len(connection.pipeline) <= (2 << 10) // len(request) + 1
        assert 0 < server.budget.held_bytes < 2 << 20
        flooding.cancel()
        writer.transport.abort()
        await until(lambda: not server.server.server_state.connections)
        assert server.budget.held_bytes == 0


async def flood(writer: asyncio.StreamWriter, piece: bytes, count: int) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(count):
            writer.write(piece)
            await writer.drain()


async def test_many_pipelined_requests_are_all_answered() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        bodies = [b"%d" % number for number in range(3000)]
        received = await server.ask(b"".join(post(b"/a", body) for body in bodies) + LAST)
        assert received.count(b"HTTP/1.1 200 OK") == 3001
        assert re.findall(rb"b'(\d+)'", received) == bodies
        assert server.budget.held_bytes == 0


async def test_many_heads_in_a_row_are_no_large_head() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        received = await server.ask(b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n" * 4000 + LAST)
        assert received.count(b"HTTP/1.1 200 OK") == 4001


async def test_pipelined_bodies_of_all_sizes_are_told_apart() -> None:
    sizes = [0, 1, 3000, 70_000, 2047, 300_000, 5]
    requests = b"".join(post(b"/a", b"z" * size) for size in sizes)
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        received = await server.ask(requests[:100_000], 0.05, requests[100_000:] + LAST)
        assert [len(body) for body in re.findall(rb"b'(z*)'\]", received)] == [*sizes, 0]


async def test_an_unfinished_head_without_room_is_refused() -> None:
    async with running(Protocol, Settings(max_held_bytes=400)) as server, asyncio.timeout(TIMEOUT):
        for size, status in ((299, 200), (300, 200), (301, 503)):  # three quarters: the client is one alone
            head = HEAD + b"Connection: close\r\nX: "
            head += b"a" * (size - len(head))
            received = await server.ask(head, 0.1, b"\r\n\r\n")
            assert received.startswith(b"HTTP/1.1 %d " % status)
            assert (b"retry-after: 1\r\n" in received) is (status == 503)
        await until(lambda: not server.server.server_state.connections)
        assert server.budget.held_bytes == 0


async def test_a_body_without_room_is_refused() -> None:
    async with running(Protocol, Settings(max_held_bytes=50_000)) as server, asyncio.timeout(TIMEOUT):
        received = await server.ask(post(b"/late", b"y" * 100_000)[:-40_000], 0.1, b"y")
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"queue_full" in received


async def test_a_body_that_falls_silent_ends_the_connection() -> None:
    async with running(Protocol, Settings(receive_seconds=0.2)) as server:
        received = await server.ask(post(b"/a", b"hello")[:-5], 0.1, b"he")
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"request_timeout" in received


async def test_an_answer_that_is_not_read_ends_the_connection_and_costs_nothing_more() -> None:
    async with running(Protocol, Settings(send_seconds=0.3)) as server, asyncio.timeout(TIMEOUT):
        _, writer = await server.connect()
        pause_reading(writer)
        writer.write(post(b"/huge", b"1"))
        await until(lambda: server.budget.held_bytes > 0)
        assert server.budget.held_bytes > 10 << 20
        await until(lambda: not server.server.server_state.connections)
        assert server.budget.held_bytes == 0
        assert server.metric('ritmo_connections_cut_total{reason="slow_reader"}') == 1
        writer.transport.abort()


async def test_a_slow_reader_that_reads_gets_its_answer() -> None:
    async with running(Protocol, Settings(send_seconds=0.5)) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/huge", b"1", CLOSE))
        count = 0
        while piece := await reader.read(1 << 18):
            count += len(piece)
            await asyncio.sleep(0.02)
        assert count > HUGE
        assert server.budget.held_bytes == 0
        writer.close()


async def test_an_early_answer_survives_what_the_client_still_sends() -> None:
    """Closing with unread bytes would reset the connection, and the client could lose the answer."""
    async with running(Protocol) as server:
        for _ in range(5):
            received = await server.ask(post(b"/early", b"y" * 8_000_000))
            assert received.startswith(b"HTTP/1.1 413 ")
            assert b"\r\nconnection: close\r\n" in received


async def test_a_refused_client_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.connection.LINGER_SECONDS", 0.2)
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        _, silent = await server.connect()
        silent.write(post(b"/early", b"y" * 100)[:-50])
        await until(lambda: not server.server.server_state.connections and bool(server.application.scopes))
        silent.close()
        monkeypatch.setattr("service.server.connection.LINGER_BYTES", 1_000_000)
        _, endless = await server.connect()
        endless.write(post(b"/early", b"y" * 100_000_000)[:-90_000_000])
        await flood(endless, b"y" * 100_000, 10_000)
        await until(lambda: not server.server.server_state.connections)
        endless.close()


async def test_pipelined_offers_of_an_upgrade_are_answered_in_order() -> None:
    async with running(Protocol, ws="websockets-sansio") as server:
        offers = b"".join(post(b"/a", b"%d" % number, *OFFER) for number in range(2000))
        received = await server.ask(offers + LAST)
        assert re.findall(rb"b'(\d+)'", received) == [b"%d" % number for number in range(2000)]
        socket = b"GET /b HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        received = await server.ask(post(b"/slow", b"1") + socket + LAST)  # no answer may overtake the first one
        assert received.count(b"HTTP/1.1 200 OK") == 3


async def test_a_refusal_before_the_body_was_asked_for_ends_the_connection() -> None:
    """What follows may be the body, or another request: neither is read."""
    async with running(Protocol) as server:
        request = post(b"/early", SMUGGLED, b"Expect: 100-continue")[: -len(SMUGGLED)]
        received = await server.ask(request, 0.05, SMUGGLED)
        assert received.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close\r\n" in received
        assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("path", [b"/a", b"/parts", b"/slow"])
async def test_a_half_closed_client_gets_its_answer(path: bytes) -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(path, b"1") + post(path, b"2"))
        writer.write_eof()
        received = await reader.read()
        assert received.count(b"HTTP/1.1 200 OK") == 2
        writer.close()


async def test_a_half_closed_client_may_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.http_protocol._HALF_CLOSED_SECONDS", 0.02)
    monkeypatch.setattr("service.server.http_protocol._UNASKED_SECONDS", 0.1)
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        for version, answers in ((b"1.1", rb"(HTTP/1.1 100 Continue\r\n\r\n){2,}HTTP/1.1 200 OK\r\n"), (b"1.0", rb"$")):
            reader, writer = await server.connect()
            writer.write(post(b"/slow", b"1", version=version))
            writer.write_eof()
            assert re.match(answers, await reader.read())
            writer.close()


async def test_half_a_request_of_a_client_that_left_is_dropped() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        for piece in (b"", post(b"/a", b"hello")[:20], post(b"/a", b"hello")[:-2]):
            reader, writer = await server.connect()
            writer.write(piece)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()


async def test_what_is_compared_is_what_it_says() -> None:
    """The odd requests really are what their names say, in uvicorn's answers and so in ours."""
    async with running(Protocol) as server:
        assert (await server.ask(*REQUESTS["pipelined"])).count(b"HTTP/1.1 200 OK") == 4
        assert (await server.ask(*REQUESTS["expect"])).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        assert b"100 Continue" not in await server.ask(*REQUESTS["expect, refused"])
        assert len(await server.ask(*REQUESTS["pipelined behind a large answer"])) > 2 * LARGE
        head, _, second = (await server.ask(*REQUESTS["HEAD"])).partition(b"\r\n\r\n")
        assert re.search(rb"content-length: [1-9]", head)
        assert second.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("protocol", [HttpToolsProtocol, Protocol])
async def test_too_many_connections_are_refused(protocol: type[asyncio.Protocol]) -> None:
    async with running(protocol, limit_concurrency=1) as server:
        assert (await server.ask(post(b"/a", b"", CLOSE))).startswith(b"HTTP/1.1 503 ")


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with running(Protocol, Settings(keep_alive_seconds=0.05)) as server:
        assert (await server.ask(post(b"/a", b"hello"))).endswith(b"b'hello']")  # the server ends it


def test_a_request_that_came_before_an_idle_connection_was_to_close_is_answered() -> None:
    """On a busy machine the event loop is late: while it reads others, a connection's time ends, and its request comes.

    uvloop looks at its clocks before it reads again.
    """

    async def answers() -> list[bytes]:
        loop, request = asyncio.get_running_loop(), post(b"/a", b"hello")
        async with running(Protocol, Settings(keep_alive_seconds=0.2)) as server:
            others, signal = socket.socketpair()
            with others, signal, socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as connection:
                connection.setblocking(False)

                def read_others() -> None:
                    loop.remove_reader(others)
                    connection.send(request)
                    time.sleep(0.5)

                await loop.sock_sendall(connection, request)
                first = await loop.sock_recv(connection, 1 << 16)
                loop.add_reader(others, read_others)
                signal.send(b"x")
                return [first, await loop.sock_recv(connection, 1 << 16)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert all(answer.endswith(b"b'hello']") for answer in runner.run(answers()))


async def test_the_application_is_told_when_a_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.http_protocol._HALF_CLOSED_SECONDS", 0.2)
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        _, writer = await server.connect()
        writer.write(post(b"/wait", b"x"))
        await server.application.waiting.wait()
        writer.close()
        await server.application.client_left.wait()


async def test_what_is_in_flight_is_answered_while_the_server_stops() -> None:
    """Its answer says that the connection ends, and an idle connection is closed."""
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        request = post(b"/a", b"hello")
        reader, writer = await server.connect()
        writer.write(request[:-1])
        idle, idle_writer = await server.connect()
        idle_writer.write(post(b"/a", b"hello"))
        assert (await idle.readuntil(b"'hello']")).startswith(b"HTTP/1.1 200 OK")
        stopping = asyncio.create_task(server.server.shutdown())
        assert await idle.read() == b""
        writer.write(request[-1:])
        received = await reader.read()
        await stopping
        assert b"\r\nconnection: close\r\n" in received
        assert received.endswith(b"b'hello']")
        writer.close()
        idle_writer.close()


def only_connection(server: Running) -> Protocol:
    (connection,) = server.server.server_state.connections
    assert isinstance(connection, Protocol)
    return connection


async def test_the_next_answer_of_a_draining_connection_ends_it() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"1"))
        assert b"connection: close" not in await reader.readuntil(b"b'1']")
        only_connection(server).drain()
        writer.write(post(b"/a", b"2"))
        received = await reader.read()
        assert b"\r\nconnection: close\r\n" in received
        assert received.endswith(b"b'2']")
        writer.close()


async def test_a_request_in_flight_ends_its_connection_when_the_drain_begins() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"12")[:-1])
        await until(lambda: bool(server.server.server_state.tasks))
        only_connection(server).drain()
        writer.write(b"2")
        received = await reader.read()
        assert b"\r\nconnection: close\r\n" in received
        assert received.endswith(b"b'12']")
        writer.close()


async def test_of_pipelined_requests_the_last_answer_ends_a_draining_connection() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"0"))
        await reader.readuntil(b"b'0']")
        only_connection(server).drain()
        writer.write(post(b"/a", b"1") + post(b"/a", b"2") + post(b"/a", b"3"))
        received = await reader.read()
        assert received.count(b"HTTP/1.1 200 OK") == 3
        assert received.count(b"connection: close") == 1
        assert received.endswith(b"b'3']")
        writer.close()


async def test_only_an_idle_connection_is_closed() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"1")[:20])  # a part of a head
        await until(lambda: bool(server.server.server_state.connections) and bool(only_connection(server).scope))
        connection = only_connection(server)
        assert not connection.is_idle
        connection.close_if_idle()
        writer.write(post(b"/a", b"1")[20:])
        await reader.readuntil(b"b'1']")
        assert connection.is_idle
        pause_reading(connection)  # what arrives now lies in the socket
        writer.write(post(b"/a", b"2"))
        await writer.drain()
        connection.close_if_idle()
        connection.transport.resume_reading()
        await reader.readuntil(b"b'2']")
        connection.close_if_idle()
        assert await reader.read() == b""
        writer.close()


async def test_a_new_connection_is_idle() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        await until(lambda: bool(server.server.server_state.connections))
        assert only_connection(server).connected_at <= asyncio.get_running_loop().time()
        only_connection(server).close_if_idle()
        assert await reader.read() == b""
        writer.close()


async def test_a_slow_reader_holds_up_only_itself() -> None:
    """An answer waits until the one before it has left the buffers of this process."""
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/large") * 40 + LAST)
        assert (await server.ask(post(b"/a", b"hello", CLOSE))).startswith(b"HTTP/1.1 200 OK")
        received = await reader.read()
        while piece := await reader.read():
            received += piece
        assert received.count(b"HTTP/1.1 200 OK") == 41
        assert received.count(b"x" * LARGE) == 40
        writer.close()


async def test_a_whole_answer_after_a_beginning_is_an_error() -> None:
    sent: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        message: Message = {"type": COMPLETE_RESPONSE, "status": 200, "headers": [], "body": b"x"}
        with pytest.raises(RuntimeError, match="after another"):
            await send(message)
        await send({"type": "http.response.body", "body": b"y"})
        sent.append(b"y")

    async with running(Protocol) as server:
        server.server.config.loaded_app = app
        assert (await server.ask(post(b"/a", b"", CLOSE))).endswith(b"1\r\ny\r\n0\r\n\r\n")
    assert sent == [b"y"]


def test_the_release_is_the_one_this_was_written_for() -> None:
    """Another release: compare its `on_headers_complete`, `send` and `receive` with ours, then pin it."""
    pinned = re.search(r"^uvicorn(?:\[.*\])?==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert version("uvicorn") == pinned[1] == "0.54.0"


async def test_a_request_that_a_stop_cancels_is_answered_and_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            raise

    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        server.server.config.loaded_app = app
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"1"))
        await until(lambda: bool(server.server.server_state.tasks))
        (task,) = server.server.server_state.tasks
        await asyncio.sleep(0)
        task.cancel()
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 503 ")
        writer.close()
    assert "Exception in ASGI application" not in caplog.text


async def test_a_body_that_has_not_come_is_refused_when_the_server_waits_no_longer() -> None:
    errors: list[RitmoError] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        except RitmoError as error:
            errors.append(error)
        await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        server.server.config.loaded_app = app
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"1" * 10)[:-5])
        await until(lambda: bool(server.server.server_state.tasks))
        only_connection(server).cut()
        received = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: close" in received
        writer.close()
    assert [error.code for error in errors] == ["draining"]
