"""The answers to digits as JSON: the reading of each input is chosen, predicted from, and encoded.

A digit that is resumed (`state`, or a live connection) is judged as a whole: `rows_used` and the row numbers of the
trace include the rows that were sent before.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from service.codec.common import SequenceState
from service.codec.digit_calls import DigitCall, Reading
from service.codec.digit_choice import choose_readings
from service.codec.digit_predictions import predictions_of, sequence_states
from service.codec.digit_types import DigitAnswer
from service.codec.state_tokens import StateTokens
from service.contract.manifest import Manifest
from service.contract.types import DigitItem, DigitResult

_encoder = msgspec.json.Encoder()


class DigitAnswers:
    """The stage of `DigitCodec` behind the model."""

    def __init__(self, tokens: StateTokens) -> None:
        self._tokens = tokens

    def encode(self, call: DigitCall, results: Sequence[DigitResult]) -> bytes:
        """The answer to a request as JSON."""
        manifest = call.manifest
        if call.pictures is not None:
            call, results = choose_readings(call, call.pictures, results)
        states = sequence_states(call, results)
        tokens: Sequence[str | None] = [None] * len(states)
        if call.parameters.return_state:
            tokens = self._tokens.seal_all(states, manifest)
        predictions = predictions_of(call, results, states, tokens, is_whole=True)
        return _encoder.encode(DigitAnswer(manifest.name, str(manifest.version), manifest.digest, predictions))

    def encode_message(self, call: DigitCall, results: Sequence[DigitResult]) -> tuple[bytes, SequenceState]:
        """The prediction of a live stroke as JSON, and its state."""
        states = sequence_states(call, results)
        token = self._tokens.seal(states[0], call.manifest) if call.parameters.return_state else None
        (prediction,) = predictions_of(call, results, states, [token], is_whole=False)
        return _encoder.encode(prediction), states[0]

    def last_token(self, state: SequenceState, manifest: Manifest) -> str | None:
        """The token of `state`, None where no other service could open it."""
        return self._tokens.seal(state, manifest) if self._tokens.outlive_service else None


def first_reading(call: DigitCall, results: Sequence[DigitResult]) -> tuple[DigitItem, Reading]:
    """What was read of the first input of `call`, and how."""
    if call.pictures is not None:
        call, _ = choose_readings(call, call.pictures, results)
    return call.items[0], call.readings[0]
