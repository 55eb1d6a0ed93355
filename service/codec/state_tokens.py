"""State tokens: where a series or digit stands, sealed, so that any process with the same key can go on from there.

A token is the base64url text of a header and the state, followed by the text of an HMAC-SHA256 over that text:

    version, flags (1 byte each), issue time, observations, missing, skipped, season (8 bytes each), sha256 of the model
    the first `manifest.state.exact` columns as float64, the rest as float32, little endian

Size and signature are judged on the text as it came; nothing of a token is decoded before it has proved to be our own.
There is no compression: a hidden state does not compress, the cost of an update stays the same whatever the series, and
the length of a token tells nothing about its content. A token is readable by whoever holds it, so it holds nothing that
its receiver did not send or could not be told: it is signed against change, not hidden. Tokens are never logged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import struct
import time
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from service.codec.strict_json import FieldErrors
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest
from service.contract.types import Floats

VERSION = 1
LONGEST = 1 << 20  # characters; no model of ours comes near
_HEADER = struct.Struct("<BBQQQQQ32s")
_SIGNATURE = 43  # characters of 32 bytes in base64 without padding

logger = logging.getLogger(__name__)


class SequenceState(Struct, frozen=True, eq=False, gc=False):
    """Where a series or digit stands, after all of it that was sent so far."""

    state: Floats  # (S,)
    observations: int
    missing: int = 0  # of the observations
    skipped: int = 0  # of the observations: more than the model can use
    season: int = 0  # as the caller stated it at the beginning; 0 = not stated
    flags: int = 0  # eight bits for the module that packs the items


class StateTokens:
    """Seals and opens tokens. The first of `keys` signs, any of them verifies; `keys` empty: a random one.

    `ttl_seconds` counts from the issue of a token, and every answer issues a new one.
    """

    def __init__(
        self,
        keys: Sequence[bytes] = (),
        ttl_seconds: float = 7 * 86400,
        *,
        passing: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = tuple(keys) or (secrets.token_bytes(32),)
        self._ttl = ttl_seconds
        self._clock = clock
        self._warn = passing or not keys  # the key goes with the process (or with the parent that made it)

    def seal(self, progress: SequenceState, manifest: Manifest) -> str:
        """The token of `progress` with the model of `manifest`."""
        if self._warn:
            self._warn = False
            logger.warning(
                "state tokens are signed with a random key and will not outlive this service; set RITMO_STATE_KEYS"
            )
        header = _HEADER.pack(
            VERSION,
            progress.flags,
            int(self._clock()),
            progress.observations,
            progress.missing,
            progress.skipped,
            progress.season,
            bytes.fromhex(manifest.sha256),
        )
        exact = manifest.state.exact
        numbers = progress.state[:exact].astype("<f8").tobytes() + progress.state[exact:].astype("<f4").tobytes()
        text = base64.urlsafe_b64encode(header + numbers).rstrip(b"=")
        if len(text) + _SIGNATURE > LONGEST:
            detail = f"the state of '{manifest.name}' is too large for a token: {len(text)} characters"
            raise InvalidRequest(detail, code="out_of_range")
        return (text + _sign(self._keys[0], text)).decode("ascii")

    def open(self, token: str, manifest: Manifest) -> SequenceState:
        """What `seal` was given; raises `InvalidRequest` (`state_invalid`, `state_model_mismatch`, `state_expired`)."""
        body = self._verified(token)
        if body[0] != VERSION:
            raise _invalid("this token was made by another version of the service")
        if len(body) < _HEADER.size:
            raise _invalid("this is not a state token of this service")
        _, flags, issued, observations, missing, skipped, season, model = _HEADER.unpack_from(body)
        if model.hex() != manifest.sha256:
            detail = f"this token belongs to another model, or another version of it, than {manifest.name}@"
            raise InvalidRequest(f"{detail}{manifest.version}", code="state_model_mismatch")
        if self._clock() - issued > self._ttl:
            detail = f"this token is older than {self._ttl:g} s: send the whole series or digit again"
            raise InvalidRequest(detail, code="state_expired")
        exact, width = manifest.state.exact, manifest.state.width
        middle = _HEADER.size + 8 * exact
        if len(body) != middle + 4 * (width - exact):
            raise _invalid("this token does not fit the model's state")
        state = np.concatenate(
            (np.frombuffer(body[_HEADER.size : middle], "<f8"), np.frombuffer(body[middle:], "<f4").astype(np.float64))
        )
        return SequenceState(state, observations, missing, skipped, season, flags)

    def open_all(self, inputs: Sequence[str | None], manifest: Manifest) -> list[SequenceState | None]:
        """`open` for the `state` of every input; raises `InvalidRequest` with a pointer to each that is faulty."""
        faults = FieldErrors()
        opened: list[SequenceState | None] = []
        for index, token in enumerate(inputs):
            progress = None
            if token is not None:
                try:
                    progress = self.open(token, manifest)
                except InvalidRequest as error:
                    faults.add(f"#/inputs/{index}/state", error.code, error.detail)
            opened.append(progress)
        faults.check()
        return opened

    def _verified(self, token: str) -> bytes:
        """The bytes that were signed with one of our keys."""
        if not _SIGNATURE < len(token) <= LONGEST or not token.isascii():
            raise _invalid("this is not a state token of this service")
        raw = token.encode("ascii")
        text, signature = raw[:-_SIGNATURE], raw[-_SIGNATURE:]
        if not any([hmac.compare_digest(_sign(key, text), signature) for key in self._keys]):  # noqa: C419 (all are tried: constant time)
            raise _invalid("this token was changed, or signed with a key that this server does not have")
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _sign(key: bytes, text: bytes) -> bytes:
    digest = hmac.new(key, text, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest)[:_SIGNATURE]


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest(detail, code="state_invalid")
