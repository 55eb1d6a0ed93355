from __future__ import annotations

import base64

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from service.codec.digit_calls import FLAG_HAS_INK
from service.codec.digit_predictions import sequence_states
from service.contract.manifest import OutputContract
from service.contract.types import DigitResult
from tests.pictures import drawn, encoded
from tests.service.codec.digit_calls import CODEC, CONTRACT, ROW, STATE, answer, decode, resumed, to_items


def test_several_digits_in_an_image_are_answered_with_a_warning() -> None:
    image = Image.new("L", (420, 280), 255)
    image.paste(drawn("4").crop((40, 0, 240, 280)), (0, 0))
    image.paste(drawn("2").crop((40, 0, 240, 280)), (220, 0))
    request = decode(inputs=[{"image": base64.b64encode(encoded(image)).decode()}])
    (prediction,) = answer(to_items(request))["predictions"]
    assert prediction["preprocessing"]["digits"] == 2
    assert prediction["warnings"] == ["several_digits"]


def test_rows_without_ink_are_answered_with_a_warning() -> None:
    document = answer(to_items(decode(inputs=[{"rows": [[0] * 28] * 4}])))
    (prediction,) = document["predictions"]
    assert (prediction["label"], prediction["score"], prediction["warnings"]) == (None, None, ["no_ink"])
    assert len(prediction["probabilities"]) == 10


@pytest.mark.parametrize(
    ("level", "count", "warnings"),
    [(0.56, 28, ["unlikely_digit"]), (0.55, 28, []), (0.56, 27, []), (None, 28, []), (0.56, 40, ["unlikely_digit"])],
)
def test_a_whole_digit_of_a_low_score_is_unlikely_to_be_one(
    level: float | None, count: int, warnings: list[str]
) -> None:
    contract = CONTRACT.model_copy(update={"output": OutputContract(classes=10, unlikely_below=level)})
    document = answer(CODEC.to_items(decode(inputs=[{"rows": [ROW] * count}]), contract))
    assert document["predictions"][0]["score"] == 0.55
    assert document["predictions"][0]["warnings"] == warnings


def test_a_stopped_reading_goes_on_from_the_row_where_it_stopped() -> None:
    call = resumed([[0.0] * 28, ROW], stop_at_confidence=0.5)
    stopped = DigitResult(np.full(10, 0.1), None, 1, STATE)
    (state,) = sequence_states(call, [stopped])
    assert (state.observations, state.flags & FLAG_HAS_INK) == (6, 0)  # the row with ink was not read


@pytest.mark.parametrize(("paper", "warnings"), [(255, ["unlikely_digit", "looks_inverted"]), (0, ["unlikely_digit"])])
def test_inverted_rows_are_named_where_they_cannot_be_read(paper: int, warnings: list[str]) -> None:
    contract = CONTRACT.model_copy(update={"output": OutputContract(classes=10, unlikely_below=0.99)})
    rows = np.full((28, 28), paper)
    rows[6:22, 12:16] = 255 - paper
    call = CODEC.to_items(decode(inputs=[{"rows": rows.tolist()}]), contract)
    (prediction,) = answer(call)["predictions"]
    assert prediction["warnings"] == warnings


def test_labels_that_are_no_digits_are_named() -> None:
    request = decode(inputs=[{"rows": [ROW]}, {"rows": [[0.0] * 28]}])
    call = to_items(request)
    names = tuple("abcdefghij")
    document = answer(replace(call, manifest=call.manifest.model_copy(update={"output": OutputContract(labels=names)})))
    assert [(p["label"], p["name"]) for p in document["predictions"]] == [(7, "h"), (None, None)]
