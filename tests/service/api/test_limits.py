"""Every limit of a request: one below it and on it is answered, one above it is refused with the code of the limit."""

from __future__ import annotations

import errno
import io
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from service.api.byte_budget import SMALL, FileSpace
from service.codec.common import CSV
from service.codec.large_forecasts import LARGE
from tests.service.api.harness import JSON, ROW, Harness, problem

BODY_BYTES = 2 * LARGE  # also for what is decoded as a large request
SETTINGS = {
    "max_body_bytes": BODY_BYTES,
    "max_items": 4,
    "max_observations": 30,
    "max_answer_numbers": 400,
    "max_queue_observations": 90,
}


def forecast(*targets: Sequence[float | None], **parameters: Any) -> tuple[str, bytes]:
    inputs = [{"target": target} for target in targets]
    return "/forecast", json.dumps({"inputs": inputs, "parameters": parameters}).encode()


def padded(n_bytes: int) -> tuple[str, bytes]:
    path, body = forecast([1, 2])
    return path, body + b" " * (n_bytes - len(body))


def named(**fields: Any) -> tuple[str, bytes]:
    return "/forecast", json.dumps({"inputs": [{"target": [1, 2], **fields}]}).encode()


def answer_of(numbers: int) -> tuple[str, bytes]:
    """A request whose answer holds so many numbers: a mean and no quantiles for each step of two series."""
    return forecast([1.0], [1.0], prediction_length=numbers // 2, quantile_levels=[])


def digit(rows: int) -> tuple[str, bytes]:
    return "/classify-digit", json.dumps({"inputs": [{"rows": [ROW] * rows}]}).encode()


def digits(count: int) -> tuple[str, bytes]:
    return "/classify-digit", json.dumps({"inputs": [{"rows": [ROW]}] * count}).encode()


def values(count: int) -> tuple[str, bytes]:
    """So many values, in series that are short enough each."""
    return forecast(*([1.0] * min(30, count - start) for start in range(0, count, 30)))


LIMITS: list[tuple[str, Callable[[int], tuple[str, bytes]], int, int, int, str]] = [
    # name, request of a size, limit, distance to the next size, status and code above it
    ("bytes of a body", padded, BODY_BYTES, 1, 413, "body_too_large"),
    ("series", lambda n: forecast(*[[1.0]] * n), 4, 1, 413, "too_many_items"),
    ("digits", digits, 4, 1, 413, "too_many_items"),
    ("values of a series", lambda n: forecast([1.0] * n), 30, 1, 413, "series_too_long"),
    ("values of all series", values, 90, 1, 413, "too_many_items"),
    ("numbers of an answer", answer_of, 400, 2, 413, "too_many_items"),
    ("steps ahead", lambda n: forecast([1.0], prediction_length=n, quantile_levels=[]), 256, 1, 422, "out_of_range"),
    (
        "quantile levels",
        lambda n: forecast([1.0], quantile_levels=[round((1 + i) / 200, 3) for i in range(n)]),
        99,
        1,
        422,
        "out_of_range",
    ),
    ("a season", lambda n: forecast([1.0], season_length=n), 1_000_000, 1, 422, "out_of_range"),
    ("seasons", lambda n: forecast([1.0], season_length=[7] * n), 2, 1, 422, "out_of_range"),
    ("characters of an item_id", lambda n: named(item_id="a" * n), 256, 1, 422, "out_of_range"),
    ("a deadline", lambda n: forecast([1.0], timeout_ms=n), 3_600_000, 1, 422, "out_of_range"),
    ("rows of a digit", digit, 64, 1, 422, "length_not_supported"),
]


@pytest.fixture
async def limited() -> AsyncIterator[Harness]:
    harness = Harness(**SETTINGS)
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        yield harness


@pytest.mark.parametrize(
    ("sized", "limit", "step", "status", "code"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS]
)
async def test_a_limit(
    limited: Harness,
    sized: Callable[[int], tuple[str, bytes]],
    limit: int,
    step: int,
    status: int,
    code: str,
) -> None:
    for size in (limit - step, limit):
        path, body = sized(size)
        response = await limited.client.post(path, content=body, headers=JSON)
        assert response.status_code == 200, response.text
    path, body = sized(limit + step)
    problem(await limited.client.post(path, content=body, headers=JSON), status, code)


@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "in pieces"])
async def test_the_largest_table(is_declared: bool) -> None:
    """What a client declares is refused before it arrives, and what it does not declare as soon as it is too much."""
    harness = Harness(max_body_bytes=500, max_table_bytes=2000)
    rows = b"id,date,y\n" + b"".join(b"a,2024-01-%02d,%d\n" % (day, day) for day in range(1, 29))

    async def pieces(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 300):
            yield content[start : start + 300]

    async with harness.app.router.lifespan_context(harness.app), harness.client:
        for size in (1999, 2000, 2001):
            content = rows.ljust(size, b"\n")
            body = content if is_declared else pieces(content)
            response = await harness.client.post("/forecast", content=body, headers={"Content-Type": CSV})
            if size <= 2000:
                assert response.status_code == 200, response.text
            else:
                assert "at most 2000 bytes" in problem(response, 413, "body_too_large")["detail"]


@pytest.mark.parametrize(("others", "status"), [(0, 413), (1, 503)])
@pytest.mark.parametrize("fails", ["take", "write", "seek", "close"])
async def test_a_table_without_room_is_refused(
    others: int, status: int, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside others it may be sent again; what Python holds of a file is written when it is read, or closed."""

    class File(io.BytesIO):
        def fileno(self) -> int:
            return 0

        def write(self, data: Any) -> int:
            return self._full() if fails == "write" else super().write(data)

        def seek(self, *where: int) -> int:
            return self._full() if fails == "seek" else super().seek(*where)

        def close(self) -> None:
            super().close()
            if fails != "take":
                self._full()

        def _full(self) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    harness = Harness(max_body_bytes=500, max_table_bytes=2000)
    files: FileSpace = harness.app._budget.files
    monkeypatch.setattr(tempfile, "TemporaryFile", File)
    if fails == "take":
        monkeypatch.setattr(files, "take", lambda *_: False)
    files.held_bytes += others
    content = b"id,date,y\n" + b"".join(b"a,2024-01-%02d,%d\n" % (day, day) for day in range(1, 29)) + b"\n" * 500
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        response = await harness.client.post("/forecast", content=content, headers={"Content-Type": CSV})
    if fails == "close":
        assert response.status_code == 200
    else:
        problem(response, status, "queue_full" if others else "body_too_large")
    assert files.held_bytes == others


@pytest.mark.parametrize(
    ("budget", "limit"), [(1000, 750), (4 * SMALL, 9 * SMALL // 4)], ids=["small", "large, which leave a quarter"]
)
async def test_the_bytes_that_are_held(budget: int, limit: int) -> None:
    """One client alone has three quarters."""
    harness = Harness(max_body_bytes=1 << 20, max_held_bytes=budget)
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        for size in (limit - 1, limit):
            path, body = padded(size)
            assert (await harness.client.post(path, content=body, headers=JSON)).status_code == 200
        path, body = padded(limit + 1)
        response = await harness.client.post(path, content=body, headers=JSON)
        assert int(response.headers["retry-after"]) >= 1
        problem(response, 503, "queue_full")
