"""What items will take before they are computed, by the prices of a network's calls so far."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from service.backend.buckets import CHUNK, STEPWISE_CHUNK, horizon_for, levels_for
from service.backend.prices import CallPrices, steps_with_levels
from service.contract.types import ForecastItem, Item


class Priced(Protocol):
    """A network of which it is known what its calls cost."""

    max_horizon: int | None
    prices: CallPrices


def expected_seconds(network: Priced, items: Sequence[Item], observations: int) -> float:
    """What `items` with so many `observations` together will take among others; a guess before the warm-up.

    The items of a request differ in their observations only, so the first one stands for all.
    """
    item, prices = items[0], network.prices
    if isinstance(item, ForecastItem):
        kind: Hashable = (item.horizon, len(item.levels), item.history)
    else:
        kind = (item.trace, item.stop is None)
    of_kind = None if prices.calls else prices.of_kinds.get(kind)
    if of_kind is None:
        of_kind = prices.of_kinds[kind] = _seconds_of_kind(network, item)
    return len(items) * of_kind[0] + observations * of_kind[1]


def _seconds_of_kind(network: Priced, item: Item) -> tuple[float, float]:
    """What each item like `item` takes among others, and each of its observations besides, by the latest calls too."""
    prices, readout, times = network.prices, 1.0, 1
    prices.correct()
    if isinstance(item, ForecastItem):
        answers_each = item.history
        horizon = horizon_for(item.horizon, network.max_horizon)
        readout = steps_with_levels(horizon, levels_for(len(item.levels)))
    else:
        answers_each = item.trace or item.stop is not None
        times = 1 if item.stop is None else 2  # it is read again, up to the row at which it stops
    price, chunk = (prices.stepwise, STEPWISE_CHUNK) if answers_each else (prices.step, CHUNK)
    return times * price.share(1, 0) + prices.readout.share(1, readout), times * price.share(1 / chunk, 1)
