from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.codec import digits
from service.codec.state_tokens import SequenceState, StateTokens
from service.contract.errors import DeadlineExceeded, InvalidRequest, RitmoError
from service.contract.manifest import Manifest, OutputContract
from service.contract.types import DigitItem, DigitResult
from service.settings import Settings
from tests.fakes import manifest
from tests.pictures import drawn, encoded

SETTINGS = Settings(max_items=3, max_pixels=159_999)
TOKENS = StateTokens([b"a key of a test, long enough"])
ROW = [0.0] * 27 + [1.0]


def read(**body: Any) -> digits.DigitRequest:
    return digits.read(json.dumps(body).encode(), SETTINGS)


def pack(request: digits.DigitRequest, **inputs: Any) -> digits.PackedDigits:
    return digits.pack(request, manifest("digits", "classify-digit", **inputs), SETTINGS)


def result(item: DigitItem) -> DigitResult:
    trace = np.full((len(item.rows), 10), 0.05)
    trace[:, 7] = 0.55
    return DigitResult(trace[-1], trace if item.trace else None, len(item.rows), np.zeros(2))


def unpacked(request: digits.DigitRequest, contract: Manifest, packed: digits.PackedDigits) -> dict[str, Any]:
    answer = digits.unpack(request, contract, packed, [result(item) for item in packed.items], TOKENS.seal)
    document: dict[str, Any] = json.loads(answer)
    return document


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
    document = unpacked(request, contract, packed)
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
        document = json.loads(
            digits.unpack(request, contract, packed, [result(item) for item in packed.items], TOKENS.seal)
        )
        report = document["predictions"][0]["preprocessing"]
        assert report["source_size"] == [280, 280]
        assert report["inverted"] is True
        assert len(report["box"]) == 4
        assert document["predictions"][1]["preprocessing"] is None


def test_several_digits_in_an_image_are_answered_with_a_warning() -> None:
    image = Image.new("L", (420, 280), 255)
    image.paste(drawn("4").crop((40, 0, 240, 280)), (0, 0))
    image.paste(drawn("2").crop((40, 0, 240, 280)), (220, 0))
    request = read(inputs=[{"image": base64.b64encode(encoded(image)).decode()}])
    packed = digits.pack(request, CONTRACT, SETTINGS)
    (prediction,) = unpacked(request, CONTRACT, packed)["predictions"]
    assert prediction["preprocessing"]["digits"] == 2
    assert prediction["warnings"] == ["several_digits"]


def test_rows_without_ink_are_answered_with_a_warning() -> None:
    request, contract = read(inputs=[{"rows": [[0] * 28] * 4}]), manifest("digits", "classify-digit")
    packed = digits.pack(request, contract, SETTINGS)
    document = unpacked(request, contract, packed)
    assert document["predictions"][0]["warnings"] == ["no_ink"]


@pytest.mark.parametrize(
    ("level", "count", "warnings"),
    [(0.56, 28, ["unlikely_digit"]), (0.55, 28, []), (0.56, 27, []), (None, 28, []), (0.56, 40, ["unlikely_digit"])],
)
def test_a_whole_digit_of_a_low_score_is_unlikely_to_be_one(
    level: float | None, count: int, warnings: list[str]
) -> None:
    request, contract = read(inputs=[{"rows": [ROW] * count}]), manifest("digits", "classify-digit")
    contract = contract.model_copy(update={"output": OutputContract(classes=10, unlikely_below=level)})
    document = unpacked(request, contract, digits.pack(request, contract, SETTINGS))
    assert document["predictions"][0]["score"] == 0.55
    assert document["predictions"][0]["warnings"] == warnings


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"inputs": []}, "out_of_range", "#/inputs"),
        ({"inputs": [{}]}, "missing_field", "#/inputs/0"),
        ({"inputs": [{"rows": [ROW], "image": "AAAA"}]}, "out_of_range", "#/inputs/0/image"),
        ({"inputs": [{"rows": []}]}, "out_of_range", "#/inputs/0/rows"),
        ({"inputs": [{"rows": [ROW, [*ROW, 0]]}]}, "wrong_row_width", "#/inputs/0/rows/1"),
        ({"inputs": [{"rows": [[]]}]}, "wrong_row_width", "#/inputs/0/rows/0"),
        ({"inputs": [{"image": "x", "state": "x"}]}, "out_of_range", "#/inputs/0/state"),
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


def test_files_can_ask_for_a_token() -> None:
    request, _ = digits.from_files([digits.File(b"")], digits.read_options({"return_state": "true"}), SETTINGS)
    assert request.parameters.return_state


def test_a_number_that_is_not_finite_never_leaves() -> None:
    request, contract = read(inputs=[{"rows": [ROW]}]), manifest("digits", "classify-digit")
    packed = digits.pack(request, contract, SETTINGS)
    broken = DigitResult(np.full(10, np.nan), None, 1, np.zeros(2))
    with pytest.raises(RitmoError) as caught:
        digits.unpack(request, contract, packed, [broken], TOKENS.seal)
    assert caught.value.code == "internal_error"


# --- digits that go on -----------------------------------------------------------------------------------------------

CONTRACT = manifest("digits", "classify-digit")
STATE = np.array([0.1, 0.5])


def go_on(rows: list[list[float]], flags: int = 0, observations: int = 5, **parameters: Any) -> digits.PackedDigits:
    request = read(inputs=[{"rows": rows, "state": "the caller opened it"}], parameters=parameters)
    return digits.pack(request, CONTRACT, SETTINGS, before=[SequenceState(STATE, observations, flags=flags)])


def test_a_digit_that_goes_on_counts_all_its_rows() -> None:
    request = read(inputs=[{"rows": [ROW, ROW], "state": "x"}], parameters={"trace": True, "return_state": True})
    packed = digits.pack(request, CONTRACT, SETTINGS, before=[SequenceState(STATE, 5, flags=digits.UNIT | digits.INK)])
    assert packed.items[0].state is STATE
    (prediction,) = unpacked(request, CONTRACT, packed)["predictions"]
    assert prediction["rows_used"] == 7
    assert [point["row"] for point in prediction["trace"]] == [6, 7]
    after = TOKENS.open(prediction["state"], CONTRACT)
    assert (after.observations, after.flags) == (7, digits.UNIT | digits.INK)


@pytest.mark.parametrize(
    ("flags", "row", "ink", "after"),
    [
        (0, [0.0] * 28, 0.0, 0),  # no ink yet: the scale is still open
        (0, [1.0] + [0.0] * 27, 1.0, digits.UNIT | digits.INK),
        (0, [2.0] + [0.0] * 27, 2 / 255, digits.BYTES | digits.INK),
        (digits.BYTES | digits.INK, [1.0] + [0.0] * 27, 1 / 255, digits.BYTES | digits.INK),
        (digits.UNIT | digits.INK, [0.5] + [0.0] * 27, 0.5, digits.UNIT | digits.INK),
        (digits.INK, [51.0] + [0.0] * 27, 0.2, digits.BYTES | digits.INK),  # after an image either scale may follow
    ],
)
def test_the_scale_of_a_digit_is_decided_once(flags: int, row: list[float], ink: float, after: int) -> None:
    packed = go_on([row], flags)
    np.testing.assert_allclose(packed.items[0].rows[0, 0], ink, rtol=1e-7)
    (reached,) = digits.progress(packed, [result(packed.items[0])])
    assert reached.flags == after


def test_a_digit_begun_in_0_to_1_does_not_go_on_in_0_to_255() -> None:
    with pytest.raises(InvalidRequest) as caught:
        go_on([ROW, [0.0] * 27 + [254.0]], digits.UNIT | digits.INK)
    assert (caught.value.code, caught.value.errors[0].pointer) == ("out_of_range", "#/inputs/0/rows/1/27")
    assert "earlier rows" in caught.value.detail


def test_no_new_rows_ask_for_the_reading_so_far() -> None:
    packed = go_on([], digits.INK)
    assert packed.items[0].rows.shape == (0, 28)
    reading = DigitResult(np.full(10, 0.1), None, 0, STATE)
    (reached,) = digits.progress(packed, [reading])
    assert (reached.observations, reached.flags) == (5, digits.INK)


def test_a_stopped_reading_goes_on_from_the_row_where_it_stopped() -> None:
    packed = go_on([[0.0] * 28, ROW], stop_at_confidence=0.5)
    stopped = DigitResult(np.full(10, 0.1), None, 1, STATE)
    (reached,) = digits.progress(packed, [stopped])
    assert (reached.observations, reached.flags & digits.INK) == (6, 0)  # the row with ink was not read


def test_the_limit_of_rows_is_that_of_the_whole_digit() -> None:
    go_on([ROW] * 4, observations=60)
    with pytest.raises(InvalidRequest) as caught:
        go_on([ROW] * 5, observations=60)
    assert caught.value.code == "length_not_supported"
    assert "65 rows" in caught.value.detail
