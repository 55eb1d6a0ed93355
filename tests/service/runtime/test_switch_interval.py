from __future__ import annotations

import sys

from service.runtime.switch_interval import OftenSwitching


def test_the_interval_is_short_until_the_last_one_leaves() -> None:
    usual, switching = sys.getswitchinterval(), OftenSwitching()
    with switching:
        with switching:
            short = sys.getswitchinterval()
        assert sys.getswitchinterval() == short < usual
    assert sys.getswitchinterval() == usual


def test_an_interval_that_is_shorter_already_stays() -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        shorter = sys.getswitchinterval()
        with OftenSwitching():
            assert sys.getswitchinterval() == shorter
        assert sys.getswitchinterval() == shorter
    finally:
        sys.setswitchinterval(usual)
