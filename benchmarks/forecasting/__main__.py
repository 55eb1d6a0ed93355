"""`python -m benchmarks.forecasting`: this service and statsforecast's methods on the same windows.

Writes benchmarks/results/forecasting.csv (a row for each part, file and method), forecasting-horizons.csv (coverage by
steps ahead), forecasting.md, forecasting.png and forecasting-coverage.png. The peers' rows are taken from the committed
file where the windows and the peers' release are the same, unless `--measure-peers`; that takes about six minutes of
CPU time, most of it AutoARIMA's and AutoETS'. Their forecasts are stored under build/bench/forecasting, window by
window, so that an interrupted run goes on. Peers without stored forecasts have no coverage by steps ahead.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.forecasting import baseline, check, picture, report, service_client, statistical, windows
from benchmarks.forecasting.interval_files import interval_files
from benchmarks.forecasting.reuse import committed_row
from benchmarks.forecasting.rows import ALL, BASE, SAMPLE, SEASON_UNKNOWN, HorizonRow, Row
from benchmarks.forecasting.scoring import Forecasts, coverage_by_steps, score
from benchmarks.forecasting.service_client import Service, running_service
from benchmarks.forecasting.windows import Part
from benchmarks.serving import environments
from benchmarks.serving.contestants import ROOT
from training.data import real_series
from training.data.real_series import SeriesFile

RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = statistical.STORE / "results"
Result = tuple[Row, list[HorizonRow]]


def main() -> int:
    options = _options()
    files = _files(options.files)
    results: Path = options.output or (RESULTS if tuple(options.files) == windows.FILES else SCRATCH)
    if not options.pages:
        _measure(files, options, results)
    rows = table.read(results / "forecasting.csv", Row)
    horizons = table.read(results / "forecasting-horizons.csv", HorizonRow)
    agreement = check.summary([windows.sample(file) for file in files], options.peers) if options.peers else ""
    report.write(rows, horizons, results / "forecasting.md", agreement)
    picture.draw(rows, results / "forecasting.png")
    picture.draw_coverage(rows, results / "forecasting-coverage.png")
    print(f"\n{(results / 'forecasting.md').read_text()}")
    return 0


def _measure(files: Sequence[SeriesFile], options: argparse.Namespace, results: Path) -> None:
    """Write all rows to `results`."""
    shared: dict[str, Any] = table.circumstances(f"python -m benchmarks.forecasting {shlex.join(sys.argv[1:])}".strip())
    committed = [] if options.measure_peers else table.read(RESULTS / "forecasting.csv", Row)
    rows: list[Row] = []
    horizons: list[HorizonRow] = []
    for row, by_steps in _results(files, options, committed):
        rows.append(row if row.date else replace(row, **shared))
        horizons += by_steps
        _show(row)
        table.write(results / "forecasting.csv", Row, rows)  # after each, so that an interrupted run is not lost
        table.write(results / "forecasting-horizons.csv", HorizonRow, horizons)


def _files(names: Sequence[str]) -> list[SeriesFile]:
    """The files of these names that exist; SystemExit where there is none."""
    paths = [real_series.folder() / f"{name}.npz" for name in names]
    for path in paths:
        if not path.exists():
            print(f"{path.name} is absent and left out: see docs/series.md", file=sys.stderr)
    files = [real_series.read(path) for path in paths if path.exists()]
    if not files:
        raise SystemExit("none of the files exists: `python -m training series` says more")
    return files


def _results(files: Sequence[SeriesFile], options: argparse.Namespace, committed: Sequence[Row]) -> Iterator[Result]:
    bases: dict[str, Row] = {}
    for file in files:
        for name, part in ((SAMPLE, windows.sample(file)), (ALL, windows.all_windows(file))):
            result = _result(name, part, BASE, baseline.seasonal_naive(part.windows))
            bases[part.key] = result[0]
            yield result
    if options.model:
        with running_service(options.models, options.model[0]) as service:
            for model in options.model:
                for file in files:
                    yield from _own_results(service, model, file, options)
    for method in options.peers:
        for file in files:
            part = windows.sample(file)
            yield _peer(method, part, committed_row(committed, method, part, bases[part.key], statistical.RELEASE))


def _own_results(service: Service, model: str, file: SeriesFile, options: argparse.Namespace) -> Iterator[Result]:
    """The results of a model of this project on the sample and on all windows of a file."""
    manifest = service.manifest(model)
    name = f"{manifest.name}@{manifest.version}"
    extra: dict[str, Any] = {
        "parameters": manifest.training.parameters,
        "interval_files": ", ".join(interval_files(options.models, manifest)),
        "versions": environments.versions(sys.executable, ("torch", "numpy")),
    }
    sample = windows.sample(file)
    batched, single = service.timing(name, sample, service_client.BATCH), service.timing(name, sample, 1)
    quantiles = service.forecast(name, sample).quantiles
    forecasts = Forecasts(quantiles, batched.cpu, single.cpu, batched.wall, single.wall)
    yield _result(SAMPLE, sample, name, forecasts, **extra)
    every_window = windows.all_windows(file)
    yield _result(ALL, every_window, name, service.forecast(name, every_window), **extra)
    if options.season_unknown:
        forecasts = service.forecast(name, sample, season_known=False)
        yield _result(SAMPLE, sample, f"{name}, {SEASON_UNKNOWN}", forecasts, **extra)


def _peer(method: str, part: Part, committed: Row | None) -> Result:
    """The results of a peer: its committed row where there is one, else from its forecasts."""
    if committed is None:
        versions = environments.versions(environments.python(statistical.ENVIRONMENT), statistical.PACKAGES)
        return _result(SAMPLE, part, method, statistical.forecast(method, part), versions=versions)
    row = replace(committed, windows_key=part.key)
    stored = statistical.is_stored(method, part)
    return row, _horizons(SAMPLE, part, method, statistical.forecast(method, part)) if stored else []


def _result(name: str, part: Part, method: str, forecasts: Forecasts, **extra: Any) -> Result:
    scores: dict[str, Any] = asdict(score(part.windows, forecasts.quantiles))
    costs = {k: getattr(forecasts, k) for k in ("seconds", "seconds_alone", "wall", "wall_alone", "replaced")}
    fields = {**scores, **costs, "windows_key": part.key, **extra}
    row = Row(name, part.file, method, len(part.windows), part.max_context, **fields)
    return row, _horizons(name, part, method, forecasts)


def _horizons(name: str, part: Part, method: str, forecasts: Forecasts) -> list[HorizonRow]:
    coverages = coverage_by_steps(part.windows, forecasts.quantiles)
    return [HorizonRow(name, part.file, method, **asdict(coverage)) for coverage in coverages]


def _show(row: Row) -> None:
    coverage = "" if row.coverage80 is None else f"  80 %: {row.coverage80:.3f}  95 %: {row.coverage95:.3f}"
    cost = "" if row.seconds is None else f"  {1000 * row.seconds:9.2f} ms"
    print(
        f"{row.part:<6} {row.file:<23} {row.method:<22} {row.windows:>4}  MASE {row.mase:6.3f}  one step "
        f"{row.mase_one_step:6.3f}  WQL {row.wql:.4f}{coverage}{cost}{'  (committed)' if row.date else ''}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasting", description=__doc__)
    parser.add_argument("--model", nargs="*", default=["forecaster"], help="NAME[@VERSION] …; none: the peers alone")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="the folder they are in [models/]")
    parser.add_argument("--season-unknown", action="store_true", help="our models also without stating the season")
    parser.add_argument("--peers", nargs="*", choices=statistical.METHODS, default=list(statistical.METHODS))
    parser.add_argument("--measure-peers", action="store_true", help="the peers anew, not from their committed rows")
    parser.add_argument("--pages", action="store_true", help="no measurement: page and pictures from the rows")
    parser.add_argument("--files", nargs="+", default=list(windows.FILES), help="[the held-out ones and two of M4]")
    parser.add_argument(
        "--output", type=Path, help="a folder [benchmarks/results; with --files build/bench/forecasting/results]"
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
