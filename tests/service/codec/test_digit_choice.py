from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.codec.digit_calls import PictureItems
from service.codec.digit_choice import blank_reading, chosen, read_number, tempered
from service.contract.errors import InvalidRequest
from service.contract.types import DigitResult
from service.imaging.hypotheses import TURNED, Hypothesis
from service.imaging.numbers import Line, Piece
from service.imaging.trust import NO_FEATURES, WEIGHTS, log_trust

ROWS = np.zeros((28, 28), np.float32)
REPORT: Any = SimpleNamespace(inverted=True)


def result(label: int, score: float) -> DigitResult:
    probabilities = np.full(10, (1 - score) / 9)
    probabilities[label] = score
    return DigitResult(probabilities, None, 28, np.zeros(2))


def picture(*priors: float, refusal: bool = False) -> PictureItems:
    blank = InvalidRequest("no ink", code="blank_image") if refusal else None
    return PictureItems(0, tuple(Hypothesis(ROWS, REPORT, prior) for prior in priors), refusal=blank)


@pytest.mark.parametrize(
    ("priors", "scores", "best"),
    [
        ((0.0,), (0.2,), 0),
        ((0.0, 0.0), (0.9, 0.95), 1),
        ((0.0, -1.0), (0.9, 0.99), 0),
        ((0.0, -1.0), (0.2, 0.99), 1),
        ((0.0, 0.0), (0.5, 0.5), 0),
    ],
)
def test_the_score_is_weighed_with_the_prior(priors: tuple[float, ...], scores: tuple[float, ...], best: int) -> None:
    choice = chosen(picture(*priors), [result(3, score) for score in scores])
    assert choice is not None
    assert (choice.index, choice.agreement) == (best, 1.0)


def turned_picture(features: tuple[float, ...] = NO_FEATURES) -> PictureItems:
    """An upright hypothesis, and one that is turned."""
    trust = log_trust(features)
    upright = Hypothesis(ROWS, REPORT, 0.0, features, trust)
    return PictureItems(0, (upright, Hypothesis(ROWS, REPORT, TURNED, features, trust, is_turned=True)))


@pytest.mark.parametrize(("upright", "index"), [(0.99, 0), (0.75, 0), (0.6, 1), (0.2, 1)])
def test_a_turned_digit_is_read_only_where_the_upright_one_is_doubtful(upright: float, index: int) -> None:
    choice = chosen(turned_picture(), [result(9, upright), result(6, 0.999)])
    assert choice is not None
    assert choice.index == index
    if index == 0:
        assert choice.agreement == 1.0, "a sure answer hears nothing of turned ones"


def test_what_the_preparation_met_lowers_the_score() -> None:
    features = tuple(float(name == "several") for name in WEIGHTS)
    choice = chosen(turned_picture(features), [result(9, 0.999), result(6, 0.1)])
    assert choice is not None
    assert choice.agreement == pytest.approx(math.exp(-WEIGHTS["several"]))
    assert log_trust(NO_FEATURES) == 0


def test_a_picture_may_be_blank_all_the_same() -> None:
    assert chosen(picture(-0.3, refusal=True), [result(3, 0.99)]) is not None
    assert chosen(picture(-0.3, refusal=True), [result(3, 0.5)]) is None
    assert chosen(picture(-0.3), [result(3, 0.5)]) is not None
    item, answer = blank_reading(5, 10)
    assert (len(item.rows), answer.rows_used, answer.state.shape) == (0, 0, (5,))


def piece(start: int, stop: int, prior: float = 0.0) -> Piece:
    return Piece(ROWS, (start, 0, stop, 1), start, stop, prior)


@pytest.mark.parametrize(
    ("scores", "number"), [((0.2, 0.9, 0.9), "45"), ((0.99, 0.5, 0.5), "8"), ((0.9, 0.97, 0.97), "45")]
)
def test_the_likeliest_way_through_a_line_is_the_number(scores: tuple[float, ...], number: str) -> None:
    line = Line((piece(0, 2, math.log(0.9)), piece(0, 1), piece(1, 2)), 2)
    answers = [result(label, score) for label, score in zip((8, 4, 5), scores, strict=True)]
    digits, has_signs = read_number([line, line], answers * 2)
    assert not has_signs
    assert "".join(str(digit.label) for digit in digits if digit.line == 2) == number
    assert [digit.line for digit in digits] == [1] * len(number) + [2] * len(number)


def test_no_lines_are_no_number() -> None:
    assert read_number([], []) == ([], False)


def test_what_the_network_takes_for_no_digit_is_no_part_of_the_number() -> None:
    line = Line((piece(0, 1), piece(1, 2)), 2)
    digits, has_signs = read_number([line], [result(8, 0.1), result(5, 0.99)])
    assert ([digit.label for digit in digits], has_signs) == ([5], True)
    assert read_number([Line((piece(0, 1),), 1)], [result(8, 0.12)]) == ([], True)
    assert read_number([Line((piece(0, 1),), 1, has_signs=True)], [result(8, 0.99)])[1], "a point beside the digit"


@pytest.mark.parametrize(
    ("top", "bottom", "number"), [(-8, 128, "5"), (-10, 104, "51"), (30, 128, "51"), (0, 100, "51")]
)
def test_what_is_higher_than_the_digits_and_reaches_below_them_is_no_one(top: int, bottom: int, number: str) -> None:
    boxes = [(0, 0, 60, 100), (70, top, 90, bottom), (100, 2, 160, 101)]
    line = Line(tuple(Piece(ROWS, box, at, at + 1, 0.0) for at, box in enumerate(boxes)), 3)
    digits, has_signs = read_number([line], [result(5, 0.99), result(1, 0.99), result(3, 0.99)])
    assert ("".join(str(digit.label) for digit in digits), has_signs) == (f"{number}3", number == "5")


def test_the_score_is_lower_where_sure_hypotheses_disagree() -> None:
    agreements = []
    for other in (0.1, 0.5, 0.9, 0.99):
        choice = chosen(picture(0.0, 0.0), [result(3, 0.999), result(8, other)])
        assert choice is not None
        assert choice.index == 0
        agreements.append(choice.agreement)
    assert agreements == sorted(agreements, reverse=True)
    assert agreements[0] > 0.999
    assert 0.5 < agreements[-1] < 0.52
    one = result(3, 0.999)
    answer = tempered(one, agreements[-1])
    assert int(answer.probabilities.argmax()) == 3
    assert answer.probabilities.sum() == pytest.approx(1)
    assert answer.probabilities[3] < 0.6
    assert tempered(one, 1.0) is one


def test_a_far_likelier_hypothesis_without_a_digit_lowers_the_score() -> None:
    no_digit = result(8, 0.11)
    far = chosen(picture(0.0, -2.0), [no_digit, result(1, 0.999)])
    near = chosen(picture(0.0, -0.3), [no_digit, result(1, 0.999)])
    assert far is not None
    assert near is not None
    assert (far.index, near.index) == (1, 1)
    assert far.agreement < 0.3
    assert near.agreement > 0.99


def hypothesis(prior: float, *, inverted: bool, excess: float = 0.0) -> Hypothesis:
    """One with its polarity, and with strokes longer than a digit's by `excess`."""
    features = tuple(excess**2 if name == "excess_length" else 0.0 for name in WEIGHTS)
    report: Any = SimpleNamespace(inverted=inverted)
    return Hypothesis(ROWS, report, prior, features, log_trust(features))


@pytest.mark.parametrize(
    ("paper", "prior", "inverted", "is_doubted"),
    [(1.0, -0.5, False, False), (1.0, -0.5, True, True), (0.0, -2.0, False, True)],
)
def test_that_the_paper_of_a_likely_answer_is_no_digit_says_nothing(
    paper: float, prior: float, inverted: bool, is_doubted: bool
) -> None:
    both = PictureItems(0, (hypothesis(paper, inverted=inverted), hypothesis(prior, inverted=True)))
    choice = chosen(both, [result(8, 0.1), result(9, 0.999)])
    assert choice is not None
    assert (choice.agreement < 0.5) is is_doubted


def test_an_unlikely_hypothesis_of_another_label_hardly_lowers_the_score() -> None:
    for prior, least in ((-0.3, 0.0), (-2.0, 0.98), (-3.0, 0.997)):
        choice = chosen(picture(0.0, prior), [result(3, 0.999), result(1, 0.999)])
        assert choice is not None
        assert least < choice.agreement < 1


def test_strokes_that_are_longer_than_a_digits_are_believed_less_and_chosen_later() -> None:
    (one,) = (PictureItems(0, (hypothesis(0.0, inverted=True, excess=0.4),)),)
    choice = chosen(one, [result(8, 0.99)])
    assert choice is not None
    assert choice.agreement < 0.4
    two = PictureItems(0, (hypothesis(0.0, inverted=True, excess=0.8), hypothesis(-0.5, inverted=True)))
    other = chosen(two, [result(8, 0.99), result(3, 0.99)])
    assert other is not None
    assert other.index == 1


@pytest.mark.parametrize(
    ("usual", "faint", "number"),
    [((0.99, 0.99), (0.99, 0.98, 0.99), "567"), ((0.99, 0.99), (0.99, 0.4, 0.3), "12"), ((), (0.99, 0.98, 0.9), "567")],
)
def test_of_two_looks_at_a_number_the_likelier_one_is_read(
    usual: tuple[float, ...], faint: tuple[float, ...], number: str
) -> None:
    lines = [
        Line(tuple(piece(place, place + 1) for place in range(len(scores))), len(scores), is_faint=is_faint)
        for scores, is_faint in ((usual, False), (faint, True))
        if scores
    ]
    answers = [result(label, score) for label, score in zip((1, 2), usual, strict=False)]
    answers += [result(label, score) for label, score in zip((5, 6, 7), faint, strict=True)]
    digits, _ = read_number(lines, answers)
    assert "".join(str(digit.label) for digit in digits) == number
    assert {digit.line for digit in digits} == {1}
