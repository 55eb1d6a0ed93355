from __future__ import annotations

import pytest

from service.registry.warm_up_pauses import MAX_SECONDS, QUIET_SECONDS, WarmUpPauses


class Clock:
    """The last request came `ago` seconds before; time goes on by sleeping."""

    def __init__(self, ago: float, *, is_busy: bool = False) -> None:
        self.ago, self.is_busy, self.slept = ago, is_busy, 0.0

    def since_request(self) -> float:
        return 0.0 if self.is_busy else self.ago

    def sleep(self, seconds: float) -> None:
        self.ago += seconds
        self.slept += seconds


def test_a_quiet_service_is_not_waited_for() -> None:
    clock = Clock(QUIET_SECONDS)
    WarmUpPauses(clock.since_request, clock.sleep).wait(lambda: False)
    assert clock.slept == 0


def test_a_request_is_made_way_for() -> None:
    clock = Clock(0.0)
    WarmUpPauses(clock.since_request, clock.sleep).wait(lambda: False)
    assert clock.slept == pytest.approx(QUIET_SECONDS, abs=1e-6)


def test_requests_without_end_hold_it_up_for_a_while_only() -> None:
    clock = Clock(0.0, is_busy=True)
    pauses = WarmUpPauses(clock.since_request, clock.sleep)
    for _ in range(3):
        pauses.wait(lambda: False)
    assert clock.slept == pytest.approx(MAX_SECONDS, abs=QUIET_SECONDS)


def test_a_warm_up_that_is_given_up_waits_for_nothing() -> None:
    clock = Clock(0.0, is_busy=True)
    WarmUpPauses(clock.since_request, clock.sleep).wait(lambda: True)
    assert clock.slept == 0
