"""training.evaluation.sine_errors: the last value's errors, by hand, and their ratio to the smallest possible ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data.sine_mixture import BAYES_ERRORS
from training.evaluation import sine_errors
from training.networks.tutorials import Naive


@pytest.mark.usefixtures("few_series")
def test_errors_of_the_last_value_by_hand() -> None:
    series = sine_errors.validation_series(201)
    errors = sine_errors.sine_errors(Naive(), torch.device("cpu"), series)
    assert list(errors) == [20, 50, 200]
    for n, error in errors.items():
        assert error == pytest.approx(np.mean((series[:, n] - series[:, n - 1]) ** 2))


def test_columns_are_ratios_to_the_smallest_possible_error() -> None:
    assert sine_errors.over_bayes({50: 2 * BAYES_ERRORS[50, 1]}) == {"sines50": pytest.approx(2)}
