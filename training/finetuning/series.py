"""Series of files that people have, read as `ritmo forecast` reads them, and cut by time into parts.

The end of every series is held back, newest part last: values to learn from, windows that choose between weights,
windows that the interval factors are fitted on, windows that score. No value of a later part is in an earlier one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from service.codec.query import decode_query
from service.codec.tables import parquet
from service.codec.tables.codec import TEXT_OPTIONS, options_decoder
from service.codec.tables.reader import Limits, read_csv, read_table
from service.codec.tables.types import Table
from service.codec.timeline import comes_back
from service.contract.errors import InvalidRequest
from service.contract.types import Floats
from training.data.real_series import SeriesFile

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
MAX_LENGTH = 10_000_000  # values of one series, gaps included
SHORTEST = 12  # values of a series that anything can be learnt from
SHARE_HELD_BACK = 0.45  # of a series, at most
# Season -> steps that are usually planned ahead: four weeks of days, two days of hours, a year of months …
HORIZONS = {4: 8, 5: 20, 7: 28, 12: 12, 24: 48, 52: 26}
UNKNOWN_SEASON_HORIZON = 12


class UnusableData(ValueError):
    """The data cannot be trained on; the message says in a sentence what is missing."""


@dataclass(frozen=True)
class Collection:
    """Series by name, with the season of each (1: none), and what was noticed when they were read."""

    names: list[str]
    series: list[Floats]
    seasons: list[int]
    usual_seasons: list[int]  # that the times suggest, whether the series has them or not
    digest: str  # SHA-256 of the bytes of all files
    notes: list[str]

    @property
    def values(self) -> int:
        """Number of observed values."""
        return int(sum(np.isfinite(values).sum() for values in self.series))

    @property
    def season(self) -> int:
        """The most frequent season."""
        return Counter(self.seasons).most_common(1)[0][0]

    @property
    def usual_season(self) -> int:
        """The most frequent one of the seasons that the times suggest."""
        return Counter(self.usual_seasons).most_common(1)[0][0]


@dataclass(frozen=True)
class Parts:
    """The collection four times: `training` up to its first held-back value, the others with their windows."""

    training: SeriesFile
    validation: SeriesFile
    calibration: SeriesFile
    test: SeriesFile
    horizon: int


def files_in(path: Path) -> list[Path]:
    """The file, or the tables in the folder and the folders in it; raises `UnusableData` where there is none."""
    if not path.exists():
        raise UnusableData(f"{path} does not exist")
    if path.is_file():
        return [path]
    tables = sorted(entry for entry in path.rglob("*") if entry.suffix.lower() in SUFFIXES and entry.is_file())
    if not tables:
        raise UnusableData(f"{path} holds no table: its name would end in {', '.join(SUFFIXES)}")
    return tables


def read_collection(path: Path, options: dict[str, Any], season_length: int | None = None) -> Collection:
    """All series in a file or folder, with `options` as in the query of `POST /forecast`; raises `UnusableData`."""
    names: list[str] = []
    series: list[Floats] = []
    seasons: list[int] = []
    usual: list[int] = []
    notes: list[str] = []
    digest = hashlib.sha256()
    files = files_in(path)
    for file in files:
        content = file.read_bytes()
        try:
            table = _table(file, content, options)
        except UnusableData as error:
            if len(files) == 1 or file.suffix.lower() != ".txt":
                raise
            notes.append(f"{error}: left out")  # a text among tables is more often about them than one of them
            continue
        digest.update(content)
        notes += [f"{file.name}: {_for_the_command_line(note)}" for note in table.reading.notes]
        stem = file.stem if len(files) > 1 else ""
        for index, (entry, suggested) in enumerate(zip(table.inputs, table.seasons, strict=True), start=1):
            values = _without_ends(np.array(entry.target, np.float64))
            label = entry.item_id or (str(index) if len(table.inputs) > 1 else "")
            names.append(" / ".join(part for part in (stem, label) if part) or file.stem)
            series.append(values)
            usual.append(season_length or suggested)
            seasons.append(season_length or (suggested if is_seasonal(values, suggested) else 1))
    return _usable(Collection(names, series, seasons, usual, digest.hexdigest(), notes))


def is_seasonal(values: Floats, season: int) -> bool:
    """Whether values are nearer to those one `season` earlier than to those before them, or a part of a season before.

    The second holds for a season of many steps, whose neighbours are always near.
    """
    if comes_back(values, season):
        return True
    if season < 4 or len(values) < 2 * season + 1:
        return False

    def mean_change(lag: int) -> float:
        change = np.abs(values[lag:] - values[:-lag])
        return float(np.nanmean(change)) if np.isfinite(change).any() else 0.0

    return mean_change(season) < 0.8 * max(mean_change(season // part) for part in (2, 3, 4))


def _table(file: Path, content: bytes, options: dict[str, Any]) -> Table:
    if not content.strip():
        raise UnusableData(f"{file} is empty")
    try:
        parsed = decode_query(urlencode(options).encode(), options_decoder, TEXT_OPTIONS)
        if content[:4] == b"PAR1":
            return read_table(parquet.read_rows(content), parsed, Limits(MAX_LENGTH), "parquet")
        return read_csv(content, parsed, Limits(MAX_LENGTH))
    except InvalidRequest as error:
        details = [fault.detail for fault in error.errors[:3]] or [error.detail]
        raise UnusableData(f"{file}: {_for_the_command_line('; '.join(details))}") from error


def _for_the_command_line(text: str) -> str:
    """A sentence of the reader of tables with its options as one types them: `--value` for `value=`."""
    return re.sub(r"\b(value|id|time|freq|delimiter|decimal|header|date_order)= ?", _as_option, text)


def _as_option(match: re.Match[str]) -> str:
    return f"--{match[1].replace('_', '-')} "


def _without_ends(values: Floats) -> Floats:
    """`values` from the first to the last observed one."""
    observed = np.flatnonzero(np.isfinite(values))
    return values[observed[0] : observed[-1] + 1] if len(observed) else values[:0]


def _usable(collection: Collection) -> Collection:
    """The collection without series that nothing can be learnt from; raises `UnusableData` where none is left."""
    lengths = [int(np.isfinite(values).sum()) for values in collection.series]
    short = [name for name, length in zip(collection.names, lengths, strict=True) if length < SHORTEST]
    if len(short) == len(lengths):
        longest = max(lengths, default=0)
        raise UnusableData(f"too few values: the longest series has {longest}, and one needs {SHORTEST} or more")
    constant = [
        name
        for name, values in zip(collection.names, collection.series, strict=True)
        if name not in short and np.nanmin(values) == np.nanmax(values)
    ]
    if len(short) + len(constant) == len(lengths):
        raise UnusableData("every series is constant: there is nothing to learn, and any model forecasts them exactly")
    notes = [
        f"{len(left_out)} series {reason} left out: {_listed(left_out)}"
        for left_out, reason in ((short, f"with fewer than {SHORTEST} values"), (constant, "that never change"))
        if left_out
    ]
    left_out = {*short, *constant}
    usable = [index for index, name in enumerate(collection.names) if name not in left_out]
    seasons = Counter(collection.usual_seasons[index] for index in usable)
    if len(seasons) > 1:
        kinds = ", ".join(f"{count} with a season of {season}" for season, count in seasons.most_common(4))
        notes.append(f"series of different frequencies were trained together: {kinds} (1: none)")
    return replace(
        collection,
        names=[collection.names[index] for index in usable],
        series=[collection.series[index] for index in usable],
        seasons=[collection.seasons[index] for index in usable],
        usual_seasons=[collection.usual_seasons[index] for index in usable],
        notes=[*collection.notes, *notes],
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def usual_horizon(collection: Collection) -> int:
    """Steps ahead that are planned where none are stated: by the season, less where the series are short."""
    season = collection.usual_season
    horizon = HORIZONS.get(season, min(max(season, UNKNOWN_SEASON_HORIZON), 96))
    typical = float(np.median([len(values) for values in collection.series]))
    return max(1, min(horizon, int(SHARE_HELD_BACK * typical / 3)))


def split(collection: Collection, horizon: int) -> Parts:
    """The parts of the collection; raises `UnusableData` where no series is long enough for a window of each."""
    counts = [window_counts(len(values), horizon) for values in collection.series]
    if not any(counts):
        longest = max(map(len, collection.series))
        need = int(np.ceil(3 * horizon / SHARE_HELD_BACK))
        raise UnusableData(
            f"too few values for {horizon} steps ahead: the longest series has {longest}, and one needs {need} or "
            f"more; a smaller --horizon needs fewer"
        )
    cuts: list[list[tuple[int, int]]] = [[], [], []]
    ends = []
    for index, (values, of_parts) in enumerate(zip(collection.series, counts, strict=True)):
        position = len(values) - horizon * sum(of_parts)
        ends.append(position)
        for part, count in zip(cuts, of_parts, strict=False):
            part += [(index, position + horizon * number) for number in range(count)]
            position += horizon * count

    def part_of(name: str, series: list[Floats], items: list[tuple[int, int]]) -> SeriesFile:
        size = len(collection.series)
        return SeriesFile(
            name, collection.digest, series, collection.seasons, collection.seasons, [horizon] * size, items
        )

    learnt = [np.append(v[:end], np.full(horizon, np.nan)) for v, end in zip(collection.series, ends, strict=True)]
    validation, calibration, test = (
        part_of(name, collection.series, _with_truth(collection.series, items, horizon))
        for name, items in zip(("validation", "calibration", "test"), cuts, strict=True)
    )
    return Parts(part_of("training", learnt, []), validation, calibration, test, horizon)


def _with_truth(series: Sequence[Floats], items: list[tuple[int, int]], horizon: int) -> list[tuple[int, int]]:
    """The windows whose context and future hold an observed value."""
    return [
        (index, cut)
        for index, cut in items
        if np.isfinite(series[index][:cut]).any() and np.isfinite(series[index][cut : cut + horizon]).any()
    ]


def window_counts(length: int, horizon: int) -> tuple[int, ...]:
    """How many windows of a series choose, calibrate and score; nothing where there is no room for one of each."""
    total = int(SHARE_HELD_BACK * length / horizon)
    if total < 3:
        return ()
    return ((1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2), (2, 2, 3))[min(total, 7) - 3]
