"""Calls in threads of their own: their results and errors come when they are asked for."""

from __future__ import annotations

import threading

import pytest

from service.runtime.background_call import call_in_background


def test_the_caller_goes_on_meanwhile() -> None:
    ended = threading.Event()
    call = call_in_background(ended.wait, 60)
    assert not call.done()
    ended.set()
    assert call.result(60) is True


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        call_in_background(divmod, 1, 0).result(60)
