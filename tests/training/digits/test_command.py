"""training.digits.command: stages are trained once, on one another, and exported."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from service.contract.manifest import read_manifest
from training.data import drawn_digits, mnist
from training.data.mnist import Digits, Mnist
from training.digits import command
from training.digits.config import JUDGE, ROUNDS, SIGN_ROUNDS, STAGES, WIDE_ROUNDS, Config
from training.digits.stages import Checkpoint, stage_file
from training.fit.errors import OtherRun
from training.networks.digits import DigitJudge

TINY = "--epochs 1 --batch 20 --drawn 5 --others 5 --ones 5 --displays 4 --pens 8 --signs 13 --free 0 --no-bfloat16"


def _parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_every_field_of_the_configuration_is_an_option_of_a_stage() -> None:
    parsed = vars(_parsed())
    for name in asdict(Config()):
        if name != "distortion":
            assert parsed[name] is None, name
    with pytest.raises(SystemExit, match="--stage"):
        command.main(_parsed("--epochs", "3"))


@pytest.mark.usefixtures("few_unseen_images")
def test_finished_stages_are_exported_and_not_trained_again(
    checkpoint: Checkpoint, data: Mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "load", lambda: data)  # the real one needs files or a network
    torch.manual_seed(3)
    judge = DigitJudge(10, 4)
    measured = {f"10x1 {measure}": 0.5 for measure in ("nll", "row 14", "row 21", "row 28")}
    curves = [{"step": 1.0, "seconds": 1.0, "loss": 2.0} | measured]
    for stage in STAGES:
        replace(checkpoint, curves=curves).save(stage_file(tmp_path / "runs", stage))
    judged = [curves[0] | {"digits doubted": 0.01, "others doubted": 0.9}]
    replace(checkpoint, curves=judged, weights={JUDGE: judge.state_dict()}).save(stage_file(tmp_path / "runs", JUDGE))
    folders = ["--folder", str(tmp_path / "runs"), "--models", str(tmp_path / "models"), "--figures", str(tmp_path)]
    with pytest.raises(OtherRun, match="configuration"):
        command.main(_parsed(*folders))
    command.main(_parsed(*folders, "--accept-other"))
    assert read_manifest(tmp_path / "models" / "digits" / "1").training.seconds == 2.0 * len(STAGES)
    assert (tmp_path / "digits-curves.png").is_file()


def test_a_dry_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = Digits(*drawn_digits.digit_images(70, 31))
    monkeypatch.setattr(mnist, "load", lambda: Mnist(digits, digits, digits))
    command.main(_parsed("--dry-run", "--stage", "labels", "--sizes", "6x1", "--folder", str(tmp_path / "runs")))
    assert list(tmp_path.iterdir()) == []


def test_the_stages_train_on_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = Digits(*drawn_digits.digit_images(20, 31))
    monkeypatch.setattr(mnist, "load", lambda: Mnist(digits, digits, digits))
    tiny = [*TINY.split(), "--folder", str(tmp_path)]
    for stage in STAGES:
        sizes = [] if stage.startswith("teacher") else ["--sizes", "6x1"]
        command.main(_parsed("--stage", stage, *sizes, *tiny))
    rounds = [Checkpoint.load(stage_file(tmp_path, stage)) for stage in (*ROUNDS, *WIDE_ROUNDS, *SIGN_ROUNDS)]
    assert rounds[-1].knobs["final"] == STAGES[SIGN_ROUNDS[-1]].final
    assert rounds[-1].member("6x1")(torch.rand(1, 28, 28)).shape == (1, 28, 11)
