"""Options that the two commands of `ritmo train` share, and the bar that shows how far a fit is."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from training.finetuning.series import UnusableData

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """--name, --models, --version, --default, --report, --deadline, --dry-run, --threads."""
    models = Path(os.environ.get("RITMO_MODELS") or "models")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--name", required=True, help="name to serve the model under: small letters, digits, hyphens")
    parser.add_argument(
        "--models", type=Path, default=models, help="folder of models, read and written (default: %(default)s)"
    )
    parser.add_argument("--version", type=int, help="version to write (default: one above the highest there is)")
    parser.add_argument("--default", action="store_true", help="also answer with this model where a request names none")
    parser.add_argument("--report", type=Path, help="folder of table and plots (default: runs/NAME)")
    parser.add_argument(
        "--deadline", type=float, help="seconds after which to stop learning and keep what is best so far"
    )
    parser.add_argument("--dry-run", action="store_true", help="two steps of everything, and nothing written")
    parser.add_argument("--threads", type=int, default=min(threads, 8), help="torch threads (default: %(default)s)")


def check_name(name: str) -> None:
    """Raise `UnusableData` for a name that no model can have."""
    if not NAME.fullmatch(name):
        raise UnusableData(f"--name {name}: a name is up to 64 small letters, digits and hyphens, such as shops")


@contextmanager
def progress_bar(steps: int, label: str) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of steps so far and shows it on standard error."""
    with tqdm(total=steps, desc=label, unit="step", leave=True) as bar:
        yield lambda step: bar.update(step - bar.n) and None
