"""Pictures as people send them, by kinds: the newest `digits` reads nearly all variations of each kind.

A kind draws 30 pictures with a seed of its own, from drawings that training has never seen. They are prepared, read and
answered as the service does it, without HTTP between. docs/digits.md has the rates.
"""

from __future__ import annotations

import pytest

from benchmarks.digits.kinds import (
    COUNT,
    answer,
    digit_pictures,
    display_pictures,
    empty_pictures,
    graded,
    newest,
    number_pictures,
    upstroke_pictures,
)
from benchmarks.digits.picture_kinds import DIGITS, box_of_a_form, sheet_on_a_table
from benchmarks.digits.scenes import Scene

pytestmark = pytest.mark.timeout(300)


def wrong_among(pictures: list[tuple[str, bytes]]) -> list[str]:
    """What was answered where that is not the digit, or the whole number."""
    grades = [graded(newest(), truth, data) for truth, data in pictures]
    return [said for grade, said in grades if grade < 0]


@pytest.mark.parametrize("kind", DIGITS)
def test_a_kind_of_picture_is_read(kind: str) -> None:
    wrong = wrong_among(list(digit_pictures(kind, COUNT)))
    assert len(wrong) <= (1 - DIGITS[kind][1]) * COUNT, wrong


def test_digits_of_displays_are_read() -> None:
    wrong = wrong_among(list(display_pictures(COUNT)))
    assert len(wrong) <= 1, wrong


def test_ones_with_a_long_upstroke_are_ones() -> None:
    wrong = wrong_among(list(upstroke_pictures(COUNT)))
    assert len(wrong) <= 0.1 * COUNT, wrong


@pytest.mark.parametrize("scene", [box_of_a_form, sheet_on_a_table], ids=["box", "sheet"])
def test_an_empty_place_is_blank_or_no_digit(scene: Scene) -> None:
    read = []
    for _, data in empty_pictures(scene, COUNT):
        prediction = answer(newest(), data)
        if prediction is not None and "unlikely_digit" not in prediction["warnings"]:
            read.append(f"{prediction['label']} {prediction['score']:.2f}")
    assert len(read) <= 0.05 * COUNT, read


@pytest.mark.parametrize("n_digits", [2, 3, 5])
def test_numbers_are_read_whole(n_digits: int) -> None:
    wrong = wrong_among(list(number_pictures(n_digits, COUNT)))
    assert len(wrong) <= 0.1 * COUNT, wrong
