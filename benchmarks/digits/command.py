"""What the commands over pictures share: their options, the model that reads, and what every row says of the run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import table
from service.backend.model import LoadedModel, load
from training.evaluation.evaluate import folders
from training.folders import MODELS

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def options_of(program: str, description: str | None, count: int, of_what: str) -> argparse.Namespace:
    """`--count` pictures or numbers, `--folder` of the models, `--output` of the results."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--count", type=int, default=count, help=f"{of_what} [{count}]")
    parser.add_argument("--folder", type=Path, default=MODELS, help="where the models are [models/]")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results [benchmarks/results]")
    return parser.parse_args()


def newest_reader(folder: Path = MODELS) -> LoadedModel:
    """The newest version of `digits` in `folder`, on one thread."""
    torch.set_num_threads(1)
    return load(folders(folder, ["digits"])[0], warm=False)


def circumstances(program: str) -> dict[str, Any]:
    """Date, machine, command and commit of this run of `program`."""
    return table.circumstances(" ".join(["python -m", program, *sys.argv[1:]]))
