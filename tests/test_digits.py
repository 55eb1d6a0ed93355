from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest

from service import digits
from service.errors import DeadlineExceeded, InvalidRequest, RitmoError
from service.items import DigitItem, DigitResult
from service.settings import Settings
from tests.fakes import manifest
from tests.pictures import drawn, encoded

SETTINGS = Settings(max_items=3, max_pixels=159_999)
ROW = [0.0] * 27 + [1.0]


def read(**body: Any) -> digits.DigitRequest:
    return digits.read(json.dumps(body).encode(), SETTINGS)


def pack(request: digits.DigitRequest, **inputs: Any) -> digits.PackedDigits:
    return digits.pack(request, manifest("digits", "classify-digit", **inputs), SETTINGS)


def result(item: DigitItem) -> DigitResult:
    trace = np.full((len(item.rows), 10), 0.05)
    trace[:, 7] = 0.55
    return DigitResult(trace[-1], trace if item.trace else None, len(item.rows), np.zeros(2))


def test_rows_are_taken_as_they_are() -> None:
    (item,) = pack(read(inputs=[{"rows": [[0] * 27 + [1], [0.5] * 28]}])).items
    assert item.rows.shape == (2, 28)
    assert item.rows.dtype == np.float32
    assert (item.rows[0, 27], item.rows[1, 0]) == (1, 0.5)
    assert (item.trace, item.stop) == (False, None)


def test_values_above_one_mean_a_scale_of_255() -> None:
    (item,) = pack(read(inputs=[{"rows": [[0] * 26 + [51, 255]]}])).items
    np.testing.assert_allclose(item.rows[0, 26:], [0.2, 1])


def test_the_answer_has_every_field() -> None:
    request = read(inputs=[{"item_id": "a", "rows": [ROW, ROW]}], parameters={"trace": True, "stop_at_confidence": 0.9})
    contract = manifest("digits", "classify-digit")
    packed = digits.pack(request, contract, SETTINGS)
    assert packed.items[0].stop == 0.9
    document = json.loads(digits.unpack(request, contract, packed, [result(packed.items[0])]))
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
        request = read(inputs=[{"image": image}, {"rows": [ROW]}])
        contract = manifest("digits", "classify-digit")
        packed = digits.pack(request, contract, SETTINGS)
        assert [len(item.rows) for item in packed.items] == [28, 1]
        document = json.loads(digits.unpack(request, contract, packed, [result(item) for item in packed.items]))
        report = document["predictions"][0]["preprocessing"]
        assert report["source_size"] == [280, 280]
        assert report["inverted"] is True
        assert len(report["box"]) == 4
        assert document["predictions"][1]["preprocessing"] is None


def test_rows_without_ink_are_answered_with_a_warning() -> None:
    request, contract = read(inputs=[{"rows": [[0] * 28] * 4}]), manifest("digits", "classify-digit")
    packed = digits.pack(request, contract, SETTINGS)
    document = json.loads(digits.unpack(request, contract, packed, [result(packed.items[0])]))
    assert document["predictions"][0]["warnings"] == ["no_ink"]


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"inputs": []}, "out_of_range", "#/inputs"),
        ({"inputs": [{}]}, "missing_field", "#/inputs/0"),
        ({"inputs": [{"rows": [ROW], "image": "AAAA"}]}, "out_of_range", "#/inputs/0/image"),
        ({"inputs": [{"rows": []}]}, "out_of_range", "#/inputs/0/rows"),
        ({"inputs": [{"rows": [ROW, [*ROW, 0]]}]}, "wrong_row_width", "#/inputs/0/rows/1"),
        ({"inputs": [{"rows": [[]]}]}, "wrong_row_width", "#/inputs/0/rows/0"),
        ({"inputs": [{"rows": [ROW], "state": "x"}]}, "state_invalid", "#/inputs/0/state"),
        (
            {"inputs": [{"rows": [ROW]}], "parameters": {"return_state": True}},
            "state_invalid",
            "#/parameters/return_state",
        ),
        (
            {"inputs": [{"rows": [ROW]}], "parameters": {"stop_at_confidence": 1.5}},
            "out_of_range",
            "#/parameters/stop_at_confidence",
        ),
        ({"inputs": [{"rows": [["1"] * 28]}]}, "wrong_type", "#/inputs/0/rows/0/0"),
        ({"inputs": [{"rows": [[None] * 28]}]}, "wrong_type", "#/inputs/0/rows/0/0"),
    ],
)
def test_what_no_model_can_serve(body: dict[str, Any], code: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_too_many_digits() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(inputs=[{"rows": [ROW]}] * 4)
    assert caught.value.code == "too_many_items"


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
        pack(read(inputs=[item]), **inputs)
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_the_pixels_of_all_images_count_together() -> None:
    image = base64.b64encode(encoded(drawn(size=290))).decode()
    with pytest.raises(InvalidRequest) as caught:
        pack(read(inputs=[{"image": image}] * 2))
    assert caught.value.errors[0].pointer == "#/inputs/1/image"


def test_a_deadline_ends_the_preparation() -> None:
    request = read(inputs=[{"image": base64.b64encode(encoded(drawn())).decode()}])
    with pytest.raises(DeadlineExceeded):
        digits.pack(request, manifest("digits", "classify-digit"), SETTINGS, deadline=-math.inf)


def test_files_with_options() -> None:
    options = digits.read_options(
        {"model": "digits@2", "trace": "true", "stop_at_confidence": "0.9", "timeout_ms": "50"}
    )
    files = [digits.File(encoded(drawn()), "seven.png"), digits.File(encoded(drawn("1")))]
    request, images = digits.from_files(files, options, SETTINGS)
    assert request.model == "digits@2"
    assert [item.item_id for item in request.inputs] == ["seven.png", None]
    parameters = request.parameters
    assert (parameters.trace, parameters.stop_at_confidence, parameters.timeout_ms) == (True, 0.9, 50)
    packed = digits.pack(request, manifest("digits", "classify-digit"), SETTINGS, images)
    assert len(packed.items) == 2


def test_a_broken_file_is_named_by_its_place() -> None:
    files = [digits.File(encoded(drawn())), digits.File(b"broken")]
    request, images = digits.from_files(files, digits.read_options({}), SETTINGS)
    with pytest.raises(InvalidRequest) as caught:
        digits.pack(request, manifest("digits", "classify-digit"), SETTINGS, images)
    assert (caught.value.code, caught.value.errors[0].pointer) == ("bad_image", "#/inputs/1")


@pytest.mark.parametrize(
    ("options", "code", "pointer"),
    [
        ({"trace": "yes"}, "wrong_type", "#/trace"),
        ({"stop_at_confidence": "nan"}, "wrong_type", "#/stop_at_confidence"),
        ({"stop_at_confidence": "2"}, "out_of_range", "#/stop_at_confidence"),
        ({"timeout_ms": "1.5"}, "wrong_type", "#/timeout_ms"),
        ({"tarce": "true"}, "unknown_field", "#/tarce"),
        ({"item_id": "x" * 300}, "out_of_range", "#/item_id"),
    ],
)
def test_wrong_options(options: dict[str, str], code: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        digits.read_options(options)
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_a_name_that_looks_like_a_number_is_a_name() -> None:
    assert digits.read_options({"item_id": "12", "model": "true"}).item_id == "12"


def test_files_cannot_ask_for_state_yet() -> None:
    with pytest.raises(InvalidRequest) as caught:
        digits.from_files([digits.File(b"")], digits.read_options({"return_state": "true"}), SETTINGS)
    assert caught.value.code == "state_invalid"


def test_a_number_that_is_not_finite_never_leaves() -> None:
    request, contract = read(inputs=[{"rows": [ROW]}]), manifest("digits", "classify-digit")
    packed = digits.pack(request, contract, SETTINGS)
    broken = DigitResult(np.full(10, np.nan), None, 1, np.zeros(2))
    with pytest.raises(RitmoError) as caught:
        digits.unpack(request, contract, packed, [broken])
    assert caught.value.code == "internal_error"
