"""A loaded model behind its queue, with real scripted models: faults of the model, probes apart from requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from service.backend.chunks import CancelledRows
from service.backend.model import LoadedModel, load
from service.backend.network import IndexedResults
from service.batching.queue import Limits
from service.batching.scheduler import Scheduler
from service.contract.errors import ModelFault
from service.contract.types import ForecastItem, Item, PaddingStats
from service.metrics.page import Metrics
from service.registry.interval_coverage import PROBE_EVERY
from service.registry.served import Served
from tests.models import LastValue, RunningMean, write_model

LEVELS = np.array([0.1, 0.5, 0.9])
TIMEOUT = 10.0


class InfiniteTail(LastValue):
    """Its quantile of the level 0.9 is infinite one step after a 1, which only requests for just that notice."""

    @torch.jit.export
    def forecast(self, state: torch.Tensor, horizon: int, levels: torch.Tensor) -> torch.Tensor:
        quantiles = state + levels - 0.5
        if horizon == 1:
            quantiles = torch.where((levels > 0.85) & (state == 1.0), torch.full_like(levels, float("inf")), quantiles)
        return torch.cat((state, quantiles), 1).unsqueeze(1).repeat(1, horizon, 1)


class BatchRecorder(LoadedModel):
    """Records the items of each batch, and whether the event loop computed it."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model.manifest, model.network, model.shapes)
        self.batches: list[tuple[Sequence[Item], bool]] = []

    def run_batch(
        self, items: Sequence[Item], cancelled: CancelledRows, n_requests: int, padding: PaddingStats
    ) -> Iterator[IndexedResults]:
        self.batches.append((items, threading.current_thread() is threading.main_thread()))
        return super().run_batch(items, cancelled, n_requests, padding)


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    await scheduler.close(0.0)


def serve(scheduler: Scheduler, models: Path, module: torch.nn.Module, version: int = 1) -> tuple[Served, Metrics]:
    metrics = Metrics()
    model = BatchRecorder(load(write_model(models, "model", module, version=version), warm=False))
    return Served(model, scheduler, Limits(), metrics.for_model("model")), metrics


def update(value: float = 2.0, levels: Sequence[float] = (0.5,)) -> ForecastItem:
    return ForecastItem(np.array([value]), 1, np.array(levels), state=np.array([1.0]))


def batches(served: Served) -> list[tuple[Sequence[Item], bool]]:
    assert isinstance(served.model, BatchRecorder)
    return served.model.batches


def outcomes(metrics: Metrics) -> int:
    rows = [line for line in metrics.render().decode().splitlines() if "outcome=" in line and not line.startswith("#")]
    return sum(int(float(line.split()[-1])) for line in rows)


async def until_probed(served: Served, metrics: Metrics, count: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        while outcomes(metrics) < count:  # noqa: ASYNC110 (a counter has no event)
            await asyncio.sleep(0.001)


async def test_an_answer_that_is_not_finite_is_a_model_fault_of_that_request_alone(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    served, _ = serve(scheduler, tmp_path, RunningMean(), version=3)
    extreme = ForecastItem(np.array([1.7e308, -1.7e308]), 1, LEVELS)
    ordinary = ForecastItem(np.array([1.0, 2.0]), 1, LEVELS)
    fault, answer = await asyncio.gather(served.submit([extreme]), served.submit([ordinary]), return_exceptions=True)
    assert isinstance(fault, ModelFault)
    assert fault.code == "model_fault"
    assert fault.detail.startswith("model model@3 gave no sound answer")
    assert not isinstance(answer, BaseException)


async def test_a_probe_that_cannot_be_answered_fails_no_request(scheduler: Scheduler, tmp_path: Path) -> None:
    """The model has no finite 0.9 quantile, which every probe asks for and none of these requests does."""
    served, metrics = serve(scheduler, tmp_path, InfiniteTail())
    for _ in range(3 * PROBE_EVERY):
        result = await served.submit([update()])
        assert len(result.results) == 1
    monitor = served._monitor
    assert monitor is not None
    async with asyncio.timeout(TIMEOUT):
        while not monitor.failures:
            await asyncio.sleep(0.001)
            await served.submit([update()])
    assert outcomes(metrics) == 0


async def test_updates_are_batches_of_their_own_items_and_so_are_probes(scheduler: Scheduler, tmp_path: Path) -> None:
    served, metrics = serve(scheduler, tmp_path, LastValue())
    for n in range(1, PROBE_EVERY + 1):
        result = await served.submit([update(float(n))])
        assert [forecast.mean.tolist() for forecast in result.results] == [[float(n)]]
    await until_probed(served, metrics, 1)
    sizes = [len(items) for items, _ in batches(served)]
    assert sizes == [1] * (PROBE_EVERY + 1)
    *_, (probe,) = [items for items, _ in batches(served)]
    assert probe.length == 0
    assert 'ritmo_queue_seconds_count{model="model"} 10.0' in metrics.render().decode()


async def test_every_update_may_be_computed_on_the_event_loop_and_no_probe_is(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    served, metrics = serve(scheduler, tmp_path, LastValue())
    served.queue.typical_seconds = 0.0  # as after many quick answers
    for n in range(20 * PROBE_EVERY):
        await served.submit([update()])
        if n % PROBE_EVERY == 0:
            await asyncio.sleep(0.001)  # a quiet moment
    await until_probed(served, metrics, 1)
    inline = [len(items) for items, on_loop in batches(served) if on_loop]
    assert len(inline) > 10 * PROBE_EVERY
    assert set(inline) == {1}
    assert all(items[0].length == 1 for items, on_loop in batches(served) if on_loop)


async def test_requests_wait_for_no_probe_that_a_busy_queue_would_have(scheduler: Scheduler, tmp_path: Path) -> None:
    served, metrics = serve(scheduler, tmp_path, LastValue())
    await asyncio.gather(*(served.submit([update()]) for _ in range(5 * PROBE_EVERY)))
    await scheduler.close(TIMEOUT)
    lengths = [item.length for items, _ in batches(served) for item in items]
    assert lengths.count(1) == 5 * PROBE_EVERY
    assert lengths.count(0) == outcomes(metrics) <= 1  # at most after the last of them
