"""JSON documents, decoded strictly: bytes in, a typed `msgspec` structure out, or every error with a pointer to it.

The happy path is one pass of msgspec over the bytes, with no dictionary in between. msgspec stops at the first error;
only when it finds one is the document parsed again and inspected along the same types, which lists ten errors and
counts the others: one schema, and a good request never pays for a bad one. Strict means: no number from a string or a
boolean, nothing but finite numbers, no unknown field. Nothing of the request but field names is repeated.

A refusal must not cost more than an answer would: messages are worded and spelling is compared only for the errors that
are listed, arrays of numbers are checked as a whole, and after a thousand errors nothing more is looked at.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import re
from collections.abc import Callable, Container, Iterator
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec import inspect as kinds

from service.contract.errors import FieldError, InvalidRequest
from service.runtime.garbage import not_collected

LISTED = 10  # errors that are spelled out
COUNTED = 1000  # errors that `errors_total` counts; the document is not looked at any further
_MAX_NAME = 64  # characters of an unknown field's name that a pointer repeats, and that are compared with known names
_MAX_INTEGER_DIGITS = 400  # a float holds fewer than 310
_LARGE = 64 << 10  # bytes of a document that is parsed in pieces
_PIECE = 8 << 10  # characters of numbers that are parsed at once then
_BLANKS = re.compile(r"[ \t\n\r]+")
_FIRST_ENTRY = re.compile(r"\[[ \t\n\r]*(.)")
_FLAT = re.compile(r'[^][{}"]*')  # numbers, null, true and false

_NUMBERS: set[type] = {int, float}

T = TypeVar("T")


class FieldErrors(Struct):
    """The errors of one request: the first ten are listed, and a thousand counted."""

    listed: list[FieldError] = []
    total: int = 0

    @property
    def is_full(self) -> bool:
        """Whether further errors are only counted, so that their wording need not be made."""
        return len(self.listed) >= LISTED

    def add(self, pointer: str, code: str, detail: str) -> None:
        """Record one error."""
        self.total += 1
        if not self.is_full:
            self.listed.append(FieldError(pointer, code, detail))

    def check(self) -> None:
        """Raise `InvalidRequest` if there is an error; its code is that of the first one."""
        if not self.total:
            return
        first = self.listed[0]
        detail = f"{first.pointer}: {first.detail}"
        if self.total > 1:
            more = " or more" if self.total >= COUNTED else ""
            detail = f"{self.total}{more} faults in the request; the first: {detail}"
        raise InvalidRequest(detail, code=first.code, errors=self.listed, errors_total=self.total)


class StrictDecoder(Generic[T]):
    """Decodes documents of one type, a `msgspec.Struct` with `forbid_unknown_fields`."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind, strict=True)
        self._kind = kinds.type_info(kind)

    def decode(self, content: bytes) -> T:
        """The document in `content`; raises `InvalidRequest`: `malformed_json`, `bad_encoding` or the first error's."""
        try:
            return self._decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            is_json = isinstance(error, msgspec.ValidationError)  # up to the first error
            _inspect(content, self._kind, in_pieces=is_json and len(content) > _LARGE)
            # Reached only where the two parsers disagree; the document is still at fault.
            code = "wrong_type" if is_json else "malformed_json"
            raise InvalidRequest("the body is not a valid JSON document for this route", code=code) from error


def suggestion(name: str, names: list[str]) -> str:
    """A hint such as `; did you mean 'target'?`, or nothing where none of `names` is similar to `name`."""
    matches = difflib.get_close_matches(name[:_MAX_NAME], names, n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def json_pointer(path: list[str | int]) -> str:
    """RFC 6901 as a URI fragment; names from the request are cut and made printable."""
    return "#" + "".join("/" + (_escape(step) if isinstance(step, str) else str(step)) for step in path)


def _escape(name: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in name[:_MAX_NAME])
    return printable.replace("~", "~0").replace("/", "~1")


def _inspect(content: bytes, kind: kinds.Type, *, in_pieces: bool) -> None:
    """Raise `InvalidRequest` with the errors of `content`, a document of `kind`, if it has any.

    NaN and infinities are parsed, for the inspector to point at them. To parse `in_pieces` what is no JSON after many
    good entries takes several times as long.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})", code="bad_encoding") from error
    if text.startswith("\ufeff"):
        raise InvalidRequest("the body starts with a byte order mark: send plain UTF-8", code="bad_encoding")
    inspector = _Inspector()
    try:
        with not_collected():
            if in_pieces:
                inspector.inspect_in_pieces(_Reader(text), kind)
            else:
                inspector.inspect(_Reader(text).document(), kind)
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the body is not JSON: {error.msg} at {position}", code="malformed_json") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply", code="malformed_json") from error


class _Reader:
    """A JSON text that is parsed value by value, with the errors of `json.loads`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._at = 0  # index of the next character

    def document(self) -> Any:
        """The only value of the text."""
        value = self.value()
        self.check_end()
        return value

    def next_character(self) -> str:
        """The next character that is no white space, empty at the end of the text."""
        if blanks := _BLANKS.match(self.text, self._at):
            self._at = blanks.end()
        return self.text[self._at : self._at + 1]

    def first_entry(self) -> str:
        """The first character of the first entry of the next value, an array; `]` where it has none."""
        self.next_character()
        match = _FIRST_ENTRY.match(self.text, self._at)
        return match[1] if match else ""

    def value(self) -> Any:
        """The next value."""
        self.next_character()
        try:
            value, self._at = _DECODER.raw_decode(self.text, self._at)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of more digits than Python converts; calling back for each one takes long
            value, self._at = _LONG_INTEGER_DECODER.raw_decode(self.text, self._at)
        return value

    def entries(self, end: str) -> Iterator[None]:
        """Once for each entry of the next value, an array or object that ends with `end`; each must then be parsed."""
        self._skip(self.next_character(), "value")
        if self.next_character() == end:
            self._skip(end, "")
            return
        while True:
            yield
            if self.next_character() == end:
                self._skip(end, "")
                return
            self._skip(",", "',' delimiter")

    def parts(self) -> Iterator[list[Any]]:
        """The entries of the next value, an array, in their order: numbers, null, true and false many at a time."""
        self._skip(self.next_character(), "value")
        while True:
            self.next_character()
            match = _FLAT.match(self.text, self._at, self._at + _PIECE)
            flat = match.end() if match else self._at
            is_last = self.text.startswith("]", flat)
            end = flat if is_last else self.text.rfind(",", self._at, flat)
            if is_last or self.text[self._at : max(end, self._at)].strip():
                yield self._flat_entries(end)
                self._at = end + 1
                if is_last:
                    return
                continue
            yield [self.value()]
            if self.next_character() == "]":
                self._skip("]", "")
                return
            self._skip(",", "',' delimiter")

    def _flat_entries(self, end: int) -> list[Any]:
        """The entries of an array from here to `end`."""
        reader = _Reader(f"[{self.text[self._at : end]}]")
        try:
            entries: list[Any] = reader.document()
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, self.text, self._at + error.pos - 1) from error
        return entries

    def name(self) -> str:
        """The name of the next entry of an object, and the colon behind it."""
        if self.next_character() != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self.text, self._at)
        name: str = self.value()
        self.next_character()
        self._skip(":", "':' delimiter")
        return name

    def check_end(self) -> None:
        """Raise `json.JSONDecodeError` unless the text ends here."""
        if self.next_character():
            raise json.JSONDecodeError("Extra data", self.text, self._at)

    def _skip(self, character: str, expected: str) -> None:
        if not self.text.startswith(character, self._at):
            raise json.JSONDecodeError(f"Expecting {expected}", self.text, self._at)
        self._at += 1


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else math.inf


_DECODER, _LONG_INTEGER_DECODER = json.JSONDecoder(), json.JSONDecoder(parse_int=_integer)


class _Enough(Exception):
    """Ends an inspection that has counted enough errors."""


class _Inspector:
    """Walks a parsed document along its type and records where the two differ."""

    def __init__(self) -> None:
        self.errors = FieldErrors()
        self._path: list[str | int] = []

    def inspect(self, value: Any, kind: kinds.Type) -> None:
        """Raise `InvalidRequest` with all errors of `value`, if it has any."""
        with contextlib.suppress(_Enough):
            self._visit(value, kind)
        self.errors.check()

    def inspect_in_pieces(self, reader: _Reader, kind: kinds.Type) -> None:
        """Likewise of the only value of a text, of which objects and arrays are parsed entry by entry.

        A call of the parser keeps all other threads waiting: 0.1 s for 3 MB. And what need not be looked at any more is
        not parsed.
        """
        with contextlib.suppress(_Enough):
            self._visit_in_pieces(reader, kind)
            reader.check_end()
        self.errors.check()

    def _visit_in_pieces(self, reader: _Reader, kind: kinds.Type) -> None:
        inner, first = _without_description(kind), reader.next_character()
        if isinstance(inner, kinds.StructType) and first == "{":
            self._struct_in_pieces(reader, inner)
        elif isinstance(inner, kinds.ListType) and first == "[" and _is_visited_in_pieces(inner, reader.first_entry()):
            self._list_in_pieces(reader, inner)
        else:
            self._visit(reader.value(), kind)

    def _struct_in_pieces(self, reader: _Reader, kind: kinds.StructType) -> None:
        fields, _ = _fields(kind.cls)
        names: set[str] = set()
        for _ in reader.entries("}"):
            name = reader.name()
            names.add(name)
            if name in fields:
                self._path.append(name)
                self._visit_in_pieces(reader, fields[name].type)
                self._path.pop()
            else:
                self._field(kind, name, reader.value())
        self._required(kind, names)

    def _list_in_pieces(self, reader: _Reader, kind: kinds.ListType) -> None:
        if not _number_types(kind.item_type):
            for index, _ in enumerate(reader.entries("]")):
                self._path.append(index)
                self._visit_in_pieces(reader, kind.item_type)
                self._path.pop()
            return
        start = 0
        for part in reader.parts():
            self._entries(part, kind, start)
            start += len(part)

    def _visit(self, value: Any, kind: kinds.Type) -> None:
        visit = _VISITS.get(type(kind))
        if visit is None:  # a programming error: a schema uses a type that has no wording here
            raise TypeError(f"no inspection for {kind!r}")
        visit(self, value, kind)

    def _metadata(self, value: Any, kind: kinds.Metadata) -> None:
        """A description around the type."""
        self._visit(value, kind.type)

    def _union(self, value: Any, kind: kinds.UnionType) -> None:
        """The unions of the schemas are `X | None` and, for a number or several of them, `X | list[X] | None`."""
        if value is None:
            return
        choices = [choice for choice in kind.types if not isinstance(choice, kinds.NoneType)]
        lists = [choice for choice in choices if isinstance(choice, kinds.ListType)]
        if len(choices) > 1 and not isinstance(value, (int, float, list)):
            self._error("wrong_type", f"must be an integer or an array of integers, not {_type_name(value)}")
            return
        self._visit(value, lists[0] if lists and isinstance(value, list) else choices[0])

    def _struct(self, value: Any, kind: kinds.StructType) -> None:
        if not isinstance(value, dict):
            self._error("wrong_type", f"must be an object{_example(kind.cls)}, not {_type_name(value)}")
            return
        for name, child in value.items():
            self._field(kind, name, child)
        self._required(kind, value)

    def _field(self, kind: kinds.StructType, name: str, value: Any) -> None:
        fields, _ = _fields(kind.cls)
        field = fields.get(name)
        self._path.append(name)
        if field is not None:
            self._visit(value, field.type)
        elif self.errors.is_full:
            self._count(1)
        else:
            hints: dict[str, str] = getattr(kind.cls, "hints", {})
            hint = f": {hints[name]}" if name in hints else suggestion(name, list(fields))
            self._error("unknown_field", "there is no such field" + hint)
        self._path.pop()

    def _required(self, kind: kinds.StructType, names: Container[str]) -> None:
        for name in _fields(kind.cls)[1]:
            if name not in names:
                self._path.append(name)
                self._error("missing_field", "this field is required")
                self._path.pop()

    def _list(self, value: Any, kind: kinds.ListType) -> None:
        if not isinstance(value, list):
            self._error("wrong_type", f"must be an array, not {_type_name(value)}")
            return
        if kind.max_length is not None and len(value) > kind.max_length:
            self._error("out_of_range", f"at most {kind.max_length} entries, not {len(value)}")
            value = value[: kind.max_length]
        if kind.min_length is not None and len(value) < kind.min_length:
            self._error("out_of_range", f"at least {kind.min_length} entries, not {len(value)}")
        if self._is_too_flat(value, kind.item_type):
            return
        accepted = _number_types(kind.item_type)
        if accepted and _all_numbers(value, accepted):
            return
        if accepted and len(value) > 1 and set(map(type, value)) == {dict}:
            self._error("wrong_type", "must be an array of numbers, not of objects")
            return
        for start in range(0, len(value), COUNTED):
            self._entries(value[start : start + COUNTED], kind, start)

    def _entries(self, entries: list[Any], kind: kinds.ListType, start: int) -> None:
        """Those of an array of `kind` from the index `start` on."""
        accepted = _number_types(kind.item_type)
        if accepted and _all_numbers(entries, accepted):
            return
        if accepted and self.errors.is_full:
            self._count(sum([not _is_number(entry, accepted) for entry in entries]))
            return
        for index, entry in enumerate(entries, start):
            self._path.append(index)
            self._visit(entry, kind.item_type)
            self._path.pop()

    def _is_too_flat(self, value: list[Any], kind: kinds.Type) -> bool:
        """Whether `value` holds numbers where entries of `kind` hold them; recorded as one error, not one for each."""
        is_nested = isinstance(kind, (kinds.ListType, kinds.StructType))
        is_flat = is_nested and len(value) > 1 and _all_numbers(value, _NUMBERS)
        if is_flat and isinstance(kind, kinds.StructType):
            self._error("wrong_type", f"must be an array of objects{_example(kind.cls)}, not of numbers")
        elif is_flat:
            side = math.isqrt(len(value))
            shape = f": send {side} rows of {side}" if side > 1 and side * side == len(value) else ""
            self._error("wrong_type", f"must be an array of arrays, not {len(value)} numbers in one{shape}")
        return is_flat

    def _number(self, value: Any, kind: kinds.FloatType | kinds.IntType) -> None:
        is_integer = isinstance(kind, kinds.IntType)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._error("wrong_type", f"must be {'an integer' if is_integer else 'a number'}, not {_type_name(value)}")
        elif not _is_finite(value):
            self._error("not_finite", "must be a finite number (missing values are null)")
        elif is_integer and not isinstance(value, int):
            self._error("wrong_type", "must be an integer")
        elif not _is_between(value, kind):
            self._error("out_of_range", f"must be {_range(kind)}")

    def _literal(self, value: Any, kind: kinds.LiteralType) -> None:
        if not isinstance(value, str) or value not in kind.values:
            code = "out_of_range" if isinstance(value, str) else "wrong_type"
            self._error(code, "must be one of " + ", ".join(f'"{choice}"' for choice in kind.values))

    def _bool(self, value: Any, _kind: kinds.BoolType) -> None:
        if not isinstance(value, bool):
            self._error("wrong_type", f"must be true or false, not {_type_name(value)}")

    def _string(self, value: Any, kind: kinds.StrType) -> None:
        if not isinstance(value, str):
            self._error("wrong_type", f"must be a string, not {_type_name(value)}")
        elif kind.max_length is not None and len(value) > kind.max_length:
            self._error("out_of_range", f"at most {kind.max_length} characters")
        elif not _is_unicode(value):
            self._error("bad_encoding", "holds half of a surrogate pair")

    def _error(self, code: str, detail: str) -> None:
        if self.errors.is_full:
            self._count(1)
        else:
            self.errors.add(json_pointer(self._path), code, detail)

    def _count(self, number: int) -> None:
        """Count errors that are not listed."""
        self.errors.total = min(COUNTED, self.errors.total + number)
        if self.errors.total == COUNTED:
            raise _Enough


_VISITS: dict[type[kinds.Type], Callable[[_Inspector, Any, Any], None]] = {
    kinds.Metadata: _Inspector._metadata,
    kinds.UnionType: _Inspector._union,
    kinds.StructType: _Inspector._struct,
    kinds.ListType: _Inspector._list,
    kinds.FloatType: _Inspector._number,
    kinds.IntType: _Inspector._number,
    kinds.StrType: _Inspector._string,
    kinds.LiteralType: _Inspector._literal,
    kinds.BoolType: _Inspector._bool,
}


def _example(struct: type[Struct]) -> str:
    """What is said behind "an object" where one of `struct` is meant; nothing where it has no `example`."""
    example: str = getattr(struct, "example", "")
    return f" such as {example}" if example else ""


@cache
def _fields(struct: type[Struct]) -> tuple[dict[str, kinds.Field], list[str]]:
    """Name in a document -> field of `struct`, and the names of those that are required."""
    info = kinds.type_info(struct)
    fields = {field.encode_name: field for field in info.fields} if isinstance(info, kinds.StructType) else {}
    return fields, [name for name, field in fields.items() if field.required]


def _is_visited_in_pieces(kind: kinds.ListType, first: str) -> bool:
    """Whether an array of `kind` with an entry that begins with `first` may be parsed entry by entry.

    Not where its errors are those of the whole: too many entries, numbers in place of arrays, objects in that of those.
    """
    if kind.max_length is not None:
        return False
    if _number_types(kind.item_type):
        return first != "{"
    return isinstance(_without_description(kind.item_type), (kinds.ListType, kinds.StructType)) and first in "[{"


def _without_description(kind: kinds.Type) -> kinds.Type:
    """`kind` without its description, and without null where it is one kind or null."""
    kind = kind.type if isinstance(kind, kinds.Metadata) else kind
    if isinstance(kind, kinds.UnionType):
        choices = [choice for choice in kind.types if not isinstance(choice, kinds.NoneType)]
        return _without_description(choices[0]) if len(choices) == 1 else kind
    return kind


def _number_types(kind: kinds.Type) -> set[type]:
    """The types of the entries of an array of unbounded numbers, or of numbers and null; empty for other arrays."""
    choices = kind.types if isinstance(kind, kinds.UnionType) else (kind,)
    if kinds.FloatType() not in choices:
        return set()
    return {int, float, type(None)} if kinds.NoneType() in choices else {int, float}


def _all_numbers(values: list[Any], accepted: set[type]) -> bool:
    """Whether all `values` are of the `accepted` types and finite; False as well where only their sum is not."""
    if not set(map(type, values)) <= accepted:
        return False
    try:
        return math.isfinite(sum(filter(None, values)))
    except OverflowError:  # an integer beyond every float
        return False


def _is_number(value: Any, accepted: set[type]) -> bool:
    return type(value) in accepted and (value is None or _is_finite(value))


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _is_between(value: int | float, kind: kinds.FloatType | kinds.IntType) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _range(kind: kinds.FloatType | kinds.IntType) -> str:
    bounds = {"at least": kind.ge, "greater than": kind.gt, "at most": kind.le, "less than": kind.lt}
    return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)


def _type_name(value: Any) -> str:
    """A JSON value's type, in JSON's words."""
    if value is None:
        return "null"
    for kind, name in ((bool, "a boolean"), ((int, float), "a number"), (str, "a string"), (list, "an array")):
        if isinstance(value, kind):
            return name
    return "an object"
