"""`ritmo train forecaster FILE` and `ritmo train digits FOLDER`: models of one's own data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from training.finetuning import digits_command, forecaster_command
from training.finetuning.series import UnusableData
from training.fit.errors import OtherRun

COMMANDS = {"forecaster": forecaster_command, "digits": digits_command}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0, 2 for data or options that cannot be used, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="ritmo train", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition(": ")[2].split("\n")[0]
        module.add_arguments(subparsers.add_parser(name, help=summary, description=summary))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        COMMANDS[options.command].main(options)
    except (UnusableData, OtherRun, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
