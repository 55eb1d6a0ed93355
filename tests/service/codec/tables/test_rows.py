"""Rows of a large file, a part of it at a time."""

from __future__ import annotations

import io

import pytest

from service.codec.tables.rows import row_parts
from service.contract.errors import InvalidRequest

HEAD = b"id,value\na,1\nb,2\n"


class Counted(bytes):
    """A line of a file that counts the characters in which quotes are looked for."""

    looked_at = 0

    def count(self, *arguments: object) -> int:
        Counted.looked_at += len(self)
        return super().count(*arguments)  # type: ignore[arg-type]

    def __add__(self, other: object) -> Counted:
        return Counted(super().__add__(other))  # type: ignore[operator]


class File(io.BytesIO):
    """A file of such lines."""

    def read(self, size: int | None = -1) -> bytes:
        return Counted(super().read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return Counted(super().readline(size))


def test_a_cell_of_many_lines_is_looked_through_once() -> None:
    """Each line looked for quotes in all before it: 100 kB of line breaks took 9 s."""
    content = HEAD + b'c,"' + b"\n" * 5000 + b'"\nd,4\n'
    Counted.looked_at = 0
    parts = list(row_parts(File(content), None, None, len(HEAD) + 2))
    assert [row.cells[0] for part in parts for row in part.rows][-1] == "d"
    assert Counted.looked_at < 6 * len(content)


def test_a_cell_without_an_end_is_refused() -> None:
    content = HEAD + b'c,"' + b"x" * 3_000_000
    with pytest.raises(InvalidRequest, match=r"quoted cell has no end|field larger|unexpected end"):
        list(row_parts(io.BytesIO(content), None, None, len(HEAD) + 2))
