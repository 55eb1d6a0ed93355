"""Which of the hypotheses about a picture is answered: those that were read of it, one by one, become one reading.

What the network believes of a hypothesis (its score) is weighed with what follows from its preparation (its prior): the
greatest product wins, and its score is lower where others disagree. The choice sees nothing but the picture's own
items, so it depends on no other input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from service.codec.common import ALL_INPUTS
from service.codec.digit_calls import DigitCall, PictureItems
from service.codec.digit_types import WIDTH, NumberDigit
from service.codec.strict_json import FieldErrors
from service.contract.types import DigitItem, DigitResult
from service.imaging.numbers import Line
from service.imaging.report import Preparation

_BELIEF = 4  # the power of a score, that a hypothesis of another label counts with: only sure ones do
_DISSENT = 2  # the power of its weight, that it counts with: unlikely ways to see a picture are seldom right
_AGREED = 0.9999
_DOUBTFUL = 0.7  # a score below which the digit may have been photographed another way up
_BLANK = math.log(0.5)  # the weight of an image being blank, where the likeliest view of it says so
_NO_DIGIT = 0.8  # share of belief that a piece is no digit, from which it is none; it is spread evenly over the ten
_LIKELY = -1.0  # prior of an answer, from which its ink is likelier ink than its paper is
_LIKELIER = 2.0  # than the answer, that a hypothesis without a digit is where it begins to lower the score
_BRACKET_AMONG = 3  # characters, that a line has where a bracket is recognised by its height
_BRACKET_HEIGHT, _BRACKET_BELOW = 1.15, 0.12  # of the height of the line's digits
_FAINT = 0.3  # logarithm of a weight, that the look at faint strokes of a number has more of: it leaves none out
_NO_ROWS = np.zeros((0, WIDTH), np.float32)


def choose_readings(
    call: DigitCall, pictures: Sequence[PictureItems], results: Sequence[DigitResult]
) -> tuple[DigitCall, list[DigitResult]]:
    """The call and its results with one item for each input: of a picture, that of the chosen hypothesis.

    Raises `InvalidRequest` (`blank_image`) where that is none, of the only input.
    """
    items, readings, answers = [], [], []
    for picture, reading in zip(pictures, call.readings, strict=True):
        read = read_input(picture, call.items, results, call.parameters.stop_at_confidence)
        if read is None and picture.refusal is not None and len(pictures) == 1:
            errors = FieldErrors()
            errors.add(ALL_INPUTS.format(0), picture.refusal.code, picture.refusal.detail)
            errors.check()
        item, result = (
            (read.item, read.result) if read else blank_reading(call.manifest.state.width, call.manifest.classes)
        )
        items.append(item)
        answers.append(result)
        digits, has_signs = None, False
        if call.parameters.digits == "all" and (picture.is_blank or picture.hypotheses):
            n_pieces = sum(len(line.pieces) for line in picture.lines) if read else 0
            pieces = results[picture.lines_first : picture.lines_first + n_pieces]
            digits, has_signs = read_number(picture.lines if n_pieces else (), pieces)
        report, agreement = (read.report, read.agreement) if read else (None, 1.0)
        readings.append(replace(reading, preparation=report, digits=digits, has_signs=has_signs, agreement=agreement))
    return replace(call, items=items, readings=readings, pictures=None), answers


class Choice(Struct, frozen=True, eq=False, gc=False):
    """The hypothesis that is answered, and what its score is lowered by: disagreement, and what preparation met."""

    index: int
    agreement: float


def chosen(picture: PictureItems, results: Sequence[DigitResult]) -> Choice | None:
    """The likeliest label of a picture, in its likeliest hypothesis; the first of equals.

    A hypothesis weighs as much as the network believes it, and its prior says. Where others that are believed as well
    say another label, or one far likelier that there is no digit, the score is not to be trusted so far: `agreement`
    is below 1. The turned ones are considered where the best upright one is doubtful. None: the image is blank in the
    likeliest view of it, and no other is believed enough.
    """
    scores = [max(float(result.probabilities.max()), 1e-9) for result in results]
    weights = [
        math.log(score) + hypothesis.prior + hypothesis.log_trust
        for score, hypothesis in zip(scores, picture.hypotheses, strict=True)
    ]
    considered = [index for index, hypothesis in enumerate(picture.hypotheses) if not hypothesis.is_turned]
    best = max(considered, key=weights.__getitem__)
    if scores[best] < _DOUBTFUL and len(considered) < len(weights):
        considered = list(range(len(weights)))
        best = max(considered, key=weights.__getitem__)
    if picture.refusal is not None and weights[best] < _BLANK:
        return None
    share = _agreement(picture, results, considered, best) if len(considered) > 1 else 1.0
    return Choice(best, (1.0 if share > _AGREED else share) * math.exp(picture.hypotheses[best].log_trust))


def _agreement(picture: PictureItems, results: Sequence[DigitResult], considered: Sequence[int], best: int) -> float:
    """The share of belief, 0..1, that the hypotheses `considered` leave to the `best` of them and its label."""
    labels = [int(result.probabilities.argmax()) for result in results]
    agreement = dissent = doubt = 0.0
    # That the paper of a likely answer is no digit says nothing.
    answer = picture.hypotheses[best]
    paper = not answer.report.inverted if answer.prior > _LIKELY else None
    for index in considered:
        hypothesis, result = picture.hypotheses[index], results[index]
        belief = _BELIEF * math.log(max(float(result.probabilities.max()), 1e-9))
        if labels[index] == labels[best]:
            agreement += math.exp(belief + hypothesis.prior)
        else:
            dissent += math.exp(belief + _DISSENT * hypothesis.prior)
        if index != best and hypothesis.report.inverted != paper:
            doubt = max(doubt, _none_share(result) ** _BELIEF * math.exp(hypothesis.prior))
    share = agreement / (agreement + dissent)
    return share / (1 + max(doubt / max(agreement, 1e-9) - _LIKELIER, 0.0) ** 2)


def _none_share(result: DigitResult) -> float:
    """The share of belief that there is no digit: it is spread evenly over the labels."""
    return len(result.probabilities) * float(result.probabilities.min())


class InputReading(Struct, frozen=True, eq=False, gc=False):
    """The item and result that answer one input; of a picture, what was done to it, and what lowered its score."""

    item: DigitItem
    result: DigitResult
    report: Preparation | None = None
    agreement: float = 1.0


def read_input(
    picture: PictureItems, items: Sequence[DigitItem], results: Sequence[DigitResult], stop: float | None
) -> InputReading | None:
    """What was read of one input, given the items of its call and their results; None: it is blank.

    A picture is answered from where it stopped early, if its tempered score still allows that.
    """
    if picture.is_blank:
        return None
    if not picture.hypotheses:
        return InputReading(items[picture.first], results[picture.first])
    choice = chosen(picture, results[picture.first : picture.first + len(picture.hypotheses)])
    if choice is None:
        return None
    report, agreement = picture.hypotheses[choice.index].report, choice.agreement
    if picture.stopped is not None and stop is not None:
        early = picture.stopped + choice.index
        result = tempered(results[early], agreement)
        if float(result.probabilities.max()) >= stop:
            return InputReading(items[early], result, report, agreement)
    index = picture.first + choice.index
    return InputReading(items[index], tempered(results[index], agreement), report, agreement)


def tempered(result: DigitResult, agreement: float) -> DigitResult:
    """`result` with as much of its probability on all digits alike as the hypotheses disagree."""
    if agreement == 1:
        return result
    uniform = (1 - agreement) / len(result.probabilities)
    trace = None if result.trace is None else agreement * result.trace + uniform
    return replace(result, probabilities=agreement * result.probabilities + uniform, trace=trace)


def read_number(lines: Sequence[Line], results: Sequence[DigitResult]) -> tuple[list[NumberDigit], bool]:
    """The digits of `lines`, given the `results` of their pieces in order, and whether there are other signs.

    Of each lattice the likeliest way is taken, less what the network takes for no digit. Of two looks at the picture
    the one with the likelier ways is taken.
    """
    looks = {False: _NumberReading(weight=-_FAINT), True: _NumberReading()}
    first = 0
    for line in lines:
        looks[line.is_faint].add(line, results[first : first + len(line.pieces)])
        first += len(line.pieces)
    usual, faint = looks[False], looks[True]
    read = faint if faint.n_lines and (faint.weight >= usual.weight or not usual.n_lines) else usual
    return read.digits, read.has_signs


class _NumberReading:
    """What is read of the lines of one look at a picture, and the logarithm of its weight."""

    def __init__(self, weight: float = 0.0) -> None:
        self.weight = weight
        self.digits: list[NumberDigit] = []
        self.has_signs = False
        self.n_lines = 0

    def add(self, line: Line, answers: Sequence[DigitResult]) -> None:
        """Read the next `line`, given the `answers` to its pieces."""
        self.n_lines += 1
        weight, way = _likeliest_way(line, answers)
        self.weight += weight
        read = []
        for index in way:
            probabilities = answers[index].probabilities
            if _none_share(answers[index]) < _NO_DIGIT:
                label = int(probabilities.argmax())
                box, used = line.pieces[index].box, answers[index].rows_used
                read.append(NumberDigit(label, float(probabilities[label]), box, self.n_lines, used))
        kept = [digit for digit in read if not _is_bracket(digit, read)]
        self.has_signs |= line.has_signs or len(kept) < len(way)
        self.digits += kept


def _likeliest_way(line: Line, answers: Sequence[DigitResult]) -> tuple[float, tuple[int, ...]]:
    """The logarithm of the weight of the likeliest way through a lattice, and the indices of its pieces."""
    weights: list[tuple[float, tuple[int, ...]]] = [(0.0, ()), *[(-math.inf, ())] * line.places]
    # The pieces that end at a place come in any order, but none begins at a later one.
    for index in sorted(range(len(line.pieces)), key=lambda i: line.pieces[i].stop):
        piece = line.pieces[index]
        weight_before, path = weights[piece.start]
        score = max(float(answers[index].probabilities.max()), 1e-9)
        weight = weight_before + math.log(score) + piece.prior
        if weight > weights[piece.stop][0]:
            weights[piece.stop] = weight, (*path, index)
    return weights[-1]


def _is_bracket(digit: NumberDigit, line: Sequence[NumberDigit]) -> bool:
    """Whether what is read as a one is a bracket or bar: higher than the digits next to it, and reaching below."""
    if digit.label != 1 or len(line) < _BRACKET_AMONG:
        return False
    height = float(np.median([other.box[3] - other.box[1] for other in line]))
    bottom = float(np.median([other.box[3] for other in line]))
    return digit.box[3] - digit.box[1] > _BRACKET_HEIGHT * height and digit.box[3] - bottom > _BRACKET_BELOW * height


def blank_reading(state_width: int, classes: int) -> tuple[DigitItem, DigitResult]:
    """The item and result that stand for an image without ink: no rows, and nothing known."""
    uniform = np.full(classes, 1 / classes)
    return DigitItem(_NO_ROWS), DigitResult(uniform, None, 0, np.zeros(state_width))
