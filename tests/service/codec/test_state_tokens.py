"""State tokens: sealed, opened, and refused for every reason there is."""

from __future__ import annotations

import base64
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import state_tokens as tokens
from service.codec.common import SequenceState
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest, StateContract
from tests.fakes import manifest

KEY, SECOND_KEY = b"0123456789abcdef", b"fedcba9876543210"
WEEK = 7 * 86400
COUNTS = st.integers(0, 2**63)


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


def contract(width: int = 5, exact: int = 2, sha256: str = "ab" * 32) -> Manifest:
    state = StateContract(width=width, exact=exact)
    return manifest("forecaster").model_copy(update={"state": state, "sha256": sha256})


def refused(sealer: StateTokens, token: str, model: Manifest | None = None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        sealer.open(token, model or contract())
    assert len(token) < 43 or token not in str(caught.value)
    return caught.value.code


STATE = SequenceState(np.array([1.1, np.nan, 0.5, -2.0, 0.0]), 40, 3, 2, 12, 5)


@given(
    exact=st.lists(st.floats(width=64), max_size=6),
    rounded=st.lists(st.floats(width=32), max_size=6),
    counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
    flags=st.integers(0, 255),
)
def test_what_was_sealed_comes_back_to_the_last_bit(
    exact: list[float], rounded: list[float], counts: tuple[int, int, int, int], flags: int
) -> None:
    state = np.array([*exact, *rounded, 0.0])
    model = contract(len(state), len(exact))
    opened = StateTokens([KEY]).open(StateTokens([KEY]).seal(SequenceState(state, *counts, flags), model), model)
    assert opened.state.dtype == np.float64
    np.testing.assert_array_equal(opened.state, state)
    assert np.signbit(opened.state[~np.isnan(state)]).tolist() == np.signbit(state[~np.isnan(state)]).tolist()
    assert (opened.observations, opened.missing, opened.truncated, opened.season, opened.flags) == (*counts, flags)


def test_the_length_of_a_token_depends_on_the_width_of_the_state_alone() -> None:
    sealer, model = StateTokens([KEY]), contract()
    lengths = {
        len(sealer.seal(SequenceState(np.full(5, value), count), model)) for value, count in [(0, 1), (1e30, 10**15)]
    }
    assert len(lengths) == 1
    assert set(sealer.seal(STATE, model)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_every_changed_character_is_noticed() -> None:
    sealer = StateTokens([KEY])
    token = sealer.seal(STATE, contract())
    for position, character in enumerate(token):
        for changed in ("A" if character != "A" else "B", chr(ord(character) ^ 1), "=", "\x00", "é"):
            assert refused(sealer, token[:position] + changed + token[position + 1 :]) == "state_invalid"


def test_every_flipped_bit_of_the_decoded_token_is_noticed() -> None:
    sealer = StateTokens([KEY])
    token = sealer.seal(STATE, contract())
    text, signature = token[:-43], token[-43:]
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        changed = base64.urlsafe_b64encode(flipped).rstrip(b"=").decode()
        assert refused(sealer, changed + signature) == "state_invalid"


def test_every_truncation_is_noticed() -> None:
    sealer = StateTokens([KEY])
    token = sealer.seal(STATE, contract())
    for length in range(len(token)):
        assert refused(sealer, token[:length]) == "state_invalid"
        assert refused(sealer, token[length + 1 :]) == "state_invalid"
    for longer in (token + "A", token + "=", " " + token, token + "\n", token * 2):
        assert refused(sealer, longer) == "state_invalid"


@given(st.text(max_size=200))
def test_nothing_that_we_did_not_make_is_a_token(text: str) -> None:
    assert refused(StateTokens([KEY]), text) == "state_invalid"


def test_an_oversized_token_is_refused_before_it_is_looked_at() -> None:
    class Untouchable(str):
        __slots__ = ()

        def encode(self, *_: Any, **__: Any) -> bytes:
            raise AssertionError("looked at")

    assert refused(StateTokens([KEY]), Untouchable("A" * (tokens.MAX_LENGTH + 1))) == "state_invalid"
    with pytest.raises(InvalidRequest) as caught:
        StateTokens([KEY]).seal(SequenceState(np.zeros(200_000), 1), contract(200_000, 200_000))
    assert caught.value.code == "out_of_range"


def test_keys_rotate() -> None:
    model = contract()
    old, new = StateTokens([KEY]).seal(STATE, model), StateTokens([SECOND_KEY, KEY]).seal(STATE, model)
    assert StateTokens([SECOND_KEY, KEY]).open(old, model).observations == 40
    assert refused(StateTokens([SECOND_KEY]), old) == "state_invalid"
    assert StateTokens([SECOND_KEY]).open(new, model).observations == 40
    assert refused(StateTokens([KEY]), new) == "state_invalid"


def test_without_keys_each_process_has_its_own(caplog: pytest.LogCaptureFixture) -> None:
    sealer, stranger = StateTokens(), StateTokens()
    with caplog.at_level(logging.WARNING):
        assert not caplog.records
        token = sealer.seal(STATE, contract())
        sealer.seal(STATE, contract())
    (warning,) = caplog.records  # once
    assert "RITMO_STATE_KEYS" in warning.message
    assert token not in warning.message
    assert sealer.open(token, contract()).observations == 40
    assert refused(stranger, token) == "state_invalid"


def test_with_keys_there_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    StateTokens([KEY]).seal(STATE, contract())
    assert not caplog.records


def test_a_token_expires() -> None:
    clock = Clock()
    sealer = StateTokens([KEY], WEEK, clock=clock)
    token = sealer.seal(STATE, contract())
    clock.time += WEEK
    assert sealer.open(token, contract()).observations == 40
    clock.time += 1
    assert refused(sealer, token) == "state_expired"
    clock.time -= 2 * WEEK  # made by a machine with a clock that is ahead
    assert sealer.open(token, contract()).observations == 40
    clock.time -= 2  # further ahead than a token is good for: it would never expire
    assert refused(sealer, token) == "state_expired"


def test_a_token_belongs_to_one_model_file() -> None:
    clock = Clock()
    sealer = StateTokens([KEY], WEEK, clock=clock)
    token = sealer.seal(STATE, contract())
    assert refused(sealer, token, contract(sha256="cd" * 32)) == "state_model_mismatch"
    assert refused(sealer, token, contract(width=9, sha256="cd" * 32)) == "state_model_mismatch"
    clock.time += 2 * WEEK
    assert refused(sealer, token, contract(sha256="cd" * 32)) == "state_model_mismatch"  # what sending anew cannot mend
    assert refused(StateTokens([KEY]), token, contract(width=9)) in {"state_invalid", "state_expired"}


def test_another_version_of_the_format_is_refused() -> None:
    sealer, model = StateTokens([KEY]), contract()
    token = sealer.seal(STATE, model)
    text = token[:-43]
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    newer = base64.urlsafe_b64encode(bytes([tokens.VERSION + 1]) + raw[1:]).rstrip(b"=")
    signed = (newer + tokens._sign(KEY, newer)).decode()
    with pytest.raises(InvalidRequest, match="version") as caught:
        sealer.open(signed, model)
    assert caught.value.code == "state_invalid"


def test_a_short_body_of_our_own_is_refused() -> None:
    text = base64.urlsafe_b64encode(bytes([tokens.VERSION, 0, 0]))
    assert refused(StateTokens([KEY]), (text + tokens._sign(KEY, text)).decode()) == "state_invalid"


def test_a_state_of_another_shape_is_refused() -> None:
    token = StateTokens([KEY]).seal(STATE, contract())
    assert refused(StateTokens([KEY]), token, contract(width=6)) == "state_invalid"


def test_all_errors_of_a_request_are_named() -> None:
    sealer, model = StateTokens([KEY]), contract()
    good = sealer.seal(STATE, model)
    opened = sealer.open_all([None, good], model)
    assert opened[0] is None
    assert opened[1] is not None
    with pytest.raises(InvalidRequest) as caught:
        sealer.open_all(["x", good, None, good[:-1]], model)
    assert [error.pointer for error in caught.value.errors] == ["#/inputs/0/state", "#/inputs/3/state"]
    with pytest.raises(InvalidRequest) as caught:
        sealer.open_all(["x"], model, "#")
    assert [error.pointer for error in caught.value.errors] == ["#/state"]


def test_all_tokens_of_an_answer_are_sealed_at_once() -> None:
    sealer, model = StateTokens([KEY]), contract()
    states = [SequenceState(np.zeros(5), count) for count in (1, 2)]
    assert [sealer.open(token, model).observations for token in sealer.seal_all(states, model)] == [1, 2]
