"""The folders that training reads and writes: data sets, downloads, exported models, figures, results."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "RITMO_DATA"
REPOSITORY = Path(__file__).resolve().parents[1]
MODELS = REPOSITORY / "models"
REPORT = REPOSITORY / "training" / "RESULTS.md"
FIGURES = REPOSITORY / "training" / "figures"
RESULTS = REPOSITORY / "benchmarks" / "results"  # rows of the report as CSV files


def data_folder() -> Path | None:
    """The folder that holds `mnist/` and `forecasting/`, or None where this machine has none.

    `RITMO_DATA` wins and must exist (FileNotFoundError otherwise: a mistyped path must not silently become a download);
    else `../shared/data` of the repository root.
    """
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"{VARIABLE} names {named!r}, which is not a folder")
        return folder
    neighbour = REPOSITORY.parent / "shared" / "data"
    return neighbour if neighbour.is_dir() else None


def cache_folder() -> Path:
    """Where downloads are kept, outside version control: `data/` in the repository root. Not created here."""
    return REPOSITORY / "data"
