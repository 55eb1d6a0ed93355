"""From rows to the figures of the table and the picture: geometric means over files, relative to the base."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.forecasting.rows import BASE, SAMPLE, HorizonRow, Row
from training.data.real_series import HELD_OUT

Value = Callable[[Row], float | None]
NARROW, WIDE = 0.76, 0.84  # coverage of an 80 % interval that counts as calibrated


@dataclass(frozen=True)
class Summary:
    """One method over several files; `mase`, `wql` and `one_step` are relative to the base."""

    method: str
    files: int
    mase: float
    wql: float
    one_step: float
    smape: float
    coverage80: float | None
    calibrated80: int  # files on which the 80 % interval covers 76..84 %
    coverage95: float | None
    seconds: float | None  # CPU time for one series, mean over files
    seconds_alone: float | None
    replaced: int
    parameters: int | None


def is_own(method: str) -> bool:
    """Whether a method is a model of this project: `name@version`."""
    return "@" in method


def methods(rows: Sequence[Row]) -> list[str]:
    """This project's models first, then the others in the order of `rows`, the base last."""
    names = dict.fromkeys(row.method for row in rows)
    return sorted(names, key=lambda name: (not is_own(name), name == BASE))


def held_out(rows: Sequence[Row], part: str = SAMPLE) -> list[Row]:
    """Rows of `part` on files held out of the fit of the weights; where there are none, on all files."""
    selected = [row for row in rows if row.part == part]
    return [row for row in selected if row.file in HELD_OUT] or selected


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """One for each method, over the files that every method has; `rows` are of one part."""
    by_method = {name: {row.file: row for row in rows if row.method == name} for name in methods(rows)}
    common = sorted(set.intersection(*(set(by_file) for by_file in by_method.values())))
    base = [by_method[BASE][file] for file in common]
    return [_summary(name, [by_file[file] for file in common], base) for name, by_file in by_method.items()]


def _summary(name: str, rows: Sequence[Row], base: Sequence[Row]) -> Summary:
    coverages = [row.coverage80 for row in rows if row.coverage80 is not None]
    return Summary(
        name,
        len(rows),
        mase=_ratio(rows, base, lambda row: row.mase),
        wql=_ratio(rows, base, lambda row: row.wql),
        one_step=_ratio(rows, base, lambda row: row.mase_one_step),
        smape=statistics.fmean(row.smape for row in rows),
        coverage80=_mean(rows, lambda row: row.coverage80),
        calibrated80=sum(NARROW <= share <= WIDE for share in coverages),
        coverage95=_mean(rows, lambda row: row.coverage95),
        seconds=_mean(rows, lambda row: row.seconds),
        seconds_alone=_mean(rows, lambda row: row.seconds_alone),
        replaced=sum(row.replaced or 0 for row in rows),
        parameters=rows[0].parameters,
    )


def step_coverage(rows: Sequence[HorizonRow], method: str, first_step: int) -> tuple[float, float] | None:
    """Mean coverage of the 80 % and the 95 % interval over the files that have steps in the bucket, each file alike."""
    selected = [row for row in rows if row.method == method and row.first_step == first_step]
    if not selected:
        return None
    return statistics.fmean(r.coverage80 for r in selected), statistics.fmean(r.coverage95 for r in selected)


def _ratio(rows: Sequence[Row], references: Sequence[Row], value: Value) -> float:
    """Geometric mean of the ratios."""
    pairs = [(value(row), value(reference)) for row, reference in zip(rows, references, strict=True)]
    return statistics.geometric_mean(a / b for a, b in pairs if a is not None and b)


def _mean(rows: Sequence[Row], value: Value) -> float | None:
    numbers = [number for row in rows if (number := value(row)) is not None]
    return statistics.fmean(numbers) if numbers else None
