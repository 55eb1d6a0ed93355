"""Numbers that are counted without a lock, in this process or in a file where the other processes read them.

A number is a slot in an array of float64. Its writers take turns (the event loop and the inference thread hold the
engine's lock where both write), so that counting is one addition of 0.1 us. Where several processes serve, the array is
a file mapped into memory: what a process has counted is readable at any moment, and outlives it however it ends. An
index file goes with it, a line of JSON for every row of numbers: family, labels, first slot, number of slots. A scrape
reads the files of all processes.

A process that has died leaves its files behind; `mark_process_dead` adds them to one file for all the dead and deletes
them, so that a scrape costs the same however many processes have died.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

CAPACITY = 1 << 17  # numbers of one process, 1 MiB; a model needs about 100
_LIVE, _DEAD, _INDEX = ".numbers", ".dead", ".index"
_TOTALS = "dead.json"  # the sums of all processes that have died
_REMEMBERED = 64  # names of files added to the totals: a scrape may have read one just before

Row = tuple[str, tuple[str, ...], bool, Sequence[float]]  # family, labels, whether the process lives, numbers

logger = logging.getLogger(__name__)


class CounterStore:
    """The numbers of this process; with a `folder`, those of the other processes are read along with them.

    Raises `OSError` where the folder's file system has no room: the file is allocated as a whole, because a write into
    a mapped file that finds no room ends the process (SIGBUS).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._rows: list[tuple[str, tuple[str, ...], int, int]] = []
        self._size = 0
        self._index: int | None = None
        if folder is None:
            self.slots = memoryview(bytearray(8 * CAPACITY)).cast("d")
            return
        name = folder / f"{os.getpid()}-{time.time_ns()}"
        with name.with_suffix(_LIVE).open("x+b") as file:
            _allocate(file.fileno(), 8 * CAPACITY)
            self.slots = memoryview(mmap.mmap(file.fileno(), 8 * CAPACITY)).cast("d")
        self._index = os.open(name.with_suffix(_INDEX), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)

    def allocate(self, family: str, labels: tuple[str, ...], count: int) -> int:
        """The first of `count` slots, all 0, for `family` with `labels`."""
        first = self._size
        if first + count > CAPACITY:
            raise RuntimeError(f"no room for the numbers of {family} {labels}")
        self._size += count
        row = (family, labels, first, count)
        self._rows.append(row)
        if self._index is not None:
            self._append(self._index, json.dumps(row).encode() + b"\n")
        return first

    def _append(self, index: int, line: bytes) -> None:
        """Write a line of the index as a whole or not at all: a full disk costs a row of the page, never a request."""
        size = os.fstat(index).st_size
        try:
            if os.write(index, line) == len(line):
                return
            reason = "no space left"
        except OSError as error:
            reason = error.strerror or str(error)
        os.ftruncate(index, size)
        logger.error("metrics are lost: %s cannot be added to the index: %s", line.decode().strip(), reason)

    def rows(self) -> Iterator[Row]:
        """All rows of all processes, those that have died included."""
        if self._folder is None:
            for family, labels, first, count in self._rows:
                yield family, labels, True, self.slots[first : first + count].tolist()
            return
        files = [(file.stem, _read(file)) for file in sorted(self._folder.glob(f"*{_INDEX}"))]
        # The totals come last: a file that vanished meanwhile is in them, one that was read and added since is skipped.
        totals = _Totals(self._folder)
        for name, rows in files:
            if name not in totals.names:
                yield from rows
        yield from totals.rows()


def _allocate(file: int, size: int) -> None:
    if sys.platform == "darwin":
        os.write(file, bytes(size))
    else:
        os.posix_fallocate(file, 0, size)


def _read(index: Path) -> list[Row]:
    """The rows of one process; none where its files have been added to the totals meanwhile."""
    for suffix in (_LIVE, _DEAD):
        try:
            lines = index.read_bytes().split(b"\n")[:-1]  # a line without an end is still being written
            entries = [json.loads(line) for line in lines]
            with index.with_suffix(suffix).open("rb") as file:
                slots = memoryview(file.read(8 * max((at + count for *_, at, count in entries), default=0))).cast("d")
        except FileNotFoundError:
            continue
        lives = suffix == _LIVE
        return [(family, tuple(labels), lives, slots[at : at + n].tolist()) for family, labels, at, n in entries]
    return []


class _Totals:
    """What the dead have counted, and the names of the files that were added last."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _TOTALS
        self.names: list[str] = []
        self._sums: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        try:
            content = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        self.names = content["names"]
        self._sums = {(family, tuple(labels)): numbers for family, labels, numbers in content["rows"]}

    def rows(self) -> Iterator[Row]:
        for (family, labels), numbers in self._sums.items():
            yield family, labels, False, numbers

    def add(self, name: str, rows: Sequence[Row]) -> None:
        for family, labels, _, numbers in rows:
            sums = self._sums.get((family, labels), [0.0] * len(numbers))
            self._sums[family, labels] = [total + number for total, number in zip(sums, numbers, strict=True)]
        self.names = [*self.names, name][-_REMEMBERED:]

    def write(self) -> None:
        rows = [(family, labels, numbers) for (family, labels), numbers in self._sums.items()]
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps({"names": self.names, "rows": rows}), encoding="utf-8")
        draft.replace(self._path)


def mark_process_dead(folder: Path, pid: int) -> None:
    """Process `pid` has died: its counters stay in the sums, its gauges do not. Only the parent process calls this.

    The files of the dead become part of one file and are deleted; where the disk is full they stay until the next call.
    """
    try:
        for file in folder.glob(f"{pid}-*{_LIVE}"):
            file.rename(file.with_suffix(_DEAD))
        dead = sorted(folder.glob(f"*{_DEAD}"))
        if not dead:
            return
        totals = _Totals(folder)
        for file in dead:
            if file.stem not in totals.names:
                totals.add(file.stem, _read(file.with_suffix(_INDEX)))
        totals.write()
    except OSError as error:
        logger.warning("the numbers of a process that died stay in a file of their own: %s", error)
        return
    for file in dead:
        file.with_suffix(_INDEX).unlink(missing_ok=True)
        file.unlink()


class Counter:
    """One number: a count, or the state of something."""

    __slots__ = ("_at", "_slots")

    def __init__(self, store: CounterStore, family: str, labels: tuple[str, ...]) -> None:
        self._slots = store.slots
        self._at = store.allocate(family, labels, 1)

    def inc(self, amount: float = 1) -> None:
        """Count `amount`, which is negative where a state declines."""
        self._slots[self._at] += amount

    def set(self, value: float) -> None:
        """Show `value`."""
        self._slots[self._at] = value


class Histogram:
    """How often values fell between `bounds`, and their sum."""

    __slots__ = ("_at", "_bounds", "_slots", "_sum")

    def __init__(self, store: CounterStore, family: str, labels: tuple[str, ...], bounds: Sequence[float]) -> None:
        self._slots = store.slots
        self._bounds = bounds
        self._at = store.allocate(family, labels, len(bounds) + 2)  # one beyond the last bound, and the sum
        self._sum = self._at + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count `value` in its bucket; one that equals a bound counts as below it."""
        slots = self._slots
        slots[self._at + bisect_left(self._bounds, value)] += 1
        slots[self._sum] += value
