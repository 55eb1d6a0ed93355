from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.codec.common import Body, SequenceState
from service.codec.digit_calls import FLAG_0_1, FLAG_HAS_INK
from service.codec.digits import DigitCodec, decode_options
from service.contract.errors import InvalidRequest
from service.settings import Settings
from tests.pictures import drawn, encoded
from tests.service.codec.digit_calls import (
    CODEC,
    CONTRACT,
    ROW,
    STATE,
    TOKENS,
    answer,
    decode,
    form,
    result,
    resumed,
    to_items,
)


@pytest.mark.parametrize("rows", ["[" + "0," * 27 + "0],", "[],", '{"a":1},'], ids=["numbers", "arrays", "objects"])
def test_a_body_as_large_as_a_picture_has_no_more_numbers_than_digits_have(rows: str) -> None:
    count = 100_000 // len(rows)
    content = f'{{"inputs":[{{"rows":[{rows * count}1]}}]}}'.encode()
    codec = DigitCodec(Settings(max_items=3, max_body_bytes=1000), TOKENS)
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(Body(content))
    assert caught.value.code == "too_many_items"
    picture = f'{{"inputs":[{{"image":"{"A" * 2000}"}}]}}'.encode()
    assert codec.decode(Body(picture)).inputs[0].image == "A" * 2000


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


def test_a_resumed_digit_counts_all_its_rows() -> None:
    call = resumed([ROW, ROW], FLAG_0_1 | FLAG_HAS_INK, trace=True, return_state=True)
    assert call.items[0].state is not None
    np.testing.assert_array_equal(call.items[0].state, STATE)
    (prediction,) = answer(call)["predictions"]
    assert prediction["rows_used"] == 7
    assert [point["row"] for point in prediction["trace"]] == [6, 7]
    state = TOKENS.open(prediction["state"], CONTRACT)
    assert (state.observations, state.flags) == (7, FLAG_0_1 | FLAG_HAS_INK)


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


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"image": "AAAA"}, '{"inputs": [{"image"'),
        ({"instances": [[0]]}, '{"inputs": [{"image"'),
        ({"inputs": [{"pixels": [[0]]}]}, "use 'rows', 28 rows of 28 numbers"),
        ({"inputs": [{"base64": "AAAA"}]}, "use 'image'"),
        ({"inputs": [{"rows": [ROW], "trace": True}]}, "it belongs in 'parameters'"),
        ({"inputs": [{"rows": [ROW]}], "parameters": {"threshold": 0.9}}, "use 'stop_at_confidence'"),
        ({"inputs": ["AAAA"]}, 'such as {"rows": […]} or {"image": "…base64…"}, not a string'),
        ({"inputs": [{"url": "https://example.org/a.png"}]}, "fetches nothing"),
        ({"inputs": [{"image": "AAAA"}], "digits": "all"}, "belongs in 'parameters'"),
    ],
)
def test_names_of_other_services_are_explained(body: dict[str, Any], hint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode(Body(json.dumps(body).encode()))
    assert any(hint in error.detail for error in caught.value.errors), caught.value.errors
