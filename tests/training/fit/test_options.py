"""training.fit.options: a configuration's fields as options, and what several commands share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from training.fit.options import (
    add_config_options,
    add_destination_options,
    add_device_options,
    changed_fields,
    use_device,
)
from training.folders import FIGURES, MODELS


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Config:
    seed: int = 0
    head_rate: float = 2e-3
    size: str = "small"
    lengths: tuple[int, ...] = (48, 96)
    fast: bool = False
    inner: Inner = field(default_factory=Inner)


def _parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_config_options(parser, Config())
    return parser.parse_args(arguments)


def test_only_fields_that_the_command_line_sets_are_changed() -> None:
    assert changed_fields(_parse(), Config()) == {}
    arguments = _parse("--head-rate", "0.1", "--lengths", "5", "6", "7", "--fast", "--seed", "0", "--size", "big")
    assert changed_fields(arguments, Config()) == {
        "seed": 0,
        "head_rate": 0.1,
        "size": "big",
        "lengths": (5, 6, 7),
        "fast": True,
    }
    assert changed_fields(_parse("--no-fast"), Config()) == {"fast": False}


def test_a_field_that_is_a_structure_is_no_option() -> None:
    with pytest.raises(SystemExit):
        _parse("--inner", "3")


def test_the_help_has_the_default_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parse("--help")
    assert "default: 0.002" in capsys.readouterr().out


def test_device_and_threads() -> None:
    parser = argparse.ArgumentParser()
    add_device_options(parser)
    threads = torch.get_num_threads()
    assert use_device(parser.parse_args(["--device", "cpu"])) == torch.device("cpu")
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    cpu_only = argparse.ArgumentParser()
    add_device_options(cpu_only, choose_device=False)
    assert "device" not in vars(cpu_only.parse_args([]))


def test_destinations() -> None:
    parser = argparse.ArgumentParser()
    add_destination_options(parser)
    arguments = parser.parse_args(["--version", "7"])
    assert (arguments.models, arguments.version, arguments.figures) == (MODELS, 7, FIGURES)
    models_only = argparse.ArgumentParser()
    add_destination_options(models_only, version=False, figures=False)
    assert vars(models_only.parse_args(["--models", "m"])) == {"models": Path("m")}
