from __future__ import annotations

import pytest

from service.codec.multipart import File, parse_form
from service.contract.errors import InvalidRequest

CONTENT_TYPE = b"multipart/form-data; boundary=x"


def part(disposition: str, content: bytes) -> bytes:
    return f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


def test_files_and_fields() -> None:
    parts = [
        part('name="file"; filename="a.png"', b"\x00\r\n--"),
        part('name="file"', b"b"),
        part('name="model"', b"m"),
    ]
    form = parse_form(b"".join(parts) + b"--x--\r\n", CONTENT_TYPE, 3)
    assert form.files == [File(b"\x00\r\n--", "a.png"), File(b"b", None)]
    assert form.fields == {"model": "m"}


@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"", b"multipart/form-data", "bad_multipart"),
        (b"hello", CONTENT_TYPE, "bad_multipart"),
        (part('name="file"', b"a"), CONTENT_TYPE, "bad_multipart"),  # no end
        (part('name="model"', b"\xff") + b"--x--\r\n", CONTENT_TYPE, "bad_encoding"),
    ],
)
def test_damaged_forms(content: bytes, content_type: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_form(content, content_type, 10)
    assert caught.value.code == code


def test_parsing_ends_at_the_first_part_too_many() -> None:
    """What follows is not even looked at: it is no form, and still not the error."""
    content = part('name="file"', b"") * 3 + b"no form"
    with pytest.raises(InvalidRequest) as caught:
        parse_form(content, CONTENT_TYPE, 2)
    assert caught.value.code == "too_many_items"
