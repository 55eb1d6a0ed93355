"""Which versions of models the workers load or warm up at the moment, and which of them end the processes that do so.

A network may end its process: torch aborts, or memory runs out. Without a record every worker would end in turn, the
replacements too, and nothing would be served. A single end may have other reasons, as an operator's signal.
"""

from __future__ import annotations

import signal
from collections.abc import Collection

from service.runtime.model_plan import Preparation

MAX_ENDS = 2  # of processes during the same preparation, after which the version is not tried again
MAX_KILLS = 4  # the same by SIGKILL: where memory runs out, the system may kill two that need it for a moment only


class Preparations:
    """The preparations of all workers, by the workers' indices."""

    def __init__(self) -> None:
        self._current: dict[int, frozenset[Preparation]] = {}
        self._completed: dict[int, frozenset[Preparation]] = {}
        self._exit_codes: dict[Preparation, list[int]] = {}  # of the processes that ended meanwhile

    def report(self, index: int, current: Collection[Preparation]) -> None:
        """The worker at `index` makes these preparations now; those that it made before are completed."""
        completed = self._current.get(index, frozenset()) - set(current)
        self._current[index] = frozenset(current)
        self._completed[index] = self._completed.get(index, frozenset()) | completed
        for preparation in completed:
            self._exit_codes.pop(preparation, None)

    def worker_ended(self, index: int, exit_code: int) -> frozenset[Preparation]:
        """The preparations that the worker at `index` died of, perhaps: no living worker has completed them."""
        current = self._current.pop(index, frozenset())
        self._completed.pop(index, None)
        suspects = current.difference(*self._completed.values()) if exit_code else frozenset[Preparation]()
        for preparation in suspects:
            self._exit_codes.setdefault(preparation, []).append(exit_code)
        return suspects

    def fault(self, reference: str, digest: str | None) -> str | None:
        """Why that version must not be prepared any more, if so."""
        for preparation, exit_codes in self._exit_codes.items():
            most = MAX_KILLS if exit_codes[-1] == -signal.SIGKILL else MAX_ENDS
            if (preparation.reference, preparation.digest) == (reference, digest) and len(exit_codes) >= most:
                return (
                    f"{len(exit_codes)} processes ended while it was {preparation.part}, the last one "
                    f"{_in_words(exit_codes[-1])}"
                )
        return None


def _in_words(exit_code: int) -> str:
    if exit_code > 0:
        return f"with status {exit_code}"
    try:
        return f"by {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal
        return f"by signal {-exit_code}"
