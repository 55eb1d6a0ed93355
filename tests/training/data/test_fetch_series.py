"""training.data.fetch_series: public files fetched, checked, converted; a mirror; missing files are listed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.data import fetch_series as series
from training.__main__ import main
from training.data.real_series import read

HOURLY_TRAIN = '"V1","V2","V3","V4"\n"H1",605,586,586\n"H2",3,4,\n'
HOURLY_TEST = '"V1","V2","V3"\n"H2",7,8\n"H1",1.5,2\n'
CHANNELS = "date,LOAD,OIL\n2016-07-01 00:00:00,5.5,2\n2016-07-01 01:00:00,6.5,-3\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def small(mirror: tuple[Path, str]) -> dict[str, series.Source]:
    """The two kinds of sources with small files, which are served."""
    folder, _ = mirror
    m4 = {"Train/H.csv": HOURLY_TRAIN, "Test/H.csv": HOURLY_TEST}
    sources = {
        "m4_hourly": replace(series.SOURCES["m4_hourly"], files={k: _digest(v) for k, v in m4.items()}, horizon=2),
        "etth1": replace(series.SOURCES["etth1"], files={"E.csv": _digest(CHANNELS)}, horizon=1),
    }
    for source, texts in ((sources["m4_hourly"], m4), (sources["etth1"], {"E.csv": CHANNELS})):
        for name, text in texts.items():
            path = folder / source.at / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return sources


def test_public_files_become_files_of_the_collection(
    small: dict[str, series.Source], mirror: tuple[Path, str], tmp_path: Path
) -> None:
    paths = series.fetch(tmp_path / "forecasting", mirror[1], small)
    assert [path.name for path in paths] == ["m4_hourly.npz", "etth1.npz"]
    hourly, channels = (read(path) for path in paths)
    # A series' test part follows its own training part in any order of the rows, and empty cells are no values.
    assert [values.tolist() for values in hourly.series] == [[605, 586, 586, 1.5, 2], [3, 4, 7, 8]]
    assert [w.future.tolist() for w in hourly.windows()] == [[1.5, 2], [7, 8]]
    assert (hourly.seasons, hourly.lags) == ([24, 24], [24, 24])
    assert [values.tolist() for values in channels.series] == [[5.5, 6.5], [2, -3]]
    assert channels.items == [(0, 1), (1, 1)]
    assert series.fetch(tmp_path / "forecasting", "http://127.0.0.1:9/", small) == []  # nothing is fetched twice


def test_other_bytes_are_refused_and_leave_nothing(
    small: dict[str, series.Source], mirror: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = mirror
    (folder / small["m4_hourly"].at / "Test/H.csv").write_text(HOURLY_TEST.replace("8", "9"))
    with pytest.raises(series.DamagedSeries, match=r"H\.csv"):
        series.fetch(tmp_path / "forecasting", address, small)
    assert not (tmp_path / "forecasting").exists()


def test_an_address_that_does_not_have_it_is_named(mirror: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"Train/Hourly-train\.csv does not answer"):
        series.fetch(tmp_path, mirror[1])


def test_a_mirror_is_checked_file_by_file(mirror: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = mirror
    for name in ("a.npz", "b.npz"):
        (folder / name).write_bytes(name.encode())
    listed = tmp_path / "list"
    listed.write_text(f"{_digest('a.npz')}  a.npz\n{_digest('b.npz')}  b.npz\n")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "a.npz").write_bytes(b"own")  # what is there is left alone
    assert [path.name for path in series.mirror(tmp_path / "to", address, listed)] == ["b.npz"]
    assert (tmp_path / "to" / "a.npz").read_bytes() == b"own"
    (folder / "a.npz").write_bytes(b"damaged")
    with pytest.raises(series.DamagedSeries, match=r"a\.npz"):
        series.mirror(tmp_path / "elsewhere", address, listed)


def test_the_command_lists_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "hospital.npz", y=np.zeros(3))
    main(["series", "--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "another file than the collection's" in printed
    assert printed.count("missing\n") == 44
    assert "1 of 45 files" in printed


@pytest.mark.data
def test_the_list_is_the_collections(real_data: Path) -> None:
    folder = real_data / "forecasting"
    assert series.digests() == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.npz")}
