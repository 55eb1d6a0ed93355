"""Logs as JSON, one object a line, to stderr; `extra={"request_id": …}` and other extras become fields.

A thread writes the lines. Their reader may stop reading: a pipe is full then, and a write into it waits for ever.
Only the thread waits; lines that find no room are counted and dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
import time
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import TextIO

import msgspec

_encoder = msgspec.json.Encoder(enc_hook=str)
MAX_WAITING_BYTES = 1 << 20  # of lines that wait for their reader
_LAST_LINES = 1.0  # seconds that the end of the process waits for them
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
        try:
            return _encoder.encode(entry).decode()
        except UnicodeEncodeError:  # the name of a file that is no UTF-8
            readable = {name: str(value).encode(errors="backslashreplace").decode() for name, value in entry.items()}
            return _encoder.encode(readable).decode()


class BackgroundHandler(logging.Handler):
    """Writes to `descriptor` in a thread, which does not keep the process from ending."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        # A caller with the lock adds to the first, the thread to the second.
        self._accepted_bytes = self._written_bytes = 0
        self._dropped = 0  # lines
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written; drop it where too much waits already."""
        try:
            self._add(record)
        except Exception:  # noqa: BLE001 (what logs must not fail because of its line)
            self.handleError(record)

    def _add(self, record: logging.LogRecord) -> None:
        if self._accepted_bytes - self._written_bytes > MAX_WAITING_BYTES:
            self._dropped += 1
            return
        if self._dropped:
            text = "%d lines of the log are lost: it was not read"
            dropped, self._dropped = self._dropped, 0
            self._enqueue(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped,), None))
        self._enqueue(record)

    def _enqueue(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode(errors="backslashreplace") + b"\n"
        self._accepted_bytes += len(line)
        self._lines.put(line)

    def flush(self) -> None:
        """Wait until everything is written, but not for long."""
        until = time.monotonic() + _LAST_LINES
        while self._written_bytes < self._accepted_bytes and time.monotonic() < until:
            time.sleep(0.001)

    def close(self) -> None:
        """End the thread after the lines that wait."""
        self._lines.put(None)
        super().close()

    def _write_lines(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError):  # the reader has left, the disk is full
                _write(self._descriptor, line)
            self._written_bytes += len(line)


def _write(descriptor: int, line: bytes) -> None:
    while line:
        try:
            line = line[os.write(descriptor, line) :]
        except BlockingIOError:  # another process that has the same terminal made it so
            select.select([], [descriptor], [])


def _handler(stream: TextIO) -> logging.Handler:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # it is in memory, or closed
        return logging.StreamHandler(stream)
    return BackgroundHandler(descriptor)


def open_standard_files() -> None:
    """Open those of standard input, output and error that are closed, as files that are empty and take everything.

    The next files that the process opens would be taken for them, sockets included.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send everything from `level` on to `stream` (stderr), uvicorn's own lines and Python's warnings included."""
    handler = _handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        if isinstance(old, BackgroundHandler):
            old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    # At its debug level the WebSocket protocol logs what its frames hold: nothing of a request is ever logged.
    logging.getLogger("uvicorn.error").setLevel(max(root.level, logging.INFO))
    logging.getLogger("uvicorn.live").setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)
