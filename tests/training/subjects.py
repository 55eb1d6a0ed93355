"""The subjects of the contract tests: every network of the project with seeded weights, every committed model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from service.contract.manifest import MANIFEST_FILE, MODEL_FILE, Task, read_manifest
from training.fit.export import reload, script
from training.folders import MODELS
from training.networks import sines
from training.networks.digits import DigitReader, RowReader
from training.networks.forecaster import MAX_HORIZON, Forecaster
from training.networks.sines import SineForecaster
from training.networks.tutorial_digits import TutorialReader
from training.networks.tutorials import HORIZON, Linear, Naive, Recurrent

# The specialist of the sine mixture is made for series of one size, about 1, and over the first few values of a series
# that is no such mixture its fit magnifies a rounding error some 200 times.
SINES_UNIT = 5.0


@dataclass(frozen=True, eq=False)
class Subject:
    """A scripted module, as the service would load it, and the entries of its manifest that the tests need."""

    module: Any
    task: Task
    exact: int
    missing: bool = False
    max_horizon: int = 1
    unit: float = 1e-3  # the smallest size that errors are relative to


def _forecaster() -> nn.Module:
    module = Forecaster(fast=8, slow=12, width=16)
    nn.init.normal_(module.out.weight, std=0.3)  # the untrained read-out is zero and would hide the layers below it
    return module


def _with_residuals(module: Any) -> nn.Module:
    module.double()
    spread = torch.arange(1, HORIZON + 1, dtype=torch.float64).sqrt()
    module.residuals.measure(torch.randn(500, HORIZON, dtype=torch.float64) * spread)
    return module


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Task]] = {
    "naive": (Naive, "forecast"),
    "linear": (lambda: _with_residuals(Linear()), "forecast"),
    "rnn-1": (lambda: _with_residuals(Recurrent(1, dense=False)), "forecast"),
    "rnn-20": (lambda: _with_residuals(Recurrent(20, dense=True)), "forecast"),
    "forecaster": (_forecaster, "forecast"),
    "sines": (lambda: SineForecaster(12), "forecast"),
    "digits-rnn-10": (lambda: TutorialReader((10,)).double(), "classify-digit"),
    "digits-rnn-16-8-4": (lambda: TutorialReader((16, 8, 4)).double(), "classify-digit"),
    "digits": (lambda: DigitReader(RowReader(hidden=12, layers=2), torch.linspace(1, 2, 64)), "classify-digit"),
}


def build(name: str) -> nn.Module:
    """The named network with seeded weights, eager and ready to be scripted."""
    torch.manual_seed(5)
    module = NETWORKS[name][0]()
    return module.eval().requires_grad_(False)


def names(task: Task) -> list[str]:
    """Ids of all subjects of a task: `network:<name>` and `model:<name>/<version>`."""
    networks = [f"network:{name}" for name, (_, its_task) in NETWORKS.items() if its_task == task]
    manifests = sorted(MODELS.glob(f"[a-z]*/[0-9]*/{MANIFEST_FILE}"))
    models = [path.parent for path in manifests if read_manifest(path.parent).task == task]
    return networks + [f"model:{folder.parent.name}/{folder.name}" for folder in models]


@cache
def subject(name: str) -> Subject:
    """The subject with that id."""
    kind, _, reference = name.partition(":")
    return _committed(MODELS / reference) if kind == "model" else _network(reference)


def _committed(folder: Path) -> Subject:
    manifest = read_manifest(folder)
    contract = manifest.input
    module = reload((folder / MODEL_FILE).read_bytes())
    unit = SINES_UNIT if manifest.name == "sines" else Subject.unit
    return Subject(module, manifest.task, manifest.state.exact, contract.missing, contract.max_horizon or 1, unit)


def _network(name: str) -> Subject:
    task = NETWORKS[name][1]
    eager = build(name)
    module = reload(script(eager))
    if task == "classify-digit":
        return Subject(module, task, exact=sum(eager.sizes) if isinstance(eager, TutorialReader) else 0)
    if isinstance(eager, Forecaster):
        return Subject(module, task, eager.exact, missing=True, max_horizon=MAX_HORIZON)
    if isinstance(eager, SineForecaster):
        return Subject(module, task, eager.exact, missing=True, max_horizon=sines.MAX_HORIZON, unit=SINES_UNIT)
    width = module.initial(torch.zeros(1, dtype=torch.int64)).shape[1]
    return Subject(module, task, exact=width, missing=name == "naive", max_horizon=HORIZON)
