"""The shares of one call, computed side by side: the calling thread takes the first, helpers take what they can.

Torch's own threads split single operations, and those of a recurrent step are too small for that. The rows of a batch
know nothing of one another, so a call of many rows is split into calls of fewer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ComputeThreads:
    """`threads` threads that compute together, whoever calls `run` being one of them; several callers may."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._queue: SimpleQueue[Shard[Any] | None] = SimpleQueue()
        for number in range(1, threads):
            # Daemons: a call that never returns must not keep the process from ending.
            threading.Thread(target=self._help, name=f"inference-helper-{number}", daemon=True).start()

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """What each of `works` returns; raises what the first of them that fails raises, `SystemExit` included.

        What no helper has begun when the caller gets there, the caller does itself.
        """
        shares = [Shard(work) for work in works]
        for share in shares[1:]:
            self._queue.put(share)
        return [share.answer() for share in shares]

    def close(self) -> None:
        """Let the helpers go once they have done what waits; after that the callers do everything themselves."""
        for _ in range(1, self.threads):
            self._queue.put(None)

    def _help(self) -> None:
        while (share := self._queue.get()) is not None:
            share.attempt()


class Shard(Generic[T]):
    """Work that is done once, by whoever comes first."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._claim = threading.Lock()
        self._done = threading.Event()
        self._answers: list[T] = []
        self._error: BaseException | None = None

    def attempt(self) -> None:
        """Do it, unless somebody has begun to."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._answers.append(self._work())
        except BaseException as error:  # noqa: BLE001 (it is raised where the answer is asked for)
            self._error = error
        finally:
            self._done.set()

    def answer(self) -> T:
        """Do it or wait for it; raises what the work raised."""
        self.attempt()
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._answers[0]
