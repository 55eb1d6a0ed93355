"""Files of a model folder: only regular ones, of bounded size, with the expected digest."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from service.contract.errors import BrokenModel
from service.contract.files import MIB, check_archive, read_file, read_verified


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_file(tmp_path / "file", MIB) == b"abc"
    assert read_file(tmp_path / "link", MIB) == b"abc"


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BrokenModel, match="is no regular file"):
        read_file(tmp_path / "pipe", MIB)


@pytest.mark.parametrize("name", ["/dev/zero", "folder"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BrokenModel, match="is no regular file"):
        read_file(tmp_path / name, MIB)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BrokenModel, match="is larger than 1 MiB"):
        read_file(tmp_path / "sparse", MIB)
    (tmp_path / "full").write_bytes(bytes(MIB))
    assert len(read_file(tmp_path / "full", MIB)) == MIB


def test_an_absent_file_is_a_broken_model(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="does not exist"):
        read_file(tmp_path / "absent", MIB)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BrokenModel, match="cannot be read: Not a directory"):
        read_file(tmp_path / "file" / "below", MIB)


def test_the_digest_must_be_the_expected_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert read_verified(tmp_path / "file", MIB, hashlib.sha256(b"abc").hexdigest()) == b"abc"
    with pytest.raises(BrokenModel, match=r"is not what the manifest describes: sha256 ba7816bf.*, expected 00"):
        read_verified(tmp_path / "file", MIB, "0" * 64)


@pytest.mark.parametrize(("size", "is_refused"), [(MIB - 1, False), (MIB, False), (MIB + 1, True)])
def test_an_archive_is_refused_by_what_it_unpacks_to(size: int, is_refused: bool) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("half", bytes(size // 2))
        archive.writestr("other", bytes(size - size // 2))
    assert len(buffer.getvalue()) < MIB // 100
    if is_refused:
        with pytest.raises(BrokenModel, match="archive unpacks to more than 1 MiB"):
            check_archive(Path("archive"), buffer.getvalue(), MIB)
    else:
        check_archive(Path("archive"), buffer.getvalue(), MIB)


@pytest.mark.parametrize("data", [b"", b"PK nonsense", bytes(100)])
def test_what_is_no_archive_is_left_to_its_reader(data: bytes) -> None:
    check_archive(Path("file"), data, MIB)
