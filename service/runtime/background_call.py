"""A call in a thread of its own: what hangs in it, as a file system does, holds up neither its caller nor a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def call_in_background(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> Future[T]:
    """The future result of the call; its thread does not keep the process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = function(*arguments, **options)
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is asked for)
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="background call", daemon=True).start()
    return future
