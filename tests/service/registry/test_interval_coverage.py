"""Updates are compared with the intervals forecast for them: one in so many, and apart from any request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from service.contract.errors import ModelFault
from service.contract.types import BatchResult, DigitItem, ForecastItem, ForecastResult, Item
from service.registry.interval_coverage import IntervalMonitor, Outcome

LEVELS = np.array([0.5])


def update(first: float, *, resumed: bool = True) -> ForecastItem:
    return ForecastItem(np.array([first, 2.0]), 7, LEVELS, state=np.ones(3) if resumed else None)


def interval(low: float, high: float) -> ForecastResult:
    return ForecastResult(np.zeros(1), np.array([[low], [high]]), None, 1, np.ones(3))


class Probes:
    """Stands for the queue: keeps the futures of the probes that were submitted."""

    def __init__(self, *, busy: bool = False) -> None:
        self.busy = busy
        self.items: list[Sequence[ForecastItem]] = []
        self.futures: list[asyncio.Future[BatchResult]] = []

    def __call__(self, items: Sequence[ForecastItem]) -> asyncio.Future[BatchResult] | None:
        if self.busy:
            return None
        self.items.append(items)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


def monitor_of(
    probes: Callable[[Sequence[ForecastItem]], asyncio.Future[BatchResult] | None], interval: int = 1
) -> tuple[IntervalMonitor, list[Outcome]]:
    outcomes: list[Outcome] = []
    return IntervalMonitor(probes, outcomes.append, interval), outcomes


def answered(monitor: IntervalMonitor, items: Sequence[Item]) -> asyncio.Future[BatchResult]:
    """A submission of `items` that `monitor` watches."""
    answer: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
    if probes := monitor.probes(items):
        monitor.submit_after(answer, probes)
    return answer


def test_a_probe_asks_the_old_state_for_the_next_value_alone() -> None:
    monitor, _ = monitor_of(lambda _: None)
    ((item, value),) = monitor.probes([update(5.0)])
    assert value == 5.0
    assert item.length == 0
    assert item.horizon == 1
    assert item.levels.tolist() == [0.1, 0.9]
    assert item.state is not None


def test_values_are_counted_by_where_they_fell() -> None:
    monitor, outcomes = monitor_of(lambda _: None)
    monitor.record(monitor.probes([update(0.0), update(5.0), update(9.0)]), [interval(1, 6)] * 3)
    assert outcomes == ["below", "inside", "above"]


def test_one_update_in_so_many_makes_a_probe_due_and_nothing_else_does() -> None:
    monitor, _ = monitor_of(lambda _: None, interval=3)
    assert len(monitor.probes([update(1.0)] * 10)) == 3
    monitor, _ = monitor_of(lambda _: None)
    empty = ForecastItem(np.empty(0), 1, LEVELS, state=np.ones(3))
    digit = DigitItem(np.zeros((1, 28), np.float32), state=np.ones(3))
    assert monitor.probes([update(1.0, resumed=False), update(np.nan), empty, digit]) == []


async def test_probes_are_submitted_after_the_answer_and_counted() -> None:
    probes = Probes()
    monitor, outcomes = monitor_of(probes)
    answer = answered(monitor, [update(5.0), update(9.0)])
    await asyncio.sleep(0)
    assert probes.items == []
    answer.set_result(BatchResult([], 0.0, 0.0))
    await asyncio.sleep(0)
    assert [len(items) for items in probes.items] == [2]
    probes.futures[0].set_result(BatchResult([interval(1, 6)] * 2, 0.0, 0.0))
    await asyncio.sleep(0)
    assert outcomes == ["inside", "above"]


async def test_a_probe_dropped_at_a_busy_moment_is_due_again_with_the_next_update() -> None:
    probes = Probes(busy=True)
    monitor, _ = monitor_of(probes, interval=2)
    answered(monitor, [update(1.0)]).set_result(BatchResult([], 0.0, 0.0))
    answered(monitor, [update(1.0)]).set_result(BatchResult([], 0.0, 0.0))
    await asyncio.sleep(0)
    probes.busy = False
    answered(monitor, [update(3.0)]).set_result(BatchResult([], 0.0, 0.0))
    await asyncio.sleep(0)
    assert len(probes.items) == 1


@pytest.mark.parametrize("cancel", [True, False])
async def test_an_update_that_failed_or_was_cancelled_is_not_probed(cancel: bool) -> None:
    probes = Probes()
    monitor, _ = monitor_of(probes)
    answer = answered(monitor, [update(1.0)])
    if cancel:
        answer.cancel()
    else:
        answer.set_exception(RuntimeError("no answer"))
    await asyncio.sleep(0)
    assert probes.items == []


async def test_a_probe_that_fails_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    probes = Probes()
    monitor, outcomes = monitor_of(probes)
    for _ in range(3):
        answered(monitor, [update(1.0)]).set_result(BatchResult([], 0.0, 0.0))
    await asyncio.sleep(0)
    for future in probes.futures[:2]:
        future.set_exception(ModelFault("mean", 3, "its forecast is not finite"))
    probes.futures[2].cancel()
    await asyncio.sleep(0)
    assert (outcomes, monitor.failures) == ([], 2)
    (record,) = caplog.records
    assert record.__dict__["model"] == "mean"
    assert record.__dict__["version"] == 3
