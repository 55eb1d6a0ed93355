"""The parent's part in a change: all workers prepare and stage, then all switch, or none does."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from service.registry.repository import manifest_digests
from service.runtime.model_plan import Change, ModelPlan, Preparation
from service.runtime.worker_group import ModelSet, SharedNumbers
from service.server import model_changes
from service.server.model_changes import ModelChanges
from tests.models import LastValue, write_model

CONTEXT = multiprocessing.get_context("spawn")


class Parent:
    """Two workers, of which only the pipes are there."""

    def __init__(self, models: Path) -> None:
        self.shared = SharedNumbers(CONTEXT, 2)
        self.set = ModelSet(CONTEXT, {}, ModelPlan())
        self.changes = ModelChanges(models, self.set, self.shared, None)
        pairs = [CONTEXT.Pipe() for _ in range(2)]
        self.parent_ends = dict(enumerate(pair[0] for pair in pairs))
        self.workers: list[Connection[Any, Any]] = [pair[1] for pair in pairs]

    def prepared(self, failures: dict[str, str] | None = None) -> ModelPlan:
        """Both prepare, one after the other; the plan. The other one reports `failures`."""
        plan: ModelPlan = self.told(0)[1]
        assert not self.workers[1].poll()  # what kills the first must not kill both
        self.workers[0].send(("prepared", plan.number, {}))
        self.look()
        assert not self.workers[0].poll()  # the other one has not answered yet
        assert self.told(1) == ("prepare", plan)
        self.workers[1].send(("prepared", plan.number, failures or {}))
        self.look()
        return plan

    def look(self) -> None:
        for index, pipe in self.parent_ends.items():
            self.changes.receive(index, pipe)
        self.changes.look(self.parent_ends)

    def told(self, index: int) -> tuple[Any, ...]:
        assert self.workers[index].poll(5)
        message = self.workers[index].recv()
        assert isinstance(message, tuple)
        return message

    def close(self) -> None:
        for pipe in (*self.workers, *self.parent_ends.values()):
            pipe.close()


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    write_model(tmp_path, "forecaster", LastValue())
    parent = Parent(tmp_path)
    yield parent
    parent.close()


def test_all_switch_when_all_have_staged(parent: Parent) -> None:
    parent.workers[0].send(("change", 5, Change("load", "forecaster")))
    parent.look()
    plan = parent.prepared()
    assert list(plan.digests) == ["forecaster@1"]
    for index in (0, 1):
        kind, staged, positions = parent.told(index)
        assert (kind, staged.number, positions) == ("stage", plan.number, {"forecaster@1": 0})
        assert parent.shared.plan_number[0] == 0
        parent.workers[index].send(("staged", plan.number))
        parent.look()
    assert parent.shared.plan_number[0] == plan.number
    assert parent.told(0) == ("answer", 5, None, "")
    assert parent.set.missing([]) == ["forecaster@1"]
    assert not parent.changes.busy


def test_what_one_worker_cannot_load_none_serves(parent: Parent) -> None:
    parent.workers[1].send(("change", 0, Change("load", "forecaster")))
    parent.look()
    plan = parent.prepared({"forecaster@1": "no memory"})
    for index in (0, 1):
        assert parent.told(index)[1].withheld == {"forecaster@1": ("failed", "no memory")}
        parent.workers[index].send(("staged", plan.number))
    parent.look()
    assert parent.told(1) == ("answer", 0, "model_not_ready", "model forecaster@1 could not be loaded: no memory")
    assert parent.set.missing([]) == []


def test_a_worker_that_dies_ends_the_change_and_late_answers_do_not_count(parent: Parent) -> None:
    parent.workers[0].send(("change", 0, Change("load", "forecaster")))
    parent.look()
    first = parent.told(0)[1]
    parent.changes.worker_ended(1)
    assert parent.told(0)[2] == "model_not_ready"
    assert not parent.changes.busy
    parent.changes.ask(Change("reload"))
    parent.look()
    second = parent.told(0)[1]
    assert second.number > first.number
    for worker in parent.workers:
        worker.send(("prepared", first.number, {}))
    parent.look()
    assert not parent.workers[0].poll()
    assert parent.shared.plan_number[0] == 0


def die(parent: Parent, index: int, digest: str | None) -> None:
    """The worker ends while it loads the version."""
    preparing = (Preparation("forecaster@1", digest, "loaded"),)
    parent.workers[index].send(("preparing", 0, preparing))
    parent.changes.receive(index, parent.parent_ends[index])
    parent.changes.worker_ended(index, -signal.SIGSEGV)


def test_a_version_that_kills_two_workers_is_left_out_of_the_change(parent: Parent) -> None:
    parent.changes.ask(Change("reload"))
    parent.look()
    first = parent.told(0)[1]
    die(parent, 0, first.digests["forecaster@1"])
    assert not parent.changes.busy  # a replacement may start
    parent.look()
    assert parent.told(0)[1].digests == first.digests
    die(parent, 0, first.digests["forecaster@1"])
    parent.look()
    plan = parent.prepared()
    reason = "2 processes ended while it was loaded, the last one by SIGSEGV"
    assert (plan.digests, plan.withheld) == ({}, {"forecaster@1": ("failed", reason)})


def test_who_asks_for_a_version_that_kills_is_answered(parent: Parent) -> None:
    parent.workers[1].send(("change", 4, Change("load", "forecaster")))
    for _ in range(2):
        parent.look()
        assert not parent.workers[1].poll()
        die(parent, 0, parent.told(0)[1].digests["forecaster@1"])
    assert parent.told(1)[:3] == ("answer", 4, "model_not_ready")
    parent.look()
    assert not parent.changes.busy


def test_processes_start_without_a_version_that_kills_them(parent: Parent, tmp_path: Path) -> None:
    digests = manifest_digests(tmp_path)
    parent.set.replace(ModelPlan(digests=digests))
    for index in (0, 1):
        assert parent.set.loadable(complete=False) == digests
        die(parent, index, digests["forecaster@1"])
    assert parent.set.loadable(complete=False) == {}
    assert parent.set.plan.number == 0
    assert list(parent.set.plan.withheld) == ["forecaster@1"]
    assert parent.set.missing([]) == []
    parent.look()  # then those that serve it, if any, are to be without it, too
    assert parent.told(0)[1].withheld == parent.set.plan.withheld


def test_more_versions_than_there_is_room_for_are_refused(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent.set, "_served", [])
    parent.workers[0].send(("change", 2, Change("load", "forecaster")))
    parent.look()
    assert parent.told(0)[:3] == ("answer", 2, "model_not_ready")
    assert not parent.changes.busy


def test_a_folder_that_hangs_holds_up_nothing(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one on a file server that does not answer; what is asked for is refused when its time is over."""
    hanging = threading.Event()
    monkeypatch.setattr(model_changes, "read_digests", lambda *_: hanging.wait(60))
    monkeypatch.setattr(model_changes, "WAIT", 0.5)
    parent.workers[0].send(("change", 3, Change("load", "forecaster")))
    started = time.monotonic()
    parent.look()
    assert not parent.workers[0].poll()
    while not parent.workers[0].poll(0.1):
        parent.look()
        assert time.monotonic() - started < 30
    assert parent.told(0)[3] == "the folder of models could not be read within 0.5 s"
    assert not parent.changes.busy
    hanging.set()


def test_a_change_waits_until_all_are_ready_and_an_unknown_name_is_answered(parent: Parent) -> None:
    parent.workers[0].send(("change", 1, Change("load", "nothing")))
    parent.changes.receive(0, parent.parent_ends[0])
    parent.changes.look(None)
    assert not parent.workers[0].poll()
    parent.changes.look(parent.parent_ends)
    assert parent.told(0)[:3] == ("answer", 1, "model_not_found")


def test_reloads_that_nobody_waits_for_become_one(parent: Parent) -> None:
    for _ in range(1000):
        parent.changes.ask(Change("reload"))
    parent.look()
    for index in (0, 1):
        parent.workers[index].send(("refused", parent.changes._plan.number, "the folder cannot be read"))
    parent.look()
    assert not parent.changes._queue
