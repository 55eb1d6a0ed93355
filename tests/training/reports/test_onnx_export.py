"""training.reports.onnx_export and onnx_operators: models as ONNX files that answer as the served ones do."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.contract.manifest import read_manifest
from tests.models import LastValue, LSTMDigits, write_model
from training.folders import MODELS
from training.reports import onnx_export


def arguments(model: str, folder: Path, output: Path, *, dry_run: bool = False) -> argparse.Namespace:
    return argparse.Namespace(model=model, folder=folder, output=output, dry_run=dry_run)


def test_without_the_extra_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit, match=r"ritmo\[onnx\]"):
        onnx_export.main(arguments("any", tmp_path, tmp_path / "x.onnx"))


@pytest.mark.parametrize(("name", "module"), [("forecaster", LastValue), ("digits", LSTMDigits)])
def test_the_file_answers_as_the_served_model(tmp_path: Path, name: str, module: Callable[[], nn.Module]) -> None:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    write_model(tmp_path, name, module())
    path = tmp_path / "x.onnx"
    onnx_export.main(arguments(name, tmp_path, path, dry_run=True))
    assert not path.exists(), "a dry run writes nothing"
    onnx_export.main(arguments(name, tmp_path, path))
    manifest = read_manifest(tmp_path / name / "1")
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for rows, steps in ((1, 1), (7, 33)):
        [answer] = session.run(None, onnx_export.inputs_of(manifest, rows, steps))
        assert len(answer) == rows
        assert np.isfinite(answer).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "forecaster"])
def test_the_shipped_models_answer_alike_for_all_kinds_of_input(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    path = tmp_path / "x.onnx"
    onnx_export.main(arguments(name, MODELS, path))  # refuses where an answer differs
    assert path.stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Exporting the operator 'aten::diag' to ONNX opset version 20 is not supported", "its operator aten::diag"),
        ("[E] : 9 : Could not find an implementation for RNN(14) node with name '/RNN'", "its operator RNN"),
        (
            "Cannot determine scalar type for this '<class 'x'>' instance. [Caused by the value",
            "the types of its numbers",
        ),
        ("Something else. With more\nand more", "Something else"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_sentence(words: str, reason: str) -> None:
    manifest = read_manifest(MODELS / "digits" / "4")
    sentence = onnx_export.refusal(manifest, "cannot be written as ONNX", RuntimeError(words))
    assert sentence.startswith("digits@4 cannot be written as ONNX: ")
    assert sentence.endswith(reason)


class Operators(nn.Module):
    """What `onnx_operators` adds, one output each."""

    def forward(self, x: Tensor, grid: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        spectrum = torch.view_as_real(torch.fft.rfft(x.to(torch.float32), 32))
        power = spectrum.square().sum(-1)
        return (
            x.cummax(1)[0],
            x.cummin(1)[0],
            torch.searchsorted(grid, levels),
            torch.special.ndtri(levels),
            torch.where(x > 0.9, float("nan"), x).nanmedian(1, keepdim=True)[0],
            power.unflatten(0, (1, x.size(0))),
        )


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_operators_that_the_exporter_does_not_know() -> None:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from training.reports import onnx_operators

    onnx_operators.register()
    generator = torch.Generator().manual_seed(0)
    grid = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    levels = torch.tensor([[1e-12, 0.01, 0.3, 0.5], [0.6, 0.93, 0.999, 1 - 1e-9]], dtype=torch.float64)

    def inputs(rows: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        return torch.rand(rows, steps, generator=generator, dtype=torch.float64), grid, levels

    module = torch.jit.script(Operators())
    buffer: Any = io.BytesIO()
    names = ["x", "grid", "levels"]
    torch.onnx.export(
        module,
        inputs(3, 16),
        buffer,
        input_names=names,
        dynamic_axes={"x": {0: "rows", 1: "steps"}},
        opset_version=onnx_operators.OPSET,
        dynamo=False,
    )
    session = runtime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    for rows, steps in ((3, 16), (1, 1), (5, 15)):
        sample = inputs(rows, steps)
        answers = session.run(None, dict(zip(names, (value.numpy() for value in sample), strict=True)))
        for answer, expected in zip(answers, module(*sample), strict=True):
            np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-4, atol=1e-5)
