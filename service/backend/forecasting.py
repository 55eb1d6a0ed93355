"""Forecasts for a batch of ragged series: bounded calls of a network, results as soon as their rows have ended.

The pass is a generator, so that its driver may do something else between two calls: answer shorter requests, drop
cancelled ones. Everything that can change the bits of an answer (chunk bounds, horizon and level counts, which method
reads the row) depends on the item alone; only row count and padding depend on the neighbours, and those do not change
the answers of a `batch_invariant` network. Outputs of every step (history, trace) are read by one product over all
steps, and its kernel may depend on their number: such items are padded by their own length alone, too.

Rows that end together, and are all that is to be read out, take one call (`finish`) in place of two: fewer times at
which the thread must ask a busy event loop for the interpreter.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from service.backend.buckets import CALL_COST, CHUNK, Ints, ShapeBuckets, horizon_for, levels_for
from service.backend.chunks import NO_ROWS, CancelledRows, Chunk, ChunkReader, pack_one, pad_rows
from service.backend.network import ForecastOutput, IndexedResults, Network, partition
from service.contract.errors import ModelFault
from service.contract.types import Floats, ForecastItem, ForecastResult, PaddingStats

# Quantiles of nearly equal levels may cross by rounding; crossing by more than this part of their size is a fault.
CROSSING = 1e-3


def forecast_batch(
    network: Network,
    shapes: ShapeBuckets,
    items: Sequence[ForecastItem],
    cancelled: CancelledRows,
    padding: PaddingStats,
) -> Iterator[IndexedResults]:
    """Forecast `items`; yields the answers of the series that ended, and an empty list after every other call."""
    if len(items) == 1 and not items[0].history:
        item = items[0]
        if len(item.values) <= CHUNK:
            return iter((_finish_one(network, shapes, item, item.values, None, padding),))
        return _forecast_one(network, shapes, item, cancelled, padding)
    return _forecast_many(network, shapes, items, cancelled, padding)


def _forecast_many(
    network: Network,
    shapes: ShapeBuckets,
    items: Sequence[ForecastItem],
    cancelled: CancelledRows,
    padding: PaddingStats,
) -> Iterator[IndexedResults]:
    batch = ForecastBatch(network, shapes, items)
    inputs = [item.values for item in items]
    for members in batch.groups_of_rows():
        history = items[members[0]].history
        reader = ChunkReader(shapes, inputs, members, cancelled, padding, stepwise=history)
        unanswered = NO_ROWS  # ended, and to be read out with others
        for chunk in reader.chunks():
            if not len(chunk.lengths):
                unanswered = np.concatenate((unanswered, chunk.rows))
            elif not history and not len(unanswered) and (answers := batch.finish(chunk)) is not None:
                yield answers
                continue
            else:
                (batch.trace if history else batch.step)(chunk)
                unanswered = np.concatenate((unanswered, reader.ended(chunk)))
            if len(unanswered) and batch.pays_to_read_out_now(chunk.cost_of_later_groups):
                yield from batch.read_out(unanswered)
                unanswered = NO_ROWS
            else:
                yield []


def _forecast_one(
    network: Network,
    shapes: ShapeBuckets,
    item: ForecastItem,
    cancelled: CancelledRows,
    padding: PaddingStats,
) -> Iterator[IndexedResults]:
    """One long series, in the same calls as among others, without arranging anything."""
    states = (network.initial(item.season) if item.state is None else item.state)[None].repeat(shapes.rows[0], axis=0)
    last = (len(item.values) - 1) // CHUNK * CHUNK  # where the last chunk begins
    for start in range(0, last, CHUNK):
        states = network.step(*pack_one(shapes, item.values[start : start + CHUNK], padding), states)
        yield []
        if cancelled():
            return
    yield _finish_one(network, shapes, item, item.values[last:], states, padding)


def _finish_one(
    network: Network,
    shapes: ShapeBuckets,
    item: ForecastItem,
    values: Floats,
    states: Floats | None,
    padding: PaddingStats,
) -> IndexedResults:
    """Read the last `values` of a series, at most `CHUNK`, and answer it; without `states`, these are its first."""
    horizon = horizon_for(item.horizon, network.max_horizon)
    levels = _fill(item.levels, levels_for(len(item.levels)))[None].repeat(shapes.rows[0], axis=0)
    dense, lengths = pack_one(shapes, values, padding)
    if states is None:
        first = network.initial(item.season) if item.state is None else item.state
        states = first[None].repeat(shapes.rows[0], axis=0)
    if len(values):
        states, (forecasts, seasons) = network.finish(dense, lengths, states, horizon, levels)
    else:
        forecasts, seasons = network.forecast(states, horizon, levels)
    return [(0, _result(network, item, forecasts[0], int(seasons[0]), states[0], None))]


class ForecastBatch:
    """The series of one batch: their states, their histories as far as they are computed, and the calls."""

    def __init__(self, network: Network, shapes: ShapeBuckets, items: Sequence[ForecastItem]) -> None:
        self._network = network
        self._shapes = shapes
        self._items = items
        # Almost always all items have the same horizon, the very same array of levels, and begin in the same way.
        variants = {(item.horizon, id(item.levels)): item for item in items}
        self._sizes = {variant: _output_size(item, network.max_horizon) for variant, item in variants.items()}
        self._longest = max(horizon for horizon, _ in self._sizes.values())
        self._common_size = next(iter(self._sizes.values())) if len(set(self._sizes.values())) == 1 else None
        self._pieces: dict[int, list[Floats]] = {row: [] for row, item in enumerate(items) if item.history}
        fresh = {season: network.initial(season) for season in {item.season for item in items}}
        if len(fresh) == 1 and all(item.state is None for item in items):
            self._states = fresh[items[0].season][None].repeat(len(items), axis=0)
        else:
            states = [fresh[item.season] if item.state is None else item.state for item in items]
            self._states = np.concatenate(states).reshape(len(items), -1)

    def groups_of_rows(self) -> list[list[int]]:
        """The rows that may be read together: those without a history, and those with one by their level buckets."""
        if not self._pieces:
            return [list(range(len(self._items)))]
        return partition(self._items, lambda item: levels_for(len(item.levels)) if item.history else 0)

    def step(self, chunk: Chunk) -> None:
        """Read `chunk`."""
        states = self._network.step(chunk.values, chunk.lengths, self._states[chunk.padded_rows])
        self._states[chunk.rows] = states[: len(chunk.rows)]

    def trace(self, chunk: Chunk) -> None:
        """Read `chunk`, and keep what was forecast before each value."""
        rows = chunk.padded_rows
        levels = self._levels(rows, levels_for(len(self._items[rows[0]].levels)))
        states, history = self._network.history(chunk.values, chunk.lengths, self._states[rows], levels)
        self._states[chunk.rows] = states[: len(chunk.rows)]
        for row, count, forecasts in zip(chunk.rows.tolist(), chunk.lengths.tolist(), history, strict=False):
            self._pieces[row].append(forecasts[:count, : 1 + len(self._items[row].levels)])

    def finish(self, chunk: Chunk) -> IndexedResults | None:
        """Read `chunk` and answer its rows in one call; None, and nothing is read, where they do not fit one call.

        That needs a `chunk` that is the last of all its rows.
        """
        if self._common_size is None or len(chunk.ending) != len(chunk.rows):
            return None
        if not self.pays_to_read_out_now(chunk.cost_of_later_groups):
            return None
        horizon, count = self._common_size
        rows = chunk.padded_rows
        levels = self._levels(rows, count)
        if not self._shapes.fit_one_call(len(chunk.rows), chunk.values.shape[1], horizon, count):
            return None
        states, output = self._network.finish(chunk.values, chunk.lengths, self._states[rows], horizon, levels)
        return self._results(chunk.rows, states, output)

    def pays_to_read_out_now(self, cost_of_later_groups: float) -> bool:
        """Whether to answer ended rows before later groups are read: a step ahead may be a call of its own."""
        return not cost_of_later_groups or CALL_COST * self._longest <= cost_of_later_groups

    def read_out(self, rows: Ints) -> Iterator[IndexedResults]:
        """Answer `rows`, those of equal horizon and level buckets together."""
        for members in partition([self._items[row] for row in rows.tolist()], self._size):
            horizon, count = self._size(self._items[rows[members[0]]])
            max_rows = self._shapes.max_readout_rows(horizon, count)
            for start in range(0, len(members), max_rows):
                answered = rows[members[start : start + max_rows]]
                padded = pad_rows(answered, int(self._shapes.rows_for[len(answered)]))
                states = self._states[padded]
                output = self._network.forecast(states, horizon, self._levels(padded, count))
                yield self._results(answered, states, output)

    def _results(self, rows: Ints, states: Floats, output: ForecastOutput) -> IndexedResults:
        """The results of `rows`; `states` and `output` are theirs, in this order, and copies of the last after them."""
        forecasts, seasons = output
        if len(self._sizes) > 1 or self._pieces or not _is_sound(forecasts[: len(rows)]):
            of_rows = zip(rows.tolist(), forecasts, seasons.tolist(), states, strict=False)
            return [
                (row, _result(self._network, self._items[row], forecast, season, state, self._pieces.get(row)))
                for row, forecast, season, state in of_rows
            ]
        item = self._items[0]
        means, quantiles = _means(forecasts, item), _quantiles(forecasts, item)
        results = map(ForecastResult, means, quantiles, itertools.repeat(None), seasons.tolist(), states)
        return list(zip(rows.tolist(), results, strict=False))

    def _size(self, item: ForecastItem) -> tuple[int, int]:
        return self._sizes[item.horizon, id(item.levels)]

    def _levels(self, rows: Ints, count: int) -> Floats:
        """The levels of `rows`, `(len(rows), count)`."""
        if len(self._sizes) == 1:
            return _fill(self._items[0].levels, count)[None].repeat(len(rows), axis=0)
        return np.array([_fill(self._items[row].levels, count) for row in rows.tolist()])


def _output_size(item: ForecastItem, max_horizon: int | None) -> tuple[int, int]:
    """The horizon and the number of levels that are computed for `item`."""
    return horizon_for(item.horizon, max_horizon), levels_for(len(item.levels))


def _fill(levels: Floats, count: int) -> Floats:
    """`levels` with the last one repeated up to `count`, or the median where there is none."""
    if len(levels) == count:
        return levels
    return np.concatenate((levels, np.full(count - len(levels), levels[-1] if len(levels) else 0.5)))


def _means(forecasts: Floats, item: ForecastItem) -> Floats:
    """Of `forecasts` (…, H, 1 + Q) those for `item`: means (…, H)."""
    return forecasts[..., : item.horizon, 0]


def _quantiles(forecasts: Floats, item: ForecastItem) -> Floats:
    """Likewise quantiles (…, Q, H)."""
    return forecasts[..., : item.horizon, 1 : 1 + len(item.levels)].swapaxes(-1, -2)


def _result(
    network: Network, item: ForecastItem, forecast: Floats, season: int, state: Floats, pieces: list[Floats] | None
) -> ForecastResult | ModelFault:
    """The result of `item`, if its numbers are sound."""
    forecast = forecast[: item.horizon, : 1 + len(item.levels)]
    history = None if pieces is None else _history(item, pieces)
    if not _is_sound(forecast):
        finite = np.isfinite(forecast).all()
        return network.fault(
            "its quantiles do not ascend with their levels" if finite else "its forecast is not finite"
        )
    if history is not None and (fault := _fault_of_history(item, history)) is not None:
        return network.fault(fault)
    return ForecastResult(forecast[:, 0], forecast[:, 1:].swapaxes(-1, -2), history, season, state)


def _is_sound(forecasts: Floats) -> bool:
    """Whether `forecasts` (…, 1 + Q) are finite, and their quantiles ascend but for rounding."""
    if not np.isfinite(forecasts).all():
        return False
    lower, upper = forecasts[..., 1:-1], forecasts[..., 2:]
    if (lower <= upper).all():
        return True
    tolerance = CROSSING * np.abs(forecasts).max(axis=-1, keepdims=True)
    return bool((lower - upper <= tolerance).all())


def _history(item: ForecastItem, pieces: list[Floats]) -> Floats:
    return np.concatenate(pieces) if pieces else np.zeros((0, 1 + len(item.levels)))


def _fault_of_history(item: ForecastItem, history: Floats) -> str | None:
    """What is wrong with `history`, which may have gaps up to the first observed value; None where nothing is."""
    if _is_sound(history):
        return None
    observed = np.isfinite(item.values)
    first = int(observed.argmax()) if observed.any() else len(observed)
    later = history[first + 1 :]
    if not np.isfinite(later).all() or np.isinf(history).any():
        return "its history is not finite"
    return None if _is_sound(later) else "the quantiles of its history do not ascend with their levels"
