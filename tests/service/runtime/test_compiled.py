"""The functions in C: each does what its Python does, or says that it does not."""

from __future__ import annotations

import json
import math
import os
import shutil
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.backend import buckets, chunks
from service.codec.forecast import _request_decoder
from service.codec.forecast_types import DEFAULT_MODEL
from service.contract.errors import InvalidRequest
from service.runtime import compiled
from service.server.known_heads import KnownHead, KnownHeads

needs_extension = pytest.mark.skipif(compiled.built is None, reason="no C compiler was there at installation")
by_example = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> compiled.Functions:
    """The compiled functions, while the rest of the service uses its Python."""
    assert compiled.built is not None
    monkeypatch.setattr(compiled, "in_use", None)
    return compiled.built


def test_the_extension_is_built_where_the_project_is_checked() -> None:
    if os.environ.get("CI") and shutil.which("gcc"):
        assert compiled.built is not None


def test_the_setting_chooses_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.chosen("off") is None
    assert compiled.chosen("on") is compiled.built
    assert "RITMO_COMPILED=off" in compiled.in_words("off")
    monkeypatch.setattr(compiled, "built", None)
    assert "no C compiler" in compiled.in_words("on")
    assert compiled.chosen("on") is None


# --- requests --------------------------------------------------------------------------------------------------------

decimals = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**20), 10**20),
    st.decimals(-(10**9), 10**9, places=3, allow_nan=False).map(float),
    st.sampled_from(
        ["-0", "0.0", "1e-5", "00", "1.", ".5", "+1", "0.1234567890123456789", "-", "9" * 400, "NaN", "1 "]
    ),
)
texts = st.one_of(st.text(max_size=5), st.sampled_from(["lstm-64", "forecaster@2", "\\u0041", "x" * 257]))
written = st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300) | st.integers(1, 10**25)
levels = st.one_of(st.floats(-0.1, 1.1), st.sampled_from([0, 1, 0.5, 0.1, 0.9]))


def as_json(value: Any) -> str:
    """`value` as JSON; a string among the numbers is put in as it is, valid or not."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{as_json(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(part if isinstance(part, str) else as_json(part) for part in value) + "]"
    return json.dumps(value)


parameters = st.fixed_dictionaries(
    {},
    optional={
        "prediction_length": st.one_of(st.integers(-1, 12), st.sampled_from([10**6, 10**6 + 1, 1.0, None, True])),
        "quantile_levels": st.lists(levels, max_size=4),
        "season_length": st.integers(0, 3),
        "timeout_ms": st.integers(0, 3),
    },
)
series = st.fixed_dictionaries(
    {"target": st.lists(st.one_of(decimals, st.none()), max_size=8)},
    optional={"item_id": st.none() | st.text(max_size=2), "freq": st.just("D")},
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(series, min_size=1, max_size=2)},
    optional={"model": texts, "parameters": parameters, "other": st.none()},
)
SIMPLE = {
    "model": "lstm",
    "inputs": [{"target": [1.5, -2, None], "item_id": "a"}],
    "parameters": {"prediction_length": 3},
}


def check(functions: compiled.Functions, content: bytes) -> bool:
    """Whether `content` is of the simplest form; if it is, it says the same as the service reads in it."""
    asked = functions.read_request(b"head" + content, 4)
    if asked is None:
        return False
    request = _request_decoder.decode(content)
    model, values, n_missing, item_id, steps, quantile_levels = asked
    [entry] = request.inputs
    array = np.frombuffer(values)
    expected = np.array([math.nan if value is None else value for value in entry.target])
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(np.signbit(array[~np.isnan(array)]), np.signbit(expected[~np.isnan(expected)]))
    assert (n_missing, item_id) == (entry.target.count(None), entry.item_id)
    assert n_missing < len(entry.target)
    assert (DEFAULT_MODEL if model is None else model, steps) == (request.model, request.parameters.prediction_length)
    if quantile_levels is not None:
        assert list(quantile_levels) == request.parameters.quantile_levels
    rest = (entry.state, entry.start, entry.freq, entry.timestamps, request.parameters.season_length)
    assert rest == (None,) * 5
    assert (request.parameters.timeout_ms, request.parameters.return_state) == (None, False)
    return True


@needs_extension
@by_example
@given(requests)
def test_a_request_is_read_as_the_codec_reads_it(functions: compiled.Functions, request: Any) -> None:
    check(functions, as_json(request).encode())


@needs_extension
@by_example
@given(st.data())
def test_a_damaged_request_is_read_as_the_codec_reads_it(functions: compiled.Functions, data: st.DataObject) -> None:
    content = bytearray(json.dumps(SIMPLE).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        replaced = data.draw(
            st.sampled_from([b"", b"{", b"}", b"[", b"]", b",", b":", b'"', b"0", b"-", b"\\", b"\xff"])
        )
        content[at : at + data.draw(st.integers(0, 1))] = replaced
    check(functions, bytes(content))
    check(functions, bytes(content[: data.draw(st.integers(0, len(content)))]))


@needs_extension
@by_example
@given(st.lists(written, min_size=1), st.booleans())
def test_what_python_writes_is_read(functions: compiled.Functions, target: list[Any], is_spaced: bool) -> None:
    document = {**SIMPLE, "inputs": [{"target": target}]}
    assert check(functions, json.dumps(document, indent=1 if is_spaced else None).encode())


@needs_extension
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"inputs":[]}',
        b'{"inputs":[{"target":[]}]}',
        b'{"inputs":[{"target":[1]}],"inputs":[{"target":[1]}]}',
        b'{"inputs":[{"target":[1]}],"model":null}',
        b'{"inputs":[{"target":[null]}]}',
        b'{"inputs":[{"target":[nul]}]}',
        b'{"inputs":[{"item_id":"a"}]}',
        b'{"inputs":[{"target":[1],"item_id":"a","item_id":"a"}]}',
        b'{"inputs":[{"target":[1],"item_id":"' + b"a" * 257 + b'"}]}',
        b'{"inputs":[{"target":[1]}],"parameters":{"prediction_length":1,"prediction_length":1}}',
        b'{"inputs":[{"target":[1]}]} x',
        b'{"inputs":[{"target":[1' + b",1" * 2048 + b"]}]}",
    ],
)
def test_other_forms_are_left_to_python(functions: compiled.Functions, content: bytes) -> None:
    assert not check(functions, content)


@needs_extension
def test_the_longest_series_and_all_levels_are_read(functions: compiled.Functions) -> None:
    every_level = [round(0.01 * level, 2) for level in range(1, 100)]
    document = {"inputs": [{"target": [1.25] * 2048}], "parameters": {"quantile_levels": every_level}}
    assert check(functions, json.dumps(document).encode())
    document["parameters"] = {"quantile_levels": [*every_level, 0.5]}
    with pytest.raises(InvalidRequest):
        _request_decoder.decode(json.dumps(document).encode())
    assert not check(functions, json.dumps(document).encode())


@needs_extension
def test_arguments_of_other_types_are_errors(functions: Any) -> None:
    arguments: dict[str, list[tuple[Any, ...]]] = {
        "read_request": [("text", 0), (b"", "0"), (b"",)],
        "find_head": [(b"", []), ("", {}), (b"",)],
        "fill_rows": [([], np.zeros((1, 1)), np.zeros(1, np.int64)), ((), 1, 2), ([1], np.zeros((1, 1)), np.zeros(1))],
        "cheapest_cuts": [(1, 2, 3, 4, 5, 6), (np.zeros(1),) * 6, (np.zeros(1),)],
        "write_answer": [
            (b"", (), None, b"", 1, 0, 1, 1.0, 1.0, b""),
            (b"", (), b"", b"", 1, 0, 1, 1.0, 1.0, ""),
            (b"", (), None, b"", 1, 0, "1", 1.0, 1.0, ""),
            (b"", (1,) * 7, None, b"", 1, 0, 1, 1.0, 1.0, ""),
            (b"",),
        ],
        "take_allowances": [
            (np.zeros(3), 0, 1.0, [], ()),
            (np.zeros(3), 0, 1.0, ((0, 1, 1.0),), ()),
            (np.zeros(3), 0, 1.0, ((0, 1),), (1,)),
            (np.zeros(3), 0, 1.0, ((0, 0, 1.0),), (1,)),
            (np.zeros(3), 1, 1.0, ((2, 1, 1.0),), (1,)),
            (np.zeros(3), -1, 1.0, ((0, 1, 1.0),), (1,)),
            (np.zeros(3, np.int32), 0, 1.0, ((0, 1, 1.0),), (1,)),
            (bytes(24), 0, 1.0, ((0, 1, 1.0),), (1,)),
            (np.zeros(3), 0, "1", ((0, 1, 1.0),), (1,)),
            (b"",),
        ],
        "describe_allowances": [
            (np.zeros(3), 0, 1.0, ((0, 1, 1.0),), (b"",)),
            (np.zeros(3), 0, 1.0, ((0, 1, 1.0),), ("x" * 2000,)),
            (np.zeros(3), 1, 1.0, ((2, 1, 1.0),), ("",)),
            (np.zeros(3), 0, 1.0, ((0, 1, 1.0),), ()),
            (b"",),
        ],
    }
    for name, calls in arguments.items():
        for call in calls:
            with pytest.raises((TypeError, ValueError, BufferError)):
                getattr(functions, name)(*call)
    assert functions.read_request(b"{}", 9) is None
    assert functions.read_request(b"{}", -1) is None


# --- the numbers of a large request ----------------------------------------------------------------------------------

_list_decoder = msgspec.json.Decoder(list[float | None], strict=True)


def check_numbers(functions: compiled.Functions, text: bytes) -> bool:
    """Whether the list `text` is of the simplest form; if it is, it has the values that the service reads in it."""
    read = functions.read_numbers(msgspec.Raw(text))
    if read is None:
        return False
    values = _list_decoder.decode(text)
    expected = np.array([math.nan if value is None else value for value in values], np.float64)
    array = np.frombuffer(read[0])
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(np.signbit(array[~np.isnan(array)]), np.signbit(expected[~np.isnan(expected)]))
    assert read[1] == values.count(None)
    return True


@needs_extension
@by_example
@given(st.lists(st.one_of(decimals, st.none()), max_size=8), st.integers(0, 30))
def test_numbers_are_read_as_the_codec_reads_them(functions: compiled.Functions, values: list[Any], cut: int) -> None:
    text = as_json(values).encode()
    check_numbers(functions, text)
    check_numbers(functions, text[:cut])


@needs_extension
@by_example
@given(st.lists(st.none() | written), st.sampled_from([1, 700]), st.booleans())
def test_the_numbers_that_python_writes_are_read(
    functions: compiled.Functions, values: list[Any], times: int, is_spaced: bool
) -> None:
    assert check_numbers(functions, json.dumps(values * times, indent=1 if is_spaced else None).encode())


@needs_extension
@pytest.mark.parametrize("text", [b"", b"[", b"]", b"[1", b"[1]]", b"[1],", b"[1,]", b"[,]", b"1]", b"[[1]]", b"[1 2]"])
def test_what_is_no_list_of_numbers_is_left_to_python(functions: compiled.Functions, text: bytes) -> None:
    for content in (text, text.replace(b"1", b"1" + b",1" * 3000) if b"1" in text else text):
        assert functions.read_numbers(msgspec.Raw(content)) is None


# --- heads -----------------------------------------------------------------------------------------------------------


@needs_extension
@by_example
@given(st.data())
def test_a_head_is_found_as_python_finds_it(functions: compiled.Functions, data: st.DataObject) -> None:
    parts = st.sampled_from(
        b"POST /a HTTP/1.1|\r\n|\r|\n|\r\n\r\n|Content-Length: |content-length: |0|3|03|1234567|x: y|abc".split(b"|")
    )
    request = b"".join(data.draw(st.lists(parts | st.just(b"x" * 2000), max_size=12)))
    heads = KnownHeads()
    known = KnownHead({}, [], 0)
    for name in (b"Content-Length", b"content-length"):
        heads._heads[b"POST /a HTTP/1.1\r\n" + name + b": \r\n\r\n"] = known
        heads._heads[b"POST /a HTTP/1.1\r\nx: y\r\n" + name + b": \r\n\r\n"] = known
    for candidate in (request, b"POST /a HTTP/1.1\r\nContent-Length: " + request):
        assert functions.find_head(candidate, heads._heads) == heads.find(candidate)


@needs_extension
def test_a_known_head_is_found(functions: compiled.Functions) -> None:
    known = object()
    heads = {b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n": known}
    found = functions.find_head(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", heads)
    assert found == (known, b"3", 38)
    assert functions.find_head(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd", heads) is None
    assert functions.find_head(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", heads) is None


# --- batches ---------------------------------------------------------------------------------------------------------


@needs_extension
@by_example
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 3), st.booleans())
def test_rows_are_filled_as_python_fills_them(
    functions: compiled.Functions, lengths: list[int], more: int, is_wide: bool
) -> None:
    random = np.random.default_rng(0)
    sequences: list[Any] = [
        random.random((length, 3), np.float32) if is_wide else random.random(length) for length in lengths
    ]
    rows, steps = len(lengths) + more, 9
    expected, counts = chunks.pack(sequences, rows, steps)
    dense, filled = np.zeros_like(expected), np.empty_like(counts)
    functions.fill_rows(sequences, dense, filled)
    np.testing.assert_array_equal(dense, expected)
    np.testing.assert_array_equal(filled, counts)


@needs_extension
def test_rows_that_do_not_fit_are_refused(functions: compiled.Functions) -> None:
    counts = np.zeros(2, np.int64)
    for sequences, dense in (
        ([np.zeros(4)], np.zeros((2, 3))),
        ([np.zeros(3, np.float32)], np.zeros((2, 3))),
        ([np.zeros(3)] * 3, np.zeros((2, 3))),
        ([np.zeros((3, 2))[:, 0]], np.zeros((2, 3))),
        ([np.zeros(3)], np.zeros((3, 3))),
        ([np.zeros(3)], np.zeros((2, 0))),
        ([np.zeros((1, 1, 3), np.float64)[0]], np.zeros((2, 1, 2))),
    ):
        with pytest.raises((ValueError, BufferError)):
            functions.fill_rows(sequences, dense, counts)


@needs_extension
@by_example
@given(
    st.lists(st.integers(1, buckets.CHUNK), min_size=1, max_size=300),
    st.sampled_from([1, 8, 32]),
    st.sampled_from([1, 8]),
)
def test_rows_are_cut_as_python_cuts_them(
    functions: compiled.Functions, lengths: list[int], least_rows: int, least_steps: int
) -> None:
    shapes = buckets.ShapeBuckets(least_rows, least_steps)
    counts = np.array(lengths)
    expected = [(group.rows.tolist(), group.steps) for group in shapes.split(counts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "in_use", functions)
        assert [(group.rows.tolist(), group.steps) for group in shapes.split(counts)] == expected


@needs_extension
def test_bounds_of_no_rows_are_refused(functions: compiled.Functions) -> None:
    def ints(*numbers: int) -> Any:
        return np.array(numbers, np.int64)

    for bounds, max_rows, rows_for in (
        (ints(0, 2), ints(1, 0), ints(0, 1)),
        (ints(0, 9), ints(1, 10), ints(0)),
        (ints(3, 1), ints(1, 1), ints(0, 1)),
        (ints(), ints(), ints(0, 1)),
        (ints(*range(65)), ints(*[1] * 65), ints(0, 1)),
    ):
        with pytest.raises(ValueError, match=r"bounds|fit"):
            functions.cheapest_cuts(bounds, np.zeros_like(bounds), max_rows, rows_for, 700, 1.0)


# --- answers ---------------------------------------------------------------------------------------------------------


@needs_extension
@by_example
@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=3), min_size=1, max_size=4),
    st.none() | st.text("abc", max_size=5),
    st.floats(0, 1e7),
    st.integers(0, 2**62),
)
def test_an_answer_is_put_together(
    functions: compiled.Functions, rows: list[list[float]], item_id: str | None, milliseconds: float, number: int
) -> None:
    pieces = tuple(b"<%d>" % index for index in range(len(rows) + 6))
    numbers = [json.dumps(row).replace(" ", "").encode() for row in rows]
    text = functions.write_answer(
        b"dur=", pieces, item_id, b"[" + b",".join(numbers) + b"]", number, 3, 7, milliseconds, 0.0005, "an-id"
    )
    inserted = [json.dumps(item_id).encode(), *numbers, b"%d" % number, b"3", b"%d" % number, b"7", b""]
    body = b"".join(piece + part for piece, part in zip(pieces, inserted, strict=True))
    head = b"dur=%.3f, compute;dur=%.3f\r\ncontent-length: %d\r\n" % (milliseconds, 0.0005, len(body))
    assert text == head + b"x-request-id: an-id\r\n\r\n" + body


@needs_extension
@pytest.mark.parametrize("numbers", [b"", b"[]", b"[[1]]", b"[[1],[2],[3]]", b"[[1],[2]", b"[[1],[2"])
def test_numbers_that_do_not_fit_their_pieces_are_left_to_python(functions: compiled.Functions, numbers: bytes) -> None:
    def write(pieces: tuple[bytes, ...], numbers: bytes) -> bytes | None:
        return functions.write_answer(b"", pieces, None, numbers, 1, 0, 1, 0.0, 0.0, "")

    pieces = (b"a",) * 8
    assert write(pieces, numbers) is None
    assert write(pieces, b"[[1],[2]]") is not None
    assert write(pieces[:6], b"[[1],[2]]") is None
    assert write(pieces * 40, b"[[1],[2]]") is None
    assert write((b"a",) * 107, b"[" + b",".join([b"[1]"] * 101) + b"]") is not None
