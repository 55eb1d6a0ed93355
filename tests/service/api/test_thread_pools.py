from __future__ import annotations

import asyncio
import math
import threading
import time

import pytest

from service.api.thread_pools import new_pool
from service.contract.errors import DeadlineExceeded, Unavailable
from service.runtime.fair_share import ANONYMOUS


async def test_what_a_request_is_answered_where_its_work_cannot_be_done() -> None:
    pool = new_pool(1, 0.001, "test")
    opened = threading.Event()
    large = [pool.run("kind", 1 << 30, ANONYMOUS, math.inf, opened.wait) for _ in range(2)]
    with pytest.raises(Unavailable, match="work wait") as refused:
        pool.run("kind", 1 << 30, ANONYMOUS, math.inf, opened.wait)
    assert refused.value.code == "queue_full"
    with pytest.raises(DeadlineExceeded):
        await pool.run("kind", 0, ANONYMOUS, time.monotonic(), opened.wait)
    opened.set()
    await asyncio.gather(*large, return_exceptions=True)
    pool.close()
