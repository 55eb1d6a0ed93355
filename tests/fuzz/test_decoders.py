"""Bytes for every decoder: entries of the corpus, changed in a few places, cut, joined and repeated; `make fuzz`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import CORPUS, DECODERS, run

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20000"))  # for each decoder
INTERESTING = [
    b"",
    b"\0",
    b"\xff",
    b'"',
    b"\\u0000",
    b"null",
    b"1e999",
    b"-0",
    b"[",
    b"{",
    b"9" * 40,
    b"\xed\xa0\x80",
    b"NaN",
]

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]

piece = st.one_of(st.binary(max_size=8), st.sampled_from(INTERESTING))
edit = st.tuples(st.floats(0, 1), st.integers(0, 12), piece, st.integers(1, 3))


def mutated(entries: list[bytes]) -> st.SearchStrategy[bytes]:
    """An entry in which pieces are replaced, left out, put in and repeated; places are parts of its length."""

    def change(entry: bytes, edits: list[tuple[float, int, bytes, int]], end: float, other: bytes) -> bytes:
        for place, removed, added, count in edits:
            at = int(place * len(entry))
            entry = entry[:at] + added * count + entry[at + removed :]
        return entry[: int(end * len(entry)) + 1] + (other if end < 0.2 else b"")

    return st.builds(
        change,
        st.sampled_from(entries),
        st.lists(edit, max_size=4),
        st.one_of(st.just(1.0), st.floats(0, 1)),
        st.sampled_from(entries),
    )


@pytest.mark.parametrize("name", DECODERS)
def test_mutations(name: str) -> None:
    entries = [file.read_bytes() for file in sorted((CORPUS / name).glob("*"))]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.one_of(mutated(entries), st.binary(max_size=200)))
    def check(content: bytes) -> None:
        run(name, content)

    decode: Callable[[], Any] = check
    decode()
