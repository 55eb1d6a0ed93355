"""The committed corpus: what fuzzing began with and what it found, decoded at every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.decoders import CORPUS, DECODERS, run

FILES = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_an_entry_is_decoded_or_refused(file: Path) -> None:
    run(file.parent.name, file.read_bytes())


def test_every_decoder_has_entries() -> None:
    assert {file.parent.name for file in FILES} == set(DECODERS)
