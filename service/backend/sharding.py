"""The shards of one call, computed side by side: the calling thread takes the first, helper threads take what they can.

Torch's own threads split single operations, and those of a recurrent step are too small for that. The rows of a batch
are independent of one another, so a call of many rows is split into calls of fewer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ComputeThreads:
    """`threads` threads that compute together, each caller of `run` being one of them; several callers may."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._queue: SimpleQueue[Shard[Any] | None] = SimpleQueue()
        for number in range(1, threads):
            # Daemons: a call that never returns must not keep the process from ending.
            threading.Thread(target=self._help, name=f"inference-helper-{number}", daemon=True).start()

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """What each of `tasks` returns; raises what the first of them that fails raises, `SystemExit` included.

        What no helper has begun when the caller gets to it, the caller computes itself.
        """
        shards = [Shard(task) for task in tasks]
        for shard in shards[1:]:
            self._queue.put(shard)
        return [shard.result() for shard in shards]

    def close(self) -> None:
        """End the helpers once they have computed what waits; from then on the callers compute everything."""
        for _ in range(1, self.threads):
            self._queue.put(None)

    def _help(self) -> None:
        while (shard := self._queue.get()) is not None:
            shard.attempt()


class Shard(Generic[T]):
    """A task that is run once, by the first thread that gets to it."""

    def __init__(self, task: Callable[[], T]) -> None:
        self._task = task
        self._claim = threading.Lock()
        self._finished = threading.Event()
        self._results: list[T] = []
        self._error: BaseException | None = None

    def attempt(self) -> None:
        """Run the task, unless another thread has begun to."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._results.append(self._task())
        except BaseException as error:  # noqa: BLE001 (it is raised by `result`)
            self._error = error
        finally:
            self._finished.set()

    def result(self) -> T:
        """Run the task or wait for it; raises what it raised."""
        self.attempt()
        self._finished.wait()
        if self._error is not None:
            raise self._error
        return self._results[0]
