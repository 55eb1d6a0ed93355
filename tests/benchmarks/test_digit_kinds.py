"""benchmarks.digits.kinds: answers are graded, the rates are written, the worst picture of each kind is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.digits import kinds
from benchmarks.digits.kinds import KindRow, graded, is_doubted, page, sheet_of
from benchmarks.digits.no_digits import KINDS
from benchmarks.digits.scenes import file

MODEL: Any = None
PICTURE = file(np.ones((60, 40)))


@pytest.mark.parametrize(
    ("truth", "prediction", "grade"),
    [
        ("7", {"label": 7, "score": 0.9}, 0.9),
        ("7", {"label": 1, "score": 0.9}, -0.9),
        ("7", None, -1.0),
        ("", None, 1.0),
        ("", {"label": None, "score": 0.1}, 1.0),
        ("", {"label": 4, "score": 0.75}, -0.75),
        ("", {"label": 4, "score": 0.25}, 0.25),
        ("12", {"label": 1, "number": "12", "score": 0.8}, 0.8),
        ("12", {"label": 1, "number": "17", "score": 0.8}, -0.8),
    ],
)
def test_an_answer_is_graded(
    truth: str, prediction: dict[str, Any] | None, grade: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "answer", lambda *_: prediction)
    assert graded(MODEL, truth, PICTURE)[0] == pytest.approx(grade)


def test_doubt_is_a_score_below_a_half_or_none() -> None:
    assert is_doubted(None)
    assert is_doubted({"label": 3, "score": 0.4})
    assert not is_doubted({"label": 3, "score": 0.6})


def test_rates_and_worst_pictures_are_shown() -> None:
    text = page([KindRow("tight", 30, 27, "3 as 8, 0.97", "2026-01-01", "a machine", 2, "a command", "0123456789")])
    assert "| tight | 30 | 90 % | 3 as 8, 0.97 |" in text
    sheet = sheet_of({f"kind {index}": ("3 as 8", PICTURE) for index in range(7)})
    assert sheet.width == 6 * kinds._TILE
    assert np.asarray(sheet).min() < 100


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_no_digit_draws_pictures_that_differ(kind: str) -> None:
    pictures = list(kinds.no_digit_pictures(kind, 4))
    assert len(set(pictures)) > 1
    assert pictures == list(kinds.no_digit_pictures(kind, 4))
