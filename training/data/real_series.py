"""Real series for training and validation: reading, splitting and drawing windows.

Every series ends with a test part that training never reads (the last `h` values before which its evaluation window is
cut). `HELD_OUT` names whole files that training never reads either; validation scores are measured on these.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.arrays import Floats
from training.folders import cache_folder, data_folder

# Chosen for variety of sampling step, length and field before the first run, and the same ones ever since.
HELD_OUT = (
    "ansett_weekly",
    "aus_retail_monthly",
    "bike_sharing_daily",
    "hospital",
    "ipi_eu_monthly",
    "jewelry_weekly",
    "m1_quarterly",
    "nngc1_transport",
    "nyc_weather_hourly",
    "server_kpi",
    "sfo_passengers_monthly",
    "uk_grid_halfhourly",
)


def is_for_validation(name: str) -> bool:
    """Whether nothing is scored on a file in the end: its windows choose between networks and fit interval factors."""
    return name not in HELD_OUT and not name.startswith("m4_")


@dataclass(frozen=True)
class Window:
    """One evaluation window: forecast `future` (h,) from `context` (n,); `lag` is that of the MASE denominator."""

    context: Floats
    future: Floats
    season: int
    lag: int


@dataclass(frozen=True)
class SeriesFile:
    """One file of the collection."""

    name: str
    digest: str  # SHA-256 of the file
    series: list[Floats]
    seasons: list[int]
    lags: list[int]
    horizons: list[int]
    items: list[tuple[int, int]]  # (series, cut) of every evaluation window

    def training_part(self) -> list[Floats]:
        """Every series up to its first evaluation window."""
        cuts = [len(s) - h for s, h in zip(self.series, self.horizons, strict=True)]
        for index, cut in self.items:
            cuts[index] = min(cuts[index], cut)
        return [s[:cut] for s, cut in zip(self.series, cuts, strict=True)]

    def windows(self) -> list[Window]:
        """The evaluation windows."""
        return [
            Window(self.series[k][:cut], self.series[k][cut : cut + self.horizons[k]], self.seasons[k], self.lags[k])
            for k, cut in self.items
        ]

    def backwards(self) -> SeriesFile:
        """The file with time reversed and up to ten windows at the new end of each series.

        Training never reads a series backwards, so that these are as new to a network as series from elsewhere.
        """
        series = [s[::-1].copy() for s in self.series]
        cuts = [
            (k, len(values) - turn * h)
            for k, (values, h) in enumerate(zip(series, self.horizons, strict=True))
            for turn in range(1, 1 + max(1, min(10, len(values) // (20 * h))))
        ]
        return replace(self, series=series, items=cuts)


def folder() -> Path:
    """The folder of the collection: the data folder's, else the cache that `python -m training series` fills.

    FileNotFoundError says how to provide one.
    """
    shared = data_folder()
    candidates = [root / "forecasting" for root in (shared, cache_folder()) if root is not None]
    collection = next((path for path in candidates if any(path.glob("*.npz"))), None)
    if collection is None:
        raise FileNotFoundError(
            "no real series here: set RITMO_DATA to a folder that contains forecasting/*.npz (docs/series.md), fetch "
            "three files with `python -m training series --fetch`, or train on the synthetic priors alone with --real 0"
        )
    return collection


def read(path: Path) -> SeriesFile:
    """Read one `.npz` file of ragged series."""
    with np.load(path, allow_pickle=False) as archive:
        z = {key: archive[key] for key in archive.files}  # an archive unpacks an array at every access
    y = z["y"].astype(np.float64)
    series = [y[a:b] for a, b in pairwise(z["start"])]
    count = len(series)

    def per_series(key: str) -> list[int]:
        return [int(v) for v in np.broadcast_to(z[key], count)]

    items = [(int(k), int(c)) for k, c in zip(z["item_series"], z["item_cut"], strict=True)]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return SeriesFile(path.stem, digest, series, per_series("season"), per_series("m"), per_series("h"), items)


def read_all(where: Path | None = None) -> list[SeriesFile]:
    """All files of the collection, by name."""
    return [read(path) for path in sorted((folder() if where is None else where).glob("*.npz"))]


class Corpus:
    """All training parts on one device, drawn from as windows.

    A file is drawn in proportion to the square root of its number of values, a series within it likewise.
    """

    def __init__(self, files: list[SeriesFile], device: torch.device) -> None:
        parts: list[Floats] = []
        weights: list[float] = []
        seasons: list[int] = []
        for file in files:
            usable = [(p, s) for p, s in zip(file.training_part(), file.seasons, strict=True) if len(p) >= 8]
            roots = np.sqrt([len(p) for p, _ in usable])
            share = np.sqrt(sum(len(p) for p, _ in usable)) / max(roots.sum(), 1e-9)
            parts += [p for p, _ in usable]
            seasons += [s for _, s in usable]
            weights += list(roots * share)
        lengths = np.array([len(p) for p in parts])
        self.device = device
        self.values = torch.from_numpy(np.concatenate(parts)).to(device)
        self.lengths = torch.from_numpy(lengths).to(device)
        self.starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]])).to(device)
        self.seasons = torch.tensor(seasons, device=device)
        self.cumulative = torch.from_numpy(np.cumsum(weights) / np.sum(weights)).to(device)

    def draw(self, count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` windows of up to `length` values, cut at random: values (count, length) float64, season (count,).

        A shorter window is padded behind its end with NaN. One window in six is thinned out to every second to fourth
        value, its season with it where that divides; season 0 says that there is none to state.
        """
        uniform = torch.rand(count, 4, device=self.device, generator=generator, dtype=torch.float64)
        chosen = torch.searchsorted(self.cumulative, uniform[:, 0].contiguous()).clamp(max=len(self.lengths) - 1)
        total, start, season = self.lengths[chosen], self.starts[chosen], self.seasons[chosen]
        stride = torch.where(uniform[:, 1] < 1 / 6, 2 + (3 * uniform[:, 2]).long(), 1)
        stride = torch.where(total >= 24 * stride, stride, 1)
        # The end is uniform over the series' second part or, where the series is longer than a window, over all ends
        # of half a window or more: late values of a series are drawn as often as early ones.
        first_end = torch.minimum(total // 2, torch.full_like(total, length) * stride // 2)
        end = first_end + (uniform[:, 3] * (total - first_end)).long()
        end = torch.where(uniform[:, 1] > 0.6, torch.maximum(end, torch.minimum(length * stride, total - 1)), end)
        end = end.clamp(max=total - 1)
        available = (end // stride + 1).clamp(max=length)
        column = torch.arange(length, device=self.device)[None, :]
        index = end[:, None] - (available[:, None] - 1 - column) * stride[:, None]
        values = self.values[start[:, None] + index.clamp(min=0).minimum(end[:, None])]
        values = values.masked_fill(column >= available[:, None], float("nan"))
        divides = (season % stride == 0) & (season > 1)
        return values, torch.where(divides, season // stride, torch.where(season == 1, 1, 0))
