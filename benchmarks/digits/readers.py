"""The readers to compare: models of this project, run through the service's own backend, and the peer network."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.digits import cnn
from service.backend.model import LoadedModel, load
from service.contract.types import DigitItem, DigitResult, Floats

Planes = NDArray[np.float32]  # (N, 28, 28), ink 0..1
BATCH = 250


class Reader(Protocol):
    """A digit reader."""

    name: str
    kilobytes: float
    unlikely_below: float | None

    def trace(self, digits: Planes) -> Floats:
        """Probabilities after every row (N, 28, 10), or of the whole images only (N, 1, 10)."""

    def call(self, digits: Planes) -> Callable[[], object]:
        """A function that reads these digits at once, as often as it is called: what is timed."""


class Served:
    """A model of models/ through `service.backend.torchscript`."""

    def __init__(self, folder: Path) -> None:
        self.model: LoadedModel = load(folder)
        manifest = self.model.manifest
        self.name = f"{manifest.name}@{manifest.version}"
        self.kilobytes = (folder / "model.pt").stat().st_size / 1024
        self.unlikely_below = manifest.output.unlikely_below

    def trace(self, digits: Planes) -> Floats:
        """After every row."""
        items = [DigitItem(rows=rows, trace=True) for rows in digits]
        traces = []
        for start in range(0, len(items), BATCH):
            for result in self.model.run(items[start : start + BATCH]):
                assert isinstance(result, DigitResult)
                assert result.trace is not None
                traces.append(result.trace)
        return np.stack(traces)

    def call(self, digits: Planes) -> Callable[[], object]:
        """The backend's whole way from items to results."""
        items = [DigitItem(rows=rows) for rows in digits]
        return lambda: self.model.run(items)


class Peer:
    """The convolutional network of PyTorch's MNIST example."""

    name = "cnn"
    unlikely_below: float | None = None  # it has no such level

    def __init__(self) -> None:
        self.network = cnn.load()
        self.kilobytes = cnn.FILE.stat().st_size / 1024

    @torch.inference_mode()
    def trace(self, digits: Planes) -> Floats:
        """Of the whole images."""
        parts = [self.network(part).exp().double().numpy() for part in torch.from_numpy(digits).split(BATCH)]
        return np.asarray(np.concatenate(parts)[:, None])

    def call(self, digits: Planes) -> Callable[[], object]:
        """The network's forward pass on tensors that are ready."""
        images = torch.from_numpy(digits)

        @torch.inference_mode()
        def forward() -> object:
            return self.network(images)

        return forward


def microseconds(call: Callable[[], object], digits: int, seconds: float) -> float:
    """Processor time for one of `digits` that a call reads: the quickest of the calls that fit into `seconds`."""
    call()
    best, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best / digits * 1e6
