"""Before the first answer: which row counts give the same bits, and one run of every shape bucket.

Matrix kernels choose their order of summation by shape: a row computed alone may differ in the last bit from the same
row in a batch. From some row count on they agree. It is found here by running the same rows in every row count and with
every amount of padding that the service ever uses; smaller batches are then padded up to it (`Shapes.least_rows`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.items import DigitItem, Floats, ForecastItem, Item
from service.packing import LENGTHS, Shapes, pack
from service.passes import Array, Network

MOST_LEAST = 32  # a model whose kernels agree only beyond this many rows is served as not invariant
STEPS = 8  # length at which all row counts are compared
ROWS = 16  # row count at which all lengths are compared


@dataclass(slots=True)
class Invariance:
    """What was found: the `least_rows` from which all agree (None: never), and the largest difference otherwise."""

    least_rows: int | None
    deviation: float  # relative to the largest number of the row; 0.0 when invariant


def warm_up(network: Network, shapes: Shapes, items: Sequence[Item], longest: int | None) -> Invariance:
    """Run every row bucket and every length bucket (up to `longest` observations) on `items`, and compare the bits."""
    probe = _Probe(network, items)
    lengths = [n for n in LENGTHS if longest is None or n < 2 * longest] or [LENGTHS[0]]
    # From the largest row count down: the first, well-filled run is the reference of all others.
    by_rows = {rows: probe.difference(rows, min(STEPS, lengths[-1])) for rows in reversed(shapes.rows)}
    agreeing = list(itertools.takewhile(lambda rows: not by_rows[rows], by_rows))
    least = agreeing[-1] if agreeing and agreeing[-1] <= MOST_LEAST else None
    by_padding = [probe.difference(shapes.rows_for(max(least or 1, ROWS)), steps) for steps in lengths]
    if least is not None and not any(by_padding):
        return Invariance(least, 0.0)
    return Invariance(None, max(*by_rows.values(), *by_padding))


class _Probe:
    """Runs the same rows in different company; a row is the first `cut` observations of an item."""

    def __init__(self, network: Network, items: Sequence[Item]) -> None:
        self._network = network
        cuts = {(i, min(item.length, cut)) for i, item in enumerate(items) for cut in (1, 3, 5, STEPS)}
        self._pool = [(items[i], cut, (i, cut)) for i, cut in sorted(cuts, key=lambda key: (key[1], key[0]))]
        self._ends: dict[tuple[int, int], list[Array]] = {}
        self._stepwise: dict[tuple[int, int, int], list[Array]] = {}

    def difference(self, rows: int, steps: int) -> float:
        """Largest relative difference of any row of the pool, among `rows` rows of `steps` steps, from its first run.

        Outputs of single steps are compared at equal `steps` only, as they are never padded otherwise.
        """
        pool = [entry for entry in self._pool if entry[1] <= steps]
        worst = 0.0
        for start in range(0, len(pool), rows):  # every row at least once, in other places for every row count
            chosen = [pool[(start + i) % len(pool)] for i in range(rows)]
            outputs = _run(self._network, [item for item, _, _ in chosen], [cut for _, cut, _ in chosen], steps)
            for (_, _, key), (ends, stepwise) in zip(chosen, outputs, strict=True):
                worst = max(worst, _difference(ends, self._ends.setdefault(key, ends)))
                worst = max(worst, _difference(stepwise, self._stepwise.setdefault((*key, steps), stepwise)))
        return worst


def _difference(outputs: Sequence[Array], reference: Sequence[Array]) -> float:
    """0.0 when the outputs are the reference's bits, else the largest relative difference."""
    worst = 0.0
    for a, b in zip(outputs, reference, strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            scale = max(float(np.nanmax(np.abs(b))), 1e-12)
            worst = max(worst, float(np.nanmax(np.abs(a - b))) / scale, 1e-300)
    return worst


def _run(
    network: Network, items: Sequence[Item], cut: Sequence[int], steps: int
) -> list[tuple[list[Array], list[Array]]]:
    """All that a network says of `items`, each cut to its first observations: at its end, and at every step."""
    if isinstance(items[0], DigitItem):
        ends, stepwise = _run_digits(network, [i for i in items if isinstance(i, DigitItem)], cut, steps)
    else:
        ends, stepwise = _run_series(network, [i for i in items if isinstance(i, ForecastItem)], cut, steps)
    after, said = stepwise
    return [([end[row] for end in ends], [after[row], said[row, :n]]) for row, n in enumerate(cut)]


def _run_digits(
    network: Network, items: Sequence[DigitItem], cut: Sequence[int], steps: int
) -> tuple[list[Array], tuple[Array, Array]]:
    rows, counts = pack([item.rows[:n] for item, n in zip(items, cut, strict=True)], len(items), steps)
    fresh: Floats = np.repeat(network.initial(0)[None], len(items), axis=0)
    state = network.step(rows, counts, fresh)
    return [state, network.read(state)], network.trace(rows, counts, fresh)


def _run_series(
    network: Network, items: Sequence[ForecastItem], cut: Sequence[int], steps: int
) -> tuple[list[Array], tuple[Array, Array]]:
    values, counts = pack([item.values[:n] for item, n in zip(items, cut, strict=True)], len(items), steps)
    fresh = np.stack([network.initial(item.season) for item in items])
    levels = np.stack([item.levels for item in items])
    state = network.step(values, counts, fresh)
    return [state, *network.forecast(state, 2, levels)], network.history(values, counts, fresh, levels)
