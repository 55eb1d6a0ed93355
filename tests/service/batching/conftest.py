"""A scheduler for each test of batching."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.batching.scheduler import Scheduler


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    await scheduler.close(0.0)
