from __future__ import annotations

import numpy as np
import pytest

from service.backend.probabilities import probabilities_of, rows_until, unsoundness

LOGARITHMS = np.log(np.array([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.9, 0.05, 0.05]], np.float32))


def test_probabilities_sum_to_one() -> None:
    probabilities = probabilities_of(LOGARITHMS)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(probabilities, np.exp(LOGARITHMS), rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (np.nan, "its reading is not finite"),
        (800.0, "its reading is not finite"),
        (0.0, "its probabilities sum to 1.5"),
    ],
)
def test_what_is_no_logarithm_of_a_probability_is_named(wrong: float, what: str) -> None:
    logarithms = LOGARITHMS.copy()
    logarithms[0, 0] = wrong
    probabilities = probabilities_of(logarithms)
    assert np.isnan(probabilities[0]).all()
    assert np.isfinite(probabilities[1:]).all()
    assert what in unsoundness(logarithms)


@pytest.mark.parametrize(("confidence", "count"), [(None, 3), (0.4, 1), (0.75, 2), (0.99, 3)])
def test_rows_are_used_up_to_the_first_that_is_sure(confidence: float | None, count: int) -> None:
    assert rows_until(LOGARITHMS, confidence) == count
