from __future__ import annotations

import base64

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
    "disposition",
    [
        *(f'name="{name}"' for name in ("file", "files[]", "image", "images[0]", "photo")),
        'name="upload"; filename="a.png"',
        'name="anything"; filename="a.png"',
        'name="anything"\r\nContent-Type: image/png',
    ],
)
def test_fields_that_are_files(disposition: str) -> None:
    form = parse_form(part(disposition, b"\xff\0") + b"--x--\r\n", CONTENT_TYPE, 1)
    assert [file.content for file in form.files] == [b"\xff\0"]
    assert not form.fields


def test_a_file_may_be_text_in_base64() -> None:
    text = base64.b64encode(bytes(range(60)))
    for value in (text, b"data:image/png;base64," + text):
        form = parse_form(part('name="image"', value) + b"--x--\r\n", CONTENT_TYPE, 1)
        assert form.files == [File(bytes(range(60)))]
    whole = part('name="file"; filename="a.bmp"', text)  # the content of an uploaded file is never changed
    assert parse_form(whole + b"--x--\r\n", CONTENT_TYPE, 1).files == [File(text, "a.bmp")]


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


def test_what_the_parser_finds_wrong_is_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidRequest):
        parse_form(b"PAR1", b"multipart/form-data; boundary=XX", 3)
    assert not caplog.records
