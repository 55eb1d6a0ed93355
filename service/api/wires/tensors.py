"""Tensors of the Open Inference Protocol v2, as JSON and in its binary form: little endian, row major.

BYTES elements have their length in four bytes before each. Everything that a client can get wrong is `InvalidRequest`,
and nothing is allocated for a shape before its data was seen.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contract.errors import InvalidRequest

DTYPES = {
    "BOOL": "?",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
Tensor = NDArray[Any]
_NUMBERS = {int, float, bool, type(None)}


def bad(detail: str) -> InvalidRequest:
    """The error of a tensor that is not as its description says."""
    return InvalidRequest(detail, code="bad_tensor")


def parse_tensors(head: dict[str, Any], binary: bytes) -> dict[str, Tensor]:
    """The inputs of a request by name; `binary` holds those that say so, in their order."""
    inputs = head.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(entry, dict) for entry in inputs):
        raise bad("inputs must be a list of tensors")
    tensors: dict[str, Tensor] = {}
    offset = 0
    for entry in inputs:
        name, size = entry.get("name"), parameters_of(entry).get("binary_data_size")
        if not isinstance(name, str) or name in tensors:
            raise bad("every input has a name of its own")
        if size is None:
            tensors[name] = _from_json(name, entry)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - offset:
            raise bad(f"{name}: binary_data_size is not a number of bytes that the body has")
        tensors[name] = _from_bytes(name, entry, binary[offset : offset + size])
        offset += size
    if offset != len(binary):
        raise bad(f"{len(binary) - offset} bytes of the body belong to no input")
    return tensors


def parameters_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request, an input or an output; raises `InvalidRequest` where they are no object."""
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise bad("parameters must be an object")
    return parameters


def to_bytes(tensor: Tensor) -> bytes:
    """The binary form of an output."""
    if tensor.dtype == object:
        encoded = [text.encode() if isinstance(text, str) else bytes(text) for text in tensor.ravel().tolist()]
        return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    return np.ascontiguousarray(tensor).tobytes()


def datatype_of(tensor: Tensor) -> str:
    """The name that the protocol has for the type of an output."""
    if tensor.dtype == object:
        return "BYTES"
    return {"f8": "FP64", "f4": "FP32", "i8": "INT64"}[tensor.dtype.str[1:]]


def _shape(name: str, entry: dict[str, Any], available: int) -> tuple[int, ...]:
    """The shape, if `available` elements can fill it."""
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 8:
        raise bad(f"{name}: shape must be a list of whole numbers, none negative")
    count = math.prod(shape)
    if count != available:
        raise bad(f"{name}: the shape has {count} elements, the data {available}")
    return tuple(shape)


def _datatype(name: str, entry: dict[str, Any]) -> str:
    datatype = entry.get("datatype")
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in DTYPES):
        raise bad(f"{name}: datatype must be BYTES or one of {', '.join(DTYPES)}")
    return datatype


def _from_json(name: str, entry: dict[str, Any]) -> Tensor:
    data, datatype = entry.get("data"), _datatype(name, entry)
    if not isinstance(data, list):
        raise bad(f"{name}: data must be a list, or binary_data_size must say how many bytes it has")
    flat = _flat(data, name)
    shape = _shape(name, entry, len(flat))
    if datatype == "BYTES":
        if not set(map(type, flat)) <= {str}:
            raise bad(f"{name}: BYTES are strings")
        return np.array(flat, object).reshape(shape)
    if not set(map(type, flat)) <= _NUMBERS:
        raise bad(f"{name}: the data must be numbers")
    try:
        return np.array(flat, np.float64).reshape(shape)  # None becomes NaN
    except (OverflowError, ValueError) as error:
        raise bad(f"{name}: a number is out of range") from error


def _flat(data: Sequence[Any], name: str) -> list[Any]:
    """The elements of nested lists, row after row."""
    level = list(data)
    for _ in range(8):
        kinds = set(map(type, level))
        if list not in kinds:
            return level
        if len(kinds) > 1:
            raise bad(f"{name}: lists and numbers side by side")
        level = [value for row in level for value in row]
    raise bad(f"{name}: the data is nested too deeply")


def _from_bytes(name: str, entry: dict[str, Any], content: bytes) -> Tensor:
    datatype = _datatype(name, entry)
    if "data" in entry:
        raise bad(f"{name}: either data or binary_data_size")
    if datatype == "BYTES":
        texts = _byte_strings(name, content)
        return np.array(texts, object).reshape(_shape(name, entry, len(texts)))
    dtype = np.dtype(DTYPES[datatype])
    if len(content) % dtype.itemsize:
        raise bad(f"{name}: {len(content)} bytes are no whole number of {datatype}")
    numbers = np.frombuffer(content, dtype).astype(np.float64)
    return numbers.reshape(_shape(name, entry, len(numbers)))


def _byte_strings(name: str, content: bytes) -> list[str]:
    texts: list[str] = []
    offset = 0
    while offset < len(content):
        if offset + 4 > len(content):
            raise bad(f"{name}: the last length is cut off")
        (size,) = struct.unpack_from("<I", content, offset)
        offset += 4
        if size > len(content) - offset:
            raise bad(f"{name}: an element is longer than the data")
        try:
            texts.append(content[offset : offset + size].decode())
        except UnicodeDecodeError as error:
            raise bad(f"{name}: an element is no UTF-8") from error
        offset += size
    return texts
