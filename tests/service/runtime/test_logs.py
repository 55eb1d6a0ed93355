from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from service.runtime import logs


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


def test_live_connections_are_no_news(stream: io.StringIO) -> None:
    """Any client could fill the log with them."""
    logger = logging.getLogger("uvicorn.live")
    logger.info("connection open")
    assert not stream.getvalue()
    logger.error("Exception in ASGI application")
    assert stream.getvalue()
