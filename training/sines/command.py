"""`python -m training sines`: a recurrent network for the tutorial's sine mixture, as near the Bayes limit as it gets.

Two stages (`training.sines.train`), one after the other. The same command goes on with an interrupted run, and the
first stage leaves `lstm.npz` in its folder; `--from-weights` starts the second stage from such a file.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from training.evaluation import plots
from training.fit.options import (
    NOTHING_WRITTEN,
    add_config_options,
    add_destination_options,
    add_device_options,
    add_run_options,
    changed_fields,
    use_device,
)
from training.sines.config import Config
from training.sines.export import export_sines, record_of
from training.sines.train import read_lstm, train_heads, train_lstm

FOLDER = Path("runs/sines")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training sines`."""
    add_config_options(parser, Config())
    add_device_options(parser, choose_device=False)
    add_destination_options(parser)
    add_run_options(parser, FOLDER)
    parser.add_argument("--from-weights", type=Path, help="skip the first stage: begin with its file, lstm.npz")


def main(arguments: argparse.Namespace) -> None:
    """Train both stages, or the second alone, export, and draw the curves."""
    config = replace(Config(), **changed_fields(arguments, Config()))
    use_device(arguments)
    if arguments.dry_run:
        config = replace(config, steps=2, head_steps=2, values=4 * max(config.lengths), evaluations=1)
        train_heads(train_lstm(config, None)[0], config, None)
        print(NOTHING_WRITTEN)
        return
    folder, deadline, accept_other = arguments.folder, arguments.deadline, arguments.accept_other
    if arguments.from_weights is None:
        network, lstm = train_lstm(config, folder, deadline, accept_other=accept_other)
    else:
        network, lstm = read_lstm(arguments.from_weights)
    curves = train_heads(network, config, folder, deadline, accept_other=accept_other)
    record = record_of(network, config, lstm, curves)
    print(export_sines(network, record, version=arguments.version, models=arguments.models))
    panels = {"loss": ["loss"], "next value, error over the limit": ["sines20", "sines50", "sines200"]}
    figures: Path = arguments.figures
    plots.progress(lstm["curves"], panels, figures / "sines-lstm-curves.png", "sines, the LSTM alone")
    panels = {**panels, "coverage of the 80 % interval": ["coverage80"]}
    plots.progress(curves.rows, panels, figures / "sines-curves.png", "sines, the heads, with the fit")
