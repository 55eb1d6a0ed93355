"""A folder that goes with its process, however that ends."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from service.runtime.scratch_folder import PREFIX, scratch_folder

ROOT = Path(__file__).resolve().parents[3]
OWNER = """
import sys, time
from pathlib import Path
from typing import BinaryIO
from service.runtime.scratch_folder import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def owner(parent: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OWNER, str(parent)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_folder_is_deleted_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(PREFIX)
        (folder / "file").touch()
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_killed_process_is_deleted_at_the_next_start(tmp_path: Path) -> None:
    with owner(tmp_path) as killed, owner(tmp_path) as living:
        assert killed.stdout is not None
        assert living.stdout is not None
        abandoned, owned = Path(killed.stdout.readline().strip()), Path(living.stdout.readline().strip())
        foreign = tmp_path / "ritmo-notes"  # has no lock, so it is none of ours
        foreign.mkdir()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (abandoned / "file").exists()
        with scratch_folder(tmp_path) as folder:
            assert sorted(tmp_path.iterdir()) == sorted([folder, owned, foreign])
            assert (owned / "file").exists()
        living.communicate("")
    assert list(tmp_path.iterdir()) == [foreign]


def test_the_folders_of_other_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with owner(tmp_path) as killed:
        assert killed.stdout is not None
        abandoned = Path(killed.stdout.readline().strip())
        killed.send_signal(signal.SIGKILL)
    with monkeypatch.context() as other_user:
        other_user.setattr("os.getuid", lambda: 12345)
        with scratch_folder(tmp_path):
            assert abandoned.exists()
    (tmp_path / f"{PREFIX}link").symlink_to(abandoned)
    with scratch_folder(tmp_path):
        assert not abandoned.exists()


def test_a_process_that_starts_at_the_same_time_does_not_take_the_folder_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def swept_before_it_is_locked(lock: BinaryIO, operation: int) -> None:
        if not taken:
            taken.append(*tmp_path.iterdir())
            with scratch_folder(tmp_path):
                assert not taken[0].exists()
        flock(lock, operation)

    flock = fcntl.flock
    monkeypatch.setattr("fcntl.flock", swept_before_it_is_locked)
    with scratch_folder(tmp_path) as folder:
        assert folder.exists()
        assert folder not in taken
    assert not list(tmp_path.iterdir())
