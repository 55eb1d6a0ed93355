"""The record of a training run: what ran, on what, with which data, and what came out.

Written as `training.json` beside the checkpoint; the manifest's provenance is a part of it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.contract.manifest import RECORD_FILE, Provenance


def current_commit() -> str:
    """Hash of the checked-out commit, with `+` when tracked code differs from it; `unknown` outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "training", "service") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parent
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Record:
    """One training run. `command` repeats it; `knobs` are all values that shaped it, defaults included."""

    command: str
    seed: int
    seconds: float
    device: str
    parameters: int
    data: dict[str, str]
    knobs: dict[str, Any]
    curves: list[dict[str, float]]
    held_out: list[dict[str, Any]] = field(default_factory=list)  # scores of each validation file, where there are any
    commit: str = field(default_factory=current_commit)
    torch: str = torch.__version__
    python: str = platform.python_version()
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def provenance(self) -> Provenance:
        """The part of the record that the manifest shows to clients."""
        return Provenance(
            command=self.command,
            commit=self.commit,
            seed=self.seed,
            data=self.data,
            torch=self.torch,
            device=self.device,
            created=self.created,
            seconds=self.seconds,
            parameters=self.parameters,
        )

    def write(self, folder: Path) -> None:
        """Write `training.json` into `folder`."""
        (folder / RECORD_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def command_line() -> str:
    """The command that is running, as a reader would type it."""
    return " ".join(["python -m training", *sys.argv[1:]])


def parameters(module: torch.nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def digest(*arrays: np.ndarray[Any, Any]) -> str:
    """SHA-256 over dtype, shape and bytes of the arrays, in order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
