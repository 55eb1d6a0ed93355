"""State tokens: the state of a series or digit, signed, so that any process with the same key can resume from it.

A token is the base64url text of a header and the state, followed by the text of an HMAC-SHA256 over that text:

    version, flags (1 byte each), issue time, observations, missing, truncated, season (8 bytes each), model's sha256
    the first `manifest.state.exact` columns as float64, the rest as float32, little endian

Size and signature are checked on the text as it came; nothing of a token is decoded before its signature holds.
There is no compression: a hidden state does not compress, the cost of an update is the same for every series, and the
length of a token tells nothing about its content. A token is signed, not encrypted, so it holds nothing that its
receiver did not send or could not compute. Tokens are never logged.
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

from service.codec.common import ALL_INPUTS, SequenceState
from service.codec.strict_json import FieldErrors
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest

VERSION = 1
MAX_LENGTH = 1 << 20  # characters; the tokens of the committed models have a few thousand
_HEADER = struct.Struct("<BBQQQQQ32s")
_SKEW = 300.0  # seconds that the clocks of two machines may differ, however soon tokens expire
_SIGNATURE = 43  # characters of 32 bytes in base64 without padding

logger = logging.getLogger(__name__)


class StateTokens:
    """Seals and opens tokens. The first of `keys` signs, any of them verifies; `keys` empty: a random one.

    `ttl_seconds` counts from the issue of a token, and every answer issues a new one. `shared_random_key` says that
    `keys` are random too, made for a group of processes.
    """

    def __init__(
        self,
        keys: Sequence[bytes] = (),
        ttl_seconds: float = 7 * 86400,
        *,
        shared_random_key: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = tuple(keys) or (secrets.token_bytes(32),)
        self._ttl = ttl_seconds
        self._clock = clock
        self._outlive_service = bool(keys) and not shared_random_key
        self._warn = not self._outlive_service

    def change_keys(self, keys: Sequence[bytes]) -> None:
        """Sign with the first of `keys` from now on, and verify with any; there is at least one."""
        self._keys = tuple(keys)
        self._outlive_service, self._warn = True, False

    @property
    def outlive_service(self) -> bool:
        """Whether another service with the same keys can open the tokens of this one."""
        return self._outlive_service

    def seal(self, reached: SequenceState, manifest: Manifest) -> str:
        """The token of the state `reached` with the model of `manifest`; `InvalidRequest` if it would be too long."""
        if self._warn:
            self._warn = False
            logger.warning(
                "state tokens are signed with a random key and will not outlive this service; set RITMO_STATE_KEYS"
            )
        header = _HEADER.pack(
            VERSION,
            reached.flags,
            int(self._clock()),
            reached.observations,
            reached.missing,
            reached.truncated,
            reached.season,
            bytes.fromhex(manifest.sha256),
        )
        exact = manifest.state.exact
        numbers = reached.state[:exact].astype("<f8").tobytes() + reached.state[exact:].astype("<f4").tobytes()
        text = base64.urlsafe_b64encode(header + numbers).rstrip(b"=")
        if len(text) + _SIGNATURE > MAX_LENGTH:
            detail = f"the state of '{manifest.name}' is too large for a token: {len(text)} characters"
            raise InvalidRequest(detail, code="out_of_range")
        return (text + _sign(self._keys[0], text)).decode("ascii")

    def seal_all(self, reached: Sequence[SequenceState], manifest: Manifest) -> list[str]:
        """`seal` for every state of a request."""
        return [self.seal(state, manifest) for state in reached]

    def open(self, token: str, manifest: Manifest) -> SequenceState:
        """The state that `seal` was called with.

        Raises `InvalidRequest`: `state_invalid`, `state_model_mismatch` or `state_expired`.
        """
        body = self._verified(token)
        if body[0] != VERSION:
            raise _invalid("this token was made by another version of the service")
        if len(body) < _HEADER.size:
            raise _invalid("this is not a state token of this service")
        _, flags, issued, observations, missing, truncated, season, model = _HEADER.unpack_from(body)
        if model.hex() != manifest.sha256:
            detail = f"this token belongs to another model, or another version of it, than {manifest.name}@"
            raise InvalidRequest(f"{detail}{manifest.version}", code="state_model_mismatch")
        age = self._clock() - issued
        # One from a clock that was far ahead would be good until that time has come and gone.
        if age > self._ttl or age < -max(self._ttl, _SKEW):
            reason = f"is older than {self._ttl:g} s" if age > 0 else "comes from a clock that was far ahead"
            detail = f"this token {reason}: send the whole series or digit again"
            raise InvalidRequest(detail, code="state_expired")
        exact, width = manifest.state.exact, manifest.state.width
        split = _HEADER.size + 8 * exact
        if len(body) != split + 4 * (width - exact):
            raise _invalid("this token does not fit the model's state")
        state = np.concatenate(
            (np.frombuffer(body[_HEADER.size : split], "<f8"), np.frombuffer(body[split:], "<f4").astype(np.float64))
        )
        return SequenceState(state, observations, missing, truncated, season, flags)

    def open_all(
        self, tokens: Sequence[str | None], manifest: Manifest, pointer_template: str = ALL_INPUTS
    ) -> list[SequenceState | None]:
        """`open` for the token of every input; raises `InvalidRequest` with a pointer to each that is not valid."""
        errors = FieldErrors()
        states: list[SequenceState | None] = []
        for index, token in enumerate(tokens):
            state = None
            if token is not None:
                try:
                    state = self.open(token, manifest)
                except InvalidRequest as error:
                    errors.add(f"{pointer_template.format(index)}/state", error.code, error.detail)
            states.append(state)
        errors.check()
        return states

    def _verified(self, token: str) -> bytes:
        """The bytes below the signature, which one of the keys must have made."""
        if not _SIGNATURE < len(token) <= MAX_LENGTH or not token.isascii():
            raise _invalid("this is not a state token of this service")
        raw = token.encode("ascii")
        text, signature = raw[:-_SIGNATURE], raw[-_SIGNATURE:]
        if not any([hmac.compare_digest(_sign(key, text), signature) for key in self._keys]):  # noqa: C419 (a list, so that all keys are tried: constant time)
            raise _invalid("this token was changed, or signed with a key that this server does not have")
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _sign(key: bytes, text: bytes) -> bytes:
    digest = hmac.new(key, text, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest)[:_SIGNATURE]


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest(detail, code="state_invalid")
