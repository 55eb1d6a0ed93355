"""Files that are read again when they change, while the service runs; one that cannot be used leaves the last good one.

A file is looked at by its size, its time and its inode, so that a rename, a rewrite and the swapped links of a
Kubernetes volume are all noticed. A second look costs a call of the system, in no request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SECONDS = 1.0  # between two looks
REMINDER_SECONDS = 300.0  # between two lines about a file that stays unusable

logger = logging.getLogger(__name__)


class UnusableFile(ValueError):
    """A file cannot be used as it is; the text says why."""


class WatchedFiles:
    """Some files that are read together by `load`, which raises `UnusableFile` where it cannot use them."""

    def __init__(self, name: str, paths: Sequence[Path], load: Callable[[], None]) -> None:
        """`load` is called now: what it raises at the start is the caller's to report."""
        self._name = name
        self._paths = tuple(paths)
        self._load = load
        self._reminded = 0.0
        self._seen = self._look()
        self.fault: str | None = None  # why the last good state is still in use
        load()

    def check(self) -> None:
        """Load again where a file has changed; log what is wrong with it, and go on with what was there."""
        seen = self._look()
        if seen == self._seen and self.fault is None:
            return
        is_new = seen != self._seen
        self._seen = seen
        try:
            self._load()
        except UnusableFile as error:
            fault = str(error)
            if is_new or fault != self.fault or time.monotonic() - self._reminded > REMINDER_SECONDS:
                self._reminded = time.monotonic()
                logger.error("%s: the last good state stays in use: %s", self._name, fault)
            self.fault = fault
            return
        self.fault = None
        logger.info("%s: read again", self._name)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_signature, self._paths))


async def watch(files: Sequence[WatchedFiles]) -> None:
    """Check `files` for as long as the task runs."""
    while True:
        await asyncio.sleep(SECONDS)
        for each in files:
            each.check()


def read_watched(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file of at most `max_bytes`; raises `UnusableFile`.

    A named pipe in its place would hold up its reader for ever, and with it the service.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer before its kind can be looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnusableFile(f"{path} cannot be read: it is no regular file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(max_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise UnusableFile(f"{path} is larger than {max_bytes >> 10} KiB")
    return content


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
