"""One pass over ragged items: bounded calls of a network in, results out as soon as their rows have ended.

A pass is a generator, so that whoever drives it may do something else between two calls: answer shorter requests, drop
callers that left. Everything that can change the bits of an answer (chunk bounds, horizon and level counts, which
method reads the row) depends on the item alone; only row count and padding depend on the neighbours, and those a
`batch_invariant` network does not notice. Outputs of every step (history, trace) are read by one product over all
steps, whose kernel may depend on their number: such items are padded by their own length alone, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.errors import BrokenModel
from service.items import DigitItem, DigitResult, Floats, ForecastItem, ForecastResult, Item, Result
from service.packing import CHUNK, Group, Ints, Shapes, horizon_for, levels_for, pack, padded

Array = NDArray[Any]
Gone = Callable[[int], bool]
Answers = list[tuple[int, Result | Exception]]
T = TypeVar("T", bound=Item)

READOUT = 4096  # most rows x horizon of one read-out call: like a chunk, some 10 ms


@dataclass(slots=True)
class Tally:
    """Steps of rows: `real` ones were observations, `computed` ones include the padding. A pass adds to it."""

    real: int = 0
    computed: int = 0


class Network(Protocol):
    """The methods of docs/models.md over numpy arrays; `initial` answers for one row, (S,)."""

    max_horizon: int | None

    def initial(self, season: int) -> Floats: ...
    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats: ...
    def forecast(self, state: Floats, horizon: int, levels: Floats) -> tuple[Floats, Ints]: ...
    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]: ...
    def read(self, state: Floats) -> Array: ...
    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]: ...


def forecast_pass(
    network: Network, shapes: Shapes, items: Sequence[ForecastItem], gone: Gone, tally: Tally
) -> Iterator[Answers]:
    """Forecast `items`; yields the answers of the series that ended, and an empty list after every other call."""
    if len(items) == 1 and not items[0].history:
        yield from _forecast_alone(network, shapes, items[0], gone, tally)
        return
    states = np.stack([network.initial(i.season) if i.state is None else i.state for i in items])
    # One list of pieces per item that asked for its history; which method steps a row is the item's own choice.
    pieces: dict[int, list[Floats]] = {i: [] for i, item in enumerate(items) if item.history}

    def step(cursor: _Cursor, group: Group) -> None:
        rows, (values, counts) = group.rows, cursor.pack(group)
        wide = padded(rows, len(counts))
        if int(rows[0]) not in pieces:
            states[rows] = network.step(values, counts, states[wide])[: len(rows)]
            return
        levels = _levels(items, wide, levels_for(len(items[rows[0]].levels)))
        states_after, said = network.history(values, counts, states[wide], levels)
        states[rows] = states_after[: len(rows)]
        for row, count, answer in zip(rows.tolist(), counts.tolist(), said, strict=False):
            pieces[row].append(answer[:count, : 1 + len(items[row].levels)])

    def key(item: ForecastItem) -> int:
        return levels_for(len(item.levels)) if item.history else 0

    for members in _partition(items, key):
        cursor = _Cursor(shapes, [item.values for item in items], members, gone, tally)
        for ended in cursor.rounds(step, merge=members[0] not in pieces):
            yield from _read_forecasts(network, shapes, items, states=states, pieces=pieces, ended=ended)


def _forecast_alone(
    network: Network, shapes: Shapes, item: ForecastItem, gone: Gone, tally: Tally
) -> Iterator[Answers]:
    """What `forecast_pass` does with one series in the same calls, without arranging anything."""
    rows = shapes.rows_for(1)
    states = np.repeat((network.initial(item.season) if item.state is None else item.state)[None], rows, axis=0)
    for at in range(0, item.length, CHUNK):
        if gone(0):
            return
        part = item.values[at : at + CHUNK]
        values, counts = np.zeros((rows, shapes.steps_for(len(part)))), np.zeros(rows, np.int64)
        values[0, : len(part)] = part
        counts[0] = len(part)
        states = network.step(values, counts, states)
        tally.real += len(part)
        tally.computed += values.size
        if at + CHUNK < item.length:
            yield []
    if gone(0):
        return
    states = np.repeat(states[:1], rows, axis=0)  # the other rows have read nothing, and have nothing to say
    levels = _levels([item], np.zeros(rows, np.int64), levels_for(len(item.levels)))
    said = network.forecast(states, horizon_for(item.horizon, network.max_horizon), levels)
    yield _forecast_answers([item], states, {}, np.zeros(1, np.int64), said)


def _read_forecasts(
    network: Network,
    shapes: Shapes,
    items: Sequence[ForecastItem],
    *,
    states: Floats,
    pieces: dict[int, list[Floats]],
    ended: Ints,
) -> Iterator[Answers]:
    """Read the states of the rows that `ended`, those of equal horizon and level buckets together."""

    def key(item: ForecastItem) -> tuple[int, int]:
        return horizon_for(item.horizon, network.max_horizon), levels_for(len(item.levels))

    yielded = False
    for members in _partition([items[i] for i in ended.tolist()], key):
        horizon, count = key(items[ended[members[0]]])
        most = max(shapes.least_rows, min(shapes.most_rows, READOUT // horizon))
        for start in range(0, len(members), most):
            rows = ended[members[start : start + most]]
            wide = padded(rows, shapes.rows_for(len(rows)))
            said = network.forecast(states[wide], horizon, _levels(items, wide, count))
            yielded = True
            yield _forecast_answers(items, states, pieces, rows, said)
    if not yielded:
        yield []


def _forecast_answers(
    items: Sequence[ForecastItem],
    states: Floats,
    pieces: dict[int, list[Floats]],
    rows: Ints,
    forecasts: tuple[Floats, Ints],
) -> Answers:
    said, seasons = forecasts
    sound = np.isfinite(said).all()  # one look at the whole, a second at each row only where it fails
    answers: Answers = []
    for row, answer, season in zip(rows.tolist(), said.transpose(0, 2, 1), seasons.tolist(), strict=False):
        item = items[row]
        history = _history(item, pieces[row]) if item.history else None
        mean, quantiles = answer[0, : item.horizon], answer[1 : 1 + len(item.levels), : item.horizon]
        if (not sound and not np.isfinite(answer[: 1 + len(item.levels), : item.horizon]).all()) or (
            history is not None and _faulty(item, history)
        ):
            answers.append((row, _not_finite("forecast")))
        else:
            answers.append((row, ForecastResult(mean, quantiles, history, season, states[row])))
    return answers


def _history(item: ForecastItem, pieces: list[Floats]) -> Floats:
    return np.concatenate(pieces) if pieces else np.zeros((0, 1 + len(item.levels)))


def _faulty(item: ForecastItem, history: Floats) -> bool:
    """Whether `history` has a number that is not finite past the first observed value."""
    if np.isfinite(history).all():
        return False
    seen = np.isfinite(item.values)
    first = int(seen.argmax()) if seen.any() else len(seen)
    return not np.isfinite(history[first + 1 :]).all() or bool(np.isinf(history).any())


def _levels(items: Sequence[ForecastItem], rows: Ints, count: int) -> Floats:
    """The levels of `rows`, `(len(rows), count)`: the last one repeated, or the median where none is asked for."""
    asked = [items[row].levels for row in rows.tolist()]
    if all([len(levels) == count for levels in asked]):  # noqa: C419 (a list is twice as fast as a generator)
        return np.array(asked)
    table: Floats = np.empty((len(rows), count))
    for line, levels in zip(table, asked, strict=True):
        line[: len(levels)] = levels
        line[len(levels) :] = levels[-1] if len(levels) else 0.5
    return table


def digit_pass(
    network: Network, shapes: Shapes, items: Sequence[DigitItem], gone: Gone, tally: Tally
) -> Iterator[Answers]:
    """Read `items`; yields the answers of the digits that ended, and an empty list after every other call."""
    states = np.stack([network.initial(0) if i.state is None else i.state for i in items])
    used = np.zeros(len(items), np.int64)
    pieces: dict[int, list[Array]] = {
        i: [] for i, item in enumerate(items) if item.trace or (item.stop is not None and item.length)
    }

    def step(cursor: _Cursor, group: Group) -> None:
        rows, (ink, counts) = group.rows, cursor.pack(group)
        wide = padded(rows, len(counts))
        before = states[wide]
        if int(rows[0]) not in pieces:
            states[rows] = network.step(ink, counts, before)[: len(rows)]
            used[rows] += counts[: len(rows)]
            return
        after, said = network.trace(ink, counts, before)
        kept = counts.copy()
        for line, row in enumerate(rows.tolist()):
            kept[line] = _stop(said[line, : counts[line]], items[row].stop)
            pieces[row].append(said[line, : kept[line]])
        if (kept < counts).any():  # the state must be that of the row at which the reading stopped
            after, _ = network.trace(ink, kept, before)
            cursor.end(rows[(kept < counts)[: len(rows)]])
        states[rows] = after[: len(rows)]
        used[rows] += kept[: len(rows)]

    for members in _partition(items, lambda item: item.trace or (item.stop is not None and item.length > 0)):
        cursor = _Cursor(shapes, [item.rows for item in items], members, gone, tally)
        for ended in cursor.rounds(step, merge=members[0] not in pieces):
            if not len(ended):
                yield []
            for start in range(0, len(ended), shapes.most_rows):
                rows = ended[start : start + shapes.most_rows]
                said = network.read(states[padded(rows, shapes.rows_for(len(rows)))])
                yield _digit_answers(items, states=states, pieces=pieces, used=used, rows=rows, said=said)


def _stop(said: Array, confidence: float | None) -> int:
    """How many rows to use of log-probabilities `said` (T, 10): up to the first that is confident enough, or all."""
    if confidence is None:
        return len(said)
    reached = np.exp(said.max(axis=1).astype(np.float64)) >= confidence
    return int(reached.argmax()) + 1 if reached.any() else len(said)


def _digit_answers(
    items: Sequence[DigitItem],
    *,
    states: Floats,
    pieces: dict[int, list[Array]],
    used: Ints,
    rows: Ints,
    said: Array,
) -> Answers:
    answers: Answers = []
    for row, answer in zip(rows.tolist(), said, strict=False):
        # A row that was traced is judged by its trace, so that the last of the trace is the answer and `stop` holds.
        trace = np.concatenate(pieces[row]) if pieces.get(row) else np.zeros((0, len(answer)), np.float32)
        judged = _probabilities(trace if len(trace) else answer[None])
        if not np.isfinite(judged).all():
            answers.append((row, _not_finite("reading")))
            continue
        shown = judged[: len(trace)] if items[row].trace else None
        answers.append((row, DigitResult(judged[-1], shown, int(used[row]), states[row])))
    return answers


def _probabilities(logarithms: Array) -> Floats:
    """Log-probabilities (…, 10) as float64 probabilities that sum to 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by whoever asked
        raw: Floats = np.exp(logarithms.astype(np.float64))
        normal: Floats = raw / raw.sum(axis=-1, keepdims=True)
    return normal


class _Cursor:
    """How far each of `members` has been read, chunk by chunk."""

    def __init__(
        self, shapes: Shapes, inputs: Sequence[Array], members: Sequence[int], gone: Gone, tally: Tally
    ) -> None:
        self._tally = tally
        self._shapes = shapes
        self._inputs = inputs
        self._gone = gone
        self._active: Ints = np.array(members, np.int64)
        self._total: Ints = np.array([len(part) for part in inputs], np.int64)
        self._at = 0

    def rounds(self, step: Callable[[_Cursor, Group], None], *, merge: bool) -> Iterator[Ints]:
        """Call `step` for group after group; yields the rows that ended in a round, and none between its groups."""
        nobody: Ints = np.zeros(0, np.int64)
        while len(self._active):
            counts = np.minimum(self._total[self._active] - self._at, CHUNK)
            groups = [Group(self._active[g.rows], g.steps) for g in self._shapes.split(counts, merge=merge)]
            for group in groups:
                if group is not groups[0]:
                    yield nobody
                if self._wanted(group.rows):
                    step(self, group)
            self._at += CHUNK
            here = self._active[[not self._gone(row) for row in self._active.tolist()]]
            ended = self._total[here] <= self._at
            self._active = here[~ended]
            yield here[ended]

    def pack(self, group: Group) -> tuple[Array, Ints]:
        """The next chunk of the group's rows, `(R, steps, …)`, and its lengths, R rounded up to a row bucket."""
        parts = [self._inputs[row][self._at : self._at + CHUNK] for row in group.rows.tolist()]
        dense, counts = pack(parts, self._shapes.rows_for(len(parts)), group.steps)
        self._tally.real += int(counts.sum())
        self._tally.computed += dense.shape[0] * dense.shape[1]
        return dense, counts

    def end(self, rows: Ints) -> None:
        """Read nothing more of `rows`."""
        self._total[rows] = self._at

    def _wanted(self, rows: Ints) -> bool:
        return not all(self._gone(row) for row in rows.tolist())


def _partition(items: Iterable[T], key: Callable[[T], Any]) -> list[list[int]]:
    """Indices of `items`, those of equal key together."""
    parts: dict[Any, list[int]] = {}
    for index, item in enumerate(items):
        parts.setdefault(key(item), []).append(index)
    return list(parts.values())


def _not_finite(what: str) -> BrokenModel:
    return BrokenModel(f"the model's {what} has a number that is not finite; nothing of it can be answered")
