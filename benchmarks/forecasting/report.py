"""From rows to benchmarks/results/forecasting.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.forecasting import published, statistical
from benchmarks.forecasting.rows import ALL, BASE, SAMPLE, SEASON_UNKNOWN, HorizonRow, Row
from benchmarks.forecasting.scoring import STEP_BUCKETS
from benchmarks.forecasting.service_client import BATCH
from benchmarks.forecasting.summary import Summary, Value, held_out, is_own, methods, step_coverage, summaries
from benchmarks.forecasting.windows import FULL_CONTEXT, SAMPLE_CONTEXT, SAMPLE_WINDOWS, SAMPLE_WINDOWS_LONG_SEASON
from benchmarks.table import head, line, provenance, title
from training.data.real_series import HELD_OUT

EMPTY = "–"


def write(rows: Sequence[Row], horizons: Sequence[HorizonRow], file: Path, agreement: str = "") -> None:
    """Write the tables; `agreement` says how the scores were checked by other implementations."""
    file.write_text("\n".join(_page(rows, horizons, agreement)) + "\n", encoding="utf-8")


def _page(rows: Sequence[Row], horizons: Sequence[HorizonRow], agreement: str) -> Iterable[str]:
    yield "# Forecasting, measured"
    yield ""
    yield from _provenance(rows)
    yield ""
    yield "![relative scores and cost](forecasting.png)"
    sample = held_out(rows)
    yield from _in_short(rows)
    yield from _interval_files(rows)
    if sample:
        yield from title(f"Side by side on held-out files, {len({row.file for row in sample})} files")
        yield _SAMPLE_NOTE
        yield ""
        yield from _summary_table(summaries(sample))
    every_file = [row for row in rows if row.part == SAMPLE]
    if len(every_file) > len(sample):
        yield from title("The same with the two groups of M4, whose pasts (not their test parts) were trained on")
        yield from _summary_table(summaries(every_file))
    yield from _coverage_by_step(horizons, {row.file for row in sample})
    yield from _published()
    yield from _official(rows)
    for name, value in _TABLES:
        yield from title(f"{name}, sample")
        yield from _by_file(every_file, value)
    yield from title("Coverage of the 80 % / 95 % interval in percent, sample")
    yield from _coverage_by_file(every_file)
    yield "![coverage by file](forecasting-coverage.png)"
    yield from _all_windows(rows)
    yield from _method_notes(agreement)
    yield from _versions(rows)


_SAMPLE_NOTE = (
    f"The same windows for all methods: an even spread of up to {SAMPLE_WINDOWS} of a file "
    f"({SAMPLE_WINDOWS_LONG_SEASON} where the season is longer than 12), the last {SAMPLE_CONTEXT} values of each "
    f"context. The season length is known to all, but for the row *{SEASON_UNKNOWN}*. MASE, WQL and one-step MASE (the "
    "first step of each window) are geometric means over files, relative to the base: the seasonal naive forecast with "
    "its own intervals, its season being the lag of the MASE denominator, as in GIFT-Eval and the Chronos benchmarks. "
    "statsforecast's `SeasonalNaive` in the table repeats the season that all methods get instead, which is longer on "
    f"weekly series and server metrics. Time is CPU time for one series: of the service, over HTTP with {BATCH} series "
    "a request and with one; of the peers, fit and forecast, one series after another. *Replaced*: windows on which a "
    f"method failed or took more than {statistical.LIMIT} s; the seasonal naive forecast is scored instead."
)
_TABLES: tuple[tuple[str, Value], ...] = (
    ("MASE", lambda row: row.mase),
    ("One-step MASE", lambda row: row.mase_one_step),
    ("sMAPE", lambda row: row.smape),
    ("WQL", lambda row: row.wql),
    ("CPU milliseconds for one series", lambda row: None if row.seconds is None else 1000 * row.seconds),
)


def _provenance(rows: Sequence[Row]) -> Iterable[str]:
    """A sentence for each run that rows come from, this project's first."""
    by_run: dict[str, dict[str, None]] = {}
    for name in methods(rows):
        for row in rows:
            if row.method == name:
                by_run.setdefault(provenance(row), {})[name] = None
    if len(by_run) == 1:
        yield next(iter(by_run))
    else:
        yield from (f"- {', '.join(names)}: {run}" for run, names in by_run.items())


def _in_short(rows: Sequence[Row]) -> Iterable[str]:
    """The sentences that README quotes."""
    table = summaries(held_out(rows))
    peers = [s for s in table if not is_own(s.method) and s.method != BASE]
    yield from title("In short")
    for summary in (s for s in table if is_own(s.method)):
        cost = (
            f"; CPU time of a series {_milliseconds(summary.seconds)} ({BATCH} at once), "
            f"{_milliseconds(summary.seconds_alone)} (alone)"
        )
        yield (
            f"- `{summary.method}` on {summary.files} held-out files, relative to the seasonal naive forecast with its "
            f"intervals (geometric means): MASE {summary.mase:.3f}, WQL {summary.wql:.3f}, next value "
            f"{summary.one_step:.3f}; its 80 % interval covers {_percent(summary.coverage80)} % of the values, between "
            f"76 and 84 % on {summary.calibrated80} of {summary.files} files{cost if summary.seconds else ''}."
        )
    if peers:
        best = [min(peers, key=lambda s: getattr(s, score)) for score in ("mase", "wql", "one_step")]
        nearest = min(peers, key=lambda s: abs((s.coverage80 or 0) - 0.8))
        yield (
            f"- The best of the others: MASE {best[0].mase:.3f} {best[0].method} ({_milliseconds(best[0].seconds)} a "
            f"series), WQL {best[1].wql:.3f} {best[1].method} ({_milliseconds(best[1].seconds)}), next value "
            f"{best[2].one_step:.3f} {best[2].method} ({_milliseconds(best[2].seconds)}); coverage nearest to 80 %: "
            f"{_percent(nearest.coverage80)} % {nearest.method}."
        )
    official = [row for row in rows if row.part == ALL and row.file in published.OFFICIAL and is_own(row.method)]
    for row in official:
        winner = published.OFFICIAL[row.file].get("M4 winner")
        compared = f" (the M4 winner {winner:.3f})" if winner else ""
        yield f"- `{row.method}` on the whole official test part of {row.file}: MASE {row.mase:.3f}{compared}."


def _interval_files(rows: Sequence[Row]) -> Iterable[str]:
    """On which files the interval factors of each model were fitted, with a warning where these are scored."""
    scored = dict.fromkeys(row.file for row in rows)
    model_rows = [row for row in rows if is_own(row.method) and not row.method.endswith(SEASON_UNKNOWN)]
    models = dict.fromkeys((row.method, row.interval_files) for row in model_rows)
    if not models:
        return
    yield from title("Files on which interval factors were fitted")
    for method, listed in models:
        fitted = listed.split(", ") if listed else []
        overlap = [file for file in fitted if file in scored]
        if overlap:
            yield (
                f"- **Warning: the interval factors of {method} were fitted on {len(overlap)} of the {len(scored)} "
                f"files that are scored here** ({', '.join(overlap)}), on windows like these: its coverage and WQL on "
                "these files are flattered. Its MASE is not affected."
            )
        elif fitted:
            yield f"- {method}: {', '.join(fitted)}; none of them is scored here."
        else:
            yield f"- {method}: no interval factors."


def _summary_table(table: Sequence[Summary]) -> Iterable[str]:
    yield from head(
        ["", "MASE", "WQL", "one-step MASE", "mean sMAPE", "80 % covers", "files at 76..84 %", "95 % covers",
         "ms a series", "ms alone", "ratio of time", "replaced"]
    )  # fmt: skip
    own_seconds = next((s.seconds for s in table if is_own(s.method) and s.seconds), None)
    for summary in sorted(table, key=lambda s: s.mase):
        name = f"**{summary.method}**" if is_own(summary.method) else summary.method
        relative = [summary.mase, summary.wql, summary.one_step]
        calibrated = EMPTY if summary.coverage80 is None else f"{summary.calibrated80} of {summary.files}"
        costs = [_number(None if s is None else 1000 * s) for s in (summary.seconds, summary.seconds_alone)]
        costs.append(_number(summary.seconds / own_seconds if summary.seconds and own_seconds else None))
        yield line(
            [name, *(f"{x:.3f}" for x in relative), f"{summary.smape:.1f}", _percent(summary.coverage80), calibrated,
             _percent(summary.coverage95), *costs, str(summary.replaced)]
        )  # fmt: skip


def _coverage_by_step(horizons: Sequence[HorizonRow], files: set[str]) -> Iterable[str]:
    """Mean coverage over held-out files in each range of steps ahead, for the methods with stored forecasts."""
    rows = [row for row in horizons if row.part == SAMPLE and row.file in files]
    if not rows:
        return
    buckets = [(first, last) for first, last in STEP_BUCKETS if any(row.first_step == first for row in rows)]
    yield from title("Coverage of the 80 % / 95 % interval in percent by steps ahead, held-out files, sample")
    yield from head(["", *(f"step {first}" if first == last else f"{first} to {last}" for first, last in buckets)])
    counts = [len({row.file for row in rows if row.first_step == first}) for first, _ in buckets]
    yield line(["files with such steps", *map(str, counts)])
    names = dict.fromkeys(row.method for row in rows)
    for name in sorted(names, key=lambda name: (not is_own(name), name == BASE)):
        coverages = [step_coverage(rows, name, first) for first, _ in buckets]
        yield line([name, *(EMPTY if c is None else f"{_percent(c[0])} / {_percent(c[1])}" for c in coverages)])


def _published() -> Iterable[str]:
    yield from title("Published by others, not measured here")
    yield "Relative to the same base on the sets of the named benchmark, which are not the files above."
    yield published.SOURCES
    yield ""
    yield from head(["", "parameters", "MASE", "WQL", "benchmark"])
    for entry in published.RELATIVE:
        yield line([entry.name, entry.parameters, f"{entry.mase:.3f}", f"{entry.wql:.3f}", entry.benchmark])


def _official(rows: Sequence[Row]) -> Iterable[str]:
    """MASE over all windows of the official test parts, measured and published."""
    official = [row for row in rows if row.part == ALL and row.file in published.OFFICIAL]
    if not official:
        return
    yield from title(f"MASE on whole official test parts, contexts of up to {FULL_CONTEXT} values")
    files = [name for name in published.OFFICIAL if any(row.file == name for row in official)]
    yield from head(["", *files, "figure"])
    for name in [name for name in methods(official) if is_own(name) or name == BASE]:
        cells = [_cell(official, name, file, lambda row: row.mase) for file in files]
        yield line([f"**{name}**" if is_own(name) else name, *cells, "measured here"])
    for name in dict.fromkeys(name for by_method in published.OFFICIAL.values() for name in by_method):
        cells = [f"{x:.3f}" if (x := published.OFFICIAL[file].get(name)) else EMPTY for file in files]
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
        yield line([file, *(_coverages(rows, name, file) for name in names)])
    yield ""


def _all_windows(rows: Sequence[Row]) -> Iterable[str]:
    """Every window of every file, this project's models only."""
    every_window = [row for row in rows if row.part == ALL]
    for name in [name for name in methods(every_window) if is_own(name)]:
        yield from title(f"{name} on all windows, contexts of up to {FULL_CONTEXT} values")
        yield from head(["file", "windows", "MASE", "relative", "sMAPE", "WQL", "relative", "80 % / 95 % covers"])
        for row in [row for row in every_window if row.method == name]:
            base = next(r for r in every_window if r.method == BASE and r.file == row.file)
            note = "" if row.file in HELD_OUT else " (past trained on)"
            relative = row.mase / base.mase, row.wql / base.wql
            yield line(
                [row.file + note, str(row.windows), f"{row.mase:.3f}", f"{relative[0]:.3f}", f"{row.smape:.2f}",
                 f"{row.wql:.4f}", f"{relative[1]:.3f}", _coverages(every_window, name, row.file)]
            )  # fmt: skip
        mean = next(s for s in summaries(held_out(every_window, ALL)) if s.method == name)
        calibrated = f"{mean.calibrated80} of {mean.files} at 76..84 %"
        yield line(
            ["held-out files", "", "", f"{mean.mase:.3f}", f"{mean.smape:.2f}", "", f"{mean.wql:.3f}", calibrated]
        )


def _method_notes(agreement: str) -> Iterable[str]:
    yield from title("How")
    yield (
        "Missing values go to this service as they are; for the peers, which need complete series, the value one "
        "season before replaces them, else a straight line. AutoARIMA approximates where R's `auto.arima` does by "
        "default (more than 150 values or a season over 12) and leaves out seasons over 48, as AutoETS does those over "
        "24. WQL is over the levels 0.1, 0.2, … 0.9. The base's intervals are normal, as those of statsforecast's "
        "`SeasonalNaive`: the root mean square of the past's own seasonal naive errors, times the square root of the "
        "number of seasons ahead; both these errors and the MASE denominator are taken over the whole past, not over "
        f"the part that the methods saw. {agreement}"
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
    return EMPTY if row is None else _number(value(row))


def _coverages(rows: Sequence[Row], method: str, file: str) -> str:
    row = _find(rows, method, file)
    return EMPTY if row is None else f"{_percent(row.coverage80)} / {_percent(row.coverage95)}"


def _percent(share: float | None) -> str:
    return EMPTY if share is None else f"{100 * share:.1f}"


def _milliseconds(seconds: float | None) -> str:
    return EMPTY if seconds is None else f"{_number(1000 * seconds)} ms"


def _number(number: float | None) -> str:
    if number is None:
        return EMPTY
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 20 else f"{number:.3f}"
