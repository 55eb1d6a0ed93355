"""Large requests: the same answers as small ones, with the memory of arrays instead of lists."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from service.codec import large_forecasts
from service.codec.common import Body
from service.codec.forecast import SERIES_NUMBERS, ForecastCodec
from service.codec.large_forecasts import LARGE, LARGE_COMPILED, StoredValues, decode_large, is_large
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest
from service.runtime import compiled
from service.settings import Settings
from tests.fakes import manifest

CODEC = ForecastCodec(Settings(), StateTokens([b"a key of a test, long enough"]))
MANIFEST = manifest("m", context=4096, missing=True)


def sent(document: dict[str, Any], *, is_large: bool) -> Body:
    return Body(json.dumps(document).encode() + b" " * (LARGE * is_large))


@pytest.fixture(params=["compiled", "in Python"], autouse=True)
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "in_use", compiled.built if request.param == "compiled" else None)


@pytest.mark.parametrize(
    "target",
    [[1, 2.5, None, -3e300], [None, None, 4], list(range(6000)), [None] * 6000 + [1.0]],
    ids=["mixed", "missing first", "long", "long and missing"],
)
def test_a_large_request_has_the_items_of_a_small_one(target: list[float | None]) -> None:
    document = {"inputs": [{"target": target, "item_id": "a"}, {"target": [7], "lower": 0}], "model": "m"}
    small, large = (CODEC.decode(sent(document, is_large=is_large)) for is_large in (False, True))
    assert isinstance(large.inputs[0].target, StoredValues)
    assert list(large.inputs[0].target) == small.inputs[0].target
    calls = [CODEC.to_items(request, MANIFEST) for request in (small, large)]
    for one, other in zip(calls[0].items, calls[1].items, strict=True):
        assert np.array_equal(one.values, other.values, equal_nan=True)
    assert [(c.observations, c.missing, c.truncated) for c in calls[0].counts] == [
        (c.observations, c.missing, c.truncated) for c in calls[1].counts
    ]
    assert calls[0].item_ids == calls[1].item_ids
    assert calls[0].bounds == calls[1].bounds


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [{"target": [1, "2", True]}]},
        {"inputs": [{"target": []}]},
        {"inputs": [{"target": [None, None]}]},
        {"inputs": [{"target": [1]}] * 1025},
        {"inputs": [{"target": [0] * 100_001}]},
        {"inputs": [{"targets": [1]}]},
        {"inputs": [{"target": [1], "start": "2020-01-01", "freq": "nonsense"}]},
    ],
    ids=["types", "empty", "missing", "items", "values", "names", "times"],
)
def test_a_large_request_is_refused_as_a_small_one(document: dict[str, Any]) -> None:
    refusals = []
    for large in (False, True):
        with pytest.raises(InvalidRequest) as refusal:
            CODEC.to_items(CODEC.decode(sent(document, is_large=large)), MANIFEST)
        refusals.append((refusal.value.code, str(refusal.value), refusal.value.errors))
    assert refusals[0] == refusals[1]


@pytest.mark.parametrize("last", [b"{}", b"1", b'{"target":[1],"item_id":"{{{{"}'])
def test_series_are_counted_before_anything_is_made_of_them(last: bytes) -> None:
    series = [b'{"target":[1,2,"x"],"item_id":"%d"}' % number for number in range(20_000)]
    with pytest.raises(InvalidRequest) as caught:
        decode_large(b'{"inputs":[' + b",".join([*series, last]) + b"]}", 1000)
    assert caught.value.code == "too_many_items"
    assert "20001 series" in caught.value.detail
    assert decode_large(b'{"inputs":[' + b",".join(series) + b"]}", 20_000) is None


def test_times_are_placed_in_a_large_request() -> None:
    series = {"target": [1, None, 3], "timestamps": ["2020-01-01", "2020-01-02", "2020-01-04"]}
    call = CODEC.to_items(CODEC.decode(sent({"inputs": [series]}, is_large=True)), MANIFEST)
    assert np.array_equal(call.items[0].values, [1, np.nan, np.nan, 3], equal_nan=True)


def test_a_large_request_takes_the_memory_of_arrays() -> None:
    series = b'{"target":[%s]}' % b",".join([b"1.5"] * 50_000)
    content = b'{"inputs":[' + b",".join([series] * 20) + b"]}"
    tracemalloc.start()
    try:
        assert decode_large(content, 1024) is not None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 13e6  # a million values: 8 MB of arrays and one list; all lists take 32


def test_the_extension_reads_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled.in_use is None:
        pytest.skip("without the extension")
    monkeypatch.setattr(large_forecasts, "_values_decoder", None)
    content = sent({"inputs": [{"target": [1, None, 2.5]}]}, is_large=True).content
    request = decode_large(content, 1)
    assert request is not None
    assert list(request.inputs[0].target) == [1, None, 2.5]
    assert request.inputs[0].target.count(None) == 1


def test_a_body_is_large_from_fewer_bytes_on_where_the_extension_reads_it() -> None:
    threshold = LARGE if compiled.in_use is None else LARGE_COMPILED
    assert not is_large(b" " * threshold)
    assert is_large(b" " * (threshold + 1))


def test_what_is_an_array_already_takes_no_time_for_its_values() -> None:
    series = {"target": [1.5] * 1000}
    timed = {**series, "start": "2020-01-01", "freq": "D"}

    def size(*inputs: dict[str, Any], large: bool) -> int:
        return CODEC.preparation_size(CODEC.decode(sent({"inputs": inputs}, is_large=large)))

    assert size(series, series, large=False) == 2000 + 2 * SERIES_NUMBERS
    assert size(series, series, large=True) == 2 * SERIES_NUMBERS
    assert size(series, timed, large=True) == 2000 + 2 * SERIES_NUMBERS


def test_values_read_like_their_list() -> None:
    values = StoredValues(np.array([1.0, np.nan, 3.0]))
    assert len(values) == 3
    assert list(values) == [1.0, None, 3.0]
    assert values[-1] == 3.0
    assert values[1] is None
    assert values.count(None) == 1
    assert values.count(3.0) == 1
    assert values.index(None) == 1
    assert list(values[1:]) == [None, 3.0]
    assert np.array(values, np.float64)[2] == 3.0
