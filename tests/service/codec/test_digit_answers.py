from __future__ import annotations

import base64

import pytest
from PIL import Image

from service.codec.common import Body
from service.contract.errors import InvalidRequest
from tests.pictures import drawn, encoded
from tests.service.codec.digit_calls import CODEC, ROW, answer, decode, to_items


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
