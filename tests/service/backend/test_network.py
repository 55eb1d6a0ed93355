"""What passes over batches share."""

from __future__ import annotations

import numpy as np

from service.backend.network import partition
from service.contract.types import ForecastItem


def test_items_of_equal_key_are_together_and_in_order() -> None:
    items = [ForecastItem(np.ones(1), horizon, np.array([0.5])) for horizon in (3, 1, 3, 2, 1)]
    assert partition(items, lambda item: item.horizon) == [[0, 2], [1, 4], [3]]
    assert partition([], lambda item: item) == []
