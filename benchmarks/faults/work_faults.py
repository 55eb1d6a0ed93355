"""Faults of requested work: its price, its share of the queue, and the time before it is begun."""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import zlib
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.faults.bench import (
    ROOT,
    Flood,
    Outcome,
    connect,
    fault,
    head,
    quantile,
    received,
    request,
    series,
    serving,
    status,
)
from benchmarks.faults.bystanders import CALLERS, bystanders_of

MIB = 1 << 20
PNG = {"Content-Type": "image/png"}


@fault(
    "R5",
    "expensive options",
    "70 series of 2,000 values with `history`, over and over, by one connection",
    "tests/service/batching",
)
def history() -> Outcome:
    body, _ = _histories()
    with serving("forecaster", "naive") as service:
        with bystanders_of(service) as undisturbed:
            time.sleep(4)
        with (
            Flood(1, lambda: request(service.port, "POST", "/forecast", body)[0]) as flood,
            bystanders_of(service) as bystanders,
        ):
            time.sleep(15)
        p50, p50_alone = quantile(bystanders.latencies.calls, 0.5), quantile(undisturbed.latencies.calls, 0.5)
        return Outcome(
            p50 < max(0.1, 5 * p50_alone) and bystanders.worst_probe < 0.3 and set(flood.statuses) == {200},
            f"{flood.text()}; small caller's p50 alone {1e3 * p50_alone:.0f} ms",
            bystanders.text(),
        )


@fault(
    "R5b",
    "the price of `history`",
    "the same series once without it and once with it, by one connection; the goal is five times",
    "tests/training/networks/test_forecaster.py",
)
def history_price() -> Outcome:
    body, plain = _histories()
    with serving("forecaster") as service:
        service.warm(1)  # else its processor time would count
        seconds = []
        for content in (plain, body):
            before = service.cpu_seconds()
            request(service.port, "POST", "/forecast", content)
            seconds.append(service.cpu_seconds() - before)
        ratio = seconds[1] / seconds[0]
        return Outcome(ratio <= 5, f"{seconds[0]:.1f} s of CPU without, {seconds[1]:.1f} with: {ratio:.0f} times")


def _histories() -> tuple[bytes, bytes]:
    """A request of long series with `history`, and the same without."""
    values = [round(float(value), 3) for value in np.random.default_rng(0).normal(size=2000)]
    return (
        series(70, values, model="forecaster", parameters={"include": ["history"]}),
        series(70, values, model="forecaster"),
    )


@fault(
    "R6", "one client fills the queue", "8 connections send 1,024 series each without a pause", "tests/service/batching"
)
def full_queue() -> Outcome:
    body = series(1024, [1])
    with serving() as service:
        with bystanders_of(service) as undisturbed:
            time.sleep(4)
        with (
            Flood(8, lambda: request(service.port, "POST", "/forecast", body)[0]) as flood,
            bystanders_of(service) as bystanders,
        ):
            time.sleep(15)
        share = len(bystanders.latencies.calls) / max(1, len(bystanders.latencies.calls) + bystanders.latencies.refused)
        p99, p99_alone = quantile(bystanders.latencies.calls, 0.99), quantile(undisturbed.latencies.calls, 0.99)
        return Outcome(
            share >= 0.99 and p99 < max(0.02, 5 * p99_alone),
            f"bulk: {flood.text()}; small caller's p99 alone {1e3 * p99_alone:.0f} ms",
            bystanders.text(),
        )


@fault(
    "R7",
    "refusing costs more than serving",
    "64 kB of unknown names that are anagrams of a field's, by one connection",
    "tests/service/codec/test_strict_json.py",
)
def anagrams() -> Outcome:
    body = _anagrams(64 << 10)
    with serving() as service:
        with bystanders_of(service) as undisturbed:
            time.sleep(4)
        baseline = service.cpu_seconds()
        codes = [request(service.port, "POST", "/forecast", body)[0] for _ in range(10)]
        seconds_each = (service.cpu_seconds() - baseline) / 10
        with (
            Flood(1, lambda: request(service.port, "POST", "/forecast", body)[0]),
            bystanders_of(service) as bystanders,
        ):
            time.sleep(8)
        passed = set(codes) == {422} and seconds_each < 0.05 and bystanders.worst_probe < 0.3
        return Outcome(
            passed,
            f"{1e3 * seconds_each:.0f} ms of CPU for 64 kB; alone: {undisturbed.text()}",
            bystanders.text(),
        )


@fault(
    "R8",
    "slow preparations",
    "two bodies of 4 MB of unknown names, then an image with a deadline of 1,000 ms",
    "tests/service/api/test_inference.py",
)
def slow_preparation() -> Outcome:
    body, image = _anagrams(4_000_000), _noise(64)
    with serving("naive", "digits") as service:
        with (
            Flood(2, lambda: request(service.port, "POST", "/forecast", body)[0]),
            bystanders_of(service) as bystanders,
        ):
            time.sleep(2)
            start = time.monotonic()
            code, _ = request(service.port, "POST", "/classify-digit", image, **PNG, **{"X-Request-Timeout-Ms": "1000"})
            seconds = time.monotonic() - start
        return Outcome(seconds < 2, f"the image: {code} after {seconds:.2f} s", bystanders.text())


@fault(
    "R28",
    "a flood of images",
    "32 connections send photographs of 12 Mpx with a deadline of 2,000 ms",
    "tests/service/api/test_inference.py",
)
def images() -> Outcome:
    image = _noise(3464)
    times: list[float] = []
    with serving("naive", "digits") as service:

        def ask() -> int:
            start = time.monotonic()
            code, _ = request(service.port, "POST", "/classify-digit", image, **PNG, **{"X-Request-Timeout-Ms": "2000"})
            times.append(time.monotonic() - start)
            return code

        with Flood(32, ask) as flood, bystanders_of(service) as bystanders:
            time.sleep(12)
        worst = max(times, default=0.0)
        return Outcome(worst < 3.5, f"{flood.text()}; the longest took {worst:.1f} s", bystanders.text())


@fault(
    "R29",
    "forms of tiny parts",
    "multipart of 4 MB in parts of no bytes; a run-length BMP of single pixels",
    "tests/service/codec/test_multipart.py",
)
def tiny_parts() -> Outcome:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    form = part * (3_900_000 // len(part)) + b"--b--\r\n"
    with serving("naive", "digits") as service, bystanders_of(service) as bystanders:
        start = service.cpu_seconds()
        form_code = request(
            service.port, "POST", "/classify-digit", form, **{"Content-Type": "multipart/form-data; boundary=b"}
        )[0]
        form_cpu = service.cpu_seconds() - start
        start = service.cpu_seconds()
        bmp_code = request(service.port, "POST", "/classify-digit", _run_lengths(), **{"Content-Type": "image/bmp"})[0]
        bmp_cpu = service.cpu_seconds() - start
        passed = {form_code, bmp_code} <= {400, 413, 415, 422} and bystanders.worst_probe < 0.3
        return Outcome(
            passed,
            f"form: {form_code}, {form_cpu:.2f} s of CPU; BMP: {bmp_code}, {bmp_cpu:.2f} s",
            bystanders.text(),
        )


@fault("R30", "a bomb of pixels", "a PNG of 20,000 x 20,000 pixels in 50 kB", "tests/service/imaging/test_decode.py")
def bomb() -> Outcome:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(20_001) * 2000, 9)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack("!IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )
    with serving("naive", "digits") as service, bystanders_of(service) as bystanders:
        baseline = service.rss()
        code = request(service.port, "POST", "/classify-digit", png, **PNG)[0]
        grown = service.rss() - baseline
        return Outcome(code == 413 and grown < 20, f"answer {code}; memory +{grown:.1f} MiB", bystanders.text())


@fault(
    "R31", "the largest request", "one connection sends 4 MiB of one-digit values", "tests/service/api/test_request.py"
)
def largest_request() -> Outcome:
    values = b",".join([b"1"] * 99_000)
    body = b'{"model":"naive","inputs":[' + b",".join(b'{"target":[%s]}' % values for _ in range(20)) + b"]}"
    with serving() as service, bystanders_of(service) as bystanders:
        request(service.port, "POST", "/forecast", body)
        baseline, highest = service.rss(), 0.0
        with connect(service.port) as sock:
            sock.sendall(head("/forecast", len(body)) + body)
            sock.setblocking(False)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                highest = max(highest, service.rss() - baseline)
                try:
                    if sock.recv(1, 2):
                        break
                except BlockingIOError:
                    time.sleep(0.005)
            code = status(received(sock, 5))
        return Outcome(
            code in {200, 413} and bystanders.worst_probe < 0.3,
            f"{len(body) / MIB:.1f} MiB, answer {code}: memory +{highest:.0f} MiB beyond the first time",
            bystanders.text(),
        )


@fault(
    "R32",
    "a bomb of numbers",
    "57 kB for Nixtla's route that inflate to a list of 30 million numbers; a tensor of 3 million empty rows",
    "tests/service/api/wires/test_common.py",
)
def inflated() -> Outcome:
    series = b'{"series":{"y":[' + b"1," * 29_999_999 + b'1],"sizes":[30000000]},"h":1,"freq":"D"}'
    body = gzip.compress(series)
    tensor = b'{"inputs":[{"name":"target","datatype":"FP64","shape":[3000000,0],"data":[]}]}'
    with serving() as service, bystanders_of(service) as bystanders:
        baseline, start = service.rss(), service.cpu_seconds()
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        codes = [
            request(service.port, "POST", "/v2/forecast", body, **headers)[0],
            request(service.port, "POST", "/v2/models/naive/infer", tensor)[0],
        ]
        grown, cpu = service.rss() - baseline, service.cpu_seconds() - start
        return Outcome(
            codes == [413, 413] and bystanders.worst_probe < 0.3,
            f"answers {codes[0]}, {codes[1]}; {cpu:.1f} s of CPU; memory +{grown:.0f} MiB",
            bystanders.text(),
        )


@fault(
    "R33",
    "tables that are wide, or in no charset",
    "12 rows of 3,000 columns; 90 kB that are stated to be punycode",
    "tests/service/codec/tables/test_reader.py",
)
def wide_tables() -> Outcome:
    rows = b"".join(b"2024-01-%02d" % day + b",1" * 3000 + b"\n" for day in range(1, 13))
    wide = b"date," + b",".join(b"c%d" % number for number in range(3000)) + b"\n" + rows
    encoded = b"date,y\n2024-01-01,1\n" + b"a" * 30_000 + b"-" + b"z9k" * 20_000
    with serving() as service, bystanders_of(service) as bystanders:
        start = service.cpu_seconds()
        codes = [
            request(service.port, "POST", "/forecast?model=naive", wide, **{"Content-Type": "text/csv"})[0],
            request(service.port, "POST", "/forecast", encoded, **{"Content-Type": "text/csv; charset=punycode"})[0],
        ]
        cpu = service.cpu_seconds() - start
        return Outcome(
            codes == [200, 422] and cpu < 5 and bystanders.worst_probe < 0.3,
            f"answers {codes[0]}, {codes[1]}; {cpu:.1f} s of CPU",
            bystanders.text(),
        )


@fault(
    "R34",
    "texts that take the square of their length",
    "tables of 90 kB: blanks in a date, a step or SQL, dashes, the months of years over and over; base64 of blanks",
    "test_no_text_takes_the_square_of_its_length, test_blanks_do_not_take_the_square_of_their_number",
)
def slow_patterns() -> Outcome:
    blanks = " " * 90_000
    days = "".join(f"2024-01-{day:02},{day}\n" for day in range(1, 10))
    tables = [
        f"date,value\n{days}1{blanks}x,3\n",
        f"step,value\nWeek 1,1\nWeek 2,2\nWeek{blanks}x,3\n",
        f"INSERT INTO a{blanks}x",
        f"x = c(1,{blanks}a ]",
        f"{'-' * 90_000}x\n1\n2\n",
        "Year," + ",".join(["Jan", "Feb", "Mar"] * 500) + "\n2020" + ",1" * 1500,
    ]
    image = json.dumps({"inputs": [{"image": "iVBO" + blanks + "!"}]}).encode()
    with serving("naive", "digits") as service, bystanders_of(service) as bystanders:
        before = service.cpu_seconds()
        codes = [
            request(service.port, "POST", "/forecast?model=naive", table.encode(), **{"Content-Type": "text/csv"})[0]
            for table in tables
        ]
        codes.append(request(service.port, "POST", "/classify-digit", image)[0])
        cpu = service.cpu_seconds() - before
        return Outcome(
            set(codes) <= {200, 422} and cpu < 5 and bystanders.worst_probe < 0.3,
            f"answers {', '.join(map(str, codes))}; {cpu:.1f} s of CPU",
            bystanders.text(),
        )


def _bulk(path: str, body: bytes, headers: dict[str, str]) -> Outcome:
    with serving("naive", "digits", "forecaster") as service:
        service.warm(3)
        with bystanders_of(service, tuple(CALLERS)) as undisturbed:
            time.sleep(4)
        with (
            Flood(8, lambda: request(service.port, "POST", path, body, **headers)[0]) as flood,
            bystanders_of(service, tuple(CALLERS)) as bystanders,
        ):
            time.sleep(8)
        latencies = bystanders.latencies
        slowest = max(quantile(calls, 0.5) for calls in latencies.calls_by_caller.values())
        return Outcome(
            latencies.worst_probe < 0.3 and not latencies.refused and slowest < 0.2,
            f"bulk: {flood.text()}; alone: {undisturbed.text()}",
            bystanders.text(),
        )


def _bulk_requests() -> dict[str, tuple[str, bytes, dict[str, str]]]:
    """Path, body and headers of a request of each kind."""
    rng = np.random.default_rng(0)
    many = [{"target": np.round(rng.normal(10, 1, 50), 2).tolist()} for _ in range(1024)]
    dates = np.datetime64("2020-01-01") + np.arange(1200)
    rows = [f"s{shop},{date},{day % 7}" for shop in range(60) for day, date in enumerate(dates)]
    picture = (ROOT / "docs" / "seven.png").read_bytes()
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + picture + b"\r\n"
    tool = {"name": "forecast", "arguments": {"target": np.round(rng.normal(10, 1, 40_000), 2).tolist()}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool}
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    return {
        "1,024 series of 50 values": ("/forecast", json.dumps({"model": "forecaster", "inputs": many}).encode(), {}),
        "tables of 1.3 MB": ("/forecast", "\n".join(["shop,date,sales", *rows]).encode(), {"Content-Type": "text/csv"}),
        "forms of 64 pictures": ("/classify-digit", part * 64 + b"--b--\r\n", form),
        "3 MB of faulty series": ("/forecast", b'{"inputs":[' + b'{"target":[1,2,"x"]},' * 150_000 + b"1]}", {}),
        "messages of 40,000 values for assistants": ("/mcp", json.dumps(message).encode(), {}),
    }


for load, arguments in _bulk_requests().items():
    tests = "tests/service/batching/test_scheduler.py, tests/service/runtime/test_fair_pool.py"
    fault("R35", "bulk beside callers of four kinds", f"8 connections send {load}", tests)(partial(_bulk, *arguments))


def _anagrams(size: int) -> bytes:
    rng = np.random.default_rng(0)
    letters = list("prediction_length")
    names = {"".join(rng.permutation(letters)) for _ in range(size // 23)}
    return json.dumps(dict.fromkeys(names, 1), separators=(",", ":")).encode()


def _noise(side: int) -> bytes:
    pixels = np.random.default_rng(0).integers(200, 255, (side, side), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue() if out.tell() < 4 * MIB else _jpeg(side)


def _jpeg(side: int) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).save(out, "JPEG", quality=80)
    return out.getvalue()


def _run_lengths() -> bytes:
    """A BMP of 1,400 x 1,400 pixels, each a run of its own."""
    side = 1400
    pixels = (b"\x01\x00\x01\xff" * (side // 2) + b"\x00\x00") * side + b"\x00\x01"
    palette = bytes(value for level in range(256) for value in (level, level, level, 0))
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(pixels), 0, 0, 256, 256)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + palette + pixels
