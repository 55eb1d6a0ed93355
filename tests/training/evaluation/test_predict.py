"""training.evaluation.predict: contexts of different lengths are one batch, each as if alone."""

from __future__ import annotations

import numpy as np

from training.evaluation.backtest import LEVELS
from training.evaluation.predict import predict_quantiles, predictor
from training.networks.tutorials import Naive


def test_contexts_of_different_lengths_are_forecast_as_if_alone() -> None:
    contexts = [np.array([1.0, 4.0]), np.array([2.0, 2.0, 3.0, 7.0, 9.0])]
    quantiles = predict_quantiles(Naive(), contexts, [0, 0], 3, (0.25, 0.5))
    assert quantiles.shape == (2, 3, 2)
    assert quantiles[:, 0, 1].tolist() == [4.0, 9.0]
    for context, rows in zip(contexts, quantiles, strict=True):
        np.testing.assert_allclose(predict_quantiles(Naive(), [context], [0], 3, (0.25, 0.5))[0], rows)


def test_a_predictor_has_the_levels_of_the_backtest() -> None:
    assert predictor(Naive())([np.array([1.0, 4.0])], [1], 2).shape == (1, 2, len(LEVELS))
