"""training.reports.onnx_graphs: what torch's exporter gets wrong, mended."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("onnx", reason="needs the extra onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from training.reports import onnx_graphs  # noqa: E402
from training.reports.onnx_operators import OPSET  # noqa: E402

# The exporter warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore")


def answers(module: nn.Module, example: Tensor, *inputs: Tensor) -> list[np.ndarray[Any, Any]]:
    """What the ONNX file of `module`, exported with `example`, answers each of `inputs`."""
    scripted = torch.jit.script(module)
    onnx_graphs.name_values_apart(scripted)
    buffer: Any = io.BytesIO()
    torch.onnx.export(
        scripted,
        (example,),
        buffer,
        input_names=["x"],
        dynamic_axes={"x": {0: "rows", 1: "steps"}},
        opset_version=OPSET,
        dynamo=False,
    )
    data = onnx_graphs.repaired(buffer.getvalue())
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": x.numpy()})[0] for x in inputs]


class Unbound(nn.Module):
    """Parts of a tensor whose number is not known when it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.stack([x, 2 * x], 1).unbind(1)
        return parts[0].cumsum(1) * parts[1]


class Twice(nn.Module):
    """A branch that returns one value as both of its results."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.both(x)
        return first - 2 * second

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros_like(x)
        if x.size(1) == 1:
            return zeros, zeros
        return x, x.cumsum(1)


def numbers(rows: int, steps: int) -> Tensor:
    return torch.rand(rows, steps, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)


@pytest.mark.parametrize("module", [Unbound(), Twice()])
def test_the_file_answers_as_the_module(module: nn.Module) -> None:
    inputs = numbers(3, 8), numbers(2, 1), numbers(1, 5)
    for answer, x in zip(answers(module, inputs[0], *inputs), inputs, strict=True):
        np.testing.assert_allclose(answer, module(x).numpy(), rtol=1e-12)


class Namesakes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)

    def first(self, x: Tensor) -> Tensor:
        if x.size(1) > 4:
            off = torch.arange(-2, 3).unsqueeze(0)
            return (x[:, :1] * off).sum(1, keepdim=True)
        return x[:, :1]

    def second(self, x: Tensor) -> Tensor:
        off = x - 1
        return off.abs().sum(1, keepdim=True)


def test_no_two_values_share_the_stem_of_a_name() -> None:
    scripted = torch.jit.script(Namesakes())
    onnx_graphs.name_values_apart(scripted)
    names = [value.debugName() for value in onnx_graphs._values(scripted.forward.graph)]  # type: ignore[attr-defined]
    assert len([name for name in names if name.startswith("off_")]) == 2
    assert not [name for name in names if "." in name]
    assert torch.equal(scripted(numbers(2, 6)), Namesakes()(numbers(2, 6)))
