from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest

from service.codec.digit_calls import FLAG_0_1, FLAG_0_255, FLAG_HAS_INK
from service.codec.digit_predictions import sequence_states
from service.contract.errors import DeadlineExceeded, InvalidRequest
from service.contract.types import DigitResult
from tests.pictures import drawn, encoded
from tests.service.codec.digit_calls import CODEC, CONTRACT, ROW, STATE, decode, result, resumed, to_items


def test_rows_are_taken_as_they_are() -> None:
    (item,) = to_items(decode(inputs=[{"rows": [[0] * 27 + [1], [0.5] * 28]}])).items
    assert item.rows.shape == (2, 28)
    assert item.rows.dtype == np.float32
    assert (item.rows[0, 27], item.rows[1, 0]) == (1, 0.5)
    assert (item.trace, item.stop) == (False, None)


def test_values_above_one_mean_a_scale_of_255() -> None:
    (item,) = to_items(decode(inputs=[{"rows": [[0] * 26 + [51, 255]]}])).items
    np.testing.assert_allclose(item.rows[0, 26:], [0.2, 1])


@pytest.mark.parametrize(
    ("item", "inputs", "code", "pointer"),
    [
        ({"rows": [ROW] * 65}, {}, "length_not_supported", "#/inputs/0/rows"),
        ({"rows": [ROW] * 27}, {"min_length": 28, "max_length": 28}, "length_not_supported", "#/inputs/0/rows"),
        ({"rows": [ROW, [-1] + [0] * 27]}, {}, "out_of_range", "#/inputs/0/rows/1/0"),
        ({"rows": [[0] * 27 + [256]]}, {}, "out_of_range", "#/inputs/0/rows/0/27"),
        ({"rows": [[1e308] * 28]}, {}, "out_of_range", "#/inputs/0/rows/0/0"),
        ({"image": "not base64!"}, {}, "bad_image", "#/inputs/0/image"),
        ({"image": ""}, {}, "bad_image", "#/inputs/0/image"),
        ({"image": base64.b64encode(b"no image").decode()}, {}, "bad_image", "#/inputs/0/image"),
        ({"image": base64.b64encode(encoded(drawn(" "))).decode()}, {}, "blank_image", "#/inputs/0/image"),
        ({"image": base64.b64encode(encoded(drawn(size=400))).decode()}, {}, "image_too_large", "#/inputs/0/image"),
    ],
)
def test_what_this_model_cannot_serve(item: dict[str, Any], inputs: dict[str, Any], code: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_items(decode(inputs=[item]), **inputs)
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_the_pixels_of_all_images_count_together() -> None:
    image = base64.b64encode(encoded(drawn(size=290))).decode()
    with pytest.raises(InvalidRequest) as caught:
        to_items(decode(inputs=[{"image": image}] * 2))
    assert caught.value.errors[0].pointer == "#/inputs/1/image"


def test_a_deadline_ends_the_preparation() -> None:
    request = decode(inputs=[{"image": base64.b64encode(encoded(drawn())).decode()}])
    with pytest.raises(DeadlineExceeded):
        CODEC.to_items(request, CONTRACT, -math.inf)


@pytest.mark.parametrize(
    ("flags", "row", "ink", "new_flags"),
    [
        (0, [0.0] * 28, 0.0, 0),  # no ink yet: the scale is still open
        (0, [1.0] + [0.0] * 27, 1.0, FLAG_0_1 | FLAG_HAS_INK),
        (0, [2.0] + [0.0] * 27, 2 / 255, FLAG_0_255 | FLAG_HAS_INK),
        (FLAG_0_255 | FLAG_HAS_INK, [1.0] + [0.0] * 27, 1 / 255, FLAG_0_255 | FLAG_HAS_INK),
        (FLAG_0_1 | FLAG_HAS_INK, [0.5] + [0.0] * 27, 0.5, FLAG_0_1 | FLAG_HAS_INK),
        (FLAG_HAS_INK, [51.0] + [0.0] * 27, 0.2, FLAG_0_255 | FLAG_HAS_INK),  # after an image either scale may follow
    ],
)
def test_the_scale_of_a_digit_is_decided_once(flags: int, row: list[float], ink: float, new_flags: int) -> None:
    call = resumed([row], flags)
    np.testing.assert_allclose(call.items[0].rows[0, 0], ink, rtol=1e-7)
    (state,) = sequence_states(call, [result(call.items[0])])
    assert state.flags == new_flags


def test_a_digit_begun_in_0_to_1_does_not_go_on_in_0_to_255() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resumed([ROW, [0.0] * 27 + [254.0]], FLAG_0_1 | FLAG_HAS_INK)
    assert (caught.value.code, caught.value.errors[0].pointer) == ("out_of_range", "#/inputs/0/rows/1/27")
    assert "earlier rows" in caught.value.detail


def test_the_limit_of_rows_is_that_of_the_whole_digit() -> None:
    resumed([ROW] * 4, observations=60)
    with pytest.raises(InvalidRequest) as caught:
        resumed([ROW] * 5, observations=60)
    assert caught.value.code == "length_not_supported"
    assert "65 rows" in caught.value.detail


def test_no_new_rows_ask_for_the_reading_so_far() -> None:
    call = resumed([], FLAG_HAS_INK)
    assert call.items[0].rows.shape == (0, 28)
    reading = DigitResult(np.full(10, 0.1), None, 0, STATE)
    (state,) = sequence_states(call, [reading])
    assert (state.observations, state.flags) == (5, FLAG_HAS_INK)
