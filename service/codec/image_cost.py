"""What a picture costs to decode, bounded by what its file says before a pixel is decoded.

The number of pixels does not bound it: a progressive JPEG may go over the whole image once for every few bytes
(libjpeg-turbo's LJT-01-003), Pillow reads the parts of a PNG and of a JPEG's head and the runs of a run-length encoded
BMP one by one in Python, and compressed text in a PNG may be much longer than its file.
"""

from __future__ import annotations

import struct

from msgspec import Struct

from service.contract.errors import InvalidRequest

_PNG, _BMP, _JPEG = b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8"
_START_OF_SCAN = b"\xff\xda"  # in the data of a scan, a byte of 0xFF is always followed by 0
_MARK, _SCAN = 0xFF, 0xDA
_BARE_MARKERS = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))  # nothing belongs to them
_RUN_LENGTHS = (1, 2)  # compression of a BMP: 8 and 4 bits a pixel
_COMPRESSION_AT = 30  # position in the file


class ImageLimits(Struct, frozen=True):
    """Largest pictures, by what makes them costly."""

    pixels: int = 64_000_000
    file_bytes: int = 16 << 20
    scans: int = 64
    chunks: int = 8192
    run_length_bytes: int = 1 << 20


def check_cost(data: bytes, limits: ImageLimits) -> None:
    """Raises `InvalidRequest` (`image_too_large`) where decoding the file `data` would cost too much."""
    if len(data) > limits.file_bytes:
        detail = f"{len(data)} bytes; an image has at most {limits.file_bytes}"
        raise InvalidRequest(detail, code="image_too_large")
    if data.startswith(_JPEG):
        scans = data.count(_START_OF_SCAN)
        if scans > limits.scans:
            raise _too_costly(f"{scans} scans; at most {limits.scans}")
        if _has_more_segments(data, limits.chunks):
            raise _too_costly(f"more than {limits.chunks} segments or bytes between them")
    elif data.startswith(_PNG):
        if _has_more_chunks(data, limits.chunks):
            raise _too_costly(f"more than {limits.chunks} chunks")
    elif data.startswith(_BMP) and len(data) > limits.run_length_bytes:
        (compression,) = struct.unpack_from("<I", data, _COMPRESSION_AT)
        if compression in _RUN_LENGTHS:
            raise _too_costly(f"{len(data)} bytes, run-length encoded; at most {limits.run_length_bytes}")


def _has_more_chunks(data: bytes, max_chunks: int) -> bool:
    """Whether a PNG file has more than `max_chunks` chunks: each has a length, a name, content and a checksum."""
    position = len(_PNG)
    for _ in range(max_chunks):
        if position + 8 > len(data):
            return False
        (length,) = struct.unpack_from(">I", data, position)
        position += 12 + length
    return position + 8 <= len(data)


def _has_more_segments(data: bytes, limit: int) -> bool:
    """Whether a JPEG's head has more than `limit` segments, fill bytes and bytes of junk, which are read singly."""
    position = len(_JPEG)
    for _ in range(limit):
        if position + 4 > len(data):
            return False
        mark, kind = data[position], data[position + 1]
        if mark != _MARK or kind == _MARK:
            position += 1
        elif kind == _SCAN:
            return False
        elif kind in _BARE_MARKERS:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True


def _too_costly(detail: str) -> InvalidRequest:
    return InvalidRequest(f"the image takes too long to decode: {detail}", code="image_too_large")
