from __future__ import annotations

import resource
import sys

import pytest

from service.runtime.descriptors import max_connections, raise_limit

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "after"), [((1024, 4096), 4096), ((4096, 4096), 4096), ((INFINITE, INFINITE), INFINITE)]
)
def test_the_limit_is_raised_as_far_as_it_goes(
    limits: tuple[int, int], after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _: current[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: current.__setitem__(0, new))
    assert raise_limit() == after


def test_a_system_that_refuses_leaves_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, __: tuple[int, int]) -> None:
        raise ValueError("not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, INFINITE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_limit() == 1024


@pytest.mark.parametrize(("limit", "count"), [(200, 150), (1024, 768), (16384, 16128), (INFINITE, sys.maxsize)])
def test_connections_leave_some_files_to_the_process(limit: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert max_connections() == count
