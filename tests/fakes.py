"""A registry without networks: models that answer at once, or as a test sets them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from service.contract.errors import Unavailable, UnknownModel
from service.contract.manifest import Golden, InputContract, Manifest, OutputContract, Provenance, StateContract, Task
from service.contract.types import BatchResult, DigitItem, DigitResult, ForecastItem, ForecastResult, Item
from service.metrics.page import Metrics
from service.registry.registry import Health, Registry
from service.runtime.fair_share import ANONYMOUS, Client


def manifest(name: str, task: Task = "forecast", **inputs: Any) -> Manifest:
    """A manifest whose input contract is the default of its task, changed by `inputs`."""
    defaults: dict[str, Any] = (
        {"features": 1, "min_length": 1, "max_length": None, "missing": True, "season": True, "max_horizon": 256}
        if task == "forecast"
        else {"features": 28, "min_length": 1, "max_length": 64, "missing": False}
    )
    return Manifest(
        name=name,
        version=1,
        task=task,
        description="made by a test",
        sha256="ab" * 32,
        input=InputContract(**(defaults | inputs)),
        output=OutputContract(classes=None if task == "forecast" else 10),
        state=StateContract(width=2, exact=1),
        golden=Golden(sha256="cd" * 32, rtol=1e-6, atol=1e-6),
        training=Provenance(
            command="none",
            commit="0" * 40,
            seed=0,
            data={},
            torch="none",
            device="cpu",
            created="2025-01-01T00:00:00Z",
            seconds=0,
            parameters=0,
        ),
        metrics={"mse": 0.5},
    )


class FakeModel:
    """One served version: forecasts the last value with a band of one, reads every digit as the count of its rows."""

    def __init__(self, contract: Manifest, state: str = "ready", reason: str | None = None) -> None:
        self.manifest = contract
        self.name, self.version = contract.name, contract.version
        self.state, self.reason = state, reason
        self.readable = True
        self.batch_invariant, self.batch_deviation = True, 0.0
        self.error: Exception | None = None  # what submit raises
        self.hold: asyncio.Event | None = None  # what submit waits for
        self.waiting = asyncio.Event()  # set while submit waits
        self.cancelled = asyncio.Event()  # set when a waiting submit was cancelled
        self.deadline: float | None = None
        self.spread = 0.0  # of the quantiles of a history, to either side of the value before
        self.items: Sequence[Item] = ()
        self.client = ANONYMOUS

    async def submit(
        self, items: Sequence[Item], deadline: float | None = None, client: Client = ANONYMOUS
    ) -> BatchResult:
        self.items, self.deadline, self.client = items, deadline, client
        self.charge(client, len(items), sum(item.length for item in items))
        if self.hold is not None:
            self.waiting.set()
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error
        return BatchResult([self._result(item) for item in items], 0.001, 0.002)

    def check_time(self, items: Sequence[Item], values: int, deadline: float) -> None:
        """See `Served.check_time`."""

    def charge(self, client: Client, items: int, values: int) -> Client:
        """See `Served.charge`."""
        if client.account is not None:
            client.account.charge(self.manifest.task, items, values)
        return client._replace(account=None)

    def _result(self, item: Item) -> ForecastResult | DigitResult:
        return self._forecast(item) if isinstance(item, ForecastItem) else self._digit(item)

    def _forecast(self, item: ForecastItem) -> ForecastResult:
        last = float(item.values[~np.isnan(item.values)][-1])
        mean = np.full(item.horizon, last)
        offsets = item.levels * 2 - 1
        history = None
        if item.history:
            history = np.repeat(item.values[:, None], 1 + len(item.levels), axis=1)
            history = np.concatenate((np.full((1, history.shape[1]), np.nan), history[:-1]))
            history[:, 1:] += self.spread * np.sign(item.levels - 0.5)
        return ForecastResult(
            mean, last + offsets[:, None] * np.ones(item.horizon), history, item.season or 1, np.zeros(2)
        )

    def _digit(self, item: DigitItem) -> DigitResult:
        n_rows = len(item.rows)
        trace = np.full((n_rows, 10), 0.05)
        trace[np.arange(n_rows), np.arange(1, n_rows + 1) % 10] = 0.55
        return DigitResult(trace[-1], trace if item.trace else None, n_rows, np.zeros(2))


class FakeRegistry:
    """As much of a registry as `create_app` uses."""

    def __init__(self, *models: FakeModel, ready: bool = True) -> None:
        self.metrics = Metrics()
        self.served = list(models)
        self.is_ready = ready
        self.draining = False
        self.started = self.closed = False

    async def start(self) -> None:
        self.started = True

    async def loaded(self) -> None:
        pass

    async def close(self, drain_seconds: float = 0.0) -> None:
        self.closed = True

    def drain(self) -> None:
        self.draining = True

    def get(self, reference: str) -> FakeModel:
        for model in self.served:
            if reference in (model.name, f"{model.name}@{model.version}"):
                if model.state != "ready":
                    raise Unavailable(f"{reference} is being loaded", code="model_not_ready", retry_after=2.5)
                return model
        name, _, number = reference.partition("@")
        if any(name == model.name for model in self.served):
            raise UnknownModel(f"model {name!r} has no version {number!r}", code="version_not_found")
        raise UnknownModel("there is no such model", code="model_not_found")

    def models(self) -> list[FakeModel]:
        return self.served

    def default_version(self, name: str) -> int | None:
        return max((model.version for model in self.served if model.name == name), default=None)

    def health(self) -> Health:
        ready = self.is_ready and not self.draining
        return Health(ready, () if ready else ("a test says so",), ())


def as_registry(fake: FakeRegistry) -> Registry:
    """`fake` in the type of a `Registry`."""
    return cast(Registry, fake)
