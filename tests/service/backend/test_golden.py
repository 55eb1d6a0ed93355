"""Reading and comparing golden samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from service.backend import golden
from service.contract.errors import BrokenModel
from service.contract.manifest import GOLDEN_FILE, read_manifest
from service.contract.types import DigitItem, DigitResult, ForecastItem, ForecastResult, Result
from tests.models import LSTMDigits, RunningMean, write_model


@pytest.fixture(scope="module")
def mean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models"), "mean", RunningMean())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models"), "digits", LSTMDigits())


def sample(folder: Path) -> golden.Sample:
    return golden.read(folder, read_manifest(folder))


def forecasts(read: golden.Sample) -> list[Result]:
    """The outputs in the file, as results."""
    arrays = read.arrays
    results: list[Result] = []
    for row, length in enumerate(arrays["lengths"].tolist()):
        forecast = arrays["forecast"][row]
        history = arrays["history"][row, :length]
        results.append(ForecastResult(forecast[:, 0], forecast[:, 1:].T, history, 1, arrays["state"][row]))
    return results


def readings(read: golden.Sample) -> list[Result]:
    arrays = read.arrays
    return [
        DigitResult(np.exp(arrays["log_probabilities"][row]), np.exp(arrays["trace"][row, :n]), n, arrays["state"][row])
        for row, n in enumerate(arrays["lengths"].tolist())
    ]


def test_a_forecaster_s_sample(mean: Path) -> None:
    read = sample(mean)
    items = [item for item in read.items if isinstance(item, ForecastItem)]
    assert [item.length for item in items] == [1, 7, 30, 12]
    assert all(item.history and item.horizon == 5 for item in items)
    assert not any(item.history for item in read.plain_items if isinstance(item, ForecastItem))
    read.compare(forecasts(read), forecasts(read))


def test_a_digit_reader_s_sample(digits: Path) -> None:
    read = sample(digits)
    items = [item for item in read.items if isinstance(item, DigitItem)]
    assert [item.length for item in items] == [1, 28, 5, 19]
    assert all(item.trace for item in items)
    assert not any(item.trace for item in read.plain_items if isinstance(item, DigitItem))
    read.compare(readings(read), readings(read))


@pytest.mark.parametrize("field", ["mean", "quantiles", "history", "state"])
@pytest.mark.parametrize("plain", [False, True])
def test_a_forecast_that_differs_is_refused(mean: Path, field: str, plain: bool) -> None:
    read = sample(mean)
    results = forecasts(read)
    wrong = forecasts(read)
    assert isinstance(wrong[2], ForecastResult)
    wrong[2] = replace(wrong[2], **{field: getattr(wrong[2], field) * 1.001})
    with pytest.raises(BrokenModel, match=r"golden sample 2: .* differs from what training recorded by up to \d"):
        read.compare(*((results, wrong) if plain else (wrong, results)))


@pytest.mark.parametrize("field", ["probabilities", "trace", "state"])
def test_a_reading_that_differs_is_refused(digits: Path, field: str) -> None:
    read = sample(digits)
    wrong = readings(read)
    assert isinstance(wrong[1], DigitResult)
    wrong[1] = replace(wrong[1], **{field: getattr(wrong[1], field) + 0.01})
    with pytest.raises(BrokenModel, match="golden sample 1"):
        read.compare(wrong, readings(read))


def test_nan_is_equal_to_nan_only(mean: Path) -> None:
    read = sample(mean)
    wrong = forecasts(read)
    first = wrong[0]
    assert isinstance(first, ForecastResult)
    wrong[0] = replace(first, mean=np.full_like(first.mean, np.nan))
    with pytest.raises(BrokenModel, match="differs"):
        read.compare(wrong, forecasts(read))


def test_a_shape_that_differs_is_refused(mean: Path) -> None:
    read = sample(mean)
    wrong = forecasts(read)
    first = wrong[0]
    assert isinstance(first, ForecastResult)
    wrong[0] = replace(first, state=first.state[:-1])
    with pytest.raises(BrokenModel, match="shape"):
        read.compare(wrong, forecasts(read))


def rewrite(folder: Path, **arrays: Any) -> None:
    """Another golden file, which the manifest vouches for."""
    np.savez(folder / GOLDEN_FILE, **arrays)
    vouch(folder)


def vouch(folder: Path) -> None:
    manifest = read_manifest(folder)
    digest = hashlib.sha256((folder / GOLDEN_FILE).read_bytes()).hexdigest()
    manifest.model_copy(update={"golden": manifest.golden.model_copy(update={"sha256": digest})}).write(folder)


def no_archive(folder: Path) -> None:
    (folder / GOLDEN_FILE).write_bytes(b"no archive")
    vouch(folder)


def truncated(folder: Path) -> None:
    path = folder / GOLDEN_FILE
    path.write_bytes(path.read_bytes()[:-40])
    vouch(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / GOLDEN_FILE).unlink(), "does not exist"),
        (lambda folder: (folder / GOLDEN_FILE).write_bytes(b"other"), "is not what the manifest describes"),
        (no_archive, "is not a golden sample"),
        (truncated, "is not a golden sample"),
        (lambda folder: rewrite(folder, values=np.zeros((4, 3))), "is not a golden sample"),
        (lambda folder: rewrite(folder, values=np.array([object()])), "is not a golden sample"),
    ],
)
def test_a_spoilt_file_is_a_broken_model(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = write_model(tmp_path, "mean", RunningMean())
    spoil(folder)
    with pytest.raises(BrokenModel, match=message):
        sample(folder)
