"""`multipart/form-data` from bytes in memory: files, and text fields. Nothing is spooled to a disk.

A part is a file where it has a file name or an image's type, or stands in a field that is usually named so; a text in
such a field, as `canvas.toDataURL()` gives one, is a file in base64.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.codec.base64_files import decode_base64
from service.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the answer says what is wrong with a form
FILE_FIELD = "file"
# Names of the fields in which browsers' forms, upload widgets and examples of other services send pictures.
_FILE_FIELDS = frozenset({FILE_FIELD, "files", "image", "images", "img", "picture", "pictures", "photo", "upload"})
_INDEX = re.compile(r"\[\w*\]$")  # files[], files[0]
_TEXT = re.compile(rb"\s*(?:[Dd][Aa][Tt][Aa]:[^,]{0,200},|[A-Za-z0-9+/_-]{40})")


class File(Struct, frozen=True, gc=False):
    """One image as it came, and its name where it had one."""

    content: bytes
    name: str | None = None


@dataclass(slots=True)
class Form:
    """The files in their order, and the other fields, of a repeated one the last."""

    files: list[File] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


def parse_form(content: bytes, content_type: bytes, max_parts: int) -> Form:
    """The form in `content`; the boundary of its parts is in `content_type`.

    Raises `InvalidRequest`: `bad_multipart` or `bad_encoding` where it is damaged or cut, `too_many_items` at the first
    part beyond `max_parts`, since parsing a part costs more than sending it.
    """
    boundary = parse_options_header(content_type.decode("latin-1"))[1].get(b"boundary")
    if not boundary:
        raise InvalidRequest("multipart/form-data needs a boundary in Content-Type", code="bad_multipart")
    builder = _FormBuilder(max_parts)
    try:
        MultipartParser(boundary, builder.callbacks()).write(content)
    except FormParserError as error:
        raise InvalidRequest("the body is not a form with this boundary", code="bad_multipart") from error
    if not builder.is_complete:
        raise InvalidRequest("the form ends before its last boundary", code="bad_multipart")
    return builder.form


class _FormBuilder:
    """Receives the events of the parser and builds a `Form`."""

    def __init__(self, max_parts: int) -> None:
        self.form = Form()
        self.is_complete = False
        self._max_parts = max_parts
        self._n_parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._data: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_part_data": self._part_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._n_parts += 1
        if self._n_parts > self._max_parts:
            raise InvalidRequest(f"a form has at most {self._max_parts} parts", code="too_many_items")
        self._headers, self._data = {}, []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end_part(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"").decode("latin-1")
        options = parse_options_header(disposition)[1]
        name, content = options.get(b"name", b"").decode("utf-8", "replace"), b"".join(self._data)
        file_name = options.get(b"filename")
        if _INDEX.sub("", name) in _FILE_FIELDS or file_name is not None or self._is_image():
            if file_name is None:
                content = _from_text(content)
            self.form.files.append(File(content, file_name.decode("utf-8", "replace") if file_name else None))
            return
        try:
            self.form.fields[name] = content.decode("utf-8")
        except UnicodeDecodeError as error:
            detail = f"the field '{name[:64]}' of the form is not text in UTF-8; an image belongs into '{FILE_FIELD}'"
            raise InvalidRequest(detail, code="bad_encoding") from error

    def _is_image(self) -> bool:
        return self._headers.get(b"content-type", b"").lower().startswith((b"image/", b"application/octet-stream"))

    def _end(self) -> None:
        self.is_complete = True


def _from_text(content: bytes) -> bytes:
    """The file that a field without a file name holds: as it is, or from base64."""
    if _TEXT.match(content) is None:
        return content
    try:
        return decode_base64(content.decode("ascii"))
    except ValueError:
        return content
