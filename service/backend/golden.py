"""The golden sample: inputs and the outputs that training recorded for them, replayed at every load.

`forecast`: `values` (B, T) with NaN for missing, `lengths`, `season` (B,), `levels` (B, Q), `horizon` (), and recorded
`state` (B, S), `forecast` (B, H, 1 + Q), `history` (B, T, 1 + Q). `classify-digit`: `rows` (B, T, 28), `lengths`, and
recorded `state` (B, S), `log_probabilities` (B, classes), `trace` (B, T, classes). Padding is not compared.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from service.contract.errors import BrokenModel
from service.contract.files import MAX_GOLDEN_BYTES, check_archive, read_verified
from service.contract.manifest import GOLDEN_FILE, Golden, Manifest
from service.contract.types import DigitItem, ForecastItem, ForecastResult, Item, Result

Arrays = dict[str, NDArray[Any]]
FORECAST = ("values", "lengths", "season", "levels", "horizon", "state", "forecast", "history")
DIGIT = ("rows", "lengths", "state", "log_probabilities", "trace")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The items of a golden file and the results recorded for them."""

    items: Sequence[Item]  # with history, or with the trace
    arrays: Arrays
    tolerance: Golden

    @property
    def plain_items(self) -> list[Item]:
        """The same items without history or trace: other methods of the network answer them."""
        return [
            replace(item, history=False) if isinstance(item, ForecastItem) else replace(item, trace=False)
            for item in self.items
        ]

    def compare(self, full: Sequence[Result], plain: Sequence[Result]) -> None:
        """Raises `BrokenModel` where the results of `items` or `plain_items` are not the recorded ones."""
        for row, result in enumerate(full):
            self._compare(row, result)
        for row, result in enumerate(plain):
            self._compare(row, result)

    def _compare(self, row: int, result: Result) -> None:
        length = int(self.arrays["lengths"][row])
        self._compare_arrays("state", row, result.state, self.arrays["state"][row])
        if isinstance(result, ForecastResult):
            forecast = np.vstack((result.mean, result.quantiles))
            self._compare_arrays("forecast", row, forecast, self.arrays["forecast"][row].T)
            if result.history is not None:
                self._compare_arrays("history", row, result.history, self.arrays["history"][row, :length])
        else:
            probabilities = np.exp(self.arrays["log_probabilities"][row])
            self._compare_arrays("probabilities", row, result.probabilities, probabilities)
            if result.trace is not None:
                self._compare_arrays("trace", row, result.trace, np.exp(self.arrays["trace"][row, :length]))

    def _compare_arrays(self, name: str, row: int, result: NDArray[Any], recorded: NDArray[Any]) -> None:
        rtol, atol = self.tolerance.rtol, self.tolerance.atol
        if result.shape != recorded.shape:
            raise BrokenModel(f"golden sample {row}: {name} has shape {result.shape}, recorded was {recorded.shape}")
        if not np.allclose(result, recorded, rtol=rtol, atol=atol, equal_nan=True):
            differences = np.abs(result - recorded)
            worst = np.nanmax(differences) if np.isfinite(differences).any() else np.nan
            raise BrokenModel(
                f"golden sample {row}: {name} differs from what training recorded by up to {worst:.3g} "
                f"(allowed: {atol:g} + {rtol:g} of the value)"
            )


def read(folder: Path, manifest: Manifest) -> Sample:
    """The golden sample in `folder`; raises `BrokenModel` when it is absent, incomplete or not the manifest's."""
    path = folder / GOLDEN_FILE
    data = read_verified(path, MAX_GOLDEN_BYTES, manifest.golden.sha256)
    check_archive(path, data, MAX_GOLDEN_BYTES)
    names = FORECAST if manifest.task == "forecast" else DIGIT
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names}
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BrokenModel(f"{path} is not a golden sample of task {manifest.task!r}: {error}") from error
    items = _forecast_items(arrays) if manifest.task == "forecast" else _digit_items(arrays)
    return Sample(items, arrays, manifest.golden)


def _forecast_items(arrays: Arrays) -> list[Item]:
    horizon = int(arrays["horizon"])
    return [
        ForecastItem(values[:length], horizon, levels, int(season), history=True)
        for values, length, levels, season in zip(
            arrays["values"], arrays["lengths"], arrays["levels"], arrays["season"], strict=True
        )
    ]


def _digit_items(arrays: Arrays) -> list[Item]:
    return [DigitItem(rows[:n], trace=True) for rows, n in zip(arrays["rows"], arrays["lengths"], strict=True)]
