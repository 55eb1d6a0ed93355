"""Freed memory goes back to the system now and then, with any C library."""

from __future__ import annotations

import asyncio
import ctypes

import pytest

from service.runtime import malloc as memory


def test_giving_back_does_no_harm_where_the_library_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.malloc_trim()

    def missing(_: object) -> object:
        return object()  # a C library without malloc_trim

    monkeypatch.setattr(ctypes, "CDLL", missing)
    memory.malloc_trim()


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
