"""From rows to the figures that the table and the picture show: geometric means over files, relative to a naive one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.forecasting.rows import NAIVE, NAIVE_SEASON, SAMPLE, Row
from training.data.real_series import HELD_OUT

Value = Callable[[Row], float | None]
NARROW, WIDE = 0.76, 0.84  # an 80 % interval that covers between these is called right


@dataclass(frozen=True)
class Summary:
    """One method over several files; `mase`, `wql`, `one_step` relative to the naive forecast at the lag of MASE."""

    method: str
    files: int
    mase: float
    wql: float
    one_step: float
    mase_to_season: float  # relative to the naive forecast at the season instead
    wql_to_season: float
    smape: float
    covered80: float | None
    right80: int  # files whose coverage of the 80 % interval is 76..84 %
    covered95: float | None
    seconds: float | None  # CPU time for one series, mean over files
    seconds_alone: float | None
    replaced: int
    parameters: int | None


def ours(method: str) -> bool:
    """Whether a method is a model of this project: `name@version`."""
    return "@" in method


def methods(rows: Sequence[Row]) -> list[str]:
    """This project's models first, then the others as they come, the naive forecasts last."""
    names = dict.fromkeys(row.method for row in rows)
    return sorted(names, key=lambda name: (not ours(name), name in (NAIVE, NAIVE_SEASON)))


def held_out(rows: Sequence[Row], part: str = SAMPLE) -> list[Row]:
    """Rows of files that no training of ours has seen; where there are none, of all files."""
    here = [row for row in rows if row.part == part]
    return [row for row in here if row.file in HELD_OUT] or here


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """One for each method, over the files that every method has; `rows` are of one part."""
    by_method = {name: {row.file: row for row in rows if row.method == name} for name in methods(rows)}
    common = set.intersection(*(set(found) for found in by_method.values()))
    return [_summary(name, found, by_method, sorted(common)) for name, found in by_method.items()]


def _summary(name: str, found: dict[str, Row], by_method: dict[str, dict[str, Row]], files: Sequence[str]) -> Summary:
    chosen = [found[file] for file in files]
    lag = [by_method[NAIVE][file] for file in files]
    season = [by_method[NAIVE_SEASON][file] for file in files]
    covered = [row.coverage80 for row in chosen if row.coverage80 is not None]
    return Summary(
        name,
        len(files),
        mase=_ratio(chosen, lag, lambda row: row.mase),
        wql=_ratio(chosen, lag, lambda row: row.wql),
        one_step=_ratio(chosen, lag, lambda row: row.mase_one_step),
        mase_to_season=_ratio(chosen, season, lambda row: row.mase),
        wql_to_season=_ratio(chosen, season, lambda row: row.wql),
        smape=statistics.fmean(row.smape for row in chosen),
        covered80=_mean(chosen, lambda row: row.coverage80),
        right80=sum(NARROW <= share <= WIDE for share in covered),
        covered95=_mean(chosen, lambda row: row.coverage95),
        seconds=_mean(chosen, lambda row: row.seconds),
        seconds_alone=_mean(chosen, lambda row: row.seconds_alone),
        replaced=sum(row.replaced or 0 for row in chosen),
        parameters=chosen[0].parameters,
    )


def _ratio(rows: Sequence[Row], references: Sequence[Row], value: Value) -> float:
    """Geometric mean of the ratios."""
    pairs = [(value(row), value(reference)) for row, reference in zip(rows, references, strict=True)]
    return statistics.geometric_mean(a / b for a, b in pairs if a is not None and b)


def _mean(rows: Sequence[Row], value: Value) -> float | None:
    found = [number for row in rows if (number := value(row)) is not None]
    return statistics.fmean(found) if found else None
