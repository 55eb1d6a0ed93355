"""Requests to the codec of digits, and answers to them, for the tests of its stages."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from service.codec.common import Body, SequenceState
from service.codec.digit_calls import DigitCall
from service.codec.digit_items import DigitBatch
from service.codec.digits import FORM, DigitCodec
from service.codec.state_tokens import StateTokens
from service.contract.manifest import Manifest
from service.contract.types import DigitItem, DigitResult
from service.settings import Settings
from tests.fakes import manifest

TOKENS = StateTokens([b"a key of a test, long enough"])
CODEC = DigitCodec(Settings(max_items=3, max_pixels=159_999), TOKENS)
CONTRACT = manifest("digits", "classify-digit")
ROW = [0.0] * 27 + [1.0]
STATE = np.array([0.5, 0.25])  # to the bit as a token keeps it: float64, float32


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


def resumed(
    rows: list[list[float]], flags: int = 0, observations: int = 5, contract: Manifest = CONTRACT, **parameters: Any
) -> DigitCall:
    """The call for `rows` with a token of a state after `observations` rows."""
    token = TOKENS.seal(SequenceState(STATE, observations, flags=flags), contract)
    return CODEC.to_items(decode(inputs=[{"rows": rows, "state": token}], parameters=parameters), contract)
