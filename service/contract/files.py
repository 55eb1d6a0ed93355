"""Files of a model folder, read whole: only regular files of bounded size, and only with the digest that is expected.

A model folder comes from outside the service. A named pipe in it would block its reader for ever, and a device or a
sparse file would fill the memory, so both are refused before anything is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path

from service.contract.errors import BrokenModel

MIB = 1 << 20
MAX_MANIFEST_BYTES = 1 * MIB
MAX_GOLDEN_BYTES = 64 * MIB
MAX_MODEL_BYTES = 512 * MIB


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of `path`; raises `BrokenModel` when it cannot be read, is no regular file or exceeds `max_bytes`."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer before its kind can be looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BrokenModel(f"{path} is no regular file")
            if status.st_size > max_bytes:
                raise BrokenModel(f"{path} is larger than {max_bytes // MIB} MiB")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(max_bytes)  # the bound holds for a file that grows meanwhile, too
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise BrokenModel(f"{path} does not exist") from error
    except OSError as error:
        raise BrokenModel(f"{path} cannot be read: {error.strerror}") from error


def check_archive(path: Path, data: bytes, max_bytes: int) -> None:
    """Raises `BrokenModel` where `data`, read from `path`, is a ZIP archive that unpacks to more than `max_bytes`."""
    unpacked = 0
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max_bytes:
        raise BrokenModel(f"{path} unpacks to more than {max_bytes // MIB} MiB")


def read_verified(path: Path, max_bytes: int, sha256: str) -> bytes:
    """Like `read_file`; raises `BrokenModel` too when the digest of the bytes is not `sha256`."""
    data = read_file(path, max_bytes)
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise BrokenModel(f"{path} is not what the manifest describes: sha256 {digest}, expected {sha256}")
    return data
