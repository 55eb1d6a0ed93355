"""service.imaging.trust: a clean drawing is trusted fully, and what the preparation met is among its features."""

from __future__ import annotations

import numpy as np
from PIL import Image

from service.imaging.decode import decode
from service.imaging.hypotheses import hypotheses
from service.imaging.trust import NO_FEATURES, WEIGHTS, log_trust
from tests.pictures import drawn, encoded


def test_a_clean_drawing_is_trusted_fully() -> None:
    found, _ = hypotheses(decode(encoded(drawn()), 1_000_000))
    assert found[0].features == NO_FEATURES
    assert log_trust(found[0].features) == 0


def test_a_second_digit_is_a_feature() -> None:
    both = Image.new("L", (560, 280), 255)
    for place, digit in enumerate("74"):
        both.paste(drawn(digit), (280 * place, 0))
    found, _ = hypotheses(decode(encoded(both), 1_000_000))
    assert dict(zip(WEIGHTS, found[0].features, strict=True))["several"] == 1.0


def test_a_photograph_has_its_digit_turned_besides() -> None:
    upright = [one.is_turned for one in hypotheses(decode(encoded(drawn()), 1_000_000))[0]]
    photograph = hypotheses(decode(encoded(drawn(), "JPEG"), 1_000_000))[0]
    assert not any(upright)
    assert [one.report.turned for one in photograph if one.is_turned] == [90, 180, 270]
    half = next(one for one in photograph if one.report.turned == 180)
    shifted = [np.roll(half.rows[::-1, ::-1], (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert max(np.corrcoef(rows.ravel(), photograph[0].rows.ravel())[0, 1] for rows in shifted) > 0.95
