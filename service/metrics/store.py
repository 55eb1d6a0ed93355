"""Numbers that are counted without a lock, in this process or in a file where the other processes read them.

A number is a place in an array of float64, and only one thread ever changes it: to count is one addition, 0.1 us.
Where several processes serve, the array is a file mapped into memory: what a process has counted can be read at any
moment, and outlives it however it dies. Beside the array lies an index, a line of JSON for every row of numbers in it:
family, labels, first place, how many. Whoever is asked for the page reads the files of all.
"""

from __future__ import annotations

import json
import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOM = 1 << 17  # numbers of one process, 1 MiB of which only what is used takes memory; a model needs 100
_NUMBERS, _PAST, _INDEX = ".numbers", ".past", ".index"  # past: of a process that has died

Row = tuple[str, tuple[str, ...], bool, Sequence[float]]  # family, labels, whether its process lives, numbers


class CounterStore:
    """The numbers of this process; with a `folder` the others' are read along with them."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._index: list[tuple[str, tuple[str, ...], int, int]] = []
        self._used = 0
        if folder is None:
            self.places = memoryview(bytearray(8 * ROOM)).cast("d")
            return
        self._file = folder / f"{os.getpid()}-{time.time_ns()}"
        with self._file.with_suffix(_NUMBERS).open("x+b") as file:
            file.truncate(8 * ROOM)
            self.places = memoryview(mmap.mmap(file.fileno(), 8 * ROOM)).cast("d")

    def take(self, family: str, labels: tuple[str, ...], count: int) -> int:
        """The first of `count` places, all 0, for `family` with `labels`."""
        first = self._used
        if first + count > ROOM:
            raise RuntimeError(f"no room for the numbers of {family} {labels}")
        self._used += count
        self._index.append((family, labels, first, count))
        if self._folder is not None:
            with self._file.with_suffix(_INDEX).open("ab", buffering=0) as index:
                index.write(json.dumps(self._index[-1]).encode() + b"\n")
        return first

    def rows(self) -> Iterator[Row]:
        """All rows of all processes, those that have died included."""
        if self._folder is None:
            for family, labels, first, count in self._index:
                yield family, labels, True, self.places[first : first + count].tolist()
            return
        for file in sorted(self._folder.glob(f"*{_INDEX}")):
            alive = file.with_suffix(_NUMBERS)
            try:
                numbers, lives = alive.read_bytes(), True
            except FileNotFoundError:
                numbers, lives = file.with_suffix(_PAST).read_bytes(), False
            places = memoryview(numbers).cast("d")
            lines = file.read_bytes().split(b"\n")[:-1]  # a line that has no end yet is still being written
            for family, labels, first, count in map(json.loads, lines):
                yield family, tuple(labels), lives, places[first : first + count].tolist()


def bury(folder: Path, pid: int) -> None:
    """Process `pid` has died: what it counted stays, what it showed of itself does not."""
    for file in folder.glob(f"{pid}-*{_NUMBERS}"):
        file.rename(file.with_suffix(_PAST))


class Counter:
    """One number: a count, or the state of something."""

    __slots__ = ("_at", "_places")

    def __init__(self, numbers: CounterStore, family: str, labels: tuple[str, ...]) -> None:
        self._places = numbers.places
        self._at = numbers.take(family, labels, 1)

    def inc(self, amount: float = 1) -> None:
        """Count `amount`, which is negative where a state declines."""
        self._places[self._at] += amount

    def set(self, value: float) -> None:
        """Show `value`."""
        self._places[self._at] = value


class Histogram:
    """How often values fell between `bounds`, and their sum."""

    __slots__ = ("_at", "_bounds", "_places", "_sum")

    def __init__(self, numbers: CounterStore, family: str, labels: tuple[str, ...], bounds: Sequence[float]) -> None:
        self._places = numbers.places
        self._bounds = bounds
        self._at = numbers.take(family, labels, len(bounds) + 2)  # one beyond the last bound, and the sum
        self._sum = self._at + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Note `value`; one that is a bound counts as below it."""
        places = self._places
        places[self._at + bisect_left(self._bounds, value)] += 1
        places[self._sum] += value
