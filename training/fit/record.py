"""The record of a training run: what ran, on what, with which data, and what came out.

Written as `training.json` next to the checkpoint; the manifest's provenance is a part of it. The keys on disk are
`knobs` for the configuration and `earlier` for the records of earlier stages.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from service.contract.manifest import RECORD_FILE, Provenance
from training.fit.errors import OtherRun
from training.fit.loop import differences


class DataclassInstance(Protocol):
    """Any dataclass: the configuration of a fit."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def current_commit() -> str:
    """Hash of the checked-out commit, with `+` when tracked code differs from it; `unknown` outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "training", "service") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def code_digest(*packages: str) -> str:
    """SHA-256 of the code of a fit: of `training.data`, `training.fit`, `training.networks` and `packages`."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for package in sorted({"data", "fit", "networks", *packages}):
        for file in sorted((root / package).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def identity(config: DataclassInstance, data: dict[str, str], *packages: str, start: Any = None) -> dict[str, Any]:
    """What a checkpoint must agree with to be gone on from: configuration, data, code, and what the fit starts from."""
    beginning = "" if start is None else hashlib.sha256(json.dumps(start, sort_keys=True).encode()).hexdigest()
    return {"configuration": asdict(config), "data": data, "code": code_digest(*packages), "start": beginning}


def check_finished(path: Path, knobs: dict[str, Any], config: DataclassInstance, *, accept_other: bool) -> None:
    """Raise `OtherRun` where a finished stage in `path`, with the configuration `knobs`, is not one of `config`."""
    finished, requested = ({"configuration": json.loads(json.dumps(c, default=list))} for c in (knobs, asdict(config)))
    differing = [] if accept_other else differences(json.dumps(finished), json.dumps(requested))
    if differing:
        raise OtherRun(
            f"{path} is of a run with other {', '.join(differing)}: choose another --folder, delete it, or take it all "
            "the same with --accept-other"
        )


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parent
    process = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return process.stdout.strip()


@dataclass(frozen=True)
class Record:
    """One training run. `command` repeats it; `knobs` is its whole configuration, default values included."""

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


def stage_record(
    config: DataclassInstance,
    curves: list[dict[str, float]],
    *,
    data: dict[str, str],
    device: torch.device,
    command: str,
    commit: str,
) -> dict[str, Any]:
    """The record of one stage of a fit, as kept with the stage's weights. `commit` is the one at the stage's start."""
    return {
        "command": command,
        "commit": commit,
        "torch": str(torch.__version__),
        "device": device_name(device),
        "data": data,
        "knobs": asdict(config),
        "curves": curves,
    }


def command_line(omit: Sequence[str] = (), program: str = "python -m training") -> str:
    """The running command, as a reader would type it, without the options `omit` and their values."""
    command = " ".join([program, *sys.argv[1:]])
    return re.sub(rf" --({'|'.join(omit)})[ =]\S+", "", command) if omit else command


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU with the number of torch's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'' if threads == 1 else 's'}"


def parameters(module: torch.nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
