"""Pictures that are cheap to send and dear to decode are refused before they are decoded."""

from __future__ import annotations

import math
import struct
import time
import zlib

import pytest
from PIL import Image

from service.codec.image_cost import ImageLimits, check_cost
from service.codec.images import ImagePreparer
from service.codec.strict_json import FieldErrors
from service.contract.errors import InvalidRequest
from tests.pictures import drawn, encoded

SECONDS = 2.0  # for one of the largest that are allowed: on a quiet machine half of it


def progressive(scans: int) -> bytes:
    """A progressive JPEG with so many scans: its last one is repeated, which refines nothing."""
    data = encoded(drawn(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (scans - data.count(b"\xff\xda") + 1) + data[-2:]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(chunks: int) -> bytes:
    """A PNG of so many chunks, most of them empty text."""
    data = encoded(drawn())
    signature, rest = data[:33], data[33:]
    count, position = 1, 33
    while position < len(data):
        count, position = count + 1, position + 12 + struct.unpack_from(">I", data, position)[0]
    return signature + chunk(b"prVt", b"") * (chunks - count) + rest


def bitmap(size: int, compression: int = 1) -> bytes:
    """A BMP of so many bytes that says it is run-length encoded: runs of one black pixel."""
    side = 2_000
    palette = bytes(4) + bytes([255, 255, 255, 0]) * 255
    offset = 14 + 40 + len(palette)
    header = struct.pack("<2sIHHI", b"BM", size, 0, 0, offset)
    header += struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, compression, size - offset, 0, 0, 256, 0)
    return header + palette + b"\x01\x00" * ((size - offset) // 2) + b"\x00" * ((size - offset) % 2)


def tiff(tags: int, strips: int, order: str = "<", pages: int = 1) -> bytes:
    """A TIFF of so many tags, whose last page has so many strips of one pixel, all in one place."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    for page in range(pages):
        n_strips = strips if page == pages - 1 else 1
        known = {256: 1, 257: n_strips, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
        entries = [(tag, 4, 1, number) for tag, number in known.items()]
        end = len(data) + 2 + 12 * tags + 4
        entries += [(273, 3, n_strips, end), (279, 3, n_strips, end + 2 * n_strips)]
        entries += [(1000 + n, 4, 1, 0) for n in range(tags - len(entries))]
        data += struct.pack(f"{order}H", tags) + b"".join(struct.pack(f"{order}HHII", *e) for e in sorted(entries))
        following = end + 4 * n_strips if page < pages - 1 else 0
        data += struct.pack(f"{order}I", following) + struct.pack(f"{order}{n_strips}H", *[8] * n_strips)
        data += struct.pack(f"{order}{n_strips}H", *[1] * n_strips)
    return data


LIMITS = ImageLimits(scans=20, chunks=50, run_length_bytes=10_000)


@pytest.mark.parametrize(
    ("data", "is_refused"),
    [
        (progressive(19), False),
        (progressive(20), False),
        (progressive(21), True),
        (png(49), False),
        (png(50), False),
        (png(51), True),
        (tiff(50, 50), False),
        (tiff(51, 1), True),
        (tiff(9, 51), True),
        (tiff(9, 51, ">"), True),
        (tiff(9, 50, ">", pages=2), False),
        (tiff(9, 51, pages=2), True),
        (bitmap(9_999), False),
        (bitmap(10_000), False),
        (bitmap(10_001), True),
        (bitmap(10_001, compression=2), True),
        (bitmap(10_001, compression=0), False),
    ],
)
def test_what_a_picture_costs_is_bounded(data: bytes, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(InvalidRequest) as caught:
            check_cost(data, LIMITS)
        assert caught.value.code == "image_too_large"
    else:
        check_cost(data, LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"BM", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffabcd"),
        *(b"II*\0", b"MM\0+\xff", b"II*\0\xff\xff\xff\xff", tiff(9, 1)[:60], b"MM\0+" + b"\xff" * 20),
    ],
)
def test_what_is_cut_short_is_left_to_the_decoder(data: bytes) -> None:
    check_cost(data, LIMITS)


@pytest.mark.parametrize(
    ("image", "form", "options"),
    [
        (Image.effect_noise((2_000, 2_000), 60), "JPEG", {"progressive": True, "quality": 60}),
        (Image.effect_noise((1_500, 1_500), 60), "PNG", {}),
        (Image.effect_noise((3_000, 1_000), 60), "BMP", {}),
        (Image.effect_noise((1_000, 1_000), 60), "WEBP", {}),
        (Image.effect_noise((3_000, 3_000), 60), "TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_ordinary_pictures_are_far_from_the_limits(image: Image.Image, form: str, options: dict[str, object]) -> None:
    check_cost(encoded(image, form, **options), ImageLimits())


def test_a_refusal_names_the_picture_and_the_limit() -> None:
    errors = FieldErrors()
    images = ImagePreparer(LIMITS, math.inf, errors)
    assert not images.prepare(progressive(21), "#/inputs/3/image").hypotheses
    (error,) = errors.listed
    assert (error.pointer, error.code) == ("#/inputs/3/image", "image_too_large")
    assert "21 scans; at most 20" in error.detail


def test_the_scans_of_a_large_picture_are_counted_by_the_pixel() -> None:
    """55 scans of 62 million pixels took 5 s."""
    limits = ImageLimits(pixels=20_000, scans=64)
    check_cost(progressive(12), limits)
    with pytest.raises(InvalidRequest, match="20 scans of"):
        check_cost(progressive(20), limits)


@pytest.mark.parametrize(
    "data", [progressive(64), png(8192), bitmap(1 << 20), tiff(4096, 8192)], ids=["jpeg", "png", "bmp", "tiff"]
)
def test_the_largest_that_are_allowed_are_prepared_in_bounded_time(data: bytes) -> None:
    check_cost(data, ImageLimits())
    started = time.thread_time()
    ImagePreparer(ImageLimits(), math.inf, FieldErrors()).prepare(data, "#")
    assert time.thread_time() - started < SECONDS


@pytest.mark.parametrize(
    "part", [b"\xff", b"\x00", b"\xff\x01", b"\xff\xfe\x00\x02"], ids=["fill", "junk", "bare markers", "comments"]
)
def test_the_parts_of_the_head_of_a_jpeg_are_bounded(part: bytes) -> None:
    data = encoded(drawn(), "JPEG")
    own = next(most for most in range(50) if _is_read(data, most))  # segments that it has anyway
    for count in (9, 10):
        assert _is_read(data[:2] + part * count + data[2:], own + 10)
    assert not _is_read(data[:2] + part * 11 + data[2:], own + 10)
    with pytest.raises(InvalidRequest, match="more than 50 segments") as caught:
        check_cost(data[:2] + part * 1000 + data[2:], LIMITS)
    assert caught.value.code == "image_too_large"


def _is_read(data: bytes, most: int) -> bool:
    try:
        check_cost(data, ImageLimits(chunks=most))
    except InvalidRequest:
        return False
    return True
