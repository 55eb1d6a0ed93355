"""service.backend.program: what the program of a model may not do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from service.backend.program import forbidden
from service.contract.manifest import MODEL_FILE
from tests.models import LastValue, LSTMDigits, script

MODELS = Path(__file__).resolve().parents[3] / "models"


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        self.kept.append(x)
        return x


class Shares(nn.Module):
    """It answers with one array again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.out: Tensor
        self.register_buffer("out", torch.zeros(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        answer = self.out[: x.size(0), : x.size(1)]
        answer.copy_(x)
        return answer


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares()

    def forward(self, x: Tensor) -> Tensor:
        self.shares.out[0].zero_()
        return x


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x) if x.size(0) > 100 else x


class Prints(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("here")
        return x


class OfItsOwn(nn.Module):
    """It changes only what it has made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        parts: list[Tensor] = []
        total = self.weight.clone()
        total += x[0]
        total[0] = 2.0
        for row in x.unbind(0):
            parts.append(row * self.weight)  # noqa: PERF401 (an append is what is tried)
        return torch.stack(parts).add_(1.0) + total


def fault_of(data: bytes) -> str | None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return forbidden(archive)


@pytest.mark.filterwarnings("ignore:The TorchScript type system")
@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Counts(), "forward() changes self.calls"),
        (Keeps(), "forward() changes kept, which is the module's, in place (append)"),
        (Shares(), "forward() changes answer, which is the module's, in place (copy_)"),
        (Writes(), "in place (zero_)"),
        (Draws(), "forward() draws random numbers (torch.rand_like)"),
        (Prints(), "forward() prints"),
    ],
)
def test_what_is_forbidden_is_named(module: nn.Module, words: str) -> None:
    fault = fault_of(script(module))
    assert fault is not None
    assert words in fault


@pytest.mark.parametrize("module", [OfItsOwn(), LastValue(), LSTMDigits(), nn.Dropout()])
def test_what_a_module_makes_it_may_change(module: nn.Module) -> None:
    assert fault_of(script(module)) is None


def test_the_committed_models_do_nothing_of_the_kind() -> None:
    files = sorted(MODELS.glob(f"*/*/{MODEL_FILE}"))
    assert files
    assert {path.parent.parent.name: fault_of(path.read_bytes()) for path in files if fault_of(path.read_bytes())} == {}
