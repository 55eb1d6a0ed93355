"""Command-line options that the training commands share: a configuration's fields, device, threads, destinations."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from training.fit import distributed
from training.fit.record import DataclassInstance
from training.folders import FIGURES, MODELS

NOTHING_WRITTEN = "dry run: nothing was written"
SIMPLE = (bool, int, float, str)  # types of fields that one word on the command line can set


def add_config_options(parser: argparse.ArgumentParser, config: DataclassInstance, default: str | None = None) -> None:
    """An option for each field of `config` that is a number, text, flag or tuple of these: --head-rate for head_rate.

    An option that is not set is None: `changed_fields` returns the others. `default` is the help's text for the default
    value where that is not the one in `config`.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        option, text = f"--{field.name.replace('_', '-')}", f"default: {value if default is None else default}"
        if isinstance(value, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif isinstance(value, SIMPLE):
            parser.add_argument(option, type=type(value), metavar="VALUE", help=text)
        elif isinstance(value, tuple) and isinstance(value[0], SIMPLE):
            parser.add_argument(option, type=type(value[0]), nargs="+", metavar="VALUE", help=text)


def changed_fields(arguments: argparse.Namespace, config: DataclassInstance) -> dict[str, Any]:
    """Field name -> value, of each field of `config` that the command line sets."""
    values = {field.name: getattr(arguments, field.name, None) for field in fields(config)}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if value is not None
    }


def add_device_options(parser: argparse.ArgumentParser, *, choose_device: bool = True) -> None:
    """--threads, and --device unless the command runs on the CPU only."""
    if choose_device:
        parser.add_argument(
            "--device", default="auto", help="auto (the first GPU, else the CPU), cpu, cuda, cuda:1 … (default: auto)"
        )
    parser.add_argument("--threads", type=int, default=1, help="torch threads on the CPU (default: %(default)s)")


def use_device(arguments: argparse.Namespace) -> torch.device:
    """Set torch's threads; returns the device that the command line names."""
    torch.set_num_threads(arguments.threads)
    name = getattr(arguments, "device", "cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(distributed.local_device(name))


def add_run_options(parser: argparse.ArgumentParser, folder: Path) -> None:
    """--folder, --deadline, --accept-other, --dry-run: every long fit keeps checkpoints, the same command goes on."""
    add_dry_run_option(parser)
    parser.add_argument(
        "--folder", type=Path, default=folder, help=f"where checkpoints are kept and gone on from (default: {folder})"
    )
    parser.add_argument("--deadline", type=float, help="seconds after which to stop with a checkpoint")
    parser.add_argument(
        "--accept-other",
        action="store_true",
        help="go on from a checkpoint although its configuration, data or code is another",
    )


def add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    """--dry-run: whether everything is there that a run needs, in seconds."""
    parser.add_argument("--dry-run", action="store_true", help="a step or two of every fit, and nothing written")


def add_destination_options(parser: argparse.ArgumentParser, *, version: bool = True, figures: bool = True) -> None:
    """--models, and where the command has a use for them --version and --figures."""
    parser.add_argument("--models", type=Path, default=MODELS, help="where the model's folder goes (default: models/)")
    if version:
        parser.add_argument("--version", type=int, help="version to write (default: one above the highest there is)")
    if figures:
        parser.add_argument(
            "--figures", type=Path, default=FIGURES, help="where the curves go (default: training/figures/)"
        )
