"""What is found below a folder of models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.contract.errors import BrokenModel
from service.contract.manifest import MANIFEST_FILE, read_manifest
from service.registry.repository import manifest_digests, restrict, scan
from tests.models import RunningMean, write_model


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models"), "template", RunningMean())


def put_version(template: Path, models: Path, name: str, version: int, *, folder: str | None = None) -> Path:
    """A folder with a valid manifest of `name@version`."""
    target = models / name / (folder or str(version))
    target.mkdir(parents=True)
    read_manifest(template).model_copy(update={"name": name, "version": version}).write(target)
    return target


def test_versions_are_found_by_name_and_in_numeric_order(template: Path, tmp_path: Path) -> None:
    for name, version in (("b", 10), ("b", 9), ("a", 1)):
        put_version(template, tmp_path, name, version)
    versions = scan(tmp_path).versions
    assert [(f.name, f.version, f.fault) for f in versions] == [("a", 1, None), ("b", 9, None), ("b", 10, None)]
    assert all(f.manifest is not None and f.manifest.name == f.name for f in versions)
    assert versions[0].folder == tmp_path / "a" / "1"


def test_what_is_no_version_is_passed_over(template: Path, tmp_path: Path) -> None:
    put_version(template, tmp_path, "a", 1)
    for name in (".export-x", "latest", "0", "01", "1.5", "-1"):
        (tmp_path / "a" / name).mkdir()
    for name in (".hidden", "Not-A-Name", "_x"):
        (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / "README.md").write_text("models")
    (tmp_path / "a" / "notes.txt").write_text("notes")
    (tmp_path / "empty").mkdir()
    assert [(f.name, f.version) for f in scan(tmp_path).versions] == [("a", 1)]


def test_a_broken_folder_is_reported_and_the_others_are_found(template: Path, tmp_path: Path) -> None:
    put_version(template, tmp_path, "good", 1)
    (tmp_path / "nothing" / "1").mkdir(parents=True)
    (put_version(template, tmp_path, "nonsense", 1) / MANIFEST_FILE).write_text("{nonsense")
    (put_version(template, tmp_path, "binary", 1) / MANIFEST_FILE).write_bytes(b"\xff\xfe\x00")
    put_version(template, tmp_path, "moved", 3, folder="4")
    versions = {f.name: f for f in scan(tmp_path).versions}
    assert versions["good"].fault is None
    assert all(versions[name].manifest is None for name in ("nothing", "nonsense", "binary", "moved"))
    for name, words in (("nothing", "does not exist"), ("nonsense", "not a valid"), ("moved", "moved@3")):
        fault = versions[name].fault
        assert fault is not None
        assert words in fault


def test_a_named_pipe_in_place_of_a_manifest_is_reported(template: Path, tmp_path: Path) -> None:
    folder = put_version(template, tmp_path, "piped", 1)
    (folder / MANIFEST_FILE).unlink()
    os.mkfifo(folder / MANIFEST_FILE)
    (version,) = scan(tmp_path).versions
    assert version.fault == f"{folder / MANIFEST_FILE} is no regular file"


def test_a_name_whose_folder_cannot_be_read_is_reported(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_version(template, tmp_path, "a", 1)
    locked = put_version(template, tmp_path, "locked", 1).parent
    iterdir = Path.iterdir

    def refusing(folder: Path) -> Iterator[Path]:  # permissions would not stop a test that runs as root
        if folder == locked:
            raise PermissionError(13, "Permission denied")
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refusing)
    repository = scan(tmp_path)
    assert [version.name for version in repository.versions] == ["a"]
    assert repository.unreadable == {"locked": f"{locked} cannot be read: Permission denied"}


def test_links_are_followed(template: Path, tmp_path: Path) -> None:
    put_version(template, tmp_path, "a", 1)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a").symlink_to(tmp_path / "a")
    assert [f.name for f in scan(tmp_path / "models").versions] == ["a"]


def test_no_models_and_no_folder(tmp_path: Path) -> None:
    assert scan(tmp_path).versions == []
    with pytest.raises(BrokenModel, match="cannot be read"):
        scan(tmp_path / "absent")


def test_a_process_is_restricted_to_the_versions_that_the_service_started_with(template: Path, tmp_path: Path) -> None:
    for name in ("same", "changed", "gone", "mended", "failed"):
        put_version(template, tmp_path, name, 1)
    mended = tmp_path / "mended" / "1" / MANIFEST_FILE
    manifest = mended.read_bytes()
    mended.write_bytes(b"{nonsense")
    expected = manifest_digests(tmp_path)
    assert {name for name, digest in expected.items() if digest is None} == {"mended@1"}
    mended.write_bytes(manifest)
    changed = tmp_path / "changed" / "1"
    read_manifest(changed).model_copy(update={"description": "another one"}).write(changed)
    shutil.rmtree(tmp_path / "gone" / "1")
    put_version(template, tmp_path, "new", 1)
    restricted = restrict(scan(tmp_path).versions, expected | {"failed@1": None})
    assert {version.name: version.fault for version in restricted} == {
        "same": None,
        "changed": "it was changed on disk while the service runs",
        "gone": "it is no longer on disk",
        "mended": "it could not be loaded when the service started",
        "failed": "it could not be loaded when the service started",
    }


def test_a_folder_that_cannot_be_read_has_no_versions_to_expect(tmp_path: Path) -> None:
    assert manifest_digests(tmp_path / "nowhere") == {}
