"""The training program, started in place of this one where it is installed: the service itself never imports it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("training", "matplotlib", "scipy", "tqdm")  # what `ritmo[train]` brings
ADVICE = "training is not installed here: pip install 'ritmo[train]' (the serving image never has it)"


def is_installed() -> bool:
    """Whether the training program and what it needs can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def run(module: str, arguments: Sequence[str]) -> int:
    """Replace this process by `python -m module`, with the training package that this process would import.

    Returns the exit status 2, after a sentence on standard error, where training is not installed.
    """
    spec = importlib.util.find_spec("training") if is_installed() else None
    if spec is None or spec.origin is None:
        print(ADVICE, file=sys.stderr)  # noqa: T201 (of the command line)
        return 2
    # A folder `training` where the command was started must not take the place of the installed one.
    root = str(Path(spec.origin).resolve().parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    sys.stdout.flush()
    # No shell is started, and the program is the interpreter that runs already.
    return os.execve(sys.executable, [sys.executable, "-P", "-m", module, *arguments], environment)  # noqa: S606  # nosec B606
