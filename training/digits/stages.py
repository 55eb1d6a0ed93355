"""The stages of the digit reader's training: each from the files of the earlier ones, and the file that each leaves.

Each round begins from the mean of the weights that the earlier rounds ended with (Izmailov et al., 2018). Rounds come
in series: `taught`, `wide`, `signs`. For each series the reader before it counts as one round, and the reader after it
is a share of that one and the rest the mean of the series (`EARLIER_SHARES`). A judge is trained for the last one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from service.contract.manifest import MODEL_FILE, RECORD_FILE
from training.data import mnist
from training.digits.config import JUDGE, ROUNDS, SIGN_ROUNDS, STAGES, WIDE_ROUNDS, Config
from training.digits.judging import train_judge
from training.digits.train import ModelGroup, build, train
from training.fit import distributed
from training.fit.export import reload
from training.fit.record import command_line, current_commit, identity, stage_record
from training.networks.convolutional import Committee
from training.networks.digits import COLUMNS, STROKES, DigitJudge, RowReader, row_reader

# Of the reader before the wide rounds, and before the rounds of signs. Chosen on validation digits: more of it reads
# MNIST better, less of it other material.
EARLIER_SHARES = 0.4, 0.825
Weights = dict[str, dict[str, Tensor]]  # member -> state_dict of its network


@dataclass(frozen=True)
class Checkpoint:
    """The members' weights at the end of a stage, and the stage's record; the fields are keys of the file."""

    weights: Weights
    knobs: dict[str, Any]
    curves: list[dict[str, float]]
    data: dict[str, str]
    command: str
    commit: str
    device: str
    torch: str
    seconds: float

    def save(self, file: Path) -> None:
        """Write one file that `load` reads back without running anything in it; of several processes the first does."""
        if distributed.is_first():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(vars(self), file)
        distributed.wait()

    @classmethod
    def load(cls, file: Path) -> Checkpoint:
        """Read a file that `save` wrote."""
        return cls(**torch.load(file, map_location="cpu", weights_only=True))

    def member(self, size: str) -> nn.Module:
        """One trained network, in eval mode."""
        network = build(size, 0.0)
        network.load_state_dict(self.weights[size])
        return network.eval()

    def members(self) -> list[nn.Module]:
        """All trained networks, in eval mode."""
        return [self.member(size) for size in self.weights]


def stage_file(folder: Path, stage: str) -> Path:
    """The checkpoint that a finished stage leaves in `folder`."""
    return folder / f"{stage}.pt"


def load_stages(folder: Path, stages: Sequence[str]) -> list[Checkpoint]:
    """The checkpoints of `stages` in `folder`, in their order."""
    return [Checkpoint.load(stage_file(folder, stage)) for stage in stages]


def exported_checkpoint(folder: Path) -> Checkpoint:
    """The reader in `models/<name>/<version>/`, as the stage that its record tells of."""
    weights = row_reader(reload((folder / MODEL_FILE).read_bytes()).state_dict()).state_dict()
    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    fields = {
        key: record[key] for key in ("knobs", "curves", "data", "command", "commit", "device", "torch", "seconds")
    }
    hidden = weights["head.weight"].shape[1]
    layers = sum(name.startswith("lstms.") and name.endswith("weight_hh_l0") for name in weights)
    return Checkpoint(weights={f"{hidden}x{layers}": weights}, **fields)


def train_stage(
    stage: str,
    config: Config,
    folder: Path,
    device: torch.device,
    deadline: float | None = None,
    *,
    accept_other: bool = False,
    exported: Checkpoint | None = None,
) -> Checkpoint:
    """Train one stage; a round needs the files of the earlier stages in `folder`.

    With an `exported` reader a series of rounds begins from that one.
    """
    if stage == JUDGE:
        beginning = exported or reader_before_signs(folder)
        network = _blended_reader(beginning, load_stages(folder, SIGN_ROUNDS))
        return train_judge_stage(network, config, folder / stage, device, deadline=deadline, accept_other=accept_other)
    commit, data = current_commit(), mnist.load()
    committee, start = None, None
    if stage in ROUNDS:
        committee, start = _teachers_and_start(stage, config, folder)
    elif stage in WIDE_ROUNDS:
        committee, start = _reader_and_start(stage, WIDE_ROUNDS, folder, exported or reader_before_wide(folder))
    elif stage in SIGN_ROUNDS:
        committee, start = _reader_and_start(stage, SIGN_ROUNDS, folder, exported or reader_before_signs(folder))
    group, curves = train(
        data,
        config,
        device,
        committee,
        start=start,
        folder=folder / stage,
        deadline=deadline,
        identity=identity(config, data.digests, "digits"),
        accept_other=accept_other,
    )
    record = stage_record(config, curves.rows, data=data.digests, device=device, command=command_line(), commit=commit)
    return Checkpoint(weights=_weights(group), seconds=curves.last["seconds"], **record)


def _blended_reader(beginning: Checkpoint, rounds: Sequence[Checkpoint]) -> RowReader:
    """The reader after the rounds of signs: the first of its members."""
    last = replace(rounds[-1], weights=blended_weights(beginning, rounds, EARLIER_SHARES[1]))
    return cast("RowReader", last.members()[0])


def train_judge_stage(
    reader: RowReader,
    config: Config,
    folder: Path,
    device: torch.device,
    **options: Any,
) -> Checkpoint:
    """Train a judge for `reader`; its one member's weights are a `DigitJudge`'s. `options` are those of `fit`."""
    commit, data = current_commit(), mnist.load()
    judge, curves = train_judge(
        reader, data, config, device, folder=folder, identity=identity(config, data.digests, "digits"), **options
    )
    record = stage_record(config, curves.rows, data=data.digests, device=device, command=command_line(), commit=commit)
    weights = {name: value.detach().cpu() for name, value in judge.state_dict().items()}
    return Checkpoint(weights={JUDGE: weights}, seconds=curves.last["seconds"], **record)


def trained_judge(checkpoint: Checkpoint) -> DigitJudge:
    """The judge that the stage `judge` left."""
    weights = checkpoint.weights[JUDGE]
    evidence, features = weights["rows.weight"].shape
    judge = DigitJudge(features - COLUMNS - STROKES, evidence)
    judge.load_state_dict(weights)
    return judge.eval()


def _teachers_and_start(stage: str, config: Config, folder: Path) -> tuple[Committee, dict[str, Tensor]]:
    """The teachers of a round, and the weights that it begins from."""
    teachers = load_stages(folder, [name for name in STAGES if name.startswith("teacher")])
    predecessors = load_stages(folder, ROUNDS[: ROUNDS.index(stage)] or ["labels"])
    reader = replace(predecessors[-1], weights=mean_weights(predecessors))
    if config.own:
        teachers.append(reader)
    committee = Committee([member for checkpoint in teachers for member in checkpoint.members()])
    return committee, next(iter(reader.weights.values()))


def _reader_and_start(
    stage: str, series: Sequence[str], folder: Path, reader: Checkpoint
) -> tuple[Committee, dict[str, Tensor]]:
    """The one teacher of a round, which is the `reader` that its `series` began from; the weights to begin from."""
    finished_rounds = load_stages(folder, series[: series.index(stage)])
    return Committee(reader.members()), next(iter(mean_weights([reader, *finished_rounds]).values()))


def reader_before_wide(folder: Path) -> Checkpoint:
    """The reader that the wide rounds begin from: the mean of the rounds with teachers in `folder`."""
    rounds = load_stages(folder, ROUNDS)
    return replace(rounds[-1], weights=mean_weights(rounds))


def reader_before_signs(folder: Path) -> Checkpoint:
    """The reader that the rounds of signs begin from: the one after the wide rounds in `folder`."""
    wide = load_stages(folder, WIDE_ROUNDS)
    return replace(wide[-1], weights=blended_weights(reader_before_wide(folder), wide, EARLIER_SHARES[0]))


def blended_weights(beginning: Checkpoint, rounds: Sequence[Checkpoint], share: float) -> Weights:
    """The weights of a reader: a `share` of those of `beginning`, which the `rounds` began from, and their mean."""
    mean = mean_weights(rounds)
    return {
        size: {name: torch.lerp(mean[size][name], weights[name], share) for name in weights}
        for size, weights in beginning.weights.items()
    }


def mean_weights(checkpoints: Sequence[Checkpoint]) -> Weights:
    """Member -> the mean of the weights that the checkpoints have for it; all have the same members."""
    return {
        size: {name: torch.stack([c.weights[size][name] for c in checkpoints]).mean(0) for name in weights}
        for size, weights in checkpoints[0].weights.items()
    }


def combined_record(checkpoints: dict[str, Checkpoint]) -> dict[str, Any]:
    """The record of a reader with these stages, in order, for manifest and `training.json`."""
    records = {stage: {k: v for k, v in vars(c).items() if k != "weights"} for stage, c in checkpoints.items()}
    *predecessors, last = records
    final = records[last]
    return final | {
        "command": " && ".join(dict.fromkeys(record["command"] for record in records.values())),
        "seconds": final["seconds"] + sum(records[stage]["seconds"] for stage in predecessors),
        "seed": final["knobs"]["seed"],
        "knobs": final["knobs"] | {"earlier": {stage: records[stage] for stage in predecessors}},
    }


def _weights(group: ModelGroup) -> Weights:
    return {
        name: {key: value.detach().cpu() for key, value in member.state_dict().items()}
        for name, member in zip(group.names, group.members, strict=True)
    }
