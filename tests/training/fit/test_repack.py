"""training.fit.repack: archives lose what is of the machine, answers stay the same to the last bit."""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.backend.model import load
from service.contract.manifest import MODEL_FILE, read_manifest
from tests.models import LastValue, write_model
from training.fit.export import packed, reload
from training.fit.repack import main, repack
from training.folders import MODELS, REPOSITORY

COMMITTED = sorted(MODELS.glob(f"[a-z]*/[0-9]*/{MODEL_FILE}"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_committed_archives_hold_no_path_of_a_machine(path: Path) -> None:
    data = path.read_bytes()
    assert packed(data) == data
    with zipfile.ZipFile(path) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist() if not name.startswith("model/data/"))
    assert re.findall(rb"/(?:[\w.-]+/)+[\w.-]+\.py", content) == []
    assert b"site-packages" not in content
    assert not any(name.endswith(".debug_pkl") for name in archive.namelist())


def test_an_archive_is_packed_and_its_manifest_follows(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "last", LastValue())
    before = (folder / MODEL_FILE).read_bytes()
    arguments = argparse.Namespace(models=tmp_path, dry_run=False)
    main(argparse.Namespace(models=tmp_path, dry_run=True))
    assert (folder / MODEL_FILE).read_bytes() == before
    main(arguments)
    after = (folder / MODEL_FILE).read_bytes()
    assert len(after) < len(before)
    assert read_manifest(folder).sha256 == hashlib.sha256(after).hexdigest()
    load(folder, warm=False)
    assert repack(folder) is None
    assert not list(folder.parent.glob(".*"))


def test_an_archive_that_would_answer_otherwise_is_left_alone(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "last", LastValue())
    other = write_model(tmp_path, "other", LastValue())
    shutil.copy(MODELS / "naive" / "1" / "golden.npz", other / "golden.npz")
    before = (folder / MODEL_FILE).read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fit.repack.packed", lambda _: (MODELS / "naive" / "1" / MODEL_FILE).read_bytes())
        with pytest.raises(ValueError, match="would differ"):
            repack(folder)
    assert (folder / MODEL_FILE).read_bytes() == before


@pytest.mark.slow
def test_equal_weights_are_equal_bytes_in_every_process() -> None:
    code = (
        "import hashlib, warnings; warnings.simplefilter('ignore');"
        "from tests.training.subjects import build; from training.fit.export import script;"
        "print(hashlib.sha256(script(build('digits'))).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_packed_archive_loads() -> None:
    reload(packed(COMMITTED[0].read_bytes()))
