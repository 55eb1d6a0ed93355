"""training.fit.interrupt: the first Ctrl-C is a wish, the second one ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from training.fit.interrupt import Interrupt


@pytest.fixture(autouse=True)
def _default_handler() -> Iterator[None]:
    """Python's own: it has none where the tests run in the background of a shell script, which ignores SIGINT."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_the_first_is_noted_and_the_second_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_is_not_enabled_changes_nothing() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupt(enabled=False):
        signal.raise_signal(signal.SIGINT)
