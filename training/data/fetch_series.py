"""`python -m training series`: which real series are here, and fetching those that have a public address.

Three of the 45 files of the collection are made from CSV files that stand at fixed addresses with fixed content: the
hourly and weekly groups of M4 and ETTh1. They are downloaded, checked by their SHA-256 and converted. The others were
converted by hand from the packages that docs/series.md lists. A machine that has them can serve the folder to others
with any web server, and these name it with `--mirror`: every file is checked against `series.sha256`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.arrays import Floats
from training.data.download import fetch as download
from training.data.download import write
from training.folders import cache_folder, data_folder

Named = list[tuple[str, Floats]]  # identifier and values of each series, the test part at its end

PUBLIC = "https://raw.githubusercontent.com/"
DIGESTS = Path(__file__).with_name("series.sha256")


class DamagedSeries(ValueError):
    """A file differs from the one that the figures of this project refer to."""


@dataclass(frozen=True)
class Source:
    """A file of the collection as its publishers have it: CSV files of one commit of a GitHub repository."""

    at: str  # owner/name/commit/folder/
    files: dict[str, str]  # path below it -> SHA-256
    read: Callable[[list[str]], Named]
    freq: str
    season: int
    lag: int  # of the MASE denominator
    horizon: int


def m4(texts: list[str]) -> Named:
    """A group of M4: a row per series in both files, its identifier first; training part and test part are joined."""
    train, test = (_rows(text)[1:] for text in texts)
    test_values = {row[0]: row[1:] for row in test}
    return [(row[0], np.array([float(x) for x in [*row[1:], *test_values[row[0]]] if x])) for row in train]


def columns(texts: list[str]) -> Named:
    """A series per column, the first column being the time."""
    head, *rows = _rows(texts[0])
    table = np.array([[float(x) for x in row[1:]] for row in rows])
    return list(zip(head[1:], table.T, strict=True))


def _rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text)) if row]


_M4 = "Mcompetitions/M4-methods/6c1067e5a57161249b17289a565178dc7a3fb3ca/Dataset/"
SOURCES = {
    "m4_hourly": Source(
        _M4,
        {
            "Train/Hourly-train.csv": "ea59b7783573c49077a835ab6465c7d66f1474783360f310988a9a737fbca62f",
            "Test/Hourly-test.csv": "71a57fccb15e534d973626ada4fb87febf789e9317715b7cc6dd3b5f90db6f42",
        },
        m4, "h", 24, 24, 48,
    ),
    "m4_weekly": Source(
        _M4,
        {
            "Train/Weekly-train.csv": "d478d3f6ed673e6ed3c2cb0fbed5425f72eedd51318ebebeb0b5ecfcefc37714",
            "Test/Weekly-test.csv": "3b2bc4be8e636e802260dcd843ca3c5da40536a1fbe1ecb3229a97dae4f44688",
        },
        m4, "W", 52, 1, 13,
    ),
    "etth1": Source(
        "zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/",
        {"ETTh1.csv": "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"},
        columns, "h", 24, 24, 240,
    ),
}  # fmt: skip


def fetch(folder: Path, base: str = PUBLIC, sources: Mapping[str, Source] = SOURCES) -> list[Path]:
    """Make the files of `sources` that `folder` lacks; returns their paths. ConnectionError names the missing file."""
    paths = []
    for name, source in sources.items():
        path = folder / f"{name}.npz"
        if path.exists():
            continue
        texts = [_download(f"{base}{source.at}{file}", digest).decode() for file, digest in source.files.items()]
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **_arrays(source.read(texts), source))
        write(path, content.getvalue())
        paths.append(path)
    return paths


def mirror(folder: Path, base: str, listed: Path = DIGESTS) -> list[Path]:
    """Fetch the `listed` files that `folder` lacks from an address that serves them; returns their paths."""
    paths = []
    for name, digest in digests(listed).items():
        path = folder / name
        if not path.exists():
            write(path, _download(f"{base.rstrip('/')}/{name}", digest))
            paths.append(path)
    return paths


def digests(listed: Path = DIGESTS) -> dict[str, str]:
    """File name -> SHA-256, of every file of the collection."""
    lines = listed.read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def _arrays(named: Named, source: Source) -> dict[str, np.ndarray[Any, Any]]:
    """The layout that docs/series.md describes."""
    lengths = np.array([len(values) for _, values in named])
    count = len(named)
    return {
        "y": np.concatenate([values for _, values in named]),
        "start": np.cumsum([0, *lengths]),
        "id": np.array([name for name, _ in named]),
        "freq": np.array([source.freq] * count),
        "season": np.full(count, source.season),
        "m": np.full(count, source.lag),
        "h": np.full(count, source.horizon),
        "item_series": np.arange(count),
        "item_cut": lengths - source.horizon,
    }


def _download(url: str, digest: str) -> bytes:
    """The bytes at `url`; ConnectionError where it does not answer, `DamagedSeries` where their SHA-256 is another."""
    content = download(url)
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        raise DamagedSeries(f"{url} is not the file that is meant: its bytes have SHA-256 {actual}")
    return content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training series`."""
    parser.add_argument("--folder", type=Path, help="default: forecasting/ of the data folder, or data/forecasting")
    parser.add_argument("--fetch", action="store_true", help="download and convert what has a public address")
    parser.add_argument("--mirror", metavar="ADDRESS", help="download the collection from a copy that you can reach")


def main(arguments: argparse.Namespace) -> None:
    """Fetch what the options name, then print which files are present and which are missing."""
    shared = data_folder()
    folder: Path = arguments.folder or (shared or cache_folder()) / "forecasting"
    if arguments.mirror:
        mirror(folder, arguments.mirror)
    if arguments.fetch:
        fetch(folder)
    state = {name: _state(folder / name, digest) for name, digest in digests().items()}
    for name, text in state.items():
        print(f"{name:<36} {text}")
    present = sum(text != "missing" for text in state.values())
    print(f"{present} of {len(state)} files in {folder}; docs/series.md says more")


def _state(path: Path, digest: str) -> str:
    if not path.exists():
        return "missing"
    if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
        return "the collection's"
    return "converted here, or another" if path.stem in SOURCES else "another file than the collection's"
