"""`ritmo train forecaster FILE --name shops`: tune the shipped forecaster to one's own series, keep what is better."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from service.backend.model import load
from service.contract.errors import BrokenModel
from training.evaluation import plots
from training.finetuning import report
from training.finetuning.forecaster import Candidate, Config, best, candidates, score, tune
from training.finetuning.options import (
    add_common_options,
    announce,
    check_name,
    folder_of,
    report_folder,
    run_fit,
    say,
)
from training.finetuning.series import Collection, Parts, UnusableData, read_collection, split, usual_horizon
from training.fit.export import reload
from training.fit.loop import Curves
from training.fit.options import add_config_options, changed_fields
from training.fit.record import Record, command_line, device_name, identity, parameters
from training.forecaster.export import write_folder
from training.forecaster.train import read_version
from training.networks.forecaster import MAX_HORIZON, Forecaster

DEFAULT_NAME = "forecaster"  # the name that answers where a request names no model
TABLE_OPTIONS = ("id", "time", "value", "delimiter", "decimal", "date_order", "freq")
DRY_STEPS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `ritmo train forecaster`."""
    parser.add_argument("file", type=Path, help="CSV, Parquet, or a folder of these; columns are found by looking")
    add_common_options(parser)
    parser.add_argument("--horizon", type=int, help="steps ahead that matter (default: by the season of the series)")
    parser.add_argument("--season-length", type=int, help="observations per season (default: by the times)")
    for name in TABLE_OPTIONS:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, help="how to read the file, as of `ritmo forecast`")
    parser.add_argument("--header", choices=("true", "false"), help="whether the first row has names")
    parser.add_argument(
        "--start", default=DEFAULT_NAME, help="name or name@version of the forecaster to tune (default: %(default)s)"
    )
    add_config_options(parser, Config())


def main(arguments: argparse.Namespace) -> None:
    """Read, backtest, tune, calibrate, choose, write; raises `UnusableData` for what cannot be done, in a sentence."""
    started = time.monotonic()
    check_name(arguments.name, arguments.models, "forecast", DEFAULT_NAME)
    config = replace(Config(), **changed_fields(arguments, Config()))
    if arguments.dry_run:
        config = replace(config, steps=DRY_STEPS, evaluate_every=DRY_STEPS, values=1000, windows=4, test_windows=8)
    shipped, version = _shipped(arguments.start, arguments.models)
    collection = _collection(arguments)
    horizon = usual_horizon(collection) if arguments.horizon is None else arguments.horizon
    if not 1 <= horizon <= MAX_HORIZON:
        raise UnusableData(f"--horizon is 1 to {MAX_HORIZON}")
    parts = split(collection, horizon)
    season = f"season {collection.season}" if collection.season > 1 else "no season"
    say(f"{len(collection.series)} series, {collection.values} values, {season}, {horizon} steps ahead")
    for note in collection.notes:
        say(f"note: {note}")
    base = score(shipped, parts.test, config.test_windows)
    say(f"shipped forecaster, {base.windows} held-back windows: {report.scores_of(base)}")

    run = identity(config, {"own series": collection.digest}, "forecaster", "finetuning", start=[version, horizon])
    tuned, curves = run_fit(
        arguments, started, config.steps, "tuning", partial(tune, shipped, parts, config, identity=run)
    )
    tried = candidates(shipped, tuned, parts, config)
    chosen = best(tried)
    print(report.score_table(tried, chosen))
    record = _record(config, curves, collection, parts, chosen, version, started)
    if arguments.dry_run:
        say("dry run: nothing was written")
        return
    folder = _write(arguments, chosen, tried, parts, config, record)
    _write_report(report_folder(arguments), collection, parts, tried, chosen, curves)
    announce(arguments, folder, DEFAULT_NAME)


def _shipped(reference: str, models: Path) -> tuple[Forecaster, str]:
    """The forecaster to start from, and its name@version."""
    folder = folder_of(reference, models)
    try:
        network, _ = read_version(int(folder.name), models, folder.parent.name)
    except (KeyError, OSError, RuntimeError) as error:
        raise UnusableData(f"{reference} is no forecaster of the shipped kind, the one that can be tuned") from error
    return network.eval(), f"{folder.parent.name}@{folder.name}"


def _collection(arguments: argparse.Namespace) -> Collection:
    names = (*TABLE_OPTIONS, "header")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return read_collection(arguments.file, options, arguments.season_length)


def _record(
    config: Config,
    curves: Curves,
    collection: Collection,
    parts: Parts,
    chosen: Candidate,
    version: str,
    started: float,
) -> Record:
    network = chosen.network
    sizes = {"fast": network.fast_size, "slow": network.slow_size, "width": network.context[0].out_features}
    return Record(
        command=command_line(program="ritmo train"),
        seed=config.seed,
        seconds=round(time.monotonic() - started, 1),
        device=device_name(torch.device("cpu")),
        parameters=parameters(network.requires_grad_(True)),
        data={"own series": collection.digest},
        knobs=asdict(config) | sizes | {"horizon": parts.horizon, "start": version, "kept": chosen.name},
        curves=curves.rows,
    )


def _write(
    arguments: argparse.Namespace,
    chosen: Candidate,
    tried: list[Candidate],
    parts: Parts,
    config: Config,
    record: Record,
) -> Path:
    """The model's folder; its metrics are those of the exported file, next to the shipped forecaster's.

    The service's own loader proves it before it takes its place: what it refuses is not written.
    """
    shipped = tried[0].score

    def metrics_of(folder: Path) -> dict[str, float]:
        try:
            load(folder, warm=False)
        except BrokenModel as error:
            raise UnusableData(f"the service would not serve what was learnt: {error}") from error
        exported = score(reload((folder / "model.pt").read_bytes()), parts.test, config.test_windows)
        pairs = {"mase": exported.mase, "wql": exported.wql, "coverage80": exported.coverage80}
        pairs |= {"shipped_mase": shipped.mase, "shipped_wql": shipped.wql, "shipped_coverage80": shipped.coverage80}
        return {f"own_{name}": value for name, value in pairs.items() if value == value}  # noqa: PLR0124 (no NaN)

    return write_folder(
        chosen.network,
        name=arguments.name,
        description=f"Forecaster for one's own series ({chosen.name}), {parts.horizon} steps ahead",
        record=record,
        metrics_of=metrics_of,
        version=arguments.version,
        models=arguments.models,
    )


def _write_report(
    folder: Path, collection: Collection, parts: Parts, tried: list[Candidate], chosen: Candidate, curves: Curves
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.md").write_text(report.score_table(tried, chosen) + "\n", encoding="utf-8")
    (folder / "curves.json").write_text(json.dumps(curves.rows, indent=1) + "\n", encoding="utf-8")
    report.draw(collection, parts.test, tried, chosen, folder / "forecasts.png")
    plots.progress(curves.rows, {"MASE": ["mase"], "WQL": ["wql"]}, folder / "curves.png", "windows that choose")
    say(f"wrote {folder}/scores.md, forecasts.png, curves.png")
