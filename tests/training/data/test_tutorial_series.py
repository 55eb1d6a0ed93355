"""training.data.tutorial_series: a fixed data set in three disjoint splits."""

from __future__ import annotations

import numpy as np

from training.data.tutorial_series import tutorial_series


def test_the_data_set_is_seeded_and_its_splits_do_not_overlap() -> None:
    data = tutorial_series()
    assert (len(data.train), len(data.validation), len(data.test)) == (7000, 2000, 1000)
    joined = np.concatenate([data.train, data.validation, data.test])
    assert len(np.unique(joined[:, 0])) == 10_000
    tutorial_series.cache_clear()
    np.testing.assert_array_equal(tutorial_series().test, data.test)
    assert tutorial_series() is tutorial_series()
