"""The clocks of a connection; how connections use them and what they hold is tested with their protocols."""

from __future__ import annotations

import asyncio

from service.server.connection import Deadline
from tests.service.server.harness import until


async def test_a_deadline_expires_once() -> None:
    expired: list[float] = []
    loop = asyncio.get_running_loop()
    deadline = Deadline(loop, lambda: expired.append(loop.time()))
    start = loop.time()
    deadline.start(0.01)
    assert deadline.is_running
    await until(lambda: bool(expired))
    assert expired[0] >= start + 0.01
    assert not deadline.is_running
    deadline.start(0.0)
    await until(lambda: len(expired) == 2)


async def test_a_deadline_can_be_moved_both_ways_and_cleared() -> None:
    expired: list[float] = []
    loop = asyncio.get_running_loop()
    deadline = Deadline(loop, lambda: expired.append(loop.time()))
    start = loop.time()
    deadline.start(0.02)
    deadline.start(0.1)
    await until(lambda: bool(expired))
    assert expired[0] >= start + 0.1
    deadline.start(1000.0)
    deadline.start(0.01)
    await until(lambda: len(expired) == 2)
    deadline.start(0.01)
    deadline.clear()
    deadline.start(1000.0)
    await asyncio.sleep(0.05)
    deadline.close()
    deadline.start(0.01)
    deadline.close()
    await asyncio.sleep(0.05)
    assert len(expired) == 2
