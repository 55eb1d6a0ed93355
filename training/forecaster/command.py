"""`python -m training forecaster`: train, calibrate and export the zero-shot forecaster.

Training and export can run on different machines: `--weights FILE` ends after the fit and writes the weights, and
`--from-weights FILE` starts from them. `--start FILE` continues a fit from its weights with another configuration.
`--from-version 2` makes a new version of an earlier one's weights: the graph around them as it is now, and interval
factors fitted anew.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from training.fit import distributed
from training.fit.options import (
    NOTHING_WRITTEN,
    add_config_options,
    add_destination_options,
    add_device_options,
    add_run_options,
    changed_fields,
    use_device,
)
from training.forecaster.config import STAGES, Config
from training.forecaster.export import export_again, export_forecaster
from training.forecaster.train import Fitted, mean_of, read_fit, read_version, train, train_stages, write_fit

FOLDER = Path("runs/forecaster")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training forecaster`."""
    add_config_options(parser, Config())
    add_device_options(parser)
    add_destination_options(parser, figures=False)
    add_run_options(parser, FOLDER)
    parser.add_argument("--start", type=Path, help="weights to continue from, with another configuration")
    parser.add_argument("--start-version", type=int, help="the same, from a committed version's weights")
    parser.add_argument("--weights", type=Path, help="write the trained weights here and stop")
    parser.add_argument("--from-version", type=int, help="skip the fit: an earlier version's weights in today's graph")
    parser.add_argument("--keep-factors", action="store_true", help="with --from-version: its interval factors, too")
    parser.add_argument("--from-weights", type=Path, help="skip the fit: calibrate and export these weights")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="of --from-weights in a mean with --start-version (default: 1)",
    )


def main(arguments: argparse.Namespace) -> None:
    """Train, calibrate, export: all stages, or one with the configuration that the options give."""
    device = use_device(arguments)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    if arguments.from_version is not None:
        version, models, keeps_factors = arguments.version, arguments.models, arguments.keep_factors
        print(export_again(arguments.from_version, version=version, models=models, keeps_factors=keeps_factors))
        return
    if arguments.dry_run:
        config = replace(Config(), **changed_fields(arguments, Config()))
        train(replace(config, steps=2, values=4 * max(config.lengths), evaluations=1), device, None, None)
        print(NOTHING_WRITTEN)
        return
    network, record = _fitted(arguments, device)
    if arguments.weights is not None:
        write_fit(arguments.weights, network, record)
        return
    if not distributed.is_first():
        return
    print(export_forecaster(network.cpu(), record, version=arguments.version, models=arguments.models))


def _fitted(arguments: argparse.Namespace, device: torch.device) -> Fitted:
    config = replace(Config(), **changed_fields(arguments, Config()))
    folder, deadline, accept_other = arguments.folder, arguments.deadline, arguments.accept_other
    if arguments.from_weights is not None:
        network, record = read_fit(arguments.from_weights)
        if arguments.start_version is None:
            return network, record
        version_network, _ = read_version(arguments.start_version, arguments.models)
        return mean_of(network, version_network, arguments.share), record | {"share_of_the_fit": arguments.share}
    if arguments.start_version is not None:
        beginning = read_version(arguments.start_version, arguments.models)
        return train(config, device, folder, deadline, beginning, accept_other=accept_other)
    if arguments.start is None and config == Config():
        return train_stages(STAGES, device, folder, deadline, accept_other=accept_other)
    start = None if arguments.start is None else read_fit(arguments.start)
    return train(config, device, folder, deadline, start, accept_other=accept_other)
