"""`ritmo model check`: each breach is named with the sentence of the contract and the line of the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from service.authoring.check import check
from service.contract.manifest import MANIFEST_FILE, InputContract
from tests.models import LastValue, LSTMDigits, write_model

SHORT = InputContract(features=1, min_length=1, max_length=60, missing=True, max_horizon=24)


class MixesNeighbours(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        mean = state.mean(0, keepdim=True).expand(state.size(0), 1)
        return torch.cat((mean, mean + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)


class NaNForLargeValues(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        answer = torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)
        return torch.where(answer > 1e6, torch.full_like(answer, float("nan")), answer)


class HistoryAfterTheValue(LastValue):
    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        latest = self._latest(values, lengths, state)
        mean = latest[:, 1:].unsqueeze(2)
        return latest[:, -1:], torch.cat((mean, mean + levels.unsqueeze(1) - 0.5), 2)


class ShortHorizon(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, min(horizon, 30), 1)


def broken_rules(lines: list[str]) -> set[str]:
    return {line.split()[1].rstrip(":") for line in lines if line.startswith("BROKEN")}


def test_a_sound_model_keeps_every_rule(tmp_path: Path) -> None:
    for folder in (write_model(tmp_path, "last", LastValue(), inputs=SHORT), write_model(tmp_path, "d", LSTMDigits())):
        lines, _ = check(folder)
        assert broken_rules(lines) <= {"padding"}  # NaN there reaches the closed gates of the tests' own LSTM
        assert any(line.startswith("note    a step of one row takes") for line in lines)
    assert check(tmp_path / "last" / "1")[1]


@pytest.mark.parametrize(
    ("module", "rules", "words"),
    [
        (MixesNeighbours, {"alone"}, "is answered otherwise"),
        (NaNForLargeValues, {"extremes"}, "is not finite"),
        (HistoryAfterTheValue, {"history"}, "is not what is answered at step"),
    ],
)
def test_a_breach_names_the_sentence_and_the_line(
    tmp_path: Path, module: type[torch.nn.Module], rules: set[str], words: str
) -> None:
    lines, sound = check(write_model(tmp_path, "mine", module(), inputs=SHORT))
    assert not sound
    assert rules <= broken_rules(lines)
    text = "\n".join(lines)
    assert words in text
    assert "contract: docs/models.md, “" in text
    assert f"{Path(__file__).name}:" in text


def test_a_horizon_that_the_manifest_promises_is_asked_for(tmp_path: Path) -> None:
    inputs = SHORT.model_copy(update={"max_horizon": 48})
    lines, sound = check(write_model(tmp_path, "mine", ShortHorizon(), inputs=inputs))
    assert not sound
    assert "limits" in broken_rules(lines)


def test_what_the_manifest_could_promise_is_a_note(tmp_path: Path) -> None:
    inputs = SHORT.model_copy(update={"missing": False})
    lines, sound = check(write_model(tmp_path, "mine", LastValue(), inputs=inputs))
    assert sound
    assert lines[-1] == "note    it answers series with missing values: the manifest could say input.missing"


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    lines, sound = check(tmp_path)
    assert not sound
    assert len(lines) == 1
    folder = write_model(tmp_path, "mine", LastValue(), inputs=SHORT)
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "sha256": "0" * 64}), encoding="utf-8")
    assert "sha256" in check(folder)[0][0]
