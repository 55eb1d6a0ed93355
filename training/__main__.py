"""`python -m training <command>`: everything that is done offline, one command per chore."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "forecaster": "train the default forecaster on real and synthetic series",
    "sines": "train the forecaster that is specialised on the tutorial's sine mixture",
    "digits": "train the default digit reader on MNIST",
    "tutorials": "train the two tutorials' models",
    "evaluate": "score exported models on the test sets",
    "series": "say which real series are here, and fetch those that have a public address",
    "gallery": "draw samples of every synthetic prior into training/figures",
    "report": "write training/RESULTS.md and its figures from the exported models",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command; a module is imported only when its command is asked for."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("command", choices=COMMANDS, help="; ".join(f"{k}: {v}" for k, v in COMMANDS.items()))
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = parser.parse_args(words[:1]).command
    module = importlib.import_module(f"training.{command}")
    options = argparse.ArgumentParser(prog=f"python -m training {command}", description=COMMANDS[command])
    module.add_arguments(options)
    module.main(options.parse_args(words[1:]))


if __name__ == "__main__":
    main()
