"""Which versions end the processes that prepare them."""

from __future__ import annotations

import signal

from service.runtime.model_plan import Preparation
from service.server.preparations import Preparations

LOADED = Preparation("forecaster@1", "abc", "loaded")
WARM = Preparation("forecaster@1", "abc", "warmed up")


def test_a_version_that_two_processes_died_of_is_faulty_with_these_files() -> None:
    preparations = Preparations()
    for index in (0, 1):
        assert preparations.fault("forecaster@1", "abc") is None
        preparations.report(index, [LOADED])
        assert preparations.worker_ended(index, -signal.SIGABRT) == {LOADED}
    reason = "2 processes ended while it was loaded, the last one by SIGABRT"
    assert preparations.fault("forecaster@1", "abc") == reason
    assert preparations.fault("forecaster@1", "changed") is None
    preparations.report(0, [LOADED])
    preparations.report(0, [])  # asked for again, with more memory
    assert preparations.fault("forecaster@1", "abc") is None


def test_kills_that_may_have_other_reasons_count_less() -> None:
    preparations = Preparations()
    for count in range(4):
        assert preparations.fault("forecaster@1", "abc") is None, count
        preparations.report(count % 2, [LOADED])
        preparations.worker_ended(count % 2, -signal.SIGKILL)
    reason = "4 processes ended while it was loaded, the last one by SIGKILL"
    assert preparations.fault("forecaster@1", "abc") == reason


def test_what_a_living_worker_has_prepared_is_not_suspected() -> None:
    preparations = Preparations()
    preparations.report(0, [LOADED])
    preparations.report(0, [WARM])
    preparations.report(1, [LOADED])
    assert preparations.worker_ended(1, -signal.SIGKILL) == frozenset()
    assert preparations.worker_ended(0, 1) == {WARM}
    preparations.report(0, [LOADED])
    preparations.report(0, [WARM])  # that it can be loaded says nothing about its warm-up
    assert preparations.worker_ended(0, -50) == {WARM}
    reason = "2 processes ended while it was warmed up, the last one by signal 50"
    assert preparations.fault("forecaster@1", "abc") == reason


def test_an_end_that_was_asked_for_or_came_between_two_preparations_suspects_nothing() -> None:
    preparations = Preparations()
    preparations.report(0, [LOADED])
    assert preparations.worker_ended(0, 0) == frozenset()
    preparations.report(0, [LOADED])
    preparations.report(0, [])
    assert preparations.worker_ended(0, 3) == frozenset()
