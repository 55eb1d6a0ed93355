from __future__ import annotations

import multiprocessing
from pathlib import Path

from service.runtime import worker_group as group
from service.runtime.worker_group import WorkerGroup


def test_all_must_have_arrived_and_deaths_are_told() -> None:
    arrived, replaced, connections = group.shared(multiprocessing.get_context("spawn"), 3)
    one, two, three = (WorkerGroup(place, Path(), b"key", arrived, replaced, connections) for place in range(3))
    assert one.reasons() == ["3 of 3 processes are not ready yet"]
    one.arrive()
    three.arrive()
    assert two.reasons() == one.reasons() == ["1 of 3 processes are not ready yet"]
    two.arrive()
    assert not one.reasons()
    assert not one.warnings()
    replaced.value += 2
    assert three.warnings() == ["a serving process died and was replaced 2 times"]
