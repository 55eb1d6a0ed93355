"""Pictures of what is no digit, by kinds: the newest `digits` gives nearly all of them a score below a half.

docs/digits.md has the rates.
"""

from __future__ import annotations

import pytest

from benchmarks.digits.kinds import answer, is_doubted, newest, no_digit_pictures
from benchmarks.digits.no_digits import KINDS

COUNT = 30
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_digit_is_doubted(kind: str) -> None:
    predictions = [answer(newest(), data) for data in no_digit_pictures(kind, COUNT)]
    believed = [f"{p['label']} {p['score']:.2f}" for p in predictions if p is not None and not is_doubted(p)]
    assert len(believed) <= (1 - KINDS[kind][1]) * COUNT, believed
