"""training.reports.layers: kinds, shapes and numbers of parameters of exported models."""

from __future__ import annotations

import argparse

import pytest

from training.folders import MODELS
from training.reports.layers import main


def printed(capsys: pytest.CaptureFixture[str], *models: str) -> str:
    main(argparse.Namespace(models=list(models), folder=MODELS))
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("linear", ["51 parameters, 51 of them trained"]),
        ("rnn-1", ["4 parameters, 4 of them trained"]),
        ("rnn-20", ["460", "21", "481 parameters, 481 of them trained"]),
        ("digits-rnn-10", ["500 of them trained"]),
        ("digits-rnn-16-8-4", ["736", "208", "1,022 of them trained"]),
    ],
)
def test_the_tutorials_models_have_the_tutorials_numbers(
    capsys: pytest.CaptureFixture[str], name: str, numbers: list[str]
) -> None:
    text = printed(capsys, name)
    assert all(number in text for number in numbers)


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no model nothing"):
        printed(capsys, "nothing")
