"""The numbers that processes share, and what each process derives from them."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from service.runtime.worker_group import NOT_LISTENING, ModelSet, SharedNumbers, WorkerGroup

CONTEXT = multiprocessing.get_context("spawn")


def group(shared: SharedNumbers, index: int) -> WorkerGroup:
    return WorkerGroup(index, Path(), b"key", shared, ModelSet(CONTEXT, {}), {})


def test_every_process_must_have_been_ready_once() -> None:
    shared = SharedNumbers(CONTEXT, 3)
    first, second, third = (group(shared, index) for index in range(3))
    assert first.reasons() == ["3 of 3 processes are not ready yet"]
    first.mark_ready()
    third.mark_ready()
    assert second.reasons() == first.reasons() == ["1 of 3 processes are not ready yet"]
    second.mark_ready()
    assert not first.reasons()
    assert list(shared.ready_pids) == [os.getpid()] * 3 + [0]
    shared.clear(1)  # it dies: its replacement does not listen before it is ready
    assert not first.reasons()


def test_restarts_and_failed_starts_are_warnings() -> None:
    shared = SharedNumbers(CONTEXT, 2)
    first = group(shared, 0)
    assert not first.warnings()
    shared.restarts += 2
    assert first.warnings() == ["a serving process died and was replaced 2 times"]
    shared.failed_starts = 3
    assert first.warnings()[1:] == ["a replacement of a serving process could not start, 3 times in a row"]


def test_a_process_that_has_died_neither_beats_nor_listens() -> None:
    shared = SharedNumbers(CONTEXT, 2)
    assert list(shared.connections) == [NOT_LISTENING] * 3
    group(shared, 1).beat()
    shared.connections[1] = 7
    assert shared.heartbeats[1] > 0
    shared.clear(1)
    assert (shared.heartbeats[1], shared.connections[1]) == (0, NOT_LISTENING)


def test_the_service_stops_for_all_processes() -> None:
    shared = SharedNumbers(CONTEXT, 2)
    assert not shared.stopping
    shared.stop()
    assert shared.stopping


def test_a_process_learns_which_versions_others_serve_and_it_does_not() -> None:
    models = ModelSet(CONTEXT, {"a@1": "x", "a@2": "y", "b@1": None})
    assert models.missing(set()) == []
    models.add_served({"a@1", "a@2"})
    assert models.missing({"a@1", "b@1"}) == ["a@2"]
    assert models.missing({"a@1", "a@2"}) == []


def test_a_replacement_loads_only_what_the_others_serve() -> None:
    """A version that could not be loaded at first might load now, and only in the replacement."""
    models = ModelSet(CONTEXT, {"a@1": "x", "a@2": "y"})
    assert models.loadable(complete=False) == models.loadable(complete=True) == {"a@1": "x", "a@2": "y"}
    models.add_served({"a@2"})
    assert models.loadable(complete=False) == {"a@1": "x", "a@2": "y"}
    assert models.loadable(complete=True) == {"a@1": None, "a@2": "y"}
