from __future__ import annotations

import pytest

from service.imaging.formats import READABLE, file_format, unreadable
from tests.pictures import drawn, encoded


@pytest.mark.parametrize("name", READABLE)
def test_formats_that_are_read(name: str) -> None:
    assert file_format(encoded(drawn(), name)) == name


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "iPhones"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC", "JPEG"),
        (b"%PDF-1.7", "PDF", "page"),
        (b'<?xml version="1.0"?><svg width="1">', "SVG", "PNG"),
        (b"\0\0\1\0", "ICO", "ICO"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", None, "not an image"),
        (b"hello", None, "not an image"),
        (b"", None, "empty"),
    ],
)
def test_formats_that_are_not_read_are_named(data: bytes, name: str | None, says: str) -> None:
    assert file_format(data) == name
    assert says in unreadable(data)


def test_a_general_brand_may_hold_avif() -> None:
    assert file_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
