"""The audit log: caller, purpose and end of each request as one JSON object a line. Never a header, a query or a body.

Lines are collected and appended to the file by a thread, at most a second later: a request never waits for the disk.
The file is opened for each append, so that it may be renamed at any time (log rotation); several processes append whole
lines.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import msgspec
from msgspec import Struct

_SECONDS = 1.0  # between two appends
_MAX_LINES = 100_000  # that wait where the file cannot be written; later ones are counted and dropped
_MAX_PATH = 256  # characters

logger = logging.getLogger(__name__)


class AuditRecord(Struct, frozen=True, omit_defaults=True):
    """One line."""

    time: str  # UTC, ISO 8601
    event: str  # request, opened or closed (of a live connection)
    request_id: str
    key: str | None  # its id; null where none was needed, or none was valid
    address: str
    method: str
    path: str
    status: int
    bytes: int | None  # of the request's body; null where its length is not known
    seconds: float
    model: str = ""
    messages: int = 0  # of a live connection


class AuditLog:
    """Appends to the file at `path`."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` where the file cannot be written."""
        self._path = path
        self._lines: list[bytes] = []
        self._dropped = 0
        self._has_failed = False
        self._encode = msgspec.json.Encoder().encode
        with self._opened():
            pass

    def _opened(self) -> FileIO:
        """The file, which may be a named pipe: neither its reader's coming nor its reading is waited for."""
        return FileIO(self._path, "ab", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK, 0o666))

    def record(
        self,
        event: str,
        *,
        request_id: str,
        key: str | None,
        address: str,
        method: str,
        path: str,
        status: int,
        size: int | None,
        seconds: float,
        model: str = "",
        messages: int = 0,
    ) -> None:
        """Add a line."""
        if len(self._lines) >= _MAX_LINES:
            self._dropped += 1
            return
        moment = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        path, seconds = path[:_MAX_PATH], round(seconds, 6)
        entry = AuditRecord(
            moment, event, request_id, key, address, method, path, status, size, seconds, model, messages
        )
        self._lines.append(self._encode(entry))

    def flush(self) -> None:
        """Append what has been collected; lines that cannot be written are kept for later."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        text, written = memoryview(b"\n".join(lines) + b"\n"), 0
        try:
            with self._opened() as file:
                while written < len(text):  # a disk that is nearly full takes a part
                    count = file.write(text[written:])
                    if count is None:
                        raise BlockingIOError(errno.EAGAIN, "its reader does not read")
                    written += count
        except OSError as error:
            rest = bytes(text[written:-1]).split(b"\n")
            self._lines = [*rest, *self._lines][:_MAX_LINES]
            if not self._has_failed:
                logger.error("the audit log %s cannot be written: %s", self._path, error.strerror)
            self._has_failed = True
            return
        if self._has_failed:
            logger.error("the audit log can be written again; %d lines are lost", self._dropped)
        self._has_failed, self._dropped = False, 0

    async def run(self) -> None:
        """Append, for as long as the task runs."""
        while True:
            await asyncio.sleep(_SECONDS)
            await asyncio.to_thread(self.flush)
