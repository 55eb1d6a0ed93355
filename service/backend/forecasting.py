"""One pass over ragged items: bounded calls of a network in, results out as soon as their rows have ended.

A pass is a generator, so that whoever drives it may do something else between two calls: answer shorter requests, drop
callers that left. Everything that can change the bits of an answer (chunk bounds, horizon and level counts, which
method reads the row) depends on the item alone; only row count and padding depend on the neighbours, and those a
`batch_invariant` network does not notice. Outputs of every step (history, trace) are read by one product over all
steps, whose kernel may depend on their number: such items are padded by their own length alone, too.

Rows that end together, and are all that is to be read out, take one call (`finish`) in place of two: fewer times at
which the thread must ask a busy event loop for the interpreter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.backend.buckets import CALL, CHUNK, Group, Ints, ShapeBuckets, horizon_for, levels_for, padded
from service.backend.chunks import NOBODY, ChunkReader, IsCancelled, PaddingStats
from service.contract.errors import BrokenModel
from service.contract.types import Floats, ForecastItem, ForecastResult, Item, Result

Array = NDArray[Any]
IndexedResults = list[tuple[int, Result | Exception]]
ForecastOutput = tuple[Floats, Ints]  # mean and quantiles (R, H, 1 + Q), and season lengths (R,)
T = TypeVar("T", bound=Item)

READOUT = 32  # steps ahead of which a read-out call takes as many rows as there may be: like a chunk, some 10 ms


class Network(Protocol):
    """The methods of docs/models.md over numpy arrays; `initial` answers for one row, (S,).

    `finish` is `step` and `forecast`, `finish_reading` is `step` and `read`.
    """

    max_horizon: int | None

    def initial(self, season: int) -> Floats: ...
    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats: ...
    def forecast(self, state: Floats, horizon: int, levels: Floats) -> ForecastOutput: ...
    def finish(
        self, values: Array, lengths: Ints, state: Floats, horizon: int, levels: Floats
    ) -> tuple[Floats, ForecastOutput]: ...
    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]: ...
    def read(self, state: Floats) -> Array: ...
    def finish_reading(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]: ...
    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]: ...


def forecast_batch(
    network: Network,
    shapes: ShapeBuckets,
    items: Sequence[ForecastItem],
    is_cancelled: IsCancelled,
    padding: PaddingStats,
) -> Iterator[IndexedResults]:
    """Forecast `items`; yields the answers of the series that ended, and an empty list after every other call."""
    if len(items) == 1 and not items[0].history:
        yield from _forecast_alone(network, shapes, items[0], is_cancelled, padding)
        return
    batch = _Forecasts(network, shapes, items)
    inputs = [item.values for item in items]
    for members in batch.parts():
        history = items[members[0]].history
        cursor = ChunkReader(shapes, inputs, members, is_cancelled, padding)
        held = NOBODY  # ended, and to be read out with others
        for group in cursor.groups(merge=not history):
            if group.steps and not history and not len(held) and batch.at_once(group, cursor.ended(group)):
                yield batch.finish(cursor, group)
                continue
            if group.steps:
                (batch.trace if history else batch.step)(cursor, group)
            held = np.concatenate((held, cursor.ended(group)))
            if len(held) and batch.worth(group.later):
                yield from batch.read(held)
                held = NOBODY
            else:
                yield []


def _forecast_alone(
    network: Network, shapes: ShapeBuckets, item: ForecastItem, is_cancelled: IsCancelled, padding: PaddingStats
) -> Iterator[IndexedResults]:
    """What `forecast_batch` does with one series in the same calls, without arranging anything."""
    rows = shapes.rows_for(1)
    states = (network.initial(item.season) if item.state is None else item.state)[None].repeat(rows, axis=0)
    horizon = horizon_for(item.horizon, network.max_horizon)
    levels = _filled(item.levels, levels_for(len(item.levels)))[None].repeat(rows, axis=0)
    at = 0
    while item.length - at > CHUNK:
        if is_cancelled(0):
            return
        states = network.step(*_alone(shapes, item.values[at : at + CHUNK], padding), states)
        at += CHUNK
        yield []
    if is_cancelled(0):
        return
    if item.length:
        states, said = network.finish(*_alone(shapes, item.values[at:], padding), states, horizon, levels)
    else:
        said = network.forecast(states, horizon, levels)
    forecasts, seasons = said
    yield [(0, _forecast(item, forecasts[0], int(seasons[0]), states[0], None))]


def _alone(shapes: ShapeBuckets, part: Floats, padding: PaddingStats) -> tuple[Array, Ints]:
    """`service.backend.buckets.pack` of a single part."""
    rows, count = shapes.rows_for(1), len(part)
    values = np.zeros((rows, shapes.steps_for(count)))
    values[:, :count] = part
    padding.real += count
    padding.computed += values.size
    return values, np.full(rows, count)


class _Forecasts:
    """The series of one batch: their states, their histories as far as they are known, and the calls."""

    def __init__(self, network: Network, shapes: ShapeBuckets, items: Sequence[ForecastItem]) -> None:
        self._network = network
        self._shapes = shapes
        self._items = items
        fresh = {season: network.initial(season) for season in {item.season for item in items}}
        states = [fresh[item.season] if item.state is None else item.state for item in items]
        self._states = np.concatenate(states).reshape(len(items), -1)
        self._pieces: dict[int, list[Floats]] = {row: [] for row, item in enumerate(items) if item.history}
        # Almost always all ask for the same, with the very same array of levels.
        asked = {(item.horizon, id(item.levels)): item for item in items}
        self._keys = {pair: _key(item, network.max_horizon) for pair, item in asked.items()}
        self._longest = max(horizon for horizon, _ in self._keys.values())
        self._common = next(iter(self._keys.values())) if len(set(self._keys.values())) == 1 else None

    def parts(self) -> list[list[int]]:
        """The rows that may be read together: those without a history, and those with one by their level buckets."""
        if not self._pieces:
            return [list(range(len(self._items)))]
        return partition(self._items, lambda item: levels_for(len(item.levels)) if item.history else 0)

    def step(self, cursor: ChunkReader, group: Group) -> None:
        """Read a chunk of the group's rows."""
        values, counts = cursor.pack(group)
        after = self._network.step(values, counts, self._states[padded(group.rows, len(counts))])
        self._states[group.rows] = after[: len(group.rows)]

    def trace(self, cursor: ChunkReader, group: Group) -> None:
        """Read a chunk of the group's rows, and keep what was forecast before each value."""
        values, counts = cursor.pack(group)
        wide = padded(group.rows, len(counts))
        levels = self._levels(wide, levels_for(len(self._items[group.rows[0]].levels)))
        after, said = self._network.history(values, counts, self._states[wide], levels)
        self._states[group.rows] = after[: len(group.rows)]
        for row, count, answer in zip(group.rows.tolist(), counts.tolist(), said, strict=False):
            self._pieces[row].append(answer[:count, : 1 + len(self._items[row].levels)])

    def at_once(self, group: Group, ended: Ints) -> bool:
        """Whether the last chunk of all of the group's rows can be read, and they be read out, in one call."""
        if self._common is None or len(ended) != len(group.rows):
            return False
        return len(ended) <= self._most(self._common[0]) and self.worth(group.later)

    def finish(self, cursor: ChunkReader, group: Group) -> IndexedResults:
        """Read the last chunk of the group's rows, and answer them; only where `at_once` allows it."""
        horizon, count = self._key(self._items[group.rows[0]])
        values, counts = cursor.pack(group)
        wide = padded(group.rows, len(counts))
        after, said = self._network.finish(values, counts, self._states[wide], horizon, self._levels(wide, count))
        return self._answers(group.rows, after, said)

    def worth(self, later: float) -> bool:
        """Whether to answer what has ended before that which costs `later`: a step ahead may be a call of its own."""
        return not later or CALL * self._longest <= later

    def read(self, rows: Ints) -> Iterator[IndexedResults]:
        """Answer `rows`, those of equal horizon and level buckets together."""
        for members in partition([self._items[row] for row in rows.tolist()], self._key):
            horizon, count = self._key(self._items[rows[members[0]]])
            most = self._most(horizon)
            for start in range(0, len(members), most):
                some = rows[members[start : start + most]]
                wide = padded(some, self._shapes.rows_for(len(some)))
                states = self._states[wide]
                said = self._network.forecast(states, horizon, self._levels(wide, count))
                yield self._answers(some, states, said)

    def _answers(self, rows: Ints, states: Floats, said: ForecastOutput) -> IndexedResults:
        """The results of `rows`; `states` and `said` are theirs, in this order, and copies of the last after them."""
        forecasts, seasons = said
        if len(self._keys) > 1 or self._pieces or not np.isfinite(forecasts[: len(rows)]).all():
            made = zip(rows.tolist(), forecasts, seasons.tolist(), states, strict=False)
            return [
                (row, _forecast(self._items[row], forecast, season, state, self._pieces.get(row)))
                for row, forecast, season, state in made
            ]
        item = self._items[0]
        means, quantiles = _means(forecasts, item), _quantiles(forecasts, item)
        results = map(ForecastResult, means, quantiles, itertools.repeat(None), seasons.tolist(), states)
        return list(zip(rows.tolist(), results, strict=False))

    def _most(self, horizon: int) -> int:
        return max(self._shapes.least_rows, min(self._shapes.most_rows, self._shapes.most_rows * READOUT // horizon))

    def _key(self, item: ForecastItem) -> tuple[int, int]:
        return self._keys[item.horizon, id(item.levels)]

    def _levels(self, rows: Ints, count: int) -> Floats:
        """The levels of `rows`, `(len(rows), count)`."""
        if len(self._keys) == 1:
            return _filled(self._items[0].levels, count)[None].repeat(len(rows), axis=0)
        return np.array([_filled(self._items[row].levels, count) for row in rows.tolist()])


def _key(item: ForecastItem, most: int | None) -> tuple[int, int]:
    """The horizon and the number of levels that are computed for `item`."""
    return horizon_for(item.horizon, most), levels_for(len(item.levels))


def _filled(levels: Floats, count: int) -> Floats:
    """`levels` with the last one repeated up to `count`, or the median where none is asked for."""
    if len(levels) == count:
        return levels
    return np.concatenate((levels, np.full(count - len(levels), levels[-1] if len(levels) else 0.5)))


def _means(forecasts: Floats, item: ForecastItem) -> Floats:
    """Of `forecasts` (…, H, 1 + Q) those that `item` asked for: means (…, H)."""
    return forecasts[..., : item.horizon, 0]


def _quantiles(forecasts: Floats, item: ForecastItem) -> Floats:
    """Likewise quantiles (…, Q, H)."""
    return forecasts[..., : item.horizon, 1 : 1 + len(item.levels)].swapaxes(-1, -2)


def _forecast(
    item: ForecastItem, forecast: Floats, season: int, state: Floats, pieces: list[Floats] | None
) -> ForecastResult | BrokenModel:
    """The result of `item`, if its numbers are sound."""
    mean, quantiles = _means(forecast, item), _quantiles(forecast, item)
    history = None if pieces is None else _history(item, pieces)
    sound = np.isfinite(mean).all() and np.isfinite(quantiles).all()
    if not sound or (history is not None and _faulty(item, history)):
        return not_finite("forecast")
    return ForecastResult(mean, quantiles, history, season, state)


def _history(item: ForecastItem, pieces: list[Floats]) -> Floats:
    return np.concatenate(pieces) if pieces else np.zeros((0, 1 + len(item.levels)))


def _faulty(item: ForecastItem, history: Floats) -> bool:
    """Whether `history` has a number that is not finite past the first observed value."""
    if np.isfinite(history).all():
        return False
    seen = np.isfinite(item.values)
    first = int(seen.argmax()) if seen.any() else len(seen)
    return not np.isfinite(history[first + 1 :]).all() or bool(np.isinf(history).any())


def partition(items: Iterable[T], key: Callable[[T], Any]) -> list[list[int]]:
    """Indices of `items`, those of equal key together."""
    parts: dict[Any, list[int]] = {}
    for index, item in enumerate(items):
        parts.setdefault(key(item), []).append(index)
    return list(parts.values())


def not_finite(what: str) -> BrokenModel:
    """What an item gets in place of an answer that is not a number."""
    return BrokenModel(f"the model's {what} has a number that is not finite; nothing of it can be answered")
