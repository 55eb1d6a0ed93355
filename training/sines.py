"""`python -m training sines`: the forecaster of training/forecaster.py, specialised on the sine mixture."""

from __future__ import annotations

import argparse

from training import forecaster


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the forecaster, with the defaults of this model."""
    forecaster.add_arguments(parser, forecaster.SINES)


def main(args: argparse.Namespace) -> None:
    """Train, calibrate, export."""
    forecaster.main(args, forecaster.SINES)
