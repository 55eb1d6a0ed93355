"""From rows to benchmarks/results/forecasting.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.forecasting.ours import BATCH

from benchmarks.forecasting import published, statistical
from benchmarks.forecasting.rows import ALL, NAIVE, SAMPLE, Row
from benchmarks.forecasting.summary import Summary, Value, held_out, methods, ours, summaries
from benchmarks.forecasting.windows import LONGEST, MOST, MOST_LONG, UNCUT
from benchmarks.table import head, line, title
from training.data.real_series import HELD_OUT

NONE = "–"


def write(rows: Sequence[Row], file: Path, agreement: str = "") -> None:
    """Write the tables of `rows`, which are all of one run; `agreement` says how the scores were checked."""
    file.write_text("\n".join(_page(rows, agreement)) + "\n", encoding="utf-8")


def _page(rows: Sequence[Row], agreement: str) -> Iterable[str]:
    one = rows[0]
    yield "# Forecasting, measured"
    yield ""
    yield f"{one.date}, {one.machine}, {one.cores} cores, commit {one.commit}: `{one.command}`."
    yield ""
    yield "![relative scores and cost](forecasting.png)"
    sample = held_out(rows)
    if sample:
        yield from title(f"Side by side on held-out files, {len({row.file for row in sample})} files")
        yield _SAMPLE_NOTE
        yield ""
        yield from _summary_table(summaries(sample))
    everywhere = [row for row in rows if row.part == SAMPLE]
    if len(everywhere) > len(sample):
        yield from title("The same with the two groups of M4, whose pasts (not their test parts) were trained on")
        yield from _summary_table(summaries(everywhere))
    yield from _published()
    yield from _official(rows)
    for what, value in _TABLES:
        yield from title(f"{what}, sample")
        yield from _by_file(everywhere, value)
    yield from title("Coverage of the 80 % / 95 % interval in percent, sample")
    yield from _coverage_by_file(everywhere)
    yield "![coverage by file](forecasting-coverage.png)"
    yield from _all_windows(rows)
    yield from _how(agreement)
    yield from _versions(rows)


_SAMPLE_NOTE = (
    f"The same windows for all methods: an even spread of up to {MOST} of a file ({MOST_LONG} where the season is "
    f"longer than 12), the last {LONGEST} values of each context. All are told the season length, but for a line of "
    "ours that says so. MASE, WQL and one-step MASE (the first step of each window) are geometric means over files, "
    "relative to the naive forecast at the lag of the MASE denominator, as published tables are; the columns *to "
    "season* are relative to the naive forecast one season back, which is weak on weekly series and server metrics. "
    f"Time is CPU time for one series: of the service, asked over HTTP with {BATCH} series a request and with one; of "
    "the peers, fit and forecast, one series after another. *Replaced*: windows on which a method failed or took more "
    f"than {statistical.LIMIT} s; the seasonal naive forecast stands in."
)
_TABLES: tuple[tuple[str, Value], ...] = (
    ("MASE", lambda row: row.mase),
    ("One-step MASE", lambda row: row.mase_one_step),
    ("sMAPE", lambda row: row.smape),
    ("WQL", lambda row: row.wql),
    ("CPU milliseconds for one series", lambda row: None if row.seconds is None else 1000 * row.seconds),
)


def _summary_table(found: Sequence[Summary]) -> Iterable[str]:
    yield from head(
        ["", "MASE", "WQL", "one-step MASE", "MASE to season", "WQL to season", "mean sMAPE", "80 % covers",
         "files at 76..84 %", "95 % covers", "ms a series", "ms alone", "times ours", "replaced"]
    )  # fmt: skip
    mine = next((one.seconds for one in found if ours(one.method) and one.seconds), None)
    for one in sorted(found, key=lambda one: one.mase):
        name = f"**{one.method}**" if ours(one.method) else one.method
        ratios = [one.mase, one.wql, one.one_step, one.mase_to_season, one.wql_to_season]
        right = NONE if one.covered80 is None else f"{one.right80} of {one.files}"
        costs = [_number(None if s is None else 1000 * s) for s in (one.seconds, one.seconds_alone)]
        costs.append(_number(one.seconds / mine if one.seconds and mine else None))
        yield line(
            [name, *(f"{x:.3f}" for x in ratios), f"{one.smape:.1f}", _percent(one.covered80), right,
             _percent(one.covered95), *costs, str(one.replaced)]
        )  # fmt: skip


def _published() -> Iterable[str]:
    yield from title("Published by others, not measured here")
    yield "Relative to seasonal naive on the sets of the named benchmark, which are not the files above."
    yield published.SOURCES
    yield ""
    yield from head(["", "parameters", "MASE", "WQL", "benchmark"])
    for one in published.RELATIVE:
        yield line([one.name, one.parameters, f"{one.mase:.3f}", f"{one.wql:.3f}", one.benchmark])


def _official(rows: Sequence[Row]) -> Iterable[str]:
    """MASE over all windows of the official test parts, published figures beside the measured ones."""
    whole = [row for row in rows if row.part == ALL and row.file in published.OFFICIAL]
    if not whole:
        return
    yield from title(f"MASE on whole official test parts, contexts of up to {UNCUT} values")
    files = [name for name in published.OFFICIAL if any(row.file == name for row in whole)]
    yield from head(["", *files, "figure"])
    for name in [name for name in methods(whole) if ours(name) or name == NAIVE]:
        cells = [_cell(whole, name, file, lambda row: row.mase) for file in files]
        yield line([f"**{name}**" if ours(name) else name, *cells, "measured here"])
    for name in dict.fromkeys(name for found in published.OFFICIAL.values() for name in found):
        cells = [f"{x:.3f}" if (x := published.OFFICIAL[file].get(name)) else NONE for file in files]
        yield line([name, *cells, "published"])


def _by_file(rows: Sequence[Row], value: Value) -> Iterable[str]:
    names = [name for name in methods(rows) if any(value(row) is not None for row in rows if row.method == name)]
    yield from head(["file", "windows", *names])
    for file in dict.fromkeys(row.file for row in rows):
        windows = next(row.windows for row in rows if row.file == file)
        yield line([file, str(windows), *(_cell(rows, name, file, value) for name in names)])


def _coverage_by_file(rows: Sequence[Row]) -> Iterable[str]:
    names = [name for name in methods(rows) if any(row.coverage80 is not None for row in rows if row.method == name)]
    yield from head(["file", *names])
    for file in dict.fromkeys(row.file for row in rows):
        yield line([file, *(_both(rows, name, file) for name in names)])
    yield ""


def _all_windows(rows: Sequence[Row]) -> Iterable[str]:
    """Every window of every file, this project's models only."""
    whole = [row for row in rows if row.part == ALL]
    for name in [name for name in methods(whole) if ours(name)]:
        yield from title(f"{name} on all windows, contexts of up to {UNCUT} values")
        yield from head(["file", "windows", "MASE", "relative", "sMAPE", "WQL", "relative", "80 % / 95 % covers"])
        for row in [row for row in whole if row.method == name]:
            reference = next(r for r in whole if r.method == NAIVE and r.file == row.file)
            seen = "" if row.file in HELD_OUT else " (past trained on)"
            relative = row.mase / reference.mase, row.wql / reference.wql
            yield line(
                [row.file + seen, str(row.windows), f"{row.mase:.3f}", f"{relative[0]:.3f}", f"{row.smape:.2f}",
                 f"{row.wql:.4f}", f"{relative[1]:.3f}", _both(whole, name, row.file)]
            )  # fmt: skip
        over = next(one for one in summaries(held_out(whole, ALL)) if one.method == name)
        right = f"{over.right80} of {over.files} at 76..84 %"
        yield line(["held-out files", "", "", f"{over.mase:.3f}", f"{over.smape:.2f}", "", f"{over.wql:.3f}", right])


def _how(agreement: str) -> Iterable[str]:
    yield from title("How")
    yield (
        "Missing values go to this service as they are; for the peers, which take none, the value one season before "
        "stands in, else a straight line. AutoARIMA approximates where R's `auto.arima` does by default (more than 150 "
        "values or a season over 12) and leaves out seasons over 48, as AutoETS does those over 24. WQL is over the "
        "levels 0.1, 0.2, … 0.9; that of a naive forecast takes its number for every level, as published tables do, "
        "while `SeasonalNaive` has statsforecast's intervals. MASE divides by the mean change over the whole past, not "
        f"over the part that the methods saw. {agreement}"
    )


def _versions(rows: Sequence[Row]) -> Iterable[str]:
    yield from title("Versions")
    for name, versions in dict.fromkeys((row.method, row.versions) for row in rows if row.versions):
        yield f"- {name}: {versions}"


# --- cells -----------------------------------------------------------------------------------------------------------


def _find(rows: Sequence[Row], method: str, file: str) -> Row | None:
    return next((row for row in rows if row.method == method and row.file == file), None)


def _cell(rows: Sequence[Row], method: str, file: str, value: Value) -> str:
    row = _find(rows, method, file)
    return NONE if row is None else _number(value(row))


def _both(rows: Sequence[Row], method: str, file: str) -> str:
    row = _find(rows, method, file)
    return NONE if row is None else f"{_percent(row.coverage80)} / {_percent(row.coverage95)}"


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"


def _number(number: float | None) -> str:
    if number is None:
        return NONE
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 20 else f"{number:.3f}"
