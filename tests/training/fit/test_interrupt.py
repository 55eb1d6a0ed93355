"""training.fit.interrupt: the first Ctrl-C is a wish, the second one ends."""

from __future__ import annotations

import signal

import pytest

from training.fit.interrupt import Interrupt


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
