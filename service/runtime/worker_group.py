"""What the processes of one service share, where `workers` says that there are several.

The parent makes it and hands it to each of them as they are spawned. Nothing of a request is in it: every process has
its own models and its own queues, and a state token leads from one to the other.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import Synchronized, SynchronizedArray
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """One process' place among the others."""

    place: int
    folder: Path  # where each process keeps its counters (`service.metrics.page`)
    key: bytes  # signs state tokens where no keys are set
    arrived: SynchronizedArray[int]  # by place: 1 from the moment that a process there was ready for the first time
    replaced: Synchronized[int]  # processes that died and were replaced
    connections: MutableSequence[int]  # by place: how many are open
    substitute: bool = False  # takes the place of a dead one: it listens only once it can answer

    def arrive(self) -> None:
        """This process is ready: its models are loaded."""
        self.arrived[self.place] = 1

    def reasons(self) -> Sequence[str]:
        """Why the service is not ready although this process may be: others listen, too, and cannot answer yet."""
        flags = self.arrived[:]
        return [f"{flags.count(0)} of {len(flags)} processes are not ready yet"] if 0 in flags else []

    def warnings(self) -> Sequence[str]:
        """What should be known although the service is ready."""
        count = self.replaced.value
        return [f"a serving process died and was replaced {count} times"] if count else []


def shared(context: BaseContext, places: int) -> tuple[SynchronizedArray[int], Synchronized[int], MutableSequence[int]]:
    """`arrived`, `replaced` and `connections` of a new crew."""
    # No lock for the connections: each place has one writer, and a number that has just changed does no harm.
    return context.Array("b", places), context.Value("Q", 0), context.RawArray("i", places)
