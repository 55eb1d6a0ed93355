from __future__ import annotations

import base64

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from service.codec.common import Body
from service.codec.digit_answers import sequence_states
from service.codec.digit_items import FLAG_HAS_INK
from service.contract.errors import InvalidRequest
from service.contract.manifest import OutputContract
from service.contract.types import DigitResult
from tests.pictures import drawn, encoded
from tests.service.codec.digit_calls import CODEC, CONTRACT, ROW, STATE, answer, decode, resumed, to_items


def test_the_answer_has_every_field() -> None:
    request = decode(
        inputs=[{"item_id": "a", "rows": [ROW, ROW]}], parameters={"trace": True, "stop_at_confidence": 0.9}
    )
    call = to_items(request)
    assert call.items[0].stop == 0.9
    document = answer(call)
    assert document["model"] == "digits"
    assert document["model_version"] == "1"
    assert document["model_digest"] == "sha256:" + "ab" * 32
    assert document["predictions"] == [
        {
            "item_id": "a",
            "label": 7,
            "score": 0.55,
            "probabilities": [0.05] * 7 + [0.55] + [0.05] * 2,
            "rows_used": 2,
            "trace": [{"row": 1, "label": 7, "score": 0.55}, {"row": 2, "label": 7, "score": 0.55}],
            "state": None,
            "preprocessing": None,
            "warnings": [],
        }
    ]


def test_images_are_prepared_and_the_answer_says_how() -> None:
    text = base64.b64encode(encoded(drawn())).decode()
    for image in (text, "data:image/png;base64," + text):
        request = decode(inputs=[{"image": image}, {"rows": [ROW]}])
        call = to_items(request)
        assert [len(item.rows) for item in call.items] == [28, 1]
        document = answer(call)
        report = document["predictions"][0]["preprocessing"]
        assert report["source_size"] == [280, 280]
        assert report["inverted"] is True
        assert len(report["box"]) == 4
        assert document["predictions"][1]["preprocessing"] is None


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


def test_a_blank_image_among_others_has_an_answer_of_its_own() -> None:
    blank, image = (base64.b64encode(encoded(drawn(text))).decode() for text in " 7")
    document = answer(to_items(decode(inputs=[{"image": blank, "item_id": "a"}, {"image": image}])))
    first, second = document["predictions"]
    assert (first["item_id"], first["label"], first["score"], first["rows_used"]) == ("a", None, None, 0)
    assert (first["warnings"], first["preprocessing"]) == (["blank_image"], None)
    assert (second["label"], second["warnings"]) == (7, [])
    with pytest.raises(InvalidRequest) as caught:
        to_items(decode(inputs=[{"image": blank}]))
    assert caught.value.code == "blank_image"


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


def test_all_digits_of_a_picture() -> None:
    image = Image.new("L", (420, 280), 255)
    image.paste(drawn("4").crop((40, 0, 240, 280)), (0, 0))
    image.paste(drawn("2").crop((40, 0, 240, 280)), (220, 0))
    image, blank_one = image.resize((210, 140)), drawn(" ").resize((70, 70))
    texts = [base64.b64encode(encoded(one)).decode() for one in (image, blank_one)]
    inputs = [{"image": text} for text in texts] + [{"rows": [ROW]}]
    number, blank, rows = answer(to_items(decode(inputs=inputs, parameters={"digits": "all"})))["predictions"]
    assert number["number"] == "77"
    assert number["number_score"] == pytest.approx(0.55**2)
    assert [digit["line"] for digit in number["digits"]] == [1, 1]
    assert [digit["rows_used"] for digit in number["digits"]] == [28, 28]
    first, second = (digit["box"] for digit in number["digits"])
    assert first[2] < second[0]
    assert (blank["number"], blank["number_score"], blank["digits"]) == ("", None, [])
    assert "number" not in rows
    (one,) = answer(to_items(decode(inputs=inputs[:1])))["predictions"]
    assert "digits" not in one
    batch = CODEC.decode(Body(encoded(image), "image/png", query_string=b"digits=all"))
    assert batch.parameters.digits == "all"


def test_labels_that_are_no_digits_are_named() -> None:
    request = decode(inputs=[{"rows": [ROW]}, {"rows": [[0.0] * 28]}])
    call = to_items(request)
    names = tuple("abcdefghij")
    document = answer(replace(call, manifest=call.manifest.model_copy(update={"output": OutputContract(labels=names)})))
    assert [(p["label"], p["name"]) for p in document["predictions"]] == [(7, "h"), (None, None)]
