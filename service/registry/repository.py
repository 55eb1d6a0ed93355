"""What is on disk: `models/<name>/<version>/`. One broken folder is reported and keeps nobody else from being found."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.contract.errors import BrokenModel
from service.contract.manifest import Manifest, read_manifest

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Found:
    """A version of a model on disk: its manifest, or the fault that makes it unusable."""

    name: str
    version: int
    folder: Path
    manifest: Manifest | None
    fault: str | None


def scan(models: Path) -> list[Found]:
    """All versions below `models`, by name, then version; raises `BrokenModel` when `models` is no readable folder.

    Plain files and hidden folders (an export in progress) are none of ours.
    """
    try:
        names = _folders(models)
    except OSError as error:
        raise BrokenModel(f"the folder of models {models} cannot be read: {error.strerror}") from error
    found = [_found(name, version) for name in names if NAME.fullmatch(name.name) for version in _versions(name)]
    return sorted(found, key=lambda each: (each.name, each.version))


def manifest_digests(models: Path) -> dict[str, str | None]:
    """The versions below `models`: reference (`name@version`) -> digest of its manifest, which holds the digests of its
    files, or None where it cannot be read. Empty where `models` is no readable folder.
    """
    with contextlib.suppress(BrokenModel):
        return {f"{each.name}@{each.version}": _digest(each.manifest) for each in scan(models)}
    return {}


def restrict(found: Sequence[Found], expected: Mapping[str, str | None]) -> list[Found]:
    """Those of `found` that `expected` names (see `manifest_digests`); one that changed or is gone gets a fault."""
    actual, result = {f"{each.name}@{each.version}": each for each in found}, []
    for reference, digest in expected.items():
        name, _, version = reference.partition("@")
        on_disk = actual.get(reference, Found(name, int(version), Path(), None, "it is no longer on disk"))
        if digest is None:
            result.append(replace(on_disk, fault=on_disk.fault or "it could not be loaded when the service started"))
        elif on_disk.manifest is not None and _digest(on_disk.manifest) != digest:
            result.append(replace(on_disk, fault="it was changed on disk while the service runs"))
        else:
            result.append(on_disk)
    return result


def _digest(manifest: Manifest | None) -> str | None:
    return None if manifest is None else hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()


def _versions(name: Path) -> list[Path]:
    try:
        return [folder for folder in _folders(name) if VERSION.fullmatch(folder.name)]
    except OSError:
        return []


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir()]


def _found(name: Path, folder: Path) -> Found:
    version = int(folder.name)
    try:
        manifest = read_manifest(folder)
        if (manifest.name, manifest.version) != (name.name, version):
            raise BrokenModel(f"{folder} holds the manifest of {manifest.name}@{manifest.version}")
    except BrokenModel as error:
        return Found(name.name, version, folder, None, error.detail)
    except OSError as error:
        return Found(name.name, version, folder, None, f"{folder} cannot be read: {error.strerror}")
    return Found(name.name, version, folder, manifest, None)
