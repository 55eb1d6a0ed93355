"""Quantile forecasts of a forecaster's module, eager or scripted, after contexts of any lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from service.contract.types import Floats
from training.evaluation import backtest

CPU = torch.device("cpu")


def predict_quantiles(
    module: Any,
    contexts: Sequence[Floats],
    seasons: Sequence[int],
    horizon: int,
    levels: Sequence[float],
    device: torch.device = CPU,
) -> Floats:
    """Quantiles (N, horizon, len(levels)) after N contexts; a season of 0 is one that is not stated."""
    longest = max(len(context) for context in contexts)
    values = np.zeros((len(contexts), longest))
    for row, context in zip(values, contexts, strict=True):
        row[: len(context)] = context
    lengths = torch.tensor([len(context) for context in contexts], device=device)
    level_rows = torch.tensor(levels, dtype=torch.float64, device=device).expand(len(contexts), -1)
    with torch.no_grad():
        fresh = module.initial(torch.tensor(seasons, device=device))
        state = module.step(torch.from_numpy(values).to(device), lengths, fresh)
        return np.asarray(module.forecast(state, horizon, level_rows)[:, :, 1:].cpu().numpy())


def predictor(module: Any, device: torch.device = CPU) -> backtest.Predict:
    """`module` as the function that `backtest.score_file` scores."""

    def predict(contexts: Sequence[Floats], seasons: Sequence[int], horizon: int) -> Floats:
        return predict_quantiles(module, contexts, seasons, horizon, backtest.LEVELS, device)

    return predict
