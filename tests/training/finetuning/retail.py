"""Daily sales of shops as tests need them: weekly and yearly seasons, trends, promotions, counts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from service.contract.types import Floats

FIRST_DAY = dt.date(2023, 1, 2)


def shops(count: int, days: int, seed: int = 0) -> list[Floats]:
    """`count` series of `days` values."""
    rng = np.random.default_rng(seed)
    series = []
    t = np.arange(days)
    for _ in range(count):
        base = np.exp(rng.normal(4, 0.8))
        week = np.exp(rng.normal(0, 0.25, 7)) * np.array([1, 1, 1, 1, 1, 1.4, 1.4])
        year = 1 + 0.25 * np.sin(2 * np.pi * (t / 365.25 + rng.random()))
        trend = np.exp(rng.normal(0, 0.3) * t / days)
        promotion = np.where(rng.random(days) < 0.04, 1 + rng.random(days), 1)
        mean = base * week[t % 7] * year * trend * promotion * np.exp(0.1 * rng.normal(size=days))
        series.append(rng.poisson(mean).astype(np.float64))
    return series


def write_csv(path: Path, series: list[Floats]) -> Path:
    """A long table: date, shop, sales."""
    lines = ["date,shop,sales"]
    for number, values in enumerate(series):
        lines += [f"{FIRST_DAY + dt.timedelta(days=day)},shop {number},{value:.0f}" for day, value in enumerate(values)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
