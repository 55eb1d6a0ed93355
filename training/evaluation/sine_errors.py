"""Errors on fresh sine mixtures while a forecaster is trained, relative to the smallest possible ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from service.contract.types import Floats
from training.data.sine_mixture import BAYES_ERRORS, sine_mixture

CONTEXTS = tuple(n for n, ahead in BAYES_ERRORS if ahead == 1)  # 20, 50, 200 values read before the forecast one
SERIES = 2000
SEED = 987_654_321


def validation_series(n_steps: int) -> Floats:
    """Mixtures (2000, n_steps) for validation; neither training nor the evaluation of exported models has them."""
    return sine_mixture(SERIES, n_steps, np.random.default_rng(SEED))


def sine_errors(module: Any, device: torch.device, series: Floats) -> dict[int, float]:
    """Mean squared error of the next value (the forecast's mean) after n = 20, 50, 200 values; series (N, > 200)."""
    errors = {}
    levels = torch.full((len(series), 1), 0.5, dtype=torch.float64, device=device)
    for n in CONTEXTS:
        values = torch.from_numpy(np.ascontiguousarray(series[:, :n])).to(device)
        lengths = torch.full((len(series),), n, device=device)
        with torch.no_grad():
            state = module.step(values, lengths, module.initial(torch.zeros_like(lengths)))
            mean = module.forecast(state, 1, levels)[:, 0, 0].cpu().numpy()
        errors[n] = float(np.mean((mean - series[:, n]) ** 2))
    return errors


def over_bayes(errors: dict[int, float]) -> dict[str, float]:
    """Errors of the next value by n, as columns `sines<n>` of a fit's curves: ratios to the smallest possible error."""
    return {f"sines{n}": error / BAYES_ERRORS[n, 1] for n, error in errors.items()}
