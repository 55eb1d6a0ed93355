"""training.data.real_series: reading ragged files, keeping test parts out of training, drawing windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.real_series import HELD_OUT, Corpus, SeriesFile, read, read_all


def _write(path: Path) -> None:
    """Three series counting up from 0, 1000 and 2000, with their last 4 values as test part."""
    series = [np.arange(n, dtype=float) + base for n, base in ((40, 0), (100, 1000), (12, 2000))]
    starts = np.concatenate([[0], np.cumsum([len(s) for s in series])])
    np.savez(
        path,
        y=np.concatenate(series),
        start=starts,
        season=np.array([4, 12, 1]),
        m=np.array([4, 12, 1]),
        h=np.array([4, 4, 4]),
        item_series=np.array([0, 1, 1, 2]),
        item_cut=np.array([36, 90, 96, 8]),
    )


@pytest.fixture
def file(tmp_path: Path) -> SeriesFile:
    _write(tmp_path / "counting.npz")
    return read(tmp_path / "counting.npz")


def test_windows_are_what_the_file_says(file: SeriesFile) -> None:
    assert file.name == "counting"
    window = file.windows()[1]
    assert window.context[-1] == 1089
    assert window.future.tolist() == [1090, 1091, 1092, 1093]
    assert (window.season, window.lag) == (12, 12)


def test_training_ends_before_the_first_test_window(file: SeriesFile) -> None:
    assert [part[-1] for part in file.training_part()] == [35, 1089, 2007]


def test_a_file_backwards_ends_where_its_series_began(file: SeriesFile) -> None:
    windows = file.backwards().windows()
    assert [window.future.tolist() for window in windows[:2]] == [[3, 2, 1, 0], [1003, 1002, 1001, 1000]]
    assert windows[0].context[0] == 39
    assert (windows[1].season, windows[1].lag) == (12, 12)
    long = SeriesFile("long", "", [np.arange(900.0)], [1], [1], [4], []).backwards()
    assert [cut for _, cut in long.items] == [900 - 4 * turn for turn in range(1, 11)]


def test_drawn_windows_are_stretches_of_the_training_parts(file: SeriesFile) -> None:
    corpus = Corpus([file], torch.device("cpu"))
    values, season = corpus.draw(500, 30, torch.Generator().manual_seed(0))
    ends = {0: 35.0, 1: 1089.0, 2: 2007.0}
    strides = set()
    for row, row_season in zip(values, season.tolist(), strict=True):
        window = row[torch.isfinite(row)]
        assert torch.isnan(row[len(window) :]).all()  # padded behind its end only
        steps = window.diff().unique()
        assert len(steps) <= 1
        series = int(window[0]) // 1000
        assert window[-1] <= ends[series]
        stride = int(steps[0]) if len(steps) else 1
        strides.add(stride)
        full = (4, 12, 1)[series]
        assert row_season in {1 if full == 1 else 0, full // stride if full % stride == 0 else 0}
    assert strides >= {1, 2}


def test_every_value_can_be_the_last_of_a_window(file: SeriesFile) -> None:
    corpus = Corpus([file], torch.device("cpu"))
    values, _ = corpus.draw(4000, 30, torch.Generator().manual_seed(1))
    last = torch.where(torch.isfinite(values), values, -1).max(1)[0]
    second = last[(last >= 1000) & (last < 2000)]
    assert set(range(1060, 1090)) <= set(second.int().tolist())


@pytest.mark.data
def test_the_collection_is_as_its_readme_says(real_data: Path) -> None:
    files = read_all(real_data / "forecasting")
    assert len(files) == 45
    assert sum(len(f.series) for f in files) == 10_490
    assert set(HELD_OUT) <= {f.name for f in files}
    assert all(np.isfinite(part).any() for f in files for part in f.training_part())
