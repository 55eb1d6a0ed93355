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


def test_images_share_a_budget_of_pixels() -> None:
    errors = FieldErrors()
    images = ImagePreparer(ImageLimits(2 * 280 * 280 - 1), math.inf, errors)
    rows, preparation = images.prepare(IMAGE, "#/inputs/0")
    assert rows.shape == (28, 28)
    assert preparation is not None
    assert not errors.total
    assert images.prepare(IMAGE, "#/inputs/1")[1] is None
    (error,) = errors.listed
    assert (error.pointer, error.code) == ("#/inputs/1", "image_too_large")
    assert str(2 * 280 * 280 - 1) in error.detail


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_may_be_a_data_url(prefix: str) -> None:
    errors = FieldErrors()
    text = prefix + base64.b64encode(IMAGE).decode()
    assert ImagePreparer(ImageLimits(10**6), math.inf, errors).prepare_base64(text, "#")[1] is not None
    assert not errors.total


@pytest.mark.parametrize("text", ["not base64!", "é", "data:text/plain;base64,AAAA"])
def test_other_text_is_no_image(text: str) -> None:
    errors = FieldErrors()
    rows, preparation = ImagePreparer(ImageLimits(10**6), math.inf, errors).prepare_base64(text, "#/inputs/0/image")
    assert (len(rows), preparation) == (0, None)
    assert [(error.pointer, error.code) for error in errors.listed] == [("#/inputs/0/image", "bad_image")]


def test_the_deadline_is_checked_before_each_image() -> None:
    with pytest.raises(DeadlineExceeded):
        ImagePreparer(ImageLimits(10**6), -math.inf, FieldErrors()).prepare(IMAGE, "#")
    with pytest.raises(DeadlineExceeded):
        ImagePreparer(ImageLimits(10**6), -math.inf, FieldErrors()).prepare_base64("not base64!", "#")
