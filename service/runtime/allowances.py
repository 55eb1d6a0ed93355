"""What keys may still use: token buckets and counts of connections, exact across the processes of a service.

A bucket is one number: the time at which it is full again (the generic cell rate algorithm of ATM's traffic control,
ITU-T I.371). Taking `n` of a rate of `count` in `seconds` moves that time by `n * seconds / count`, and is refused
where it would lie more than `seconds` ahead. Time is the system's monotonic clock, which no setting of the clock moves.

Several processes share the numbers, each change of which is made under a lock on a file: the system releases it with
the process that held it. Each process counts connections for itself, so that those of a dead one can be forgotten.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from array import array
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path

from service.runtime import compiled
from service.runtime.compiled import Limit
from service.runtime.key_file import RESOURCES, Rate

SLOTS = 4096  # keys with a use that is remembered: four times as many as a file may hold
_BUCKETS = len(RESOURCES)
_ROUNDING = 1e-9  # seconds


class SharedAllowances:
    """The memory: for each slot the number of a key, its buckets, and its connections in each process."""

    def __init__(self, context: BaseContext | None = None, processes: int = 1) -> None:
        """`context`: of the processes that share the memory; without, it belongs to this one."""
        self.keys: MutableSequence[int]
        self.full_at: MutableSequence[float]
        self.connections: MutableSequence[int]
        self.processes = processes
        self.is_shared = context is not None
        if context is not None:
            self.keys = context.RawArray("Q", SLOTS)
            self.full_at = context.RawArray("d", SLOTS * _BUCKETS)
            self.connections = context.RawArray("i", SLOTS * processes)
        else:
            self.keys = array("Q", bytes(8 * SLOTS))
            self.full_at = array("d", bytes(8 * SLOTS * _BUCKETS))
            self.connections = array("i", bytes(4 * SLOTS * processes))

    def clear(self, index: int) -> None:
        """Forget the connections of the process at `index`, which is dead."""
        start = index * SLOTS
        for position in range(start, start + SLOTS):
            if self.connections[position]:
                self.connections[position] = 0


class Allowances:
    """One process's access to the memory."""

    def __init__(
        self,
        memory: SharedAllowances | None = None,
        index: int = 0,
        lock_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`index`: of this process; `lock_file`: of the service, needed where the memory is shared."""
        self._memory = memory = memory or SharedAllowances()
        # Views of memory are read in half the time of arrays of ctypes.
        self._keys = memoryview(memory.keys).cast("B").cast("Q")  # type: ignore[arg-type]
        self._full_at = memoryview(memory.full_at).cast("B").cast("d")  # type: ignore[arg-type]
        self._index = index
        self._clock = clock
        self._lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if lock_file else None
        if self._lock is not None:
            weakref.finalize(self, os.close, self._lock)
        self._slots: dict[int, int] = {}  # where each key was found last
        # `take(key, resource, count, rate)`, with the lock where the memory is shared.
        self.take: Callable[[int, int, int, Rate], float] = self._take
        if self._lock is not None:
            self.take = partial(self._take_with_lock, self._lock)

    def _take_with_lock(self, lock: int, key: int, resource: int, count: int, rate: Rate) -> float:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return self._take(key, resource, count, rate)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)

    def _take(self, key: int, resource: int, count: int, rate: Rate) -> float:
        """Take `count` out of a bucket of `key` (a number other than 0); the seconds to wait where it has less, else 0.

        `count` is at most `rate.amount`.
        """
        amount, seconds = rate
        position = self._slot(key) * _BUCKETS + resource
        time_now, full_at = self._clock(), self._full_at[position]
        if full_at > time_now + seconds:  # the rate was raised since: an empty bucket fills as fast as it says now
            full_at = self._full_at[position] = time_now + seconds
        then = max(time_now, full_at) + count * seconds / amount
        wait = then - time_now - seconds
        if wait > _ROUNDING:
            return wait
        self._full_at[position] = then
        return 0.0

    def take_in_turn(self, key: int, limits: Sequence[Limit], counts: Sequence[int]) -> tuple[int, float] | None:
        """Take one of `counts` for each of `limits` of `key`, under one lock, as far as the buckets hold so much.

        None where all did; else which of them holds less, and the seconds to wait for it.
        """
        if self._lock is None:
            return self._take_in_turn(key, limits, counts)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            return self._take_in_turn(key, limits, counts)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _take_in_turn(self, key: int, limits: Sequence[Limit], counts: Sequence[int]) -> tuple[int, float] | None:
        functions = compiled.in_use
        if functions is not None:
            return functions.take_allowances(self._full_at, self._slot(key) * _BUCKETS, self._clock(), limits, counts)
        for place, ((resource, amount, seconds), count) in enumerate(zip(limits, counts, strict=True)):
            wait = self._take(key, resource, count, Rate(amount, seconds))
            if wait:
                return place, wait
        return None

    def describe(self, key: int, limits: Sequence[Limit], pieces: Sequence[str]) -> str:
        """What `left` says of `limits` as text: behind each of `pieces` what is left, `;t=` and the seconds."""
        functions = compiled.in_use
        if functions is not None:
            first = self._slot(key) * _BUCKETS
            return functions.describe_allowances(self._full_at, first, self._clock(), limits, pieces)
        levels = self.left(key, limits)
        return "".join(
            f"{piece}{amount};t={seconds}"
            for piece, amount, seconds in zip(pieces, levels[::2], levels[1::2], strict=True)
        )

    def left(self, key: int, limits: Sequence[Limit]) -> list[int]:
        """What buckets of `key` hold, and the whole seconds until each is full, one after the other.

        Every answer to a key with limits tells this, so it is one loop.
        """
        first, full_at, time_now = self._slot(key) * _BUCKETS, self._full_at, self._clock()
        levels: list[int] = []
        for resource, amount, period in limits:
            seconds = full_at[first + resource] - time_now
            if seconds <= 0.0:
                levels += amount, 0
            elif seconds >= period:  # as much as there can be, also where the rate was raised since
                levels += 0, int(period)
            else:
                levels += int(amount * (1.0 - seconds / period) + 1e-6), -int(-seconds // 1.0)
        return levels

    def connect(self, key: int, limit: int | None) -> bool:
        """Count one more connection of `key`; False where `limit` are open already, in all processes together."""
        memory = self._memory
        with self._locked():
            slot = self._slot(key)
            counts = memory.connections[slot::SLOTS]
            if limit is not None and sum(counts) >= limit:
                return False
            memory.connections[self._index * SLOTS + slot] += 1
            return True

    def disconnect(self, key: int) -> None:
        """A connection that `connect` counted has ended."""
        with self._locked():
            self._memory.connections[self._index * SLOTS + self._slot(key)] -= 1

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _slot(self, key: int) -> int:
        """The slot of `key`, a free one where it has none yet."""
        slot = self._slots.get(key, -1)
        if slot >= 0 and self._keys[slot] == key:
            return slot
        slot = self._slots[key] = self._find(key)
        return slot

    def _find(self, key: int) -> int:
        free = -1
        for step in range(SLOTS):
            slot = (key + step) % SLOTS
            owner = self._memory.keys[slot]
            if owner == key:
                return slot
            if free < 0 and self._is_free(slot):
                free = slot
            if not owner:
                break
        slot = free if free >= 0 else key % SLOTS
        for bucket in range(_BUCKETS):
            self._memory.full_at[slot * _BUCKETS + bucket] = 0.0
        self._memory.keys[slot] = key
        return slot

    def _is_free(self, slot: int) -> bool:
        """Whether the slot remembers nothing that matters: its buckets are full, and it has no connections."""
        memory, start = self._memory, slot * _BUCKETS
        if any(memory.connections[slot::SLOTS]):
            return False
        return max(memory.full_at[start : start + _BUCKETS]) <= self._clock()
