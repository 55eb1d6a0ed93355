"""service.backend.estimate: more work is expected to take longer, before the warm-up, too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from msgspec.structs import replace

from service.backend.estimate import expected_seconds
from service.backend.prices import CallPrices
from service.batching.queue import LIGHT_SECONDS, QUICK_SECONDS
from service.contract.types import DigitItem, ForecastItem


@dataclass
class Network:
    """What the estimate asks of a network."""

    max_horizon: int | None = None
    prices: CallPrices = field(default_factory=CallPrices)


SERIES = ForecastItem(np.zeros(100), 6, np.array([0.1, 0.5, 0.9]))
DIGIT = DigitItem(np.zeros((28, 28), np.float32))


def priced() -> Network:
    network = Network()
    for price, step in ((network.prices.step, 1e-6), (network.prices.stepwise, 1e-4), (network.prices.readout, 1e-5)):
        price.call, price.step = 1e-3, step
    return network


@pytest.mark.parametrize("item", [SERIES, DIGIT])
def test_before_the_warm_up_one_item_is_quick_but_not_light_and_a_thousand_are_neither(
    item: ForecastItem | DigitItem,
) -> None:
    assert LIGHT_SECONDS < expected_seconds(Network(), [item], 100) <= QUICK_SECONDS
    assert expected_seconds(Network(), [item] * 1000, 1000) > 100 * QUICK_SECONDS


@pytest.mark.parametrize(
    ("item", "costlier"),
    [
        (SERIES, replace(SERIES, history=True)),
        (SERIES, replace(SERIES, horizon=60)),
        (SERIES, replace(SERIES, levels=np.linspace(0.01, 0.99, 99))),
        (DIGIT, replace(DIGIT, trace=True)),
        (replace(DIGIT, trace=True), replace(DIGIT, trace=True, stop=0.9)),
    ],
)
def test_what_costs_more_is_expected_to(item: ForecastItem | DigitItem, costlier: ForecastItem | DigitItem) -> None:
    network = priced()
    assert expected_seconds(network, [item], 100) < expected_seconds(network, [costlier], 100)
    assert expected_seconds(network, [item], 100) < expected_seconds(network, [item, item], 200)
