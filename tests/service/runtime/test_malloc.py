"""Freed memory goes back to the system now and then, with any C library."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import subprocess
import sys

import pytest

from service.runtime import malloc as memory


def test_giving_back_does_no_harm_where_the_library_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.malloc_trim()

    def missing(_: object) -> object:
        return object()  # a C library without malloc_trim

    monkeypatch.setattr(ctypes, "CDLL", missing)
    memory.malloc_trim()
    memory.limit_arenas()


ARENAS_OF_THREADS = """
import ctypes, sys, threading
from service.runtime.malloc import limit_arenas
if sys.argv[1] == "limited":
    limit_arenas()
together = threading.Barrier(8)
def allocate():
    together.wait()
    ctypes.CDLL(None).malloc(10_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other arenas")
@pytest.mark.parametrize(
    ("limit", "asked", "few"), [("limited", None, True), ("no", None, False), ("limited", "5", False)]
)
def test_threads_share_few_arenas_unless_the_environment_says_otherwise(
    limit: str, asked: str | None, few: bool
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MALLOC_ARENA_MAX"}
    if asked:
        environment["MALLOC_ARENA_MAX"] = asked
    command = [sys.executable, "-c", ARENAS_OF_THREADS, limit]
    report = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stderr
    assert (report.count("Arena ") <= memory.ARENAS) == few, report


async def test_it_goes_on_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = asyncio.Event()
    calls: list[None] = []
    loop = asyncio.get_running_loop()

    def counted() -> None:
        calls.append(None)
        if len(calls) == 2:
            loop.call_soon_threadsafe(twice.set)

    monkeypatch.setattr(memory, "malloc_trim", counted)
    task = asyncio.create_task(memory.trim_periodically(0.0))
    await asyncio.wait_for(twice.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
