from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.service.api.harness import Harness


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness(max_body_bytes=200_000, max_items=64)
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        yield harness
