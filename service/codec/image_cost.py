"""What a picture costs to decode, bounded by what its file says before a pixel is decoded.

The number of pixels does not bound it: a progressive JPEG may go over the whole image once for every few bytes
(libjpeg-turbo's LJT-01-003), Pillow reads the parts of a PNG, of a TIFF and of a JPEG's head and the runs of a
run-length encoded BMP one by one in Python, and compressed text in a PNG may be much longer than its file.
"""

from __future__ import annotations

import struct

from msgspec import Struct

from service.contract.errors import InvalidRequest

_PNG, _BMP, _JPEG = b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # with + the one for large files
_START_OF_SCAN = b"\xff\xda"  # in the data of a scan, a byte of 0xFF is always followed by 0
_MARK, _SCAN = 0xFF, 0xDA
_BARE_MARKERS = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))  # nothing belongs to them
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))  # they say sizes
_USUAL_SCANS = 12  # of a progressive JPEG; further ones of large pictures are counted by the pixel
_SCANNED = 4  # times as many pixels as a request may have, that all scans go over
_PARTS_OF_TIFF = frozenset((273, 324))  # tags with a number for each of its strips or tiles
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
        has_more, pixels = _segments(data, limits.chunks)
        if has_more:
            raise _too_costly(f"more than {limits.chunks} segments or bytes between them")
        if scans > _USUAL_SCANS and scans * pixels > _SCANNED * limits.pixels:
            raise _too_costly(f"{scans} scans of {pixels} pixels")
    elif data.startswith(_PNG):
        if _has_more_chunks(data, limits.chunks):
            raise _too_costly(f"more than {limits.chunks} chunks")
    elif data.startswith(_TIFF):
        if _has_more_parts(data, limits.chunks):
            raise _too_costly(f"more than {limits.chunks} tags, strips or tiles")
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


def _has_more_parts(data: bytes, limit: int) -> bool:
    """Whether one of the first two directories of a TIFF has more than `limit` tags, strips or tiles."""
    order = "<" if data.startswith(b"II") else ">"
    is_large = b"+" in data[2:4]
    entry = struct.Struct(f"{order}HHQ8x" if is_large else f"{order}HHI4x")
    count, offset = (f"{order}Q", f"{order}Q") if is_large else (f"{order}H", f"{order}I")
    (position,) = _number(data, 8 if is_large else 4, offset)
    for _ in range(2):
        if not position:
            break
        (n_tags,) = _number(data, position, count)
        if n_tags > limit:
            return True
        first = position + struct.calcsize(count)
        end = first + n_tags * entry.size
        entries = data[first:end][: (len(data[first:end]) // entry.size) * entry.size]
        if any(tag in _PARTS_OF_TIFF and n_parts > limit for tag, _, n_parts in entry.iter_unpack(entries)):
            return True
        (position,) = _number(data, end, offset)
    return False


def _number(data: bytes, position: int, kind: str) -> tuple[int]:
    """The number at `position`; 0 beyond the end of the file."""
    return struct.unpack_from(kind, data, position) if position + struct.calcsize(kind) <= len(data) else (0,)


def _segments(data: bytes, limit: int) -> tuple[bool, int]:
    """Whether a JPEG's head has more than `limit` segments, fill bytes and bytes of junk, which are read singly.

    And the pixels of the picture, as far as the head says.
    """
    position, pixels = len(_JPEG), 0
    for _ in range(limit):
        if position + 4 > len(data):
            return False, pixels
        mark, kind = data[position], data[position + 1]
        if mark != _MARK or kind == _MARK:
            position += 1
        elif kind == _SCAN:
            return False, pixels
        elif kind in _BARE_MARKERS:
            position += 2
        else:
            if kind in _FRAMES:
                height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
                pixels = int.from_bytes(height, "big") * int.from_bytes(width, "big")
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True, pixels


def _too_costly(detail: str) -> InvalidRequest:
    return InvalidRequest(f"the image takes too long to decode: {detail}", code="image_too_large")
