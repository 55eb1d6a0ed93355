from __future__ import annotations

import base64
import math

import pytest

from service.codec.image_cost import ImageLimits
from service.codec.images import ImagePreparer
from service.codec.strict_json import FieldErrors
from service.contract.errors import DeadlineExceeded
from tests.pictures import drawn, encoded

IMAGE = encoded(drawn())  # 280 x 280


def preparer(
    errors: FieldErrors,
    max_pixels: int = 10**6,
    deadline: float = math.inf,
    max_bytes: int = 10**6,
    *,
    blank_is_answer: bool = False,
) -> ImagePreparer:
    limits = ImageLimits(max_pixels, max_bytes)
    return ImagePreparer(limits, deadline, errors, blank_is_answer=blank_is_answer)


def test_images_share_a_budget_of_pixels() -> None:
    errors = FieldErrors()
    images = preparer(errors, 2 * 280 * 280 - 1)
    (hypothesis,) = images.prepare(IMAGE, "#/inputs/0").hypotheses
    assert hypothesis.rows.shape == (28, 28)
    assert not errors.total
    assert not images.prepare(IMAGE, "#/inputs/1").hypotheses
    (error,) = errors.listed
    assert (error.pointer, error.code) == ("#/inputs/1", "image_too_large")
    assert str(2 * 280 * 280 - 1) in error.detail


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_may_be_a_data_url(prefix: str) -> None:
    errors = FieldErrors()
    text = prefix + base64.b64encode(IMAGE).decode()
    assert preparer(errors).prepare_base64(text, "#").hypotheses
    assert not errors.total


@pytest.mark.parametrize("text", ["not base64!", "é", "data:text/plain;base64,AAAA"])
def test_other_text_is_no_image(text: str) -> None:
    errors = FieldErrors()
    assert not preparer(errors).prepare_base64(text, "#/inputs/0/image").hypotheses
    assert [(error.pointer, error.code) for error in errors.listed] == [("#/inputs/0/image", "bad_image")]


def test_the_deadline_is_checked_before_each_image() -> None:
    with pytest.raises(DeadlineExceeded):
        preparer(FieldErrors(), deadline=-math.inf).prepare(IMAGE, "#")
    with pytest.raises(DeadlineExceeded):
        preparer(FieldErrors(), deadline=-math.inf).prepare_base64("not base64!", "#")


@pytest.mark.parametrize(("room", "codes"), [(1, []), (0, []), (-1, ["image_too_large"])])
def test_an_image_has_a_limit_of_bytes_and_one_of_pixels(room: int, codes: list[str]) -> None:
    for max_bytes, max_pixels in ((len(IMAGE) + room, 10**6), (10**6, 280 * 280 + room)):
        errors = FieldErrors()
        preparer(errors, max_pixels, max_bytes=max_bytes).prepare(IMAGE, "#")
        assert [error.code for error in errors.listed] == codes


def test_a_blank_image_may_be_an_answer() -> None:
    errors = FieldErrors()
    blank = encoded(drawn(" "))
    assert not preparer(errors, blank_is_answer=True).prepare(blank, "#").hypotheses
    assert not errors.total
    preparer(errors, blank_is_answer=True).prepare(b"none", "#")
    preparer(errors).prepare(blank, "#")
    assert [error.code for error in errors.listed] == ["bad_image", "blank_image"]
