"""`python -m training COMMAND`: the offline chores, one command each; `COMMAND --help` shows its options."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from training.fit import distributed
from training.fit.errors import OtherRun

COMMANDS = {  # name -> description, and the module with its `add_arguments` and `main`
    "forecaster": ("train the default forecaster on real and synthetic series", "training.forecaster.command"),
    "sines": ("train the forecaster that is specialised on the tutorial's sine mixture", "training.sines.command"),
    "digits": ("train the default digit reader on MNIST", "training.digits.command"),
    "tutorials": ("train the two tutorials' models", "training.tutorials.command"),
    "pictures": ("draw what the two tutorials show, from the exported models", "training.tutorials.pictures"),
    "evaluate": ("score exported models on the test sets", "training.evaluation.evaluate"),
    "repack": ("write exported archives anew, without what is of this machine", "training.fit.repack"),
    "series": ("list the real series at hand, and fetch those with a public address", "training.data.fetch_series"),
    "gallery": ("draw samples of every synthetic prior into training/figures", "training.reports.gallery"),
    "export-onnx": ("write an exported model as an ONNX file", "training.reports.onnx_export"),
    "summary": ("print the layers of exported models", "training.reports.layers"),
    "report": ("write training/RESULTS.md and its figures from the exported models", "training.reports.report"),
}

SHARED = ("forecaster", "digits")  # commands whose fit several processes can share


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command; only the module of that command is imported."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "command", choices=COMMANDS, help="; ".join(f"{name}: {text}" for name, (text, _) in COMMANDS.items())
    )
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = parser.parse_args(words[:1]).command
    description, module_name = COMMANDS[command]
    module = importlib.import_module(module_name)
    options = argparse.ArgumentParser(prog=f"python -m training {command}", description=description)
    module.add_arguments(options)
    if distributed.is_launched() and command not in SHARED:
        raise SystemExit(f"torchrun shares the fits of {' and '.join(SHARED)}; {command} runs in one process")
    try:
        with distributed.processes():
            module.main(options.parse_args(words[1:]))
    except OtherRun as error:
        raise SystemExit(str(error)) from error
    except TimeoutError as error:
        raise SystemExit(f"{error}; the same command goes on") from error
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on from the last checkpoint") from None


if __name__ == "__main__":
    main()
