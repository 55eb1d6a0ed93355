from __future__ import annotations

import contextlib
import gc
import json
import time
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from service.codec import strict_json
from service.codec.forecast_types import ForecastRequest
from service.codec.strict_json import LISTED, FieldErrors, StrictDecoder, suggestion
from service.contract.errors import InvalidRequest


class Part(Struct, forbid_unknown_fields=True):
    target: list[float | None]
    name: Annotated[str, Meta(max_length=3)] | None = None


class Document(Struct, forbid_unknown_fields=True):
    inputs: list[Part]
    count: Annotated[int, Meta(ge=1, le=9)] = 1
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    flag: bool = False
    include: Annotated[list[Literal["history"]], Meta(max_length=2)] = []


DECODER = StrictDecoder(Document)


def refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        DECODER.decode(body)
    return caught.value


def test_a_good_document() -> None:
    document = DECODER.decode(b'{"inputs": [{"target": [1, 2.5, null], "name": "a"}], "count": 2}')
    assert document == Document([Part([1.0, 2.5, None], "a")], count=2)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ('{"inputs": [{"target": [1, NaN]}]}', "#/inputs/0/target/1", "not_finite"),
        ('{"inputs": [{"target": [Infinity]}]}', "#/inputs/0/target/0", "not_finite"),
        ('{"inputs": [{"target": [-Infinity]}]}', "#/inputs/0/target/0", "not_finite"),
        ('{"inputs": [{"target": [1e400]}]}', "#/inputs/0/target/0", "not_finite"),
        ('{"inputs": [{"target": [' + "9" * 400 + "]}]}", "#/inputs/0/target/0", "not_finite"),
        ('{"inputs": [{"target": [' + "9" * 9999 + "]}]}", "#/inputs/0/target/0", "not_finite"),
        ('{"inputs": [{"target": ["1.5"]}]}', "#/inputs/0/target/0", "wrong_type"),
        ('{"inputs": [{"target": [true]}]}', "#/inputs/0/target/0", "wrong_type"),
        ('{"inputs": [{"target": [[1]]}]}', "#/inputs/0/target/0", "wrong_type"),
        ('{"inputs": [{"target": 1}]}', "#/inputs/0/target", "wrong_type"),
        ('{"inputs": [{"target": null}]}', "#/inputs/0/target", "wrong_type"),
        ('{"inputs": {}}', "#/inputs", "wrong_type"),
        ('{"inputs": [1]}', "#/inputs/0", "wrong_type"),
        ('{"inputs": [], "count": 1.0}', "#/count", "wrong_type"),
        ('{"inputs": [], "count": "1"}', "#/count", "wrong_type"),
        ('{"inputs": [], "count": true}', "#/count", "wrong_type"),
        ('{"inputs": [], "count": 0}', "#/count", "out_of_range"),
        ('{"inputs": [], "count": 10}', "#/count", "out_of_range"),
        ('{"inputs": [], "share": 1}', "#/share", "out_of_range"),
        ('{"inputs": [], "share": 0}', "#/share", "out_of_range"),
        ('{"inputs": [], "flag": 1}', "#/flag", "wrong_type"),
        ('{"inputs": [], "include": ["histroy"]}', "#/include/0", "out_of_range"),
        ('{"inputs": [], "include": [1]}', "#/include/0", "wrong_type"),
        ('{"inputs": [], "include": ["history", "history", "history"]}', "#/include", "out_of_range"),
        ('{"inputs": [{"target": [], "name": "long"}]}', "#/inputs/0/name", "out_of_range"),
        ('{"inputs": [{"target": [], "name": "\\ud800"}]}', "#/inputs/0/name", "bad_encoding"),
        ('{"inputs": [{}]}', "#/inputs/0/target", "missing_field"),
        ("{}", "#/inputs", "missing_field"),
        ('{"inputs": [], "a/b~c": 1}', "#/a~1b~0c", "unknown_field"),
        ("null", "#", "wrong_type"),
        ("[]", "#", "wrong_type"),
    ],
)
def test_one_error_is_found_with_its_pointer(body: str, pointer: str, code: str) -> None:
    error = refused(body.encode())
    assert [(e.pointer, e.code) for e in error.errors] == [(pointer, code)]
    assert error.code == code
    assert error.errors_total == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'{"inputs": [}', "malformed_json"),
        (b'{"inputs": []} more', "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"inputs": [{"target": [' + b"[" * 100_000, "malformed_json"),
        (b'\xef\xbb\xbf{"inputs": []}', "bad_encoding"),
        (b'{"inputs": [{"target": [], "name": "\xff"}]}', "bad_encoding"),
        ('{"inputs": []}'.encode("utf-16"), "bad_encoding"),
    ],
)
def test_what_is_no_json(body: bytes, code: str) -> None:
    error = refused(body)
    assert (error.code, error.errors) == (code, ())


def test_an_unknown_field_names_the_nearest_known_one() -> None:
    assert refused(b'{"inputs": [{"target": [], "nmae": "a"}]}').errors[0].detail.endswith("did you mean 'name'?")
    assert suggestion("qqq", ["target"]) == ""


def test_ten_errors_are_listed_and_all_are_counted() -> None:
    error = refused(b'{"inputs": [{"target": [' + b",".join([b'"secret"'] * 1000) + b"]}]}")
    assert len(error.errors) == LISTED
    assert error.errors_total == 1000
    assert "secret" not in error.detail
    assert "secret" not in str(error.errors)


def test_spelling_is_compared_for_the_listed_errors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def similar(name: str, names: list[str], n: int) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr("difflib.get_close_matches", similar)
    unknown = {"x" * 10_000 + str(number): 1 for number in range(1000)}
    error = refused(json.dumps({"inputs": [], **unknown}).encode())
    assert error.errors_total == 1000
    assert len(compared) == LISTED
    assert max(map(len, compared)) < 100


def test_an_array_of_numbers_is_checked_as_a_whole() -> None:
    """An error elsewhere is found, and finite numbers with an infinite sum are no error."""
    values = [1e308, 1e308, None, 0, -3, 10**300]
    error = refused(json.dumps({"inputs": [{"target": values}], "count": 0}).encode())
    assert [e.pointer for e in error.errors] == ["#/count"]


def test_names_in_pointers_are_cut_and_printable() -> None:
    pointer = refused(json.dumps({"inputs": [], "\n\ud800" + "x" * 1000: 1}).encode()).errors[0].pointer
    assert len(pointer) < 80
    assert pointer.isprintable()
    pointer.encode()


def test_no_errors_raise_nothing() -> None:
    FieldErrors().check()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "target", "count", "share", "flag", "name", "include", "other"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def attempt(body: bytes) -> InvalidRequest | None:
    try:
        DECODER.decode(body)
    except InvalidRequest as error:
        return error
    return None


@given(values)
def test_both_parsers_agree_on_every_document(value: Any) -> None:
    """msgspec decides; when it refuses, the inspector finds the error, so no refusal is without a reason."""
    body = json.dumps(value).encode()
    error = attempt(body)
    assert error is None or 0 < len(error.errors) <= error.errors_total


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    error = attempt(body)
    assert error is None or error.code


def attempt_in_pieces(body: bytes) -> InvalidRequest | None:
    with pytest.MonkeyPatch.context() as patch:
        inspect = strict_json._inspect
        patch.setattr(strict_json, "_inspect", lambda content, kind, **_: inspect(content, kind, in_pieces=True))
        patch.setattr(strict_json, "_PIECE", 6)
        return attempt(body)


def facts(error: InvalidRequest | None) -> Any:
    return error and (error.code, error.detail, error.errors, error.errors_total)


@given(values, st.integers(0, 200), st.sampled_from(["", ",", "]", "}", "0", '"', "x", " ", "NaN", "1" * 5000]))
def test_a_large_document_has_the_errors_of_a_small_one(value: Any, place: int, inserted: str) -> None:
    text = json.dumps(value)
    for body in (text, text[:place] + inserted + text[place:], text[:place]):
        assert facts(attempt_in_pieces(body.encode())) == facts(attempt(body.encode()))


@pytest.mark.parametrize(
    "body",
    [
        '{"inputs": [{}, [], "a", 1, {"target": [1, "x"]}, {"target": [NaN]}], "count": 0, "other": 1}',
        '{"inputs": [[], {}], "share": 2}',
        ' { "inputs" : [ { } , { } ] , "count" : 10 } ',
        '{"inputs": [{"target": [1]},]}',
        '{"inputs": [{"target": [1]} {}]}',
        '{"inputs" [{}]}',
        '{"inputs": [{}]',
        '{"inputs": [{}]} x',
        '{"inputs": [{}],}',
        '{"inputs": [{"target": [' + "9" * 5000 + "]}]}",
        '{"inputs": [' + "[" * 100_000,
        *(
            f'{{"inputs": [{{"target": [{entries}]}}]}}'
            for entries in (
                *(
                    "1, 2, true, 3, 4, 5, 6, null, false",
                    "1,,2",
                    ", []",
                    ",1",
                    "1, 2, 3, 4, 5,",
                    "1 2, 3, 4, 5, 6",
                    " ,",
                ),
                *(
                    "1, 2, [], 3, {}, 4, 5, 6, [1, 2]",
                    '"a", 1, "b]", 2, 3, 4, 5, "c"',
                    "[], [], 1, NaN",
                    "{}, {}",
                    "{}",
                ),
                *("1, 123456789, 1234567890123456789, x", "1, 2, 3, 4, 5, 6, 7, 8, 9" + " " * 50 + "x", "01, 2"),
            )
        ),
        "[{}, {}]",
        "",
    ],
)
def test_what_is_wrong_with_a_large_document(body: str) -> None:
    error = facts(attempt(body.encode()))
    assert error is not None
    assert facts(attempt_in_pieces(body.encode())) == error


def test_a_large_document_is_parsed_no_further_than_its_errors_are_counted() -> None:
    error = refused(b'{"inputs":[' + b"{}," * 30_000 + b"x")  # msgspec stops at the first entry
    assert (error.code, error.errors_total) == ("missing_field", 1000)
    error = refused(b'{"inputs":[{"target":[1,' + b"[]," * 30_000 + b"x")
    assert (error.code, error.errors_total) == ("wrong_type", 1000)


def bodies(size: int) -> dict[str, bytes]:
    """Bodies of about `size` bytes that are refused, each for as much work as its kind can make."""

    def filled(entry: bytes, before: bytes = b'{"inputs":[', after: bytes = b"]}") -> bytes:
        return before + b",".join([entry] * (size // (len(entry) + 1))) + after

    letters = "prediction_length"
    anagrams = (letters[n % 17 :] + letters[: n % 17] + str(n) for n in range(size // 26))
    target = b'{"inputs":[{"target":['
    return {
        "names like known ones": b"{" + b",".join(b'"%s":1' % name.encode() for name in anagrams) + b"}",
        "missing fields": filled(b"{}"),
        "unknown fields": filled(b'{"a":1}'),
        "wrong types": filled(b'{"target":"a"}'),
        "strings for numbers": filled(b'"a"', target, b"]}]}"),
        "arrays for numbers": filled(b"[]", target, b"]}]}"),
        "not finite": filled(b"NaN", target, b"]}]}"),
        "cut": filled(b"1", target, b""),
        "one string behind numbers": filled(b"1", target, b',"a"]}]}'),
        "too many levels": filled(b"0.5", b'{"inputs":[{"target":[1]}],"parameters":{"quantile_levels":[', b"]}}"),
        "long integers": filled(b"1" * 4_000 + b"e400", target, b"]}]}"),
    }


@pytest.mark.parametrize("size", [1_000, 16_000, 64_000, 1_000_000])
def test_refusing_costs_no_more_than_reading_twenty_bodies_of_that_size(size: int) -> None:
    """Serving one costs more: its items, its computation and its answer come on top of reading it."""

    def cost(body: bytes) -> float:
        costs = []
        for _ in range(3):
            started = time.thread_time()
            with contextlib.suppress(InvalidRequest):
                decoder.decode(body)
            costs.append(time.thread_time() - started)
        return min(costs)

    decoder = StrictDecoder(ForecastRequest)
    series = b'{"target":[' + b",".join([b"1.5"] * 50) + b"]}"
    reading = cost(b'{"inputs":[' + b",".join([series] * max(1, size // 211)) + b"]}")
    gc.disable()  # its cost is that of all objects of all tests
    try:
        for kind, body in bodies(size).items():
            assert cost(body) <= 20 * reading + 0.003, kind
    finally:
        gc.enable()


def test_a_thousand_errors_are_counted_and_no_more() -> None:
    for count in (999, 1000, 1001, 5000):
        error = refused(b'{"inputs":[' + b",".join([b"{}"] * count) + b"]}")
        assert (len(error.errors), error.errors_total) == (10, min(1000, count))
        assert ("or more" in error.detail) == (count >= 1000)
