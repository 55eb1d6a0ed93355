"""Logs as JSON, one object a line, to stderr; `extra={"request_id": …}` and other extras become fields."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

_encoder = msgspec.json.Encoder(enc_hook=str)
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, its extras, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update((name, value) for name, value in record.__dict__.items() if name not in _STANDARD)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _encoder.encode(entry).decode()


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send everything from `level` on to `stream` (stderr), uvicorn's own lines and Python's warnings included."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # At its debug level the WebSocket protocol logs what its frames hold: nothing of a request is ever logged.
    logging.getLogger("uvicorn.error").setLevel(max(root.level, logging.INFO))
    logging.getLogger("uvicorn.live").setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)
