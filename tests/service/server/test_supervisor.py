"""The parent of several workers: here each worker is a small process that plays one part."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from uvicorn.config import STARTUP_FAILURE

from service.runtime.worker_group import WorkerGroup
from service.server.supervisor import HEALTHY_AFTER, MAX_BACKOFF, Slot, Supervisor
from service.settings import Settings
from tests.service.server.parts import fail, serve, serve_badly

TIMEOUT = 200.0
Part = Callable[[WorkerGroup], None]


class Scripted(Supervisor):
    """Its workers play `parts`, one after the other; the last part is played by all further ones."""

    def __init__(self, folder: Path, parts: list[Part], *, drain_seconds: float = 20.0, hung_after: float = 30) -> None:
        settings = Settings(models=folder, workers=2, drain_delay_seconds=0, drain_seconds=drain_seconds)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(settings, folder, [listener], hung_after)
        self.parts = parts
        self.groups: list[WorkerGroup] = []
        self.processes: list[BaseProcess] = []
        self.pids: list[int] = []

    def _spawn(self, slot: Slot) -> BaseProcess:
        self._shared.clear(slot.index)
        group = WorkerGroup(slot.index, self._folder, b"", self._shared, self._models, {}, slot.is_replacement)
        part = self.parts[min(len(self.pids), len(self.parts) - 1)]
        worker = self._context.Process(target=part, args=(group,))
        worker.start()
        self.groups.append(group)
        self.pids.append(worker.pid or 0)
        return worker

    def until(self, condition: Callable[[], bool]) -> None:
        """Run step by step until `condition` holds."""
        limit = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < limit
            self._is_over()
            time.sleep(0.01)

    def both_ready(self) -> bool:
        running = [slot for slot in self._slots if slot.enabled]
        return len(running) == 2 and all(self._is_ready(slot) for slot in running)

    def end(self) -> None:
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()
                slot.process.join()
        for listener in self._listeners:
            listener.close()


@pytest.fixture(autouse=True)
def _same_signals_afterwards() -> Iterator[None]:
    """A supervisor that has ended leaves its process deaf to signals: nothing but the end of that is to come."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Scripted]]:
    supervisors: list[Scripted] = []

    def make(parts: list[Part], **options: float) -> Scripted:
        supervisors.append(Scripted(tmp_path, parts, **options))
        return supervisors[-1]

    yield make
    for supervisor in supervisors:
        supervisor.end()


def test_a_replacement_that_dies_again_and_again_starts_later_and_later() -> None:
    slot, time_now, delays = Slot(0), 1000.0, []
    for _ in range(8):
        slot._started = time_now
        slot.worker_died(time_now + 0.5, was_ready=True)
        delays.append(slot.due - time_now - 0.5)
        time_now = slot.due
    assert delays == [1, 2, 4, 8, 16, MAX_BACKOFF, MAX_BACKOFF, MAX_BACKOFF]


def test_a_worker_that_has_served_for_a_while_is_replaced_at_once() -> None:
    slot = Slot(0)
    slot._started = 1000.0
    slot.worker_died(1000.5, was_ready=True)
    slot._started = slot.due
    slot.worker_died(slot.due + HEALTHY_AFTER + 1, was_ready=True)
    assert slot.due == slot._started + HEALTHY_AFTER + 1
    slot._started = slot.due
    slot.worker_died(slot.due + HEALTHY_AFTER + 1, was_ready=False)  # it took long to fail
    assert slot.due == slot._started + HEALTHY_AFTER + 2


def test_silence_counts_from_the_first_heartbeat() -> None:
    slot = Slot(0)
    assert [slot.silence(beat, time_now) for beat, time_now in [(0, 50), (60, 60), (60, 64), (65, 65), (65, 80)]] == [
        0,
        0,
        4,
        0,
        15,
    ]
    slot.restart_clocks(79)
    assert slot.silence(65, 80) == 1


def test_time_without_a_processor_is_no_silence() -> None:
    slot = Slot(0)
    assert slot.silence(50, 50) == 0
    slot.excuse({1: 7.0, 2: 3.0}, 53)  # the first look tells nothing
    assert slot.silence(50, 53) == 3
    slot.excuse({1: 7.5, 2: 11.0}, 62)
    assert slot.silence(50, 62) == 4
    slot.excuse({1: 7.5, 2: 15.0}, 64)  # no more than the time that has passed, the rest later
    assert slot.silence(50, 64) == 4
    slot.excuse({1: 7.5, 2: 15.0}, 70)
    assert slot.silence(50, 70) == 8
    assert slot.silence(71, 71) == 0
    slot.excuse({1: 0.0, 2: 0.0}, 75)  # measured anew since that beat
    assert slot.silence(71, 75) == 4


def test_a_worker_that_cannot_start_at_first_ends_the_service(
    make: Callable[..., Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = make([serve, fail])
    assert supervisor.run() == STARTUP_FAILURE
    assert len(supervisor.pids) == 2
    assert "the service ends: a worker could not start" in caplog.messages


def test_a_replacement_that_cannot_start_leaves_the_healthy_workers_alone(make: Callable[..., Scripted]) -> None:
    supervisor = make([serve, serve, fail])
    supervisor.until(supervisor.both_ready)
    first, second = supervisor.pids
    os.kill(first, signal.SIGKILL)
    supervisor.until(lambda: len(supervisor.pids) == 4)  # two that failed, the second of them after a pause
    supervisor.until(lambda: supervisor._shared.failed_starts == 2)
    os.kill(second, 0)
    warnings = supervisor.groups[1].warnings()
    assert warnings == [
        "a serving process died and was replaced 1 times",
        "a replacement of a serving process could not start, 2 times in a row",
    ]
    supervisor.parts = [serve]
    supervisor.until(supervisor.both_ready)
    supervisor.until(lambda: supervisor._shared.failed_starts == 0)
    assert supervisor.groups[1].warnings() == warnings[:1]


def test_a_hung_worker_is_killed_and_replaced(make: Callable[..., Scripted], caplog: pytest.LogCaptureFixture) -> None:
    supervisor = make([serve], hung_after=2)
    supervisor.until(supervisor.both_ready)
    os.kill(supervisor.pids[0], signal.SIGSTOP)
    supervisor.until(lambda: len(supervisor.pids) == 3)
    supervisor.until(supervisor.both_ready)
    assert "a worker hangs or does not end; it is killed" in caplog.messages
    assert supervisor._shared.restarts == 1


@pytest.mark.slow
def test_a_worker_that_gets_no_processor_is_not_killed(
    make: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped stands for one that waits for a processor all the time, and then for one that hangs."""
    supervisor = make([serve], hung_after=2.5)
    supervisor.until(supervisor.both_ready)
    with monkeypatch.context() as patch:
        patch.setattr("service.server.supervisor.waits", lambda pid: {pid: time.monotonic()})
        os.kill(supervisor.pids[0], signal.SIGSTOP)
        silent_since = supervisor._shared.heartbeats[0]
        supervisor.until(lambda: time.monotonic() - silent_since > 6)
        assert len(supervisor.pids) == 2
    supervisor.until(lambda: len(supervisor.pids) == 3)


def test_workers_that_were_stopped_with_their_parent_are_not_hung(make: Callable[..., Scripted]) -> None:
    supervisor = make([serve], hung_after=2)
    supervisor.until(supervisor.both_ready)
    for pid in supervisor.pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)  # what the workers do not do meanwhile is the test
    supervisor._is_over()
    for pid in supervisor.pids:
        os.kill(pid, signal.SIGCONT)
    supervisor.until(lambda: all(supervisor._slots[i].silence(supervisor._shared.heartbeats[i], 0) < 1 for i in (0, 1)))
    assert len(supervisor.pids) == 2
    assert supervisor._shared.restarts == 0


@pytest.mark.parametrize("part", [serve_badly, serve])
def test_a_stop_does_not_wait_for_ever(
    make: Callable[..., Scripted], part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker is stopped by SIGSTOP; the other ends, or ignores the signal and is killed."""
    monkeypatch.setattr("service.server.supervisor._GRACE", 1.0)
    supervisor = make([part, serve], drain_seconds=0.5, hung_after=600)
    supervisor.until(supervisor.both_ready)
    os.kill(supervisor.pids[1], signal.SIGSTOP)
    supervisor._handle(signal.SIGTERM)
    supervisor.until(supervisor._is_over)
    assert supervisor._status == 0


def test_a_signal_during_the_start_of_a_worker_reaches_it(make: Callable[..., Scripted]) -> None:
    class Interrupted(Scripted):
        def _spawn(self, slot: Slot) -> BaseProcess:
            worker = super()._spawn(slot)
            os.kill(os.getpid(), signal.SIGTERM)  # its handler runs before the process is in its slot
            return worker

    supervisor = make([serve])
    supervisor.__class__ = Interrupted
    start = time.monotonic()
    assert supervisor.run() == 0
    assert len(supervisor.pids) == 1  # no further one is started
    assert time.monotonic() - start < 20  # not the drain and the grace after it


def test_a_second_signal_reaches_the_workers_too(make: Callable[..., Scripted], tmp_path: Path) -> None:
    supervisor = make([serve_badly], hung_after=600)
    supervisor.until(supervisor.both_ready)
    supervisor._handle(signal.SIGTERM)
    supervisor._handle(signal.SIGKILL)  # stands for a signal that ends them
    supervisor.until(supervisor._is_over)


def test_sigusr2_replaces_the_workers_one_after_the_other(make: Callable[..., Scripted]) -> None:
    supervisor = make([serve])
    supervisor.until(supervisor.both_ready)
    old = list(supervisor.pids)

    def enough_serve() -> bool:
        ready = [slot for slot in supervisor._slots if slot.enabled and supervisor._is_ready(slot)]
        assert len(ready) >= 2
        running = {slot.process.pid for slot in supervisor._slots if slot.process is not None}
        return len(supervisor.pids) == 4 and running == set(supervisor.pids[2:])

    supervisor._handle(signal.SIGUSR2)
    supervisor.until(enough_serve)
    assert supervisor._shared.restarts == 0
    assert [group.is_replacement for group in supervisor.groups] == [False, False, True, True]
    for pid in old:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not supervisor.groups[0].reasons()
    supervisor._handle(signal.SIGUSR2)
    supervisor.until(lambda: len(supervisor.pids) == 6 and supervisor.both_ready())
