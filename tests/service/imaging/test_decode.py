from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from service.contract.errors import InvalidRequest
from service.imaging.decode import decode
from service.imaging.parameters import PARAMETERS
from tests.pictures import drawn, encoded

PIXELS = 10_000_000


@pytest.mark.parametrize("size", [(3, 5), (256, 100), (257, 100), (900, 2000)])
def test_a_plane_has_at_most_so_many_pixels_a_side(size: tuple[int, int]) -> None:
    picture = decode(encoded(Image.new("L", size, 128)), PIXELS)
    plane = picture.whole.plane
    assert picture.size == size
    assert plane.dtype == np.float32
    assert max(plane.shape) <= PARAMETERS.plane_side
    np.testing.assert_allclose(plane, 128 / 255, atol=1e-3)


def test_a_box_is_seen_in_all_its_pixels() -> None:
    image = Image.new("L", (1000, 800), 255)
    image.paste(drawn(size=100), (700, 300))
    picture = decode(encoded(image), PIXELS)
    np.testing.assert_allclose(picture.view((700, 300, 800, 400)).plane, np.asarray(drawn(size=100)) / 255, atol=1e-6)


def test_a_large_jpeg_is_reduced_while_it_is_decoded() -> None:
    picture = decode(encoded(drawn(size=2400), "JPEG"), PIXELS)
    assert picture.size == (2400, 2400)
    assert picture.image.size == (1200, 1200)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_ink_that_differs_in_colour_alone(mode: str) -> None:
    colours = Image.merge(
        "RGB", [drawn(size=140, paper=200, ink=0), drawn(size=140, paper=0, ink=102), drawn(size=140, paper=0, ink=0)]
    )
    plane = decode(encoded(colours.convert(mode)), PIXELS).whole.plane
    ink = np.asarray(drawn(size=140)) < 30
    assert abs(plane[ink].mean() - plane[~ink].mean()) > 0.4


def test_what_decoders_warn_of_is_no_line_of_the_log() -> None:
    """A line for each tag of a picture, and for each an entry in Python's list of warnings, which stays."""
    tags = b"".join(struct.pack("<HHII", 1000 + n, 7, 5 + n, 1 << 20) for n in range(300))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 300) + tags + bytes(4)
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "WEBP", exif=exif)
    program = "import sys; from service.imaging.decode import decode; decode(sys.stdin.buffer.read(), 10_000)"
    run = subprocess.run([sys.executable, "-c", program], input=file.getvalue(), capture_output=True, check=True)
    assert run.stderr == b""
    assert not logging.getLogger("PIL.TiffImagePlugin").isEnabledFor(logging.ERROR)


def test_the_texts_of_a_picture_are_bounded() -> None:
    """60 kB of a PNG became 51 MiB."""
    info = PngImagePlugin.PngInfo()
    for number in range(40):
        info.add_text(f"text{number}", "a" * 900_000, zip=True)
    with pytest.raises(InvalidRequest, match="cannot be decoded"):
        decode(encoded(Image.new("L", (20, 20)), pnginfo=info), 10_000)
