"""Calls from pages of other origins: the CORS protocol (https://fetch.spec.whatwg.org/#http-cors-protocol).

A browser asks before most calls (a preflight: OPTIONS), and shows a page an answer only with headers that allow it. No
cookies and no other credentials of the browser are in use here, so none are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Message, Scope, Send

from service.api.problems import Answer, Header

PREFLIGHT_SECONDS = b"600"
_METHODS = b"GET, HEAD, POST"
# Of an answer, that a page may read.
_EXPOSED = b"RateLimit, RateLimit-Policy, Retry-After, Server-Timing, X-Model-Digest, X-Request-ID"


class CrossOrigin:
    """The origins that may call, and the headers that tell their browsers so."""

    def __init__(self, origins: Sequence[str]) -> None:
        """`origins` in lower case, or `*` for any."""
        self._origins = frozenset(origin.encode() for origin in origins)

    @staticmethod
    def is_preflight(scope: Scope) -> bool:
        """Whether a browser asks for permission, on behalf of a page."""
        return scope["method"] == "OPTIONS" and b"access-control-request-method" in dict(scope["headers"])

    def preflight(self, scope: Scope, origin: bytes) -> Answer:
        """The permission, with all headers that were asked for; without headers where the origin is not allowed."""
        allowed = self._allow(origin)
        if allowed and (asked := dict(scope["headers"]).get(b"access-control-request-headers")):
            allowed.append((b"access-control-allow-headers", asked))
        if allowed:
            allowed += [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", PREFLIGHT_SECONDS)]
        return Answer(200, [*allowed, (b"vary", b"Origin, Access-Control-Request-Headers")], b"")

    def sender(self, send: Send, origin: bytes) -> Send:
        """`send`, with the headers for a page of `origin` added to the answer."""
        headers = [*self._allow(origin), (b"vary", b"Origin"), (b"access-control-expose-headers", _EXPOSED)]

        async def send_with_headers(message: Message) -> None:
            if "status" in message:  # the message that begins the answer, or holds it as a whole
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        return send_with_headers

    def _allow(self, origin: bytes) -> list[Header]:
        if b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        return [(b"access-control-allow-origin", origin)] if origin.lower() in self._origins else []
