"""Options that the two commands of `ritmo train` share, and the bar that shows how far a fit is."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from service.contract.errors import BrokenModel
from service.contract.manifest import MANIFEST_FILE, read_manifest
from training.finetuning.series import UnusableData
from training.fit.interrupt import Interrupt
from training.fit.loop import CHECKPOINT

Fitted = TypeVar("Fitted")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """--name, --models, --version, --default, --report, --deadline, --accept-other, --dry-run, --threads."""
    models = Path(os.environ.get("RITMO_MODELS") or "models")
    parser.add_argument("--name", required=True, help="name to serve the model under: small letters, digits, hyphens")
    parser.add_argument(
        "--models", type=Path, default=models, help="folder of models, read and written (default: %(default)s)"
    )
    parser.add_argument("--version", type=int, help="version to write (default: one above the highest there is)")
    parser.add_argument("--default", action="store_true", help="also answer with this model where a request names none")
    parser.add_argument(
        "--report", "--folder", type=Path, help="folder of checkpoint, table and plots (default: runs/NAME)"
    )
    parser.add_argument(
        "--deadline",
        type=float,
        default=150.0,
        help="seconds after which learning ends with what is best so far (default: %(default)s)",
    )
    parser.add_argument(
        "--accept-other",
        action="store_true",
        help="go on from the checkpoint of an interrupted run although its options, data or code are others",
    )
    parser.add_argument("--dry-run", action="store_true", help="two steps of everything, and nothing written")
    # So small networks gain little from more, and lose much on a machine that is busy with something else.
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")


def check_name(name: str, models: Path, task: str, default_name: str) -> None:
    """Raise `UnusableData` for a name that no model can have, that of the default model, and one of another task."""
    if not NAME.fullmatch(name):
        raise UnusableData(f"--name {name}: a name is up to 64 small letters, digits and hyphens, such as shops")
    if name == default_name:
        detail = "that is the model that answers by default; take another name, and --default to replace it"
        raise UnusableData(f"--name {name}: {detail}")
    for path in models.glob(f"{name}/[0-9]*/{MANIFEST_FILE}"):
        owner = task
        with suppress(BrokenModel):
            owner = read_manifest(path.parent).task
        if owner != task:
            raise UnusableData(f"--name {name}: {models} has a model of that name for {owner}; take another name")


@contextmanager
def progress_bar(steps: int, label: str) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of steps so far and shows it on standard error."""
    with tqdm(total=steps, desc=label, unit="step", leave=True) as bar:
        yield lambda step: bar.update(step - bar.n) and None


def run_fit(
    arguments: argparse.Namespace, started: float, steps: int, label: str, fit: Callable[..., Fitted]
) -> Fitted:
    """What `fit` returns; it gets `stop`, `report`, `folder` and `accept_other`, which `training.fit.loop.fit` takes.

    It ends at the deadline or the first Ctrl-C, as if it were finished. A run that was killed, or ended by a second
    Ctrl-C, leaves a checkpoint that the same command goes on from.
    """
    folder = None if arguments.dry_run else report_folder(arguments)
    with Interrupt() as interrupt, progress_bar(steps, label) as bar:
        stop = stop_when(arguments.deadline, started, interrupt)
        result = fit(stop=stop, report=bar, folder=folder, accept_other=arguments.accept_other)
        if interrupt.is_requested:
            say("interrupted: going on with what was learnt so far; Ctrl-C again ends at once")
    return result


def report_folder(arguments: argparse.Namespace) -> Path:
    """Where checkpoint, table and plots of a run are."""
    return Path(arguments.report or Path("runs") / arguments.name)


def announce(arguments: argparse.Namespace, folder: Path, default_name: str) -> None:
    """Say what was written, make it the default with `--default`, and forget the checkpoint: the run is done."""
    (report_folder(arguments) / CHECKPOINT).unlink(missing_ok=True)
    say(f"wrote {folder}: `ritmo serve --models {arguments.models}` serves it as {arguments.name}")
    if arguments.default:
        default = make_default(folder, arguments.models, default_name)
        say(f"wrote {default}: answers where a request names no model; delete it to undo")


def stop_when(deadline: float, started: float, interrupt: Interrupt) -> Callable[[], bool]:
    """Whether a fit is to end: Ctrl-C was pressed, or `deadline` seconds have passed since `started`."""
    return lambda: interrupt.is_requested or time.monotonic() - started > deadline


def folder_of(reference: str, models: Path) -> Path:
    """The folder of `name` (its highest version) or `name@version`; raises `UnusableData` where there is none."""
    name, _, number = reference.partition("@")
    versions = [int(path.parent.name) for path in models.glob(f"{name}/[0-9]*/{MANIFEST_FILE}")]
    if not versions or (number and (not number.isdecimal() or int(number) not in versions)):
        raise UnusableData(
            f"{models} has no {reference} to start from: --models names the folder of the shipped models"
        )
    return models / name / (number or str(max(versions)))


def make_default(folder: Path, models: Path, default_name: str) -> Path:
    """A copy of the model in `folder` as the newest version of the model that answers by default."""
    parent = models / default_name
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in parent.iterdir() if path.name.isdigit()), default=0) + 1
    draft = parent / f".default-{number}"
    shutil.copytree(folder, draft)
    read_manifest(folder).model_copy(update={"name": default_name, "version": number}).write(draft)
    return draft.replace(parent / str(number))


def say(text: str) -> None:
    """Print a line for people on standard error, where it does not mix with results."""
    print(text, file=sys.stderr, flush=True)
