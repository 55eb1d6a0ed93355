"""service.runtime.garbage: what a block makes is collected once, and then what stays is frozen."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from service.runtime.garbage import collected_once, freeze


class Node:
    """An object that refers to itself: only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def garbage(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether garbage, which the test makes, was still there, each time that something was frozen."""
    there: list[bool] = []
    dropped: weakref.ref[Node]
    monkeypatch.setattr(gc, "freeze", lambda: there.append(dropped() is not None))
    was_enabled = gc.isenabled()
    gc.disable()
    dropped = weakref.ref(Node())
    yield there
    if was_enabled:
        gc.enable()


def test_garbage_is_not_frozen(garbage: list[bool]) -> None:
    freeze()
    assert garbage == [False]


def test_a_block_is_collected_at_its_end_only(garbage: list[bool]) -> None:
    gc.enable()
    with collected_once():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert len(garbage) == 2  # what was there before the block, and after it
    assert not garbage[-1]


def test_a_collector_that_was_off_stays_off_and_an_error_passes(garbage: list[bool]) -> None:
    with pytest.raises(RuntimeError, match="as it was"), collected_once():
        raise RuntimeError("as it was")
    assert not gc.isenabled()
    assert garbage == [True, False]
