from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.codec.common import INPUT_NUMBERS, Body, SequenceState
from service.codec.digits import (
    FLAG_0_1,
    FLAG_0_255,
    FLAG_HAS_INK,
    FORM,
    DigitBatch,
    DigitCall,
    DigitCodec,
    decode_options,
    sequence_states,
)
from service.codec.state_tokens import StateTokens
from service.contract.errors import DeadlineExceeded, InvalidRequest
from service.contract.manifest import Manifest, OutputContract, StateContract
from service.contract.types import DigitItem, DigitResult
from service.settings import Settings
from tests.fakes import manifest
from tests.pictures import drawn, encoded

TOKENS = StateTokens([b"a key of a test, long enough"])
CODEC = DigitCodec(Settings(max_items=3, max_pixels=159_999), TOKENS)
CONTRACT = manifest("digits", "classify-digit")
ROW = [0.0] * 27 + [1.0]


def decode(**body: Any) -> DigitBatch:
    return CODEC.decode(Body(json.dumps(body).encode()))


def to_items(batch: DigitBatch, **inputs: Any) -> DigitCall:
    return CODEC.to_items(batch, manifest("digits", "classify-digit", **inputs))


def result(item: DigitItem) -> DigitResult:
    trace = np.full((len(item.rows), 10), 0.05)
    trace[:, 7] = 0.55
    return DigitResult(trace[-1], trace if item.trace else None, len(item.rows), np.zeros(2))


def answer(call: DigitCall) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(CODEC.encode(call, [result(item) for item in call.items]))
    return document


def form(*parts: tuple[str, str | None, bytes]) -> Body:
    """A form of `parts`: field, file name, content."""
    content = b""
    for name, file_name, data in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{file_name}"' if file_name else "")
        content += f"--x\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
    return Body(content + b"--x--\r\n", FORM, b"multipart/form-data; boundary=x")


def test_rows_are_taken_as_they_are() -> None:
    (item,) = to_items(decode(inputs=[{"rows": [[0] * 27 + [1], [0.5] * 28]}])).items
    assert item.rows.shape == (2, 28)
    assert item.rows.dtype == np.float32
    assert (item.rows[0, 27], item.rows[1, 0]) == (1, 0.5)
    assert (item.trace, item.stop) == (False, None)


def test_values_above_one_mean_a_scale_of_255() -> None:
    (item,) = to_items(decode(inputs=[{"rows": [[0] * 26 + [51, 255]]}])).items
    np.testing.assert_allclose(item.rows[0, 26:], [0.2, 1])


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
        decode(**body)
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


@pytest.mark.parametrize(
    ("inputs", "pointer", "says"),
    [
        ([{"rows": [0] * 784}], "#/inputs/0/rows", "send 28 rows of 28"),
        ([{"rows": [0] * 28}], "#/inputs/0/rows", "28 numbers in one"),
        ([0] * 784, "#/inputs", '{"rows": […]}'),
    ],
)
def test_flat_lists_are_one_error_that_names_the_shape(inputs: Any, pointer: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(inputs=inputs)
    (error,) = caught.value.errors
    assert (error.pointer, error.code, caught.value.errors_total) == (pointer, "wrong_type", 1)
    assert says in error.detail


def test_too_many_digits() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(inputs=[{"rows": [ROW]}] * 4)
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


def test_files_with_options() -> None:
    files = [("file", "seven.png", encoded(drawn())), ("file", None, encoded(drawn("1")))]
    options = [("model", None, b"digits@2"), ("trace", None, b"true"), ("timeout_ms", None, b"50")]
    batch = CODEC.decode(form(*files, *options, ("stop_at_confidence", None, b"0.9")))
    assert batch.model == "digits@2"
    assert [digit.item_id for digit in batch.inputs] == ["seven.png", None]
    parameters = batch.parameters
    assert (parameters.trace, parameters.stop_at_confidence, parameters.timeout_ms) == (True, 0.9, 50)
    assert len(to_items(batch).items) == 2


def test_a_broken_file_is_named_by_its_position() -> None:
    batch = CODEC.decode(form(("file", None, encoded(drawn())), ("file", None, b"broken")))
    with pytest.raises(InvalidRequest) as caught:
        to_items(batch)
    assert (caught.value.code, caught.value.errors[0].pointer) == ("bad_image", "#/inputs/1")


def test_a_form_may_have_all_options_beside_its_files() -> None:
    options = [("model", b"digits"), ("item_id", b"a"), ("trace", b"true"), ("stop_at_confidence", b"0.9")]
    options += [("return_state", b"true"), ("timeout_ms", b"50")]
    parts = [(name, None, data) for name, data in options]
    assert len(CODEC.decode(form(*[("file", None, b"x")] * 3, *parts)).inputs) == 3
    for parts in ([("file", None, b"x")] * 4, [("file", None, b"")] * 5000):
        with pytest.raises(InvalidRequest) as caught:
            CODEC.decode(form(*parts))
        assert caught.value.code == "too_many_items"


@pytest.mark.parametrize("query", [b"model=digits-rnn-10", b"trace=true", b"x"])
def test_query_fields_of_a_json_body_are_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode(Body(b'{"inputs": [{"rows": [[]]}]}', query_string=query))
    assert caught.value.code == "unknown_field"
    CODEC.decode(Body(b"an image", "image/png", query_string=b"trace=true"))


def test_rows_without_width_are_counted_and_the_first_ten_described() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(inputs=[{"rows": [[]] * 1000}])
    assert (len(caught.value.errors), caught.value.errors_total) == (10, 1000)


@pytest.mark.parametrize(
    ("parameters", "size"), [({}, 20), ({"trace": True}, 20 + 3 * 5), ({"return_state": True}, 20 + 2 * 8 // 4)]
)
def test_the_size_of_an_answer_is_that_of_its_numbers_and_of_its_digits(parameters: dict[str, Any], size: int) -> None:
    contract = CONTRACT.model_copy(update={"state": StateContract(width=8, exact=1)})
    batch = decode(inputs=[{"rows": [ROW] * 2}, {"rows": [ROW] * 3}], parameters=parameters)
    assert CODEC.to_items(batch, contract).answer_size == size + 2 * INPUT_NUMBERS


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
        decode_options(options)
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_a_name_that_looks_like_a_number_is_a_name() -> None:
    assert decode_options({"item_id": "12", "model": "true"}).item_id == "12"


def test_files_can_ask_for_a_token() -> None:
    batch = CODEC.decode(Body(b"", "image/png", query_string=b"return_state=true"))
    assert batch.parameters.return_state


# --- resumed digits --------------------------------------------------------------------------------------------------

STATE = np.array([0.5, 0.25])  # to the bit as a token keeps it: float64, float32


def resumed(
    rows: list[list[float]], flags: int = 0, observations: int = 5, contract: Manifest = CONTRACT, **parameters: Any
) -> DigitCall:
    """The call for `rows` with a token of a state after `observations` rows."""
    token = TOKENS.seal(SequenceState(STATE, observations, flags=flags), contract)
    return CODEC.to_items(decode(inputs=[{"rows": rows, "state": token}], parameters=parameters), contract)


def test_a_resumed_digit_counts_all_its_rows() -> None:
    call = resumed([ROW, ROW], FLAG_0_1 | FLAG_HAS_INK, trace=True, return_state=True)
    assert call.items[0].state is not None
    np.testing.assert_array_equal(call.items[0].state, STATE)
    (prediction,) = answer(call)["predictions"]
    assert prediction["rows_used"] == 7
    assert [point["row"] for point in prediction["trace"]] == [6, 7]
    state = TOKENS.open(prediction["state"], CONTRACT)
    assert (state.observations, state.flags) == (7, FLAG_0_1 | FLAG_HAS_INK)


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


def test_no_new_rows_ask_for_the_reading_so_far() -> None:
    call = resumed([], FLAG_HAS_INK)
    assert call.items[0].rows.shape == (0, 28)
    reading = DigitResult(np.full(10, 0.1), None, 0, STATE)
    (state,) = sequence_states(call, [reading])
    assert (state.observations, state.flags) == (5, FLAG_HAS_INK)


def test_a_stopped_reading_goes_on_from_the_row_where_it_stopped() -> None:
    call = resumed([[0.0] * 28, ROW], stop_at_confidence=0.5)
    stopped = DigitResult(np.full(10, 0.1), None, 1, STATE)
    (state,) = sequence_states(call, [stopped])
    assert (state.observations, state.flags & FLAG_HAS_INK) == (6, 0)  # the row with ink was not read


def test_the_limit_of_rows_is_that_of_the_whole_digit() -> None:
    resumed([ROW] * 4, observations=60)
    with pytest.raises(InvalidRequest) as caught:
        resumed([ROW] * 5, observations=60)
    assert caught.value.code == "length_not_supported"
    assert "65 rows" in caught.value.detail


# --- live strokes ----------------------------------------------------------------------------------------------------


def test_a_live_stroke_continues_where_the_last_message_ended() -> None:
    opening = CODEC.decode_opening(b'{"item_id": "a", "parameters": {"return_state": true}}')
    state = CODEC.resume(opening, CONTRACT)
    assert state is None
    for rows_used in (1, 2):
        call = CODEC.message_to_items(json.dumps({"rows": [ROW]}).encode(), opening, CONTRACT, state)
        assert call is not None
        content, state = CODEC.encode_message(call, [result(item) for item in call.items])
        prediction = json.loads(content)
        assert prediction["item_id"] == "a"
        assert prediction["rows_used"] == state.observations == rows_used
        assert TOKENS.open(prediction["state"], CONTRACT).observations == rows_used


@pytest.mark.parametrize(
    ("message", "code", "pointer"),
    [
        ({"rows": []}, "out_of_range", "#/rows"),
        ({"rows": [ROW, [0]]}, "wrong_row_width", "#/rows/1"),
        ({"rows": [[-1] * 28]}, "out_of_range", "#/rows/0/0"),
        ({"rows": [ROW] * 65}, "length_not_supported", "#/rows"),
        ({"image": "AAAA"}, "unknown_field", "#/image"),
    ],
)
def test_bad_messages(message: dict[str, Any], code: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.message_to_items(json.dumps(message).encode(), CODEC.decode_opening(b"{}"), CONTRACT, None)
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_the_first_message_may_bring_rows() -> None:
    opening = CODEC.decode_opening(json.dumps({"rows": [ROW, ROW]}).encode())
    call = CODEC.opening_to_items(opening, CONTRACT, None)
    assert call is not None
    assert len(call.items[0].rows) == 2
    assert CODEC.opening_to_items(CODEC.decode_opening(b"{}"), CONTRACT, None) is None
    with pytest.raises(InvalidRequest) as caught:
        CODEC.opening_to_items(CODEC.decode_opening(b'{"rows": [[1]]}'), CONTRACT, None)
    assert caught.value.code == "wrong_row_width"


@pytest.mark.parametrize(
    ("parameters", "observations", "message", "earlier_rows"),
    [
        ({}, 28, {"rows": [ROW]}, 28),
        ({}, 28, {"rows": [ROW], "reset": True}, 0),
        ({}, 5, {"rows": [ROW], "reset": True}, 0),
        ({"auto_reset": True}, 27, {"rows": [ROW]}, 27),
        ({"auto_reset": True}, 28, {"rows": [ROW]}, 0),
    ],
)
def test_another_digit_on_the_same_connection(
    parameters: dict[str, Any], observations: int, message: dict[str, Any], earlier_rows: int
) -> None:
    opening = CODEC.decode_opening(json.dumps({"parameters": parameters}).encode())
    state = SequenceState(STATE, observations, flags=FLAG_0_1)
    call = CODEC.message_to_items(json.dumps(message).encode(), opening, CONTRACT, state)
    assert call is not None
    assert call.readings[0].earlier_rows == earlier_rows
    assert (call.items[0].state is None) == (earlier_rows == 0)


def test_a_reset_without_rows_asks_for_nothing() -> None:
    opening = CODEC.decode_opening(b"{}")
    assert CODEC.message_to_items(b'{"reset": true}', opening, CONTRACT, SequenceState(STATE, 3)) is None


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
