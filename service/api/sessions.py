"""A live series or digit: the first message opens it, each later one continues where the last one ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

from msgspec.structs import replace

from service.codec.common import CallT, Codec, OpeningT, RequestT
from service.registry.served import Served


class Session(Generic[RequestT, CallT, OpeningT]):
    """The state of one live connection, between its messages.

    A message brings one series or digit, so the pointers in problems start at the message: `#/target/3`, `#/rows/0`.
    """

    def __init__(self, codec: Codec[RequestT, CallT, OpeningT], opening: OpeningT, model: Served) -> None:
        self.model = model
        self.timeout_ms = opening.parameters.timeout_ms
        self._codec = codec
        self._opening = opening
        self.manifest = model.manifest
        self._state = codec.resume(opening, model.manifest)

    def first_items(self) -> CallT | None:
        """The item of the opening, where it brings values already; raises `InvalidRequest`."""
        return self._codec.opening_to_items(self._opening, self.manifest, self._state)

    def to_items(self, content: bytes) -> CallT | None:
        """The item of a message, None where it only asks for a new beginning; raises `InvalidRequest`."""
        call = self._codec.message_to_items(content, self._opening, self.manifest, self._state)
        if call is None:
            self._state = None
        return call

    def last_token(self) -> str | None:
        """The token of the state so far, None where there is none, or no other service could open it."""
        return self._codec.last_token(self._state, self.manifest) if self._state else None

    def encode(self, call: CallT, results: Sequence[Any]) -> bytes:
        """The prediction object as JSON. The next message continues from its state."""
        content, state = self._codec.encode_message(call, results)
        self._state = replace(state, state=state.state.copy())  # a copy, since the row keeps its whole batch alive
        self._opening = self._codec.continued(self._opening, call)
        return content
