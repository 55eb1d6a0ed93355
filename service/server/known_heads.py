"""Heads of requests that the parser has read before: most clients send the same bytes again, but for the body's length.

What the parser makes of a head depends on its bytes alone, where it stands between two requests. So the head of a
request that was complete on arrival is remembered with what came of it, and the next such request takes no parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.runtime import compiled

END = b"\r\n\r\n"
_LENGTH_FIELDS = b"\r\nContent-Length: ", b"\r\ncontent-length: "  # as nearly all clients write it
_FIELD_SIZE = len(_LENGTH_FIELDS[0])
_MAX_DIGITS = 6
_MAX_HEAD = 2 << 10  # bytes
_MAX_HEADS = 256
_MEANINGFUL = frozenset((b"transfer-encoding", b"expect", b"upgrade"))  # fields that call for the parser


class KnownHead(Struct, frozen=True, eq=False):
    """What a head came to: a part of the scope, and where in the fields the length of the body stands."""

    scope: dict[str, Any]
    fields: list[tuple[bytes, bytes]]
    length_at: int
    asks_plainly: bool = False  # whether a request with it asks for nothing but what its body says


class KnownHeads:
    """The heads of the small requests of one process; all are forgotten when they are too many."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}
        self._headers: Sequence[tuple[bytes, bytes]] = ()  # of which `_first_lines` were made
        self._first_lines = b""

    def first_lines(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The first lines of an answer of status 200: these `headers`, the same list for a second or more."""
        if headers is not self._headers:
            self._headers = headers
            self._first_lines = STATUS_LINE[200] + b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._first_lines

    def find(self, data: bytes) -> tuple[KnownHead, bytes, int] | None:
        """The head with which `data` begins, the digits of its length, and where the body begins that it says follows;
        None where it is not known, or `data` is not just head and body."""
        if compiled.in_use is not None:
            return compiled.in_use.find_head(data, self._heads)
        end = data.find(END, 0, _MAX_HEAD) + 4
        if end < 4:
            return None
        start = data.find(_LENGTH_FIELDS[0], 0, end)
        if start < 0:
            start = data.find(_LENGTH_FIELDS[1], 0, end)
            if start < 0:
                return None
        start += _FIELD_SIZE
        stop = data.find(b"\r", start)
        digits = data[start:stop]
        head = self._heads.get(data[:start] + data[stop:end])
        if head is None or not digits.isdigit() or len(digits) > _MAX_DIGITS or int(digits) != len(data) - end:
            return None
        return head, digits, end

    def learn(self, data: bytes, scope: Mapping[str, Any], *, asks_plainly: bool = False) -> None:
        """Remember the head with which `data` begins, and what the application says of it.

        That is one request, which the parser found complete, and after which the connection stays.
        """
        end = data.find(END, 0, _MAX_HEAD) + 4
        head = data[:end]
        fields: list[tuple[bytes, bytes]] = scope["headers"]
        names = [name for name, _ in fields]
        if end < 4 or names.count(b"content-length") != 1 or head.lower().count(_LENGTH_FIELDS[1]) != 1:
            return
        start = max(head.find(field) for field in _LENGTH_FIELDS)
        if start < 0 or not _MEANINGFUL.isdisjoint(names) or scope["http_version"] != "1.1":
            return
        start += _FIELD_SIZE
        digits, rest = head[start:].split(b"\r", 1)
        if not digits.isdigit() or len(digits) > _MAX_DIGITS or int(digits) != len(data) - end:
            return
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        kept = {key: scope[key] for key in ("http_version", "method", "path", "raw_path", "query_string", "extensions")}
        self._heads[head[:start] + b"\r" + rest] = KnownHead(
            kept, [*fields], names.index(b"content-length"), asks_plainly
        )
