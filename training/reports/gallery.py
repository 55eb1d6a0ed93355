"""`python -m training gallery`: nine samples of every synthetic prior, as small pictures in training/figures.

The purpose of a prior stands in its docstring (`training.data.priors`); the first sentence is the picture's title.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.data import priors
from training.evaluation import plots
from training.folders import FIGURES

SAMPLES = 9
LENGTH = 200
SEED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training gallery`."""
    parser.add_argument("--output", type=Path, default=FIGURES, help="default: training/figures")
    parser.add_argument("--seed", type=int, default=SEED, help="other samples; default: %(default)s")


def main(arguments: argparse.Namespace) -> None:
    """Draw one picture for each prior."""
    for name, (prior, share) in priors.PRIORS.items():
        values, seasons = prior(SAMPLES, LENGTH, torch.Generator().manual_seed(arguments.seed), torch.device("cpu"))
        captions = [f"season {season}" if season > 0 else "no season to know" for season in seasons.tolist()]
        title = f"{name} ({share:.0%}): {(prior.__doc__ or '').strip().splitlines()[0].rstrip('.')}"
        path = arguments.output / f"prior-{name}.png"
        plots.series_grid(values.numpy(), captions, path, title)
        print(f"wrote {path}")
