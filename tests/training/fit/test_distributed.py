"""training.fit.distributed: several processes end with the weights of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.__main__ import main
from training.fit import distributed

ROOT = Path(__file__).resolve().parents[3]


def weights_of(folder: Path, *launcher: str) -> dict[str, dict[str, Tensor]]:
    folder.mkdir()
    program = ["tests/training/fit/shared_fit.py", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, *launcher, *program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return dict(torch.load(folder / "weights.pt", weights_only=True))


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    alone = weights_of(tmp_path / "alone")
    shared = weights_of(tmp_path / "shared", "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    for family, weights in alone.items():
        for name, value in weights.items():
            torch.testing.assert_close(shared[family][name], value, rtol=1e-4, atol=1e-5, msg=f"{family} {name}")
    assert len(list((tmp_path / "shared" / "run").glob("events*"))) == 1, "one process writes"


def test_one_process_takes_every_row() -> None:
    assert (distributed.size(), distributed.is_first()) == (1, True)
    assert distributed.rows_of_rank(7) == slice(0, 7)
    assert distributed.any_of(True)
    assert distributed.ratio(torch.tensor(3.0), torch.tensor(0)) == 3.0, "a sum over nothing is not divided by it"


def test_uneven_shares_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(ValueError, match="7 rows cannot be shared evenly between 2 processes"):
        distributed.rows_of_rank(7)


def test_other_commands_say_that_they_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="runs in one process"):
        main(["gallery"])
