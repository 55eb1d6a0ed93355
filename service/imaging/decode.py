"""From the bytes of an image file of any format, mode and orientation to one upright plane of grey.

Size limit before decoding; first frame; EXIF orientation; transparency, palettes, CMYK, colours and 16 bit.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from service.contract.errors import InvalidRequest
from service.imaging.filters import Plane, to_grey
from service.imaging.formats import READABLE, unreadable
from service.imaging.parameters import PARAMETERS

_FULL = np.float32(255)

_TO_UPRIGHT = {  # EXIF orientation -> the turn that makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_MAX_EXIF = 1 << 17  # bytes, or characters where they are written as text; its tags are read one by one
_CAMERA_FORMATS = frozenset({"JPEG", "MPO", "AVIF"})
_PHOTOGRAPH_SIDE = 640  # pixels: a drawing has fewer

# Pillow warns at one size and refuses at its double; here the limit is a setting, checked before pixels are decoded.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_MEMORY = 16 << 20  # bytes that all texts of a PNG may have together, which are compressed there
# It also warns of each tag that it leaves out. A file may have 65,535 of them, of which each would be a line of the log
# and, since Python remembers what it warned of, be kept for ever.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # the answer says what is wrong with a file

Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A part of a picture as a plane of grey 0..1 (H, W), which may have a margin around it that was added."""

    plane: Plane
    box: Box  # in pixels of the decoded image, without the margin
    margin: int = 0  # pixels of the plane


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded image, upright; a JPEG may have been reduced on the way."""

    image: Image.Image
    whole: View
    size: tuple[int, int]  # width and height in the file, upright
    frames: int
    rotated: bool
    is_photograph: bool = False  # by its format or its size

    def view(self, box: Box) -> View:
        """What is within `box`, reduced to at most `PARAMETERS.plane_side` pixels a side."""
        return self.whole if box == self.whole.box else view_of(self.image.crop(box), box)


def decode(data: bytes, max_pixels: int) -> Picture:
    """The first frame of the file.

    Raises `InvalidRequest`: `image_too_large` (by its declared size, before decoding), `bad_image`.
    """
    try:
        image = Image.open(BytesIO(data), formats=READABLE)
        width, height = image.size
        if width * height > max_pixels:
            detail = f"{width} x {height} pixels; at most {max_pixels} in all"
            raise InvalidRequest(detail, code="image_too_large")
        frames = _frame_count(image)
        orientation = _orientation(image)
        draft_side = PARAMETERS.draft_scale * PARAMETERS.plane_side
        image.draft(None, (draft_side, draft_side))
        image.load()
        turn = _TO_UPRIGHT.get(orientation)
        upright = image if turn is None else image.transpose(turn)
        if upright.mode in ("LAB", "HSV", "YCbCr"):
            upright = upright.convert("RGB")
    except UnidentifiedImageError as error:
        raise InvalidRequest(unreadable(data), code="bad_image") from error
    except InvalidRequest:
        raise
    except Exception as error:  # on damage decoders raise nearly anything
        raise InvalidRequest("the image is damaged and cannot be decoded", code="bad_image") from error
    size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    is_photograph = image.format in _CAMERA_FORMATS or max(size) > _PHOTOGRAPH_SIDE
    return Picture(upright, view_of(upright, (0, 0, *upright.size)), size, frames, turn is not None, is_photograph)


def view_of(image: Image.Image, box: Box) -> View:
    """`image`, which is what a decoded one has within `box`, at no more than `PARAMETERS.plane_side` pixels a side."""
    return View(_grey_plane(_reduced(image)), box)


def _orientation(image: Image.Image) -> int:
    """How the image is to be turned, as EXIF numbers it; an EXIF of an unusual length is not looked at."""
    exif = image.info.get("exif") or image.info.get("Raw profile type exif") or b""
    orientation: int = 1 if len(exif) > _MAX_EXIF else image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation


def _frame_count(image: Image.Image) -> int:
    """Frames by the header; of a GIF or TIFF, which must be searched for them, 2 where there is more than one."""
    if image.format not in ("GIF", "TIFF"):
        return int(getattr(image, "n_frames", 1))
    return 1 + bool(getattr(image, "is_animated", False))


def _reduced(image: Image.Image) -> Image.Image:
    """The image at no more than `PARAMETERS.plane_side` pixels a side, by the mean of whole blocks."""
    factor = -(-max(image.size) // PARAMETERS.plane_side)
    if factor == 1:
        return image
    if image.mode in ("P", "1", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    return image.reduce(factor)


def _grey_plane(image: Image.Image) -> Plane:
    """Grey (H, W) in 0..1. Transparency is laid on the one of white and black that the opaque part stands out from."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _unit_plane(np.asarray(image, np.float32))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"), np.float32) / _FULL
        colours, alpha = pixels[..., :3], pixels[..., 3:]
        weight = float(alpha.sum())
        paper = 1.0 if weight == 0 or float((alpha * colours).sum()) / (3 * weight) < 0.5 else 0.0
        return to_grey(colours * alpha + np.float32(paper) * (1 - alpha))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), np.float32) / _FULL
    return to_grey(np.asarray(image.convert("RGB"), np.float32) / _FULL)


def _unit_plane(values: Plane) -> Plane:
    """Levels of 16 bits (0..65535), or of a format with any scale, in 0..1."""
    values = np.nan_to_num(values, posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and 1 < high <= 65535:
        return values / np.float32(65535)
    return np.asarray((values - low) / max(high - low, 1e-12), np.float32) if low < 0 or high > 1 else values
