from __future__ import annotations

import io
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator

import pytest

from service.runtime import logs
from service.runtime.logs import MAX_WAITING_BYTES, BackgroundHandler

TIMEOUT = 60.0


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure("info", stream)
    yield stream
    logging.captureWarnings(capture=False)
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def test_a_line_is_one_json_object_with_its_extras(stream: io.StringIO) -> None:
    logging.getLogger("service.http").info("served %d", 3, extra={"request_id": "abc", "duration_ms": 1.5})
    entry = json.loads(stream.getvalue())
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "service.http",
        "message": "served 3",
        "request_id": "abc",
        "duration_ms": 1.5,
    }


def test_a_traceback_stays_on_one_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


def test_extras_of_any_type_are_written(stream: io.StringIO) -> None:
    logging.getLogger("x").warning("odd", extra={"error": ValueError("why")})
    assert json.loads(stream.getvalue())["error"] == "why"


def test_the_level_holds(stream: io.StringIO) -> None:
    logging.getLogger("x").debug("not this")
    assert stream.getvalue() == ""


def test_warnings_are_logged_too(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(capture=True)
        warnings.warn("look out", UserWarning, stacklevel=1)
    assert "look out" in json.loads(stream.getvalue())["message"]


def test_a_name_that_is_no_utf_8_is_written() -> None:
    name = b"\xff".decode(errors="surrogateescape")
    record = logging.LogRecord("x", logging.INFO, __file__, 0, "the folder %s", (name,), None)
    assert json.loads(logs.JsonFormatter().format(record))["message"] == r"the folder \udcff"


class Pipe:
    """A pipe that is read when the test reads it, and what writes into it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.handler = BackgroundHandler(self.writer)
        self.handler.setFormatter(logs.JsonFormatter())

    def log(self, text: str) -> None:
        self.handler.handle(logging.LogRecord("x", logging.INFO, __file__, 0, text, None, None))

    def read(self) -> list[str]:
        text = b""
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            is_written = self.handler._written_bytes == self.handler._accepted_bytes
            try:
                text += os.read(self.reader, 1 << 20)
            except BlockingIOError:
                if is_written and text.endswith(b"\n"):
                    break
        return [json.loads(line)["message"] for line in text.splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    os.set_blocking(pipe.reader, False)
    yield pipe
    pipe.handler.close()
    os.close(pipe.reader)


def test_nobody_waits_for_a_log_that_is_not_read(pipe: Pipe) -> None:
    text = "x" * 1000
    for _ in range(2 * MAX_WAITING_BYTES // 1000):
        pipe.log(text)
    start = time.monotonic()
    pipe.handler.flush()
    assert 0.9 < time.monotonic() - start < TIMEOUT  # it waits a little for the last lines
    messages = pipe.read()
    pipe.log("read again")
    *more, last = pipe.read()
    assert last == "read again"
    reports = [message for message in messages + more if message != text]
    lost = [int(number) for report in reports for number in re.findall(r"^(\d+) lines of the log are lost", report)]
    assert len(lost) == len(reports) > 0
    assert messages.count(text) + sum(lost) == 2 * MAX_WAITING_BYTES // 1000


def test_a_reader_that_has_left_and_a_pipe_that_is_shared(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)  # as another process may make it
    for number in range(2000):
        pipe.log(f"{number} {'x' * 100}")
    assert len(pipe.read()) == 2000
    os.close(pipe.reader)
    pipe.log("nobody reads this")
    pipe.handler.flush()
    assert pipe.handler._written_bytes == pipe.handler._accepted_bytes
    pipe.reader, _ = os.pipe()


def test_live_connections_are_no_news(stream: io.StringIO) -> None:
    """Any client could fill the log with them."""
    logger = logging.getLogger("uvicorn.live")
    logger.info("connection open")
    assert not stream.getvalue()
    logger.error("Exception in ASGI application")
    assert stream.getvalue()
