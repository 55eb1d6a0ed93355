"""What is on disk: `models/<name>/<version>/`. A broken folder is reported, and the others are found all the same."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from service.contract.errors import BrokenModel, readable
from service.contract.manifest import RECORD_FILE, Manifest, read_manifest

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """A version of a model on disk: its manifest, or the fault that makes it unusable."""

    name: str
    version: int
    folder: Path
    manifest: Manifest | None
    fault: str | None
    notes: tuple[str, ...] = ()  # what an operator should learn although it can be served
    files: tuple[tuple[str, int, int], ...] = ()  # name, size and time of change of each when it was looked at


@dataclass(frozen=True, slots=True)
class Repository:
    """All versions by name, then version, and the names of folders that cannot be read, each with the fault.

    `ignored` are folders with names of no model or no version, each with what they should be.
    """

    versions: Sequence[VersionFolder]
    unreadable: Mapping[str, str]
    ignored: Mapping[str, str] = field(default_factory=dict)


def scan(models: Path) -> Repository:
    """Everything below `models`; raises `BrokenModel` when it is no readable folder.

    Plain files and hidden folders (an export in progress) are not part of it.
    """
    try:
        folders = _folders(models)
    except OSError as error:
        raise BrokenModel(f"the folder of models {models.absolute()} cannot be read: {error.strerror}") from error
    versions: list[VersionFolder] = []
    unreadable: dict[str, str] = {}
    ignored: dict[str, str] = {}
    for folder in folders:
        if not NAME.fullmatch(folder.name):
            ignored[readable(folder.name)] = (
                "the folder's name is that of no model: lower-case letters, digits and hyphens"
            )
            continue
        try:
            for version in _folders(folder):
                if VERSION.fullmatch(version.name):
                    versions.append(_version_folder(folder.name, version))
                else:
                    ignored[readable(f"{folder.name}/{version.name}")] = (
                        "the folder's name is that of no version: 1, 2, 3 …"
                    )
        except OSError as error:
            unreadable[folder.name] = readable(f"{folder} cannot be read: {error.strerror}")
    return Repository(sorted(versions, key=lambda version: (version.name, version.version)), unreadable, ignored)


def manifest_digests(models: Path) -> dict[str, str | None]:
    """The versions below `models`: reference (`name@version`) -> digest of its manifest, which holds the digests of its
    files, or None where it cannot be read. Empty where `models` is no readable folder.
    """
    with contextlib.suppress(BrokenModel):
        return digests_of(scan(models).versions)
    return {}


def folder_state(models: Path) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of change of every file of every version below `models`; empty where it cannot be read."""
    files: list[tuple[str, int, int]] = []
    with contextlib.suppress(OSError):
        for path in models.glob("[!.]*/[!.]*/*"):
            status = path.stat()
            files.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(sorted(files))


def digests_of(versions: Sequence[VersionFolder]) -> dict[str, str | None]:
    """Reference (`name@version`) -> digest of its manifest, or None where that could not be read."""
    return {f"{version.name}@{version.version}": digest_of(version.manifest) for version in versions}


def restrict(versions: Sequence[VersionFolder], expected: Mapping[str, str | None]) -> list[VersionFolder]:
    """Those of `versions` that `expected` names (see `manifest_digests`); one that changed or is gone gets a fault."""
    by_reference = {f"{version.name}@{version.version}": version for version in versions}
    result: list[VersionFolder] = []
    for reference, digest in expected.items():
        name, _, number = reference.partition("@")
        absent = VersionFolder(name, int(number), Path(), None, "it is no longer on disk")
        on_disk = by_reference.get(reference, absent)
        if digest is None:
            result.append(replace(on_disk, fault=on_disk.fault or "it could not be loaded when the service started"))
        elif on_disk.manifest is not None and digest_of(on_disk.manifest) != digest:
            result.append(replace(on_disk, fault="it was changed on disk while the service runs"))
        else:
            result.append(on_disk)
    return result


def digest_of(manifest: Manifest | None) -> str | None:
    """Digest of a manifest, which holds the digests of the other files; None where it cannot be read."""
    return None if manifest is None else hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir()]


def _version_folder(name: str, folder: Path) -> VersionFolder:
    version = int(folder.name)
    files = _files(folder)
    try:
        manifest = read_manifest(folder)
        if (manifest.name, manifest.version) != (name, version):
            raise BrokenModel(f"{folder} holds the manifest of {manifest.name}@{manifest.version}")
    except BrokenModel as error:
        return VersionFolder(name, version, folder, None, error.detail, files=files)
    notes = () if (folder / RECORD_FILE).is_file() else (f"{RECORD_FILE} is absent: nothing tells how it was trained",)
    return VersionFolder(name, version, folder, manifest, None, notes, files)


def _files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files: list[tuple[str, int, int]] = []
    with contextlib.suppress(OSError):  # one that vanishes meanwhile is missed by what reads it, too
        for path in folder.iterdir():
            status = path.stat()
            files.append((path.name, status.st_size, status.st_mtime_ns))
    return tuple(sorted(files))
