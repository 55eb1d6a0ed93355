"""JSON documents, read strictly: bytes in, a typed `msgspec` structure out, or every fault with a pointer to its place.

The happy path is one pass of msgspec over the bytes, with no dictionary in between. msgspec stops at the first fault;
only when it finds one is the document read again by `_Inspector`, which walks the same types, lists ten faults and
counts all of them: one schema, and a good request never pays for a bad one. Strict means: no number from a string or a
boolean, nothing but finite numbers, no unknown field. Nothing of the request but field names is repeated.
"""

from __future__ import annotations

import difflib
import json
import math
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect as kinds

from service.contract.errors import FieldError, InvalidRequest

LISTED = 10  # faults that are spelled out; `errors_total` counts all
_LONGEST_NAME = 64  # characters of an unknown field's name that a pointer repeats
_LONGEST_INTEGER = 400  # digits; a float holds fewer than 310

T = TypeVar("T")


class FieldErrors:
    """The faults of one request: all are counted, the first ten are kept."""

    def __init__(self) -> None:
        self.listed: list[FieldError] = []
        self.total = 0

    def add(self, pointer: str, code: str, detail: str) -> None:
        """Note one fault."""
        self.total += 1
        if len(self.listed) < LISTED:
            self.listed.append(FieldError(pointer, code, detail))

    def check(self) -> None:
        """Raise `InvalidRequest` when there is a fault; its code is the first one's."""
        if not self.total:
            return
        first = self.listed[0]
        detail = f"{first.pointer}: {first.detail}"
        if self.total > 1:
            detail = f"{self.total} faults in the request; the first: {detail}"
        raise InvalidRequest(detail, code=first.code, errors=self.listed, errors_total=self.total)


class StrictDecoder(Generic[T]):
    """Reads documents of one type, a `msgspec.Struct` with `forbid_unknown_fields`."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind, strict=True)
        self._kind = kinds.type_info(kind)

    def read(self, body: bytes) -> T:
        """The document in `body`; raises `InvalidRequest` (`malformed_json`, `bad_encoding` or the first fault's)."""
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _Inspector().inspect(_parse(body), self._kind)
            # Only where the two readers disagree; still the caller's document, so still the caller's error.
            code = "wrong_type" if isinstance(error, msgspec.ValidationError) else "malformed_json"
            raise InvalidRequest("the body is not a valid JSON document for this route", code=code) from error


def nearest(name: str, known: list[str]) -> str:
    """A hint such as `; did you mean 'target'?`, or nothing where no known name is near."""
    close = difflib.get_close_matches(name[:_LONGEST_NAME], known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _parse(body: bytes) -> Any:
    """`body` as plain objects; NaN and infinities pass, for the inspector to point at them."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})", code="bad_encoding") from error
    if text.startswith("\ufeff"):
        raise InvalidRequest("the body starts with a byte order mark: send plain UTF-8", code="bad_encoding")
    try:
        return json.loads(text, parse_int=_integer)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the body is not JSON: {error.msg} at {where}", code="malformed_json") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply", code="malformed_json") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else math.inf


class _Inspector:
    """Walks a parsed document along its type and notes where the two part."""

    def __init__(self) -> None:
        self.faults = FieldErrors()
        self._path: list[str | int] = []

    def inspect(self, value: Any, kind: kinds.Type) -> None:
        """Raise `InvalidRequest` with all faults of `value`, if it has any."""
        self._visit(value, kind)
        self.faults.check()

    def _visit(self, value: Any, kind: kinds.Type) -> None:
        if isinstance(kind, kinds.Metadata):  # a description around the type
            self._visit(value, kind.type)
        elif isinstance(kind, kinds.UnionType):
            self._union(value, kind)
        elif isinstance(kind, kinds.StructType):
            self._struct(value, kind)
        elif isinstance(kind, kinds.ListType):
            self._list(value, kind)
        elif isinstance(kind, (kinds.FloatType, kinds.IntType)):
            self._number(value, kind)
        elif isinstance(kind, kinds.StrType):
            self._string(value, kind)
        elif isinstance(kind, kinds.LiteralType):
            if not isinstance(value, str) or value not in kind.values:
                code = "out_of_range" if isinstance(value, str) else "wrong_type"
                self._fault(code, "must be one of " + ", ".join(f'"{choice}"' for choice in kind.values))
        elif isinstance(kind, kinds.BoolType):
            if not isinstance(value, bool):
                self._fault("wrong_type", f"must be true or false, not {_name(value)}")
        else:  # a programmer's error: a schema uses a type that has no wording here
            raise TypeError(f"no inspection for {kind!r}")

    def _union(self, value: Any, kind: kinds.UnionType) -> None:
        """All unions of our schemas are `X | None`."""
        if value is None:
            return
        for choice in kind.types:
            if not isinstance(choice, kinds.NoneType):
                self._visit(value, choice)

    def _struct(self, value: Any, kind: kinds.StructType) -> None:
        if not isinstance(value, dict):
            self._fault("wrong_type", f"must be an object, not {_name(value)}")
            return
        fields = {field.encode_name: field for field in kind.fields}
        for name, child in value.items():
            with_child = fields.get(name)
            self._path.append(name)
            if with_child is None:
                self._fault("unknown_field", "there is no such field" + nearest(name, list(fields)))
            else:
                self._visit(child, with_child.type)
            self._path.pop()
        for name, field in fields.items():
            if field.required and name not in value:
                self._path.append(name)
                self._fault("missing_field", "this field is required")
                self._path.pop()

    def _list(self, value: Any, kind: kinds.ListType) -> None:
        if not isinstance(value, list):
            self._fault("wrong_type", f"must be an array, not {_name(value)}")
            return
        if kind.max_length is not None and len(value) > kind.max_length:
            self._fault("out_of_range", f"at most {kind.max_length} entries, not {len(value)}")
        for index, child in enumerate(value):
            self._path.append(index)
            self._visit(child, kind.item_type)
            self._path.pop()

    def _number(self, value: Any, kind: kinds.FloatType | kinds.IntType) -> None:
        whole = isinstance(kind, kinds.IntType)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._fault("wrong_type", f"must be {'an integer' if whole else 'a number'}, not {_name(value)}")
        elif not _finite(value):
            self._fault("not_finite", "must be a finite number (missing values are null)")
        elif whole and not isinstance(value, int):
            self._fault("wrong_type", "must be an integer")
        elif not _between(value, kind):
            self._fault("out_of_range", f"must be {_range(kind)}")

    def _string(self, value: Any, kind: kinds.StrType) -> None:
        if not isinstance(value, str):
            self._fault("wrong_type", f"must be a string, not {_name(value)}")
        elif kind.max_length is not None and len(value) > kind.max_length:
            self._fault("out_of_range", f"at most {kind.max_length} characters")
        elif any("\ud800" <= character <= "\udfff" for character in value):
            self._fault("bad_encoding", "holds half of a surrogate pair")

    def _fault(self, code: str, detail: str) -> None:
        if len(self.faults.listed) < LISTED:
            self.faults.add(_pointer(self._path), code, detail)
        else:
            self.faults.total += 1


def _pointer(path: list[str | int]) -> str:
    """RFC 6901 as a URI fragment; names from the request are cut and made printable."""
    return "#" + "".join("/" + (_token(part) if isinstance(part, str) else str(part)) for part in path)


def _token(name: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in name[:_LONGEST_NAME])
    return printable.replace("~", "~0").replace("/", "~1")


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _between(value: int | float, kind: kinds.FloatType | kinds.IntType) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _range(kind: kinds.FloatType | kinds.IntType) -> str:
    bounds = {"at least": kind.ge, "greater than": kind.gt, "at most": kind.le, "less than": kind.lt}
    return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)


def _name(value: Any) -> str:
    """A JSON value's type, in JSON's words."""
    if value is None:
        return "null"
    for kind, name in ((bool, "a boolean"), ((int, float), "a number"), (str, "a string"), (list, "an array")):
        if isinstance(value, kind):
            return name
    return "an object"
