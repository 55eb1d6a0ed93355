"""Manifests are a closed schema, read from a regular file of bounded size."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from service.contract.errors import BrokenModel
from service.contract.manifest import MANIFEST_FILE, read_manifest
from tests.models import RunningMean, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path, "mean", RunningMean())


def test_what_is_written_is_read_back(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert manifest.digest == f"sha256:{manifest.sha256}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "extra"),
        ({"version": 0}, "version"),
        ({"task": "translate"}, "task"),
        ({"sha256": "x"}, "sha256"),
    ],
)
def test_what_the_schema_does_not_know_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BrokenModel, match=rf"is not a valid manifest: (?s:.*){message}"):
        read_manifest(folder)


def test_what_is_wrong_is_reported_in_few_characters(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"x" * 900_000: 1}))
    with pytest.raises(BrokenModel, match="Extra inputs are not permitted") as raised:
        read_manifest(folder)
    assert len(raised.value.detail) < 1000


def test_a_named_pipe_and_a_huge_file_are_refused(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.unlink()
    with pytest.raises(BrokenModel, match="does not exist"):
        read_manifest(folder)
    os.mkfifo(path)
    with pytest.raises(BrokenModel, match="is no regular file"):
        read_manifest(folder)
    path.unlink()
    path.write_bytes(b" " * (1 << 21))
    with pytest.raises(BrokenModel, match="is larger than 1 MiB"):
        read_manifest(folder)
