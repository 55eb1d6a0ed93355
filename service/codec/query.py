"""The query string: options of a body that is an image or a form; a JSON body holds its own options, and takes none."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

from service.codec.strict_json import FieldErrors, StrictDecoder, json_pointer
from service.contract.errors import InvalidRequest

MAX_FIELDS = 100
_LITERAL = re.compile(r"true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

T = TypeVar("T")


def parse_query(query_string: bytes) -> dict[str, str]:
    """The fields of `query_string`, of a repeated one the last; raises `InvalidRequest` for more than `MAX_FIELDS`."""
    try:
        fields = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise InvalidRequest(f"a query has at most {MAX_FIELDS} fields", code="out_of_range") from error
    return dict(fields)


def refuse_query(query_string: bytes, detail: str = "a JSON body takes no query fields: it holds them itself") -> None:
    """Raise `InvalidRequest` (`unknown_field`) with `detail` for every field of `query_string`."""
    errors = FieldErrors()
    for name in parse_query(query_string):
        errors.add(json_pointer([name]), "unknown_field", detail)
    errors.check()


def decode_query(query_string: bytes, decoder: StrictDecoder[T], text_options: Container[str]) -> T:
    """The fields of `query_string` as `decoder` has them; raises `InvalidRequest` as for a JSON body."""
    return decode_fields(parse_query(query_string) if query_string else {}, decoder, text_options)


def decode_fields(fields: Mapping[str, str], decoder: StrictDecoder[T], text_options: Container[str]) -> T:
    """Query parameters or fields of a form as a JSON document: a literal is one but for `text_options`."""
    members = (
        f"{json.dumps(name)}:{text if name not in text_options and _LITERAL.fullmatch(text) else json.dumps(text)}"
        for name, text in fields.items()
    )
    return decoder.decode(("{" + ",".join(members) + "}").encode())
