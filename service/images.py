"""Preparation of one image: any picture of one dark or bright digit becomes 28 rows as MNIST has them.

Steps: size limit before decoding; first frame; EXIF orientation; transparency, palettes, CMYK and 16 bit to one grey
channel; paper estimated as a smooth surface, so uneven light does no harm; which side of it is ink; threshold; specks
removed; crop; thin strokes thickened; the longer side to 20 pixels; centre of mass to the middle of 28 x 28 (the recipe
of the MNIST collection: http://yann.lecun.com/exdb/mnist/). `Preparation` reports what was done. Pillow and numpy only.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFilter, ImageOps, UnidentifiedImageError

from service.errors import InvalidRequest

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SIDE, BOX = 28, 20  # pixels of the answer, and of the digit inside
_FULL = np.float32(255)
_WORK = 256  # the longer side is reduced to at most this: ten times more than the answer holds
_COARSE = 64  # the paper is smooth: it is estimated on at most this many pixels a side
_LEAST_CONTRAST = 0.06  # ink nearer to the paper than this (of the full scale) is none
_NOISE = 6.0  # … or than this many standard deviations of the paper
_FAINT = 0.1  # a stroke's soft edge counts for the crop where it is at least this dark
_SPECK = 0.02  # parts smaller than this share of the largest one are dirt
_THIN = 0.08  # strokes thinner than this share of the digit's longer side are thickened

_UPRIGHT = {  # EXIF orientation -> what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns at one size and refuses at its double; here the limit is a setting, checked before pixels are decoded.
Image.MAX_IMAGE_PIXELS = None

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Preparation(Struct, frozen=True, gc=False):
    """What was done to an image; `box` is left, top, right, bottom in pixels of the upright source."""

    source_size: tuple[int, int]
    inverted: bool
    box: tuple[int, int, int, int]
    frames: int
    rotated: bool
    uneven_paper: bool
    specks: int
    thickened: bool


def prepare(data: bytes, max_pixels: int) -> tuple[Plane, Preparation]:
    """Rows (28, 28), ink 0..1, and the report.

    Raises `InvalidRequest`: `image_too_large` (by its declared size, before decoding), `bad_image`, `blank_image`.
    """
    image, (width, height), frames, rotated = _decode(data, max_pixels)
    grey = _grey(_reduced(image))
    distance, uneven = _paper_distance(grey)
    ink, dark = _ink(distance)
    mask = ink > _threshold(ink)
    mask, specks = _without_specks(mask)
    ink = np.where(_grown(mask), ink, 0)
    left, top, right, bottom = _bounds(ink > _FAINT)
    ink = ink[top:bottom, left:right]
    digit, thickened = _fit(ink, mask[top:bottom, left:right])
    scale_x, scale_y = width / grey.shape[1], height / grey.shape[0]
    box = (round(left * scale_x), round(top * scale_y), round(right * scale_x), round(bottom * scale_y))
    return _centred(digit), Preparation((width, height), dark, box, frames, rotated, uneven, specks, thickened)


def _decode(data: bytes, max_pixels: int) -> tuple[Image.Image, tuple[int, int], int, bool]:
    """The first frame, upright and maybe reduced; its size in the file, upright; frames; whether it was turned."""
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            detail = f"{width} x {height} pixels; at most {max_pixels} in all"
            raise InvalidRequest(detail, code="image_too_large")
        frames = int(getattr(image, "n_frames", 1))
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        image.draft(None, (2 * _WORK, 2 * _WORK))  # a JPEG is decoded at an eighth of its size where that is enough
        image.load()
        turn = _UPRIGHT.get(orientation)
        upright = image if turn is None else image.transpose(turn)
    except UnidentifiedImageError as error:
        raise InvalidRequest("not an image in PNG, JPEG, WebP or BMP format", code="bad_image") from error
    except InvalidRequest:
        raise
    except Exception as error:  # on damage decoders raise nearly anything
        raise InvalidRequest("the image is damaged and cannot be decoded", code="bad_image") from error
    size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    return upright, size, frames, turn is not None


def _reduced(image: Image.Image) -> Image.Image:
    """At most `_WORK` pixels a side, by averaging whole blocks where the mode allows it."""
    factor = -(-max(image.size) // _WORK)
    if factor == 1:
        return image
    if image.mode in ("P", "1", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    return image.reduce(factor)


def _grey(image: Image.Image) -> Plane:
    """Luminance (H, W) in 0..1. Transparency is laid on whatever the opaque part stands out from: white or black."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return np.asarray(image, np.float32) / np.float32(65535)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"), np.float32) / _FULL
        light = np.asarray(rgba.convert("RGB").convert("L"), np.float32) / _FULL
        weight = float(alpha.sum())
        paper = 1.0 if weight == 0 or float((alpha * light).sum()) / weight < 0.5 else 0.0
        return np.asarray(light * alpha + paper * (1 - alpha), np.float32)
    return np.asarray(image.convert("RGB").convert("L"), np.float32) / _FULL


def _paper_distance(grey: Plane) -> tuple[Plane, bool]:
    """`grey` minus the paper: a quadratic surface fitted again and again without the pixels that stand off from it."""
    step = -(-max(grey.shape) // _COARSE)
    coarse = grey[step // 2 :: step, step // 2 :: step].ravel()
    basis = _basis(grey.shape)
    design = basis[step // 2 :: step, step // 2 :: step].reshape(len(coarse), -1)
    border = (np.abs(design[:, 1:3]) > 0.85).any(axis=1)
    keep = border if border.sum() >= 3 * design.shape[1] else np.ones(len(coarse), np.bool_)
    level = float(np.median(coarse[keep]))
    keep = keep & (np.abs(coarse - level) < 0.25)
    surface = np.full(grey.shape, level, np.float32)
    for _ in range(4):
        if keep.sum() < 3 * design.shape[1]:
            return grey - np.float32(level), False
        weights = np.linalg.lstsq(design[keep], coarse[keep], rcond=None)[0]
        residual = np.abs(coarse - design @ weights)
        surface = (basis @ weights).astype(np.float32)
        keep = residual < max(0.04, 2.5 * float(np.median(residual[keep])))
    return np.asarray(grey - surface, np.float32), bool(np.ptp(surface) > 0.08)


def _basis(shape: tuple[int, ...]) -> Plane:
    """(H, W, 6): 1, x, y, x2, xy, y2 with x and y in -1..1."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij")
    return np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=-1)


def _ink(distance: Plane) -> tuple[Plane, bool]:
    """Ink 0..1 (1 is the digit's core) and whether ink is darker than paper; raises `blank_image`."""
    dark = bool((distance.astype(np.float64) ** 3).sum() < 0)  # ink stands off further than paper's grain does
    ink = np.maximum(-distance if dark else distance, 0)
    core = float(np.quantile(ink, 1 - max(1 / ink.size, 0.002)))
    paper = np.abs(distance[np.abs(distance) < max(0.5 * core, 1e-6)])
    noise = 1.4826 * float(np.median(paper)) if paper.size else 0.0
    if core < max(_LEAST_CONTRAST, min(_NOISE * noise, 0.5)):
        raise InvalidRequest("no ink stands out from the paper", code="blank_image")
    return np.minimum(ink / np.float32(core), 1), dark


def _threshold(ink: Plane) -> float:
    """Otsu's level (IEEE Trans. SMC 9, 1979), kept where strokes of any width have their edge."""
    counts, edges = np.histogram(ink, bins=64, range=(0, 1))
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mass = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    return float(np.clip(edges[1:][int(np.argmax(np.nan_to_num(between)))], 0.2, 0.5))


def _without_specks(mask: Mask) -> tuple[Mask, int]:
    """Drop connected parts (8 neighbours) far smaller than the largest; also how many were dropped."""
    labels, count = _parts(mask)
    if count == 0:
        raise InvalidRequest("no ink stands out from the paper", code="blank_image")
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    kept = areas >= _SPECK * areas.max()
    kept[0] = False
    return kept[labels], count - int(kept.sum())


def _parts(mask: Mask) -> tuple[NDArray[np.int64], int]:
    """Connected parts labelled 1..count: runs of each row, joined with the runs above that they touch."""
    parent = [0]

    def root(label: int) -> int:
        while parent[label] != label:
            parent[label] = label = parent[parent[label]]
        return label

    labels = np.zeros(mask.shape, np.int64)
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    above: list[tuple[int, int, int]] = []
    for row, edges in enumerate(np.diff(padded, axis=1)):
        runs: list[tuple[int, int, int]] = []
        starts, ends = np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist()
        for start, end in zip(starts, ends, strict=True):
            label = len(parent)
            parent.append(label)
            for other_start, other_end, other in above:
                if other_start <= end and start <= other_end:
                    parent[root(label)] = root(other)
            labels[row, start:end] = label
            runs.append((start, end, label))
        above = runs
    roots = np.array([root(label) for label in range(len(parent))])
    found, compact = np.unique(roots, return_inverse=True)
    return compact[labels], len(found) - 1


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the True part."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _grown(mask: Mask) -> Mask:
    """`mask` and its eight neighbours: a stroke's soft edge belongs to it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])


def _fit(ink: Plane, mask: Mask) -> tuple[Plane, bool]:
    """The crop with its longer side at `BOX` pixels and full contrast; whether its strokes had to be thickened."""
    image = Image.fromarray(np.round(ink * 255).astype(np.uint8))
    longer = max(image.size)
    radius = round((_THIN * longer - _stroke(mask)) / 2)
    if radius > 0:
        image = ImageOps.expand(image, border=radius).filter(ImageFilter.MaxFilter(2 * radius + 1))
    scale = BOX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    digit = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32) / _FULL
    return np.clip(digit / max(float(digit.max()), 1e-3), 0, 1), radius > 0


def _stroke(mask: Mask) -> float:
    """Mean width of the strokes in pixels: twice the area over the length of the outline."""
    padded = np.pad(mask, 1).astype(np.int8)
    outline = int(np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum())
    return 2.0 * float(mask.sum()) / max(outline, 1) * 1.27  # an outline in pixel edges is 4/pi longer on the average


def _centred(digit: Plane) -> Plane:
    """The digit in 28 x 28 with its centre of mass in the middle, as far as the frame allows."""
    rows = np.zeros((SIDE, SIDE), np.float32)
    mass = digit.sum()
    height, width = digit.shape
    y = float((digit.sum(axis=1) * (np.arange(height) + 0.5)).sum() / mass)
    x = float((digit.sum(axis=0) * (np.arange(width) + 0.5)).sum() / mass)
    middle = (SIDE + 1) / 2  # the centre of pixel 14: where the MNIST images have theirs
    top = min(max(round(middle - y), 0), SIDE - height)
    left = min(max(round(middle - x), 0), SIDE - width)
    rows[top : top + height, left : left + width] = digit
    return rows
