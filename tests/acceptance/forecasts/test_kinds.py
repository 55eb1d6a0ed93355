"""What people send first, over HTTP: the newest committed `forecaster` answers nearly all variations of a kind well."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.forecasts.answers import failures, service
from tests.acceptance.forecasts.kinds import KINDS, Kind

SHARE = 0.95  # of the variations of a kind


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with service() as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nearly_all_variations_of_a_kind_are_right(client: httpx.Client, kind: Kind) -> None:
    count, wrong = failures(client, kind)
    assert count >= 30
    assert len(wrong) <= (1 - SHARE) * count, f"{len(wrong)} of {count} are wrong:\n" + "\n".join(wrong)
