"""`python -m training repack`: exported archives without what is of the machine that exported them.

Each is written anew by `training.fit.export.packed`, its answers to the golden sample are compared bit by bit with
those of the old one, and its manifest gets the new digest. An archive that is packed already stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np

from service.contract.manifest import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, read_manifest
from training.fit.export import Arrays, digit_golden, forecast_golden, packed, reload, replace_folder
from training.folders import MODELS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training repack`."""
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of models (default: models/)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")


def main(arguments: argparse.Namespace) -> None:
    """Pack every archive in the folder of models."""
    for manifest in sorted(arguments.models.glob(f"*/[0-9]*/{MANIFEST_FILE}")):
        old_size = (manifest.parent / MODEL_FILE).stat().st_size
        new_size = repack(manifest.parent, write=not arguments.dry_run)
        change = "as it was" if new_size is None else f"{old_size} to {new_size} bytes"
        print(f"{manifest.parent}: {change}", flush=True)


def repack(folder: Path, *, write: bool = True) -> int | None:
    """Pack the archive in `folder`; its new size, or None where it is packed already.

    Raises `ValueError` where an answer to the golden sample would differ.
    """
    old = (folder / MODEL_FILE).read_bytes()
    new = packed(old)
    if new == old:
        return None
    with np.load(folder / GOLDEN_FILE, allow_pickle=False) as archive:
        sample = {name: archive[name] for name in archive.files}
    old_answers, new_answers = (_answers(data, sample) for data in (old, new))
    for name, expected in old_answers.items():
        if expected.tobytes() != new_answers[name].tobytes():
            raise ValueError(f"{folder}: {name} of the golden sample would differ")
    if write:
        staging = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
        shutil.copytree(folder, staging, dirs_exist_ok=True)
        staging.chmod(0o755)
        (staging / MODEL_FILE).write_bytes(new)
        manifest = read_manifest(folder)
        manifest.model_copy(update={"sha256": hashlib.sha256(new).hexdigest()}).write(staging)
        replace_folder(staging, folder)
    return len(new)


def _answers(data: bytes, sample: Arrays) -> Arrays:
    """The outputs of the golden sample."""
    if "rows" in sample:
        return digit_golden(reload(data), {name: sample[name] for name in ("rows", "lengths")})
    inputs = {name: sample[name] for name in ("values", "lengths", "season", "levels")}
    return forecast_golden(reload(data), inputs, int(sample["horizon"]))
