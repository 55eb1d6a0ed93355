"""Before the first answer: which shapes give the same bits, found by one run of every shape bucket.

Matrix kernels choose their order of summation by shape: a row computed alone may differ in the last bit from the same
row in a batch. From some row count and some number of steps on they agree. Both are found here by running the same rows
in every row count and with every amount of padding that the service ever uses; smaller batches are then padded up to
them (`ShapeBuckets.least_rows`, `ShapeBuckets.least_steps`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from service.backend.buckets import CHUNK, LENGTHS, STEPWISE_CHUNK, ShapeBuckets, horizon_for
from service.backend.chunks import pack
from service.backend.network import Array, ForecastOutput, Network
from service.contract.errors import Unavailable
from service.contract.types import DigitItem, Floats, ForecastItem, Item

PIECE_LENGTHS = (1, 3, 8)  # of the pieces of the golden sample that are run
PIECES_PER_LENGTH = 4  # of one item
STEPS = PIECE_LENGTHS[-1]  # length at which all row counts are compared
ROWS = 16  # row count at which all lengths are compared
LARGE_CALLS = (32, 64), (64, 32), (16, 128), (32, 128), (4, 512)  # rows, steps
FEW_ROWS = 4  # to which the calls of most networks may be padded until their warm-up has compared all row counts
LATE = 1024  # values after which a series costs a step with an answer as much as it ever will
LARGE_HISTORIES = (4, 64), (16, 64)  # rows, steps
LARGE_READOUTS = (8, 64, 9), (8, 64, 99), (32, 24, 9)  # rows, steps ahead, quantile levels
Stepwise = tuple[Array, Array | None]  # states after each step, and the outputs there
MAX_LEAST_ROWS, MAX_LEAST_STEPS = (
    32,
    STEPS,
)  # a model with kernels that agree only beyond these is served as not invariant


@dataclass(frozen=True, slots=True)
class Invariance:
    """Whether all agree from `least_rows` and `least_steps` on, and the largest relative difference if they do not."""

    exact: bool
    least_rows: int
    least_steps: int
    deviation: float  # 0.0 when exact


def warm_up(
    network: Network,
    shapes: ShapeBuckets,
    items: Sequence[Item],
    max_length: int | None,
    should_continue: Callable[[], bool] = lambda: True,
) -> Invariance:
    """Run every row bucket and every length bucket (up to `max_length` observations) on `items`, and compare the bits.

    Raises `Unavailable` between two calls as soon as `should_continue()` is false.
    """
    calls = _Calls(network, should_continue)
    late_state = None if max_length else _late_state(calls, items)
    probe = _Probe(calls, items, late_state)
    lengths = _lengths(max_length)
    # From the largest down: the first, well-filled runs are the reference of all others.
    by_rows: dict[int, float] = {}
    for rows in reversed(shapes.rows):  # all pieces where a difference would decide
        all_pieces = rows <= MAX_LEAST_ROWS and not any(by_rows.values())
        by_rows[rows] = probe.difference(rows, min(STEPS, lengths[-1]), all_pieces=all_pieces)
    least_rows = _least_size(by_rows, MAX_LEAST_ROWS)
    few_rows = least_rows or 1
    by_steps = {
        steps: max(
            probe.difference(
                int(shapes.rows_for[max(few_rows, ROWS if steps <= STEPS else 1)]), steps, all_pieces=steps <= STEPS
            ),
            # Products see rows x steps, so where both are small is where they differ.
            probe.difference(few_rows, steps) if steps <= STEPS else 0.0,
        )
        for steps in reversed(lengths)
    }
    least_steps = _least_size(by_steps, MAX_LEAST_STEPS)
    _run_large(calls, items, shapes, max_length, late_state)
    if least_rows is None or least_steps is None:
        return Invariance(False, few_rows, least_steps or 1, max(*by_rows.values(), *by_steps.values()))
    return Invariance(True, least_rows, least_steps, 0.0)


def rows_before_warm_up(network: Network, items: Sequence[Item], max_length: int | None) -> int:
    """The row count to which calls are padded until `warm_up` has compared all: `FEW_ROWS` where a call of so many rows
    has the bits of one of `MAX_LEAST_ROWS`, else these. A history in calls of 32 rows would hold all others up."""
    probe = _Probe(_Calls(network, lambda: True), items, None)
    steps = min(STEPS, _lengths(max_length)[-1])
    differs = [probe.difference(rows, steps, all_pieces=False) > 0 for rows in (MAX_LEAST_ROWS, FEW_ROWS)]
    return MAX_LEAST_ROWS if any(differs) else FEW_ROWS


def _lengths(max_length: int | None) -> list[int]:
    """The lengths that calls of a network may have, from 1 to the first that is no shorter than `max_length`."""
    return [n for n in LENGTHS if max_length is None or n < 2 * max_length] or [LENGTHS[0]]


class _Calls:
    """The calls of a network, each of which is made only where `should_continue()` says so (else `Unavailable`)."""

    def __init__(self, network: Network, should_continue: Callable[[], bool]) -> None:
        self._network = network
        self._should_continue = should_continue
        self.max_horizon = network.max_horizon
        self.initial = network.initial

    def step(self, values: Array, lengths: Array, state: Floats) -> Floats:
        return self._checked().step(values, lengths, state)

    def forecast(self, state: Floats, horizon: int, levels: Floats) -> ForecastOutput:
        return self._checked().forecast(state, horizon, levels)

    def history(self, values: Array, lengths: Array, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
        return self._checked().history(values, lengths, state, levels)

    def read(self, state: Floats) -> Array:
        return self._checked().read(state)

    def trace(self, rows: Array, lengths: Array, state: Floats) -> tuple[Floats, Array]:
        return self._checked().trace(rows, lengths, state)

    def _checked(self) -> Network:
        if not self._should_continue():
            raise Unavailable("the service is going down", code="draining", retry_after=5.0)
        return self._network


def _run_large(
    network: _Calls,
    items: Sequence[Item],
    shapes: ShapeBuckets,
    max_length: int | None,
    late_state: Floats | None,
) -> None:
    """A few large calls, which show what rows, steps, steps ahead and quantile levels cost: no other call here has many
    of two of them."""
    if isinstance(items[0], DigitItem):
        return
    fresh = network.initial(0)[None]
    values = np.concatenate([item.values for item in items if isinstance(item, ForecastItem)])
    for least_rows, most_steps in LARGE_CALLS:
        rows, steps = int(shapes.rows_for[least_rows]), min(most_steps, max_length or most_steps)
        network.step(np.resize(values, (rows, steps)), np.full(rows, steps), np.repeat(fresh, rows, 0))
    levels = np.array([[0.1, 0.5, 0.9]])
    for least_rows, most_steps in LARGE_HISTORIES:
        rows, steps = int(shapes.rows_for[least_rows]), min(most_steps, max_length or most_steps)
        begin = np.repeat(fresh if late_state is None else late_state, rows, 0)
        network.history(np.resize(values, (rows, steps)), np.full(rows, steps), begin, np.repeat(levels, rows, 0))
    for least_rows, ahead, count in LARGE_READOUTS:
        rows, horizon = int(shapes.rows_for[least_rows]), horizon_for(ahead, network.max_horizon)
        levels = np.arange(1.0, count + 1) / (count + 1)
        network.forecast(np.repeat(fresh, rows, 0), horizon, np.repeat(levels[None], rows, 0))


def _least_size(differences: dict[int, float], limit: int) -> int | None:
    """The smallest size down to which there is no difference, if it is not above `limit`; sizes are descending."""
    agreeing = list(itertools.takewhile(lambda size: not differences[size], differences))
    return agreeing[-1] if agreeing and (agreeing[-1] <= limit or agreeing[-1] == min(differences)) else None


class _Probe:
    """Runs the same short pieces of `items` among different neighbours."""

    def __init__(self, network: _Calls, items: Sequence[Item], late_state: Floats | None) -> None:
        self._network = network
        self._late_state = late_state
        pieces = [piece for length in PIECE_LENGTHS for item in items for piece in _pieces(item, length)]
        # Pieces of all lengths are neighbours, and always in the same order.
        order = np.random.default_rng(0).permutation(len(pieces)).tolist()
        self._pool = [(i, pieces[i]) for i in order]
        self._ends: dict[int, list[Array]] = {}
        self._stepwise: dict[tuple[int, int], list[Array]] = {}

    def difference(self, rows: int, steps: int, *, all_pieces: bool = True) -> float:
        """Largest relative difference of any piece, run among `rows` rows of `steps` steps, from its first run.

        Every piece is run, or without `all_pieces` as many as there are rows. Outputs of single steps are compared at
        equal `steps` only, as they are never padded otherwise.
        """
        pool = [(i, piece) for i, piece in self._pool if piece.length <= steps]
        worst = 0.0
        for start in range(0, len(pool) if all_pieces else 1, rows):  # at other positions for every row count
            chosen = [pool[(start + i) % len(pool)] for i in range(rows)]
            outputs = _run(self._network, [piece for _, piece in chosen], steps, self._late_state)
            for (i, _), (ends, stepwise) in zip(chosen, outputs, strict=True):
                worst = max(worst, _difference(ends, self._ends.setdefault(i, ends)))
                worst = max(worst, _difference(stepwise, self._stepwise.setdefault((i, steps), stepwise)))
        return worst


def _pieces(item: Item, length: int) -> list[Item]:
    """Up to `PIECES_PER_LENGTH` pieces of `length` observations, evenly from all over `item`."""
    starts = (
        sorted({int(s) for s in np.linspace(0, item.length - length, PIECES_PER_LENGTH)})
        if item.length >= length
        else []
    )
    if isinstance(item, ForecastItem):
        return [replace(item, values=item.values[start : start + length]) for start in starts]
    return [replace(item, rows=item.rows[start : start + length]) for start in starts]


def _difference(outputs: Sequence[Array], reference: Sequence[Array]) -> float:
    """0.0 when the outputs are the reference's bits, else the largest relative difference."""
    worst = 0.0
    for a, b in zip(outputs, reference, strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            scale = max(float(np.nanmax(np.abs(b))), 1e-12)
            worst = max(worst, float(np.nanmax(np.abs(a - b))) / scale, 1e-300)
    return worst


def _late_state(network: _Calls, items: Sequence[Item]) -> Floats | None:
    """The state (1, S) of a series after `LATE` values, None for digits."""
    series = [item.values for item in items if isinstance(item, ForecastItem)]
    if not series:
        return None
    values = np.resize(np.concatenate(series), (ROWS, CHUNK))
    state: Floats = np.repeat(network.initial(0)[None], ROWS, axis=0)
    for _ in range(LATE // CHUNK):
        state = network.step(values, np.full(ROWS, CHUNK), state)
    return state[:1]


def _run(
    network: _Calls, items: Sequence[Item], steps: int, late_state: Floats | None
) -> list[tuple[list[Array], list[Array]]]:
    """All outputs of a network for each of `items`: at its end and, unless there are many steps, at every step.

    Those at every step of a series begin with `late_state`, where there is one: a network that answers from all that it
    remembers takes longest there, and that is what has to be known of it.
    """
    if isinstance(items[0], DigitItem):
        ends, (states, outputs) = _run_digits(network, [i for i in items if isinstance(i, DigitItem)], steps)
    else:
        ends, (states, outputs) = _run_series(
            network, [i for i in items if isinstance(i, ForecastItem)], steps, late_state
        )
    if outputs is None:
        return [([end[n] for end in ends], []) for n in range(len(items))]
    return [([end[n] for end in ends], [states[n], outputs[n, : item.length]]) for n, item in enumerate(items)]


def _run_digits(network: _Calls, items: Sequence[DigitItem], steps: int) -> tuple[list[Array], Stepwise]:
    rows, counts = pack([item.rows for item in items], len(items), steps)
    fresh: Floats = np.repeat(network.initial(0)[None], len(items), axis=0)
    state = network.step(rows, counts, fresh)
    stepwise = network.trace(rows, counts, fresh) if steps <= STEPWISE_CHUNK else (state, None)
    return [state, network.read(state)], stepwise


def _run_series(
    network: _Calls, items: Sequence[ForecastItem], steps: int, late_state: Floats | None
) -> tuple[list[Array], Stepwise]:
    values, counts = pack([item.values for item in items], len(items), steps)
    fresh = np.stack([network.initial(item.season) for item in items])
    levels = np.stack([item.levels for item in items])
    state = network.step(values, counts, fresh)
    begin = fresh if late_state is None else np.repeat(late_state, len(items), axis=0)
    # No call that answers every step is ever longer.
    stepwise = network.history(values, counts, begin, levels) if steps <= STEPWISE_CHUNK else (state, None)
    return [state, *network.forecast(state, 2, levels)], stepwise
