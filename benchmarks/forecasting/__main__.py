"""`python -m benchmarks.forecasting`: this service and statsforecast's methods on the same windows, side by side.

Writes benchmarks/results/forecasting.csv (a row for each part, file and method), forecasting.md, forecasting.png and
forecasting-coverage.png. The peers' answers are kept under build/bench/forecasting, window by window: an interrupted
run goes on, and another version of our model is scored without computing theirs again. The first run of all peers takes
about six minutes of CPU time, most of it AutoARIMA's and AutoETS'.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.forecasting.answers import Answers, naive, score

from benchmarks import table
from benchmarks.forecasting import check, ours, picture, report, statistical, windows
from benchmarks.forecasting.rows import ALL, NAIVE, NAIVE_SEASON, SAMPLE, UNTOLD, Row
from benchmarks.forecasting.windows import Part
from benchmarks.serving import environments
from benchmarks.serving.contestants import ROOT
from service.contract.manifest import Manifest
from training.data import real_series
from training.data.real_series import SeriesFile

RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = statistical.KEPT / "results"


def main() -> int:
    options = _options()
    files = _files(options.files)
    shared: dict[str, Any] = table.circumstances(f"python -m benchmarks.forecasting {shlex.join(sys.argv[1:])}".strip())
    results: Path = options.output or (RESULTS if tuple(options.files) == windows.FILES else SCRATCH)
    found: list[Row] = []
    for row in _all(files, options):
        found.append(replace(row, **shared))
        _show(row)
        table.write(results / "forecasting.csv", Row, found)  # after each, so that an interrupted run is not lost
    agreement = check.summary([windows.sample(file) for file in files], options.peers) if options.peers else ""
    report.write(found, results / "forecasting.md", agreement)
    picture.draw(found, results / "forecasting.png")
    picture.draw_coverage(found, results / "forecasting-coverage.png")
    print(f"\n{(results / 'forecasting.md').read_text()}")
    return 0


def _files(names: Sequence[str]) -> list[SeriesFile]:
    """Those of the files that are here; SystemExit where none is."""
    paths = [real_series.folder() / f"{name}.npz" for name in names]
    for path in paths:
        if not path.exists():
            print(f"{path.name} is not here and left out: see docs/series.md", file=sys.stderr)
    found = [real_series.read(path) for path in paths if path.exists()]
    if not found:
        raise SystemExit("none of the files is here: `python -m training series` says more")
    return found


def _all(files: Sequence[SeriesFile], options: argparse.Namespace) -> Iterator[Row]:
    for file in files:
        for part, chosen in ((SAMPLE, windows.sample(file)), (ALL, windows.everything(file))):
            for name, lag in ((NAIVE, True), (NAIVE_SEASON, False)):
                yield _row(part, chosen, name, naive(chosen.windows, lag=lag))
    if options.model:
        with ours.service(options.models, options.model[0]) as service:
            for model in options.model:
                manifest = service.contract.manifest(model)
                for file in files:
                    yield from _ours(service, manifest, file)
                    if options.untold:
                        yield _untold(service, manifest, file)
    if options.peers:
        yield from _peers(files, options.peers)


def _ours(service: ours.Service, manifest: Manifest, file: SeriesFile) -> Iterator[Row]:
    name, size = f"{manifest.name}@{manifest.version}", manifest.training.parameters
    versions = environments.versions(sys.executable, ("torch", "numpy"))
    part = windows.sample(file)
    together, alone = service.timed(name, part, ours.BATCH), service.timed(name, part, 1)
    answers = service.answer(name, part)
    costs = Answers(answers.quantiles, together.cpu, alone.cpu, together.wall, alone.wall)
    yield replace(_row(SAMPLE, part, name, costs, versions), parameters=size)
    part = windows.everything(file)
    yield replace(_row(ALL, part, name, service.answer(name, part), versions), parameters=size)


def _untold(service: ours.Service, manifest: Manifest, file: SeriesFile) -> Row:
    """The same where the model has to find the season by itself."""
    name, part = f"{manifest.name}@{manifest.version}", windows.sample(file)
    row = _row(SAMPLE, part, f"{name}, {UNTOLD}", service.answer(name, part, told=False))
    return replace(row, parameters=manifest.training.parameters)


def _peers(files: Sequence[SeriesFile], methods: Sequence[str]) -> Iterator[Row]:
    versions = environments.versions(environments.python(statistical.ENVIRONMENT), statistical.PACKAGES)
    for method in methods:
        for file in files:
            part = windows.sample(file)
            yield _row(SAMPLE, part, method, statistical.answer(method, part), versions)


def _row(part: str, chosen: Part, method: str, answers: Answers, versions: str = "") -> Row:
    scores: dict[str, Any] = asdict(score(chosen.windows, answers.quantiles))
    if method in (NAIVE, NAIVE_SEASON):
        scores |= {"coverage80": None, "coverage95": None}  # a point is no interval
    costs = {k: getattr(answers, k) for k in ("seconds", "seconds_alone", "wall", "wall_alone", "replaced")}
    return Row(part, chosen.file, method, len(chosen.windows), chosen.longest, **scores, **costs, versions=versions)


def _show(row: Row) -> None:
    covered = "" if row.coverage80 is None else f"  80 %: {row.coverage80:.3f}  95 %: {row.coverage95:.3f}"
    took = "" if row.seconds is None else f"  {1000 * row.seconds:9.2f} ms"
    print(
        f"{row.part:<6} {row.file:<23} {row.method:<22} {row.windows:>4}  MASE {row.mase:6.3f}  one step "
        f"{row.mase_one_step:6.3f}  WQL {row.wql:.4f}{covered}{took}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasting", description=__doc__)
    parser.add_argument("--model", nargs="*", default=["forecaster"], help="NAME[@VERSION] …; none: the peers alone")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="the folder they are in [models/]")
    parser.add_argument("--untold", action="store_true", help="ask our model a second time, without the season")
    parser.add_argument("--peers", nargs="*", choices=statistical.METHODS, default=list(statistical.METHODS))
    parser.add_argument("--files", nargs="+", default=list(windows.FILES), help="[the held-out ones and two of M4]")
    parser.add_argument(
        "--output", type=Path, help="a folder [benchmarks/results; with --files build/bench/forecasting/results]"
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
