"""Faults of one connection: what it sends, how slowly, and what it does not read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any

from benchmarks.faults.bench import (
    ROOT,
    SMALL,
    Outcome,
    SkippedError,
    connect,
    fault,
    head,
    received,
    request,
    send_all,
    series,
    serving,
    status,
)
from benchmarks.faults.bystanders import bystanders_of

MIB = 1 << 20
MOST_MIB = 20.0  # that one connection may cost
WAIT = 0.3  # seconds that a probe may wait
OFFER = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
PROTOCOL_TESTS = "tests/service/server/test_http_protocol.py"
LIVE_TESTS = "tests/service/server/test_live_protocol.py"


@fault(
    "R1",
    "a declined upgrade",
    "a POST that offers h2c, raw, by curl --http2 and by Java's client",
    "test_a_declined_upgrade_is_an_ordinary_request; tests/integration/test_clients.py",
)
def declined_upgrade() -> Outcome:
    with serving() as service:
        with connect(service.port) as sock:
            sock.sendall(
                head("/forecast", len(SMALL), *OFFER) + SMALL + head("/livez", 0, "Connection: close", method="GET")
            )
            answers = received(sock).count(b"HTTP/1.1 200")
        url = f"http://127.0.0.1:{service.port}"
        clients = {}
        if shutil.which("curl"):
            command = [
                "curl",
                "-s",
                "--http2",
                "-o",
                os.devnull,
                "-w",
                "%{http_code}",
                "-d",
                SMALL.decode(),
                "-H",
                "Content-Type: application/json",
                f"{url}/forecast",
            ]
            clients["curl --http2"] = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if shutil.which("java"):
            source = ROOT / "tests" / "integration" / "clients" / "Client.java"
            command = ["java", str(source), url, SMALL.decode()]
            output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            clients["Java"] = output.split()[0] if output else "none"
        passed = answers == 2 and all(code == "200" for code in clients.values())
        return Outcome(passed, f"raw: {answers} of 2 answered; " + ", ".join(f"{n}: {c}" for n, c in clients.items()))


@fault("R2", "a head without end", "one header line of 10 MiB", f"{PROTOCOL_TESTS}: test_a_large_head_is_refused")
def endless_head() -> Outcome:
    with serving() as service, bystanders_of(service) as bystanders:
        baseline = service.rss()
        with connect(service.port) as sock:
            send_all(sock, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * (10 * MIB))
            code = status(received(sock, 5))
        grown = service.rss() - baseline
        passed = code == 431 and grown < MOST_MIB and bystanders.worst_probe < WAIT
        return Outcome(passed, f"answer {code}; memory +{grown:.1f} MiB", bystanders.text())


@fault(
    "R3",
    "pipelined requests",
    "one connection sends GET /livez for 10 s and reads nothing",
    f"{PROTOCOL_TESTS}: test_a_flood_of_requests_waits_unread_and_is_counted",
)
def pipelined() -> Outcome:
    request = head("/livez", method="GET")
    return _flooded(lambda port: connect(port, receive_buffer=4096), request)


@fault(
    "R3b",
    "pipelined requests that are read",
    "one connection sends GET /livez for 10 s and reads all answers",
    f"{PROTOCOL_TESTS}: test_many_pipelined_requests_are_all_answered",
)
def pipelined_and_read() -> Outcome:
    with serving() as service, bystanders_of(service) as bystanders:
        baseline, answers, peak = service.rss(), 0, 0.0
        with connect(service.port) as sock:
            sock.setblocking(False)
            until, piece, pending = time.monotonic() + 10, head("/livez", method="GET") * 1000, b""
            while time.monotonic() < until:
                pending = pending or piece
                with contextlib.suppress(BlockingIOError):
                    pending = pending[sock.send(pending) :]
                with contextlib.suppress(BlockingIOError):
                    answers += sock.recv(MIB).count(b"HTTP/1.1 200")
                peak = max(peak, service.rss()) if answers % 500 == 0 else peak
        grown = max(peak, service.rss()) - baseline
        passed = grown < MOST_MIB and bystanders.worst_probe < WAIT and answers > 1000
        return Outcome(passed, f"{answers} answers; memory +{grown:.1f} MiB", bystanders.text())


@fault(
    "R4",
    "answers that are not read",
    "20 connections ask for 747,000 numbers each and read nothing (send_seconds 10)",
    f"{PROTOCOL_TESTS}: test_an_answer_that_is_not_read_ends_the_connection_and_costs_nothing_more",
)
def unread() -> Outcome:
    levels = [round(level / 100, 2) for level in range(1, 100)]
    body = series(9, [1], parameters={"prediction_length": 830, "quantile_levels": levels})
    with serving(send_seconds=10) as service, bystanders_of(service) as bystanders:
        baseline, highest = service.rss(), 0.0
        sockets = [connect(service.port, receive_buffer=4096) for _ in range(20)]
        for sock in sockets:
            sock.sendall(head("/forecast", len(body)) + body)
        until = time.monotonic() + 75  # freed memory goes back to the system once a minute
        cut = 0.0
        while time.monotonic() < until:
            highest = max(highest, service.rss() - baseline)
            cut = service.metric('ritmo_connections_cut_total{reason="slow_reader"}')
            time.sleep(0.2)
        remaining = service.rss() - baseline
        for sock in sockets:
            sock.close()
        budget = 256 + MOST_MIB * 2
        return Outcome(
            highest < budget and remaining < highest / 2 + MOST_MIB,
            f"memory +{highest:.0f} MiB at most, +{remaining:.0f} after 75 s; {cut:.0f} cut off",
            bystanders.text(),
        )


@fault(
    "R11",
    "a body that does not come",
    "a POST with Content-Length and a deadline of 1 s, then nothing",
    "tests/service/api/test_request.py",
)
def absent_body() -> Outcome:
    with serving() as service, connect(service.port) as sock:
        start = time.monotonic()
        sock.sendall(head("/forecast", 100, "X-Request-Timeout-Ms: 1000"))
        code = status(received(sock, 20))
        seconds = time.monotonic() - start
        return Outcome(code == 504 and seconds < 4, f"answer {code} after {seconds:.1f} s")


@fault(
    "R12",
    "silence",
    "half a head, a byte a second; half a body, then nothing (receive_seconds 2)",
    f"{PROTOCOL_TESTS}: test_a_head_that_does_not_arrive_ends_the_connection",
)
def silence() -> Outcome:
    with serving(receive_seconds=2) as service:
        codes, times = [], []
        for request_head in (b"GET / HTTP/1.1\r\nHo", head("/livez", 50, method="POST") + b"1234"):
            with connect(service.port) as sock:
                start = time.monotonic()
                sock.sendall(request_head)
                sock.settimeout(1)
                answer = b""
                while not answer and time.monotonic() - start < 20:
                    try:
                        answer = sock.recv(1000)
                    except TimeoutError:
                        send_all(sock, b"a")
                codes.append(status(answer))
                times.append(time.monotonic() - start)
        outcome = ", ".join(f"{code} after {seconds:.1f} s" for code, seconds in zip(codes, times, strict=True))
        return Outcome(codes[0] == 408 and codes[1] in {405, 408}, outcome)


@fault(
    "R12b",
    "500 slow connections",
    "500 connections send a byte of a head every 100 ms",
    f"{PROTOCOL_TESTS}: test_a_head_that_does_not_arrive_ends_the_connection",
)
def slow_connections() -> Outcome:
    with serving() as service:
        with bystanders_of(service) as undisturbed:
            time.sleep(5)
        sockets = [connect(service.port) for _ in range(500)]
        for sock in sockets:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: ")
        with bystanders_of(service) as bystanders:
            until = time.monotonic() + 8
            while time.monotonic() < until:
                for sock in sockets:
                    send_all(sock, b"a")
                time.sleep(0.1)
        for sock in sockets:
            sock.close()
        return Outcome(
            bystanders.worst_probe < WAIT,
            f"alone: {undisturbed.text()}",
            bystanders.text(),
        )


@fault(
    "R13",
    "unfinished live messages",
    "200 live connections send 900 kB of a message of 1 MB",
    f"{LIVE_TESTS}: test_unfinished_messages_are_counted",
)
def unfinished_messages() -> Outcome:
    with serving(max_held_bytes=64 * MIB) as service, bystanders_of(service) as bystanders:
        baseline = service.rss()
        sockets = [live(service.port) for _ in range(200)]
        for sock in sockets:
            send_all(sock, frame(1, b" " * 1_000_000)[:900_000])
        time.sleep(1)
        grown = service.rss() - baseline
        closed = sum(_closed_with(sock) == 1013 for sock in sockets)
        for sock in sockets:
            sock.close()
        passed = grown < 64 + 3 * MOST_MIB and closed > 0
        return Outcome(
            passed,
            f"180 MB offered, 64 MiB allowed: memory +{grown:.0f} MiB; {closed} closed with 1013",
            bystanders.text(),
        )


@fault(
    "R14",
    "a flood of pings",
    "one live connection sends pings of 100 bytes for 10 s and reads nothing",
    f"{LIVE_TESTS}: test_a_flood_of_pings_is_held_up_and_holds_up_nobody",
)
def pings() -> Outcome:
    return _flooded(lambda port: live(port, receive_buffer=4096), frame(9, b"x" * 100))


@fault(
    "R14b",
    "empty fragments",
    "one live connection sends 2,000,000 empty fragments of one message",
    f"{LIVE_TESTS}: test_unfinished_messages_are_counted",
)
def empty_fragments() -> Outcome:
    with serving() as service, bystanders_of(service) as bystanders:
        baseline = service.rss()
        sock = live(service.port)
        send_all(sock, frame(1, b"a", final=False) + frame(0, final=False) * 2_000_000)
        grown = service.rss() - baseline
        sock.close()
        return Outcome(
            grown < MOST_MIB and bystanders.worst_probe < WAIT,
            f"memory +{grown:.1f} MiB",
            bystanders.text(),
        )


@fault(
    "R15",
    "a handshake with long fields",
    "a WebSocket handshake with 40 kB of cookies, and one that cannot be read",
    f"{LIVE_TESTS}: test_a_head_with_long_fields_opens_a_connection",
)
def long_handshake() -> Outcome:
    with serving() as service:
        codes = []
        for line in ("Cookie: " + "a" * 40_000, "Sec-WebSocket-Protocol: " + "a" * 20_000):
            with connect(service.port) as sock:
                sock.sendall(_handshake(line))
                codes.append(status(sock.recv(1000)))
        return Outcome(codes == [101, 400], f"answers {codes[0]} and {codes[1]}")


@fault(
    "R16",
    "an early refusal",
    "413 before `100 Continue`, then bytes that look like a request; 413 while 8 MB are sent",
    f"{PROTOCOL_TESTS}: test_a_refusal_before_the_body_was_asked_for_ends_the_connection",
)
def early_refusal() -> Outcome:
    with serving() as service:
        smuggled = head("/livez", method="GET")
        with connect(service.port) as sock:
            sock.sendall(head("/forecast", 9_000_000, "Expect: 100-continue"))
            first = sock.recv(10_000)
            send_all(sock, smuggled)
            is_taken = b"200 OK" in received(sock, 3)
        n_lost = 0
        for _ in range(20):
            with connect(service.port) as sock:
                send_all(sock, head("/forecast", 8_000_000) + b" " * 8_000_000)
                n_lost += status(received(sock, 10)) != 413
        passed = status(first) == 413 and not is_taken and not n_lost
        return Outcome(
            passed,
            f"answer {status(first)}, body {'taken' if is_taken else 'not taken'} for a request; {n_lost} of 20 lost",
        )


@fault(
    "R17",
    "strange queries and heads",
    "101 query fields; HEAD; no Host, two; Transfer-Encoding: gzip, chunked; garbage behind a request",
    "tests/integration/test_errors.py; test_what_is_no_request_is_a_problem",
)
def strange_heads() -> Outcome:
    with serving("digits") as service:
        image = (ROOT / "docs" / "seven.png").read_bytes()
        query = "&".join(f"a{number}=1" for number in range(101))
        codes = {
            "101 fields": request(
                service.port, "POST", f"/classify-digit?{query}", image, **{"Content-Type": "image/png"}
            )[0]
        }
        for path in ("/livez", "/readyz", "/metrics"):
            codes[f"HEAD {path}"] = request(service.port, "HEAD", path)[0]
        raw = {
            "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
            "two Hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "gzip, chunked": b"POST /forecast HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "garbage behind": head("/livez", method="GET") + b"\x00\x01\r\n\r\n",
        }
        for name, data in raw.items():
            with connect(service.port) as sock:
                sock.sendall(data)
                codes[name] = status(received(sock, 5))
        expected = {"101 fields": 422, "no Host": 400, "two Hosts": 400, "gzip, chunked": 400}
        passed = all(code == expected.get(name, 200) for name, code in codes.items())
        return Outcome(passed, ", ".join(f"{name}: {code}" for name, code in codes.items()))


@fault(
    "R18",
    "a half-closed client",
    "a client sends its request and closes its sending side",
    f"{PROTOCOL_TESTS}: test_a_half_closed_client_gets_its_answer",
)
def half_closed() -> Outcome:
    with serving() as service:
        good = 0
        for _ in range(20):
            with connect(service.port) as sock:
                sock.sendall(head("/forecast", len(SMALL)) + SMALL)
                sock.shutdown(socket.SHUT_WR)
                good += status(received(sock, 10)) == 200
        return Outcome(good == 20, f"{good} of 20 answered")


@fault(
    "R36",
    "idle connections where few files may be open",
    "ulimit -n 256; 600 connections, half of them idle after a request, half of them silent",
    "tests/service/server/test_crowding.py",
)
def idle_connections() -> Outcome:
    with serving(open_files=256) as service, contextlib.ExitStack() as stack, bystanders_of(service) as bystanders:
        for number in range(600):
            sock = stack.enter_context(connect(service.port))
            if number % 2:
                send_all(sock, head("/livez", method="GET"))
            time.sleep(0.005)
        time.sleep(1)
        closed = service.metric('ritmo_connections_cut_total{reason="crowded"}')
        passed = bystanders.worst_probe < WAIT and bystanders.latencies.refused <= 1 and closed > 0
        return Outcome(passed, f"{closed:.0f} closed for others", bystanders.text())


@fault(
    "R37",
    "answers that are not read, over TLS",
    "5 connections with TLS ask for 747,000 numbers each and read nothing (send_seconds 3)",
    "tests/service/server/test_tls_transport.py",
)
def unread_with_tls() -> Outcome:
    body = _large_request()
    with serving(send_seconds=3, **_certificate()) as service, contextlib.ExitStack() as stack:
        service.warm(1)
        baseline, highest, small = service.rss(), 0.0, 0
        for _ in range(5):
            sock = stack.enter_context(_with_tls(connect(service.port, receive_buffer=4096)))
            sock.sendall(head("/forecast", len(body)) + body)
        until, cut = time.monotonic() + 10, 0.0
        while time.monotonic() < until and cut < 5:
            highest = max(highest, service.rss() - baseline)
            cut = service.metric('ritmo_connections_cut_total{reason="slow_reader"}')
            with _with_tls(connect(service.port)) as sock:
                sock.sendall(head("/forecast", len(SMALL), "Connection: close") + SMALL)
                small += status(received(sock, 10)) != 200
            time.sleep(0.1)
        time.sleep(2)  # what was cut is released as soon as its request finds the connection lost
        held_mib = service.metric("ritmo_held_bytes") / MIB
        return Outcome(
            cut == 5 and highest < 10 * MOST_MIB and not small and held_mib < 1,
            f"memory +{highest:.0f} MiB at most; {cut:.0f} cut off, then {held_mib:.1f} held; {small} small refused",
        )


@fault(
    "R38",
    "SIGTERM beside handshakes of TLS that never end",
    "1,000 connections that send nothing, 200 that send half a handshake, a client that goes on; SIGTERM",
    "tests/service/server/test_listener.py",
)
def stop_beside_handshakes() -> Outcome:
    settings = _certificate() | {"drain_delay_seconds": 0.5}
    with serving(**settings) as service, contextlib.ExitStack() as stack:
        baseline = service.rss()
        for number in range(1200):
            sock = stack.enter_context(connect(service.port))
            if number % 6 == 0:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        time.sleep(0.5)
        grown = service.rss() - baseline
        client = stack.enter_context(_with_tls(connect(service.port)))
        n_lost = answered = 0
        service.signal(signal.SIGTERM)
        signalled, is_open = time.monotonic(), True
        while is_open and time.monotonic() < signalled + 10:
            client.sendall(head("/forecast", len(SMALL)) + SMALL)
            answer = client.recv(MIB)
            answered += status(answer) == 200
            n_lost += status(answer) != 200
            is_open = b"connection: close" not in answer
        seconds = service.wait(20)
        end = f"gone after {seconds and time.monotonic() - signalled:.1f} s" if seconds is not None else "still there"
        passed = seconds is not None and time.monotonic() - signalled < 5 and not n_lost and answered > 0 and grown < 40
        return Outcome(passed, f"memory +{grown:.0f} MiB; {answered} answered, {n_lost} lost; {end}")


@fault(
    "R39",
    "half-closed clients with slow answers",
    "5 clients ask four times for 747,000 numbers each at once, and close their sending sides",
    f"{PROTOCOL_TESTS}: test_a_half_closed_client_gets_its_answer",
)
def half_closed_and_slow() -> Outcome:
    body = _large_request()
    with serving() as service, contextlib.ExitStack() as stack, bystanders_of(service) as bystanders:
        sockets = [stack.enter_context(connect(service.port)) for _ in range(5)]
        start = time.monotonic()
        for sock in sockets:
            sock.sendall((head("/forecast", len(body)) + body) * 4)
            sock.shutdown(socket.SHUT_WR)
        good, seconds = 0, 0.0
        for sock in sockets:
            answers = received(sock, 30)
            lengths = re.findall(rb"HTTP/1\.1 200 (?:.+\r\n)+?content-length: (\d+)", answers)
            good += len(lengths) * (len(answers) > sum(map(int, lengths)))
            seconds = time.monotonic() - start
        passed = good == 20 and bystanders.worst_probe < WAIT
        return Outcome(passed, f"{good} of 20 answered, the last after {seconds:.1f} s", bystanders.text())


@fault(
    "R40",
    "live connections taken by one address",
    "60 live connections from 127.0.0.1 where 50 may be, then 10 from 127.0.0.2",
    "tests/service/api/test_websockets.py: test_a_client_that_has_fewer_takes_the_place_of_one_that_has_most",
)
def live_connections_of_one() -> Outcome:
    with serving(max_live_connections=50) as service, contextlib.ExitStack() as stack:
        connections = []
        for _ in range(60):
            sock = stack.enter_context(connect(service.port))
            sock.sendall(_handshake())
            connections.append((sock, status(sock.recv(10_000))))
        opened = 0
        for _ in range(10):
            sock = stack.enter_context(connect(service.port, address="127.0.0.2"))
            sock.sendall(_handshake())
            if status(sock.recv(10_000)) == 101:
                send_all(sock, frame(1, json.dumps({"model": "naive", "target": [1, 2]}).encode()))
                opened += b'"mean"' in sock.recv(10_000)
        codes = [code for _, code in connections]
        closed = sum(_closed_with(sock) == 1013 for sock, code in connections if code == 101)
        passed = (codes.count(101), codes.count(503), opened, closed) == (50, 10, 10, 10)
        figures = f"of 60: {codes.count(101)} opened, {codes.count(503)} x 503; of 10 others: {opened} answered"
        return Outcome(passed, f"{figures}; {closed} closed with 1013")


@fault(
    "R41",
    "room for large answers taken by one address",
    "30 connections ask for 747,000 numbers each and read 10 kB a second; another address asks for as many",
    "tests/service/api/test_byte_budget.py: test_a_client_leaves_room_for_others",
)
def slow_readers_of_one_address() -> Outcome:
    body = _large_request()
    with serving(send_seconds=3) as service, contextlib.ExitStack() as stack, bystanders_of(service) as bystanders:
        sockets: list[socket.socket] = []
        good = n_requests = 0
        until = time.monotonic() + 9
        while time.monotonic() < until:
            if len(sockets) < 30:
                sockets.append(stack.enter_context(connect(service.port, receive_buffer=4096)))
                send_all(sockets[-1], head("/forecast", len(body)) + body)
                sockets[-1].setblocking(False)
            else:
                with connect(service.port, address="127.0.0.2") as sock:
                    send_all(sock, head("/forecast", len(body), "Connection: close") + body)
                    good += status(received(sock, 30)) == 200
                n_requests += 1
            for sock in sockets:
                with contextlib.suppress(OSError):
                    sock.recv(2500)
            time.sleep(0.2)
        held_mib = service.metric("ritmo_held_bytes") / MIB
        passed = good == n_requests > 0 and bystanders.worst_probe < WAIT
        return Outcome(
            passed, f"{held_mib:.0f} MiB held; another address: {good} of {n_requests} answered", bystanders.text()
        )


def _large_request() -> bytes:
    """Nine series of which 83,000 numbers each are asked for."""
    levels = [round(level / 100, 2) for level in range(1, 100)]
    values = [1234567.123, 7654321.987, 123.4567]
    return series(9, values, parameters={"prediction_length": 830, "quantile_levels": levels})


def _certificate() -> dict[str, Any]:
    """The settings that name one."""
    folder = ROOT / "tests" / "certificates"
    return {"tls_certificate": folder / "first.pem", "tls_key": folder / "first-key.pem"}


def _with_tls(sock: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(_certificate()["tls_certificate"]))
    return context.wrap_socket(sock, server_hostname="localhost")


def _flooded(opened: Callable[[int], socket.socket], piece: bytes) -> Outcome:
    """The outcome of a connection that reads nothing and sends `piece` for 10 s, a thousand at a time."""
    with serving() as service, bystanders_of(service) as bystanders:
        baseline = service.rss()
        with opened(service.port) as sock:
            count = _flood(sock, piece * 1000, 10.0)
            grown = service.rss() - baseline
        passed = grown < MOST_MIB and bystanders.worst_probe < WAIT
        return Outcome(passed, f"{count / MIB:.1f} MiB taken; memory +{grown:.1f} MiB", bystanders.text())


def _flood(sock: socket.socket, piece: bytes, seconds: float) -> int:
    """Bytes that are taken of `piece`, over and over, within so many `seconds`."""
    sock.settimeout(0.2)
    count, pending, until = 0, b"", time.monotonic() + seconds
    while time.monotonic() < until:
        pending = pending or piece
        try:
            sent_bytes = sock.send(pending)
        except TimeoutError:
            continue
        except OSError:
            break
        count += sent_bytes
        pending = pending[sent_bytes:]
    return count


def _handshake(line: str = "") -> bytes:
    fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    return head("/forecast/stream", 0, *fields, *([line] if line else []), method="GET")


def live(port: int, receive_buffer: int | None = None) -> socket.socket:
    """A live series, opened."""
    sock = connect(port, receive_buffer=receive_buffer)
    sock.sendall(_handshake())
    if b"101" not in sock.recv(10_000):
        raise SkippedError("the handshake was refused")
    send_all(sock, frame(1, json.dumps({"model": "naive"}).encode()))
    return sock


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame as a client sends it, masked with zeros."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 127]) + struct.pack("!Q", len(payload))
    return bytes([opcode | (0x80 if final else 0)]) + size + bytes(4) + payload


def _closed_with(sock: socket.socket) -> int:
    """The close code that came, 0 for none."""
    match = re.search(rb"\x88.(..)", received(sock, 0.05), re.DOTALL)
    return struct.unpack("!H", match[1])[0] if match else 0


@fault(
    "R48",
    "a refused head behind a valid request",
    "a forecast, then its head with two Hosts, and with a coding that is none, on its connection and on others",
    "tests/service/server/test_known_heads.py: test_a_refused_head_is_not_known_by_what_came_before_it",
)
def refused_heads() -> Outcome:
    valid = head("/forecast", len(SMALL))
    refused = [valid.replace(b"\r\n", b"\r\n" + field, 1) for field in (b"Host: b\r\n", b"Transfer-Encoding: gzip\r\n")]
    codes = []
    with serving() as service:
        for bad in refused:
            with connect(service.port) as sock:
                sock.sendall(valid + SMALL)
                time.sleep(0.1)
                sock.sendall(bad + SMALL)
                codes.append(received(sock, 5).count(b"HTTP/1.1 200"))
            for _ in range(3):
                with connect(service.port) as sock:
                    sock.sendall(bad + SMALL)
                    codes.append(status(received(sock, 5)))
    return Outcome(codes == [1, 400, 400, 400] * 2, f"answered 200 and then: {codes[1:4]}, {codes[5:]}")
