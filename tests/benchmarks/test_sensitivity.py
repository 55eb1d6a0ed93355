"""benchmarks.digits.sensitivity: changes reach the image path, differences are counted, sentences say them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.digits import sensitivity
from benchmarks.digits.preparation import prepare
from benchmarks.digits.readers import Planes
from benchmarks.digits.sensitivity import ImagePath, Picture, Row
from service.contract.types import Floats
from service.imaging.parameters import PARAMETERS
from tests.pictures import drawn, encoded


class ConstantReader:
    """Reads every image as a seven, and counts how many it is given."""

    count = 0

    def trace(self, digits: Planes) -> Floats:
        self.count += len(digits)
        return np.tile(np.eye(10)[7], (len(digits), 28, 1))


PICTURES = [
    Picture(encoded(drawn("7")), 7),
    Picture(encoded(drawn("1")), 1),
    Picture(encoded(drawn("7", ink=255)), None),  # white on white
]


def test_changed_parameters_are_in_use_for_a_while() -> None:
    changed = replace(PARAMETERS, thin_stroke=0.5)
    with sensitivity.parameters_in_use(changed):
        assert prepare(PICTURES[0].data, sensitivity.PIXELS)[1].thickened
    assert not prepare(PICTURES[0].data, sensitivity.PIXELS)[1].thickened


def test_a_row_counts_answers_and_pictures_that_change() -> None:
    reader = ConstantReader()
    path = ImagePath(reader)
    first, *rows = sensitivity.measure(path, PICTURES, ["digit_height", "overlap"])
    assert (first.digits_points, first.empty_points) == (50, 100)
    assert [row.change for row in rows] == 2 * ["x0.5", "x0.8", "x1.25", "x2"]
    impossible = rows[3]  # a candidate must be higher than itself: nothing is found, and a seven is lost
    assert (impossible.parameter, impossible.digits_points, impossible.empty_points) == ("digit_height", -50, 0)
    assert (impossible.changed, impossible.digits, impossible.empty) == (2, 2, 1)
    assert {row.changed for row in rows[4:]} == {0}
    assert reader.count == 2, "the same rows are read once"


def test_small_integers_change_by_one() -> None:
    assert list(sensitivity.variants(4)) == [("-1", 3), ("+1", 5)]
    assert list(sensitivity.variants(30)) == [("x0.5", 15), ("x0.8", 24), ("x1.25", 38), ("x2", 60)]
    assert [value for _, value in sensitivity.variants(0.4)] == pytest.approx([0.2, 0.32, 0.5, 0.8])


def row(change: str, digits: float = 0, empty: float = 0, changed: int = 0) -> Row:
    return Row("overlap", 0.25, change, 0.1, digits, empty, changed, 90, 10)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("x0.5"), row("x2")], "No picture changes, x0.5 to x2."),
        (
            [row("x0.5", changed=3), row("x2")],
            "No answer changes, x0.5 to x2; rows or reports of at most 3 pictures do.",
        ),
        ([row("x0.5", -3.14, 0.04, 9), row("x2", 0, 1.2, 3)], "Digits/empty: x0.5 -3.1/0.0, x2 0.0/+1.2 points."),
    ],
)
def test_a_sentence_says_what_changes(rows: list[Row], expected: str) -> None:
    assert sensitivity.sentence(rows) == expected


def test_pictures_are_the_same_on_every_call() -> None:
    first, second = (sensitivity.pictures(1, 1) for _ in range(2))
    assert first[0].data == second[0].data
    assert [picture.label for picture in first] == [picture.label for picture in second]
    assert sum(picture.label is None for picture in first) == len(sensitivity.EMPTY_SCENES)
    assert len(first) == len(sensitivity.ALL_SCENES) + len(sensitivity.EMPTY_SCENES)


def test_the_page_has_a_line_for_each_parameter() -> None:
    text = sensitivity.page([row("", 98, 60), row("x0.5", -3.14, 0, 9), row("x2")])
    assert "reads 98.0 % of 90 digits right" in text
    assert "| `overlap` | 0.25 | x0.5: -3.1 / 0.0 (9) | x2: 0.0 / 0.0 (0) |" in text
