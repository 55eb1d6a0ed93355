"""A temporary folder that is deleted with its process, or at the next start where the process was killed.

The owner holds a lock on a file in the folder, and the system releases it however the owner ends: a folder without an
owner is recognised although its process id may belong to another process by then, or to one of another container.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PREFIX = "ritmo-"
_LOCK = "lock"

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent` (the system's folder for temporary files), deleted at the end; abandoned ones are, too.

    Raises `OSError` where it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    _sweep(parent)
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            lock = stack.enter_context((folder / _LOCK).open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            # A process that starts at the same time takes a folder without a locked file for an abandoned one.
            if _is_in(folder, lock):
                break
        yield folder


def _is_in(folder: Path, lock: BinaryIO) -> bool:
    """Whether the opened `lock` is still the one in `folder`, not a deleted one."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat())
    except FileNotFoundError:
        return False


def _sweep(parent: Path) -> None:
    """Delete this user's folders of earlier processes that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # deleted meanwhile, or none of ours
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("rb+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its owner holds it: an error, and it stays
                shutil.rmtree(folder)
                logger.info("deleted %s, which a killed process left behind", folder)
