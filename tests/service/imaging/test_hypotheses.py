from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from benchmarks.digits.preparation import prepare
from service.contract.errors import InvalidRequest
from service.imaging.filters import Plane
from service.imaging.mnist import BOX, SIDE
from service.imaging.report import Preparation
from tests.pictures import drawn, encoded

PIXELS = 10_000_000


def likeness(a: Plane, b: Plane) -> float:
    """Correlation of two prepared images: 1 for the same picture."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def prepared(image: Image.Image, form: str = "PNG") -> tuple[Plane, Preparation]:
    return prepare(encoded(image, form), PIXELS)


def refused(data: bytes, pixels: int = PIXELS) -> str:
    with pytest.raises(InvalidRequest) as caught:
        prepare(data, pixels)
    return caught.value.code


REFERENCE = prepared(drawn())[0]


def test_the_answer_is_28_rows_with_the_digit_in_a_box_of_20() -> None:
    rows, report = prepared(drawn())
    assert rows.shape == (SIDE, SIDE)
    assert rows.dtype == np.float32
    assert (rows.min(), rows.max()) == (0, 1)
    inked = np.argwhere(rows > 0)
    assert (np.ptp(inked, axis=0) + 1).max() == BOX
    centre = (rows.sum(1) @ np.arange(SIDE)) / rows.sum(), (rows.sum(0) @ np.arange(SIDE)) / rows.sum()
    assert np.abs(np.array(centre) - 14).max() <= 0.5
    assert report.source_size == (280, 280)
    assert report.inverted
    assert not report.rotated


def test_the_box_is_where_the_ink_is() -> None:
    image = Image.new("L", (400, 300), 255)
    ImageDraw.Draw(image).rectangle((100, 50, 139, 249), fill=0)
    box = prepared(image)[1].box
    assert np.abs(np.array(box) - (100, 50, 140, 250)).max() <= 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_every_format(form: str) -> None:
    assert likeness(prepared(drawn(), form)[0], REFERENCE) > 0.99


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_a_png(mode: str) -> None:
    image = drawn()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        assert image.mode == "I;16"
    else:
        image = image.convert(mode)
    assert likeness(prepared(image)[0], REFERENCE) > 0.97


def test_cmyk() -> None:
    assert likeness(prepared(drawn().convert("CMYK"), "JPEG")[0], REFERENCE) > 0.98


@pytest.mark.parametrize(
    ("paper", "ink", "inverted"), [(255, 0, True), (0, 255, False), (200, 120, True), (90, 140, False)]
)
def test_which_way_round_ink_and_paper_are(paper: int, ink: int, inverted: bool) -> None:
    rows, report = prepared(drawn(paper=paper, ink=ink))
    assert report.inverted is inverted
    assert likeness(rows, REFERENCE) > 0.98


@pytest.mark.parametrize("ink", [0, 255])
def test_transparent_paper_is_whatever_the_ink_stands_out_from(ink: int) -> None:
    layer = Image.new("RGBA", (280, 280), (ink, ink, ink, 0))
    layer.putalpha(ImageOps.invert(drawn(ink=0)))
    rows, report = prepared(layer)
    assert likeness(rows, REFERENCE) > 0.98
    assert report.inverted is (ink == 0)


def test_a_transparent_palette() -> None:
    image = drawn(ink=0).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    white = int(np.asarray(image)[0, 0])
    assert likeness(prepare(encoded(image, transparency=white), PIXELS)[0], REFERENCE) > 0.97


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
    ],
)
def test_exif_orientation_is_undone(orientation: int, stored: Image.Transpose) -> None:
    upright = drawn()
    canvas = Image.new("L", (400, 280), 255)
    canvas.paste(upright, (60, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows, report = prepare(encoded(canvas.transpose(stored), "JPEG", exif=exif), PIXELS)
    assert report.rotated
    assert report.source_size == (400, 280)
    assert likeness(rows, REFERENCE) > 0.98


def test_the_first_frame_of_an_animation_counts() -> None:
    rows, report = prepare(
        encoded(drawn("7"), "WEBP", save_all=True, append_images=[drawn("1"), drawn("2")], lossless=True), PIXELS
    )
    assert report.frames == 3
    assert likeness(rows, REFERENCE) > 0.98


@pytest.mark.parametrize("size", [28, 40, 100, 1000, 2500])
def test_any_size(size: int) -> None:
    rows, report = prepared(drawn(size=size))
    assert report.source_size == (size, size)
    assert likeness(rows, REFERENCE) > 0.9


def test_uneven_light_and_grain_do_no_harm() -> None:
    light = np.linspace(0.35, 1, 280)[None] * np.linspace(0.6, 1, 280)[:, None]
    grain = np.random.default_rng(0).normal(0, 0.02, (280, 280))
    photo = (np.asarray(drawn()) / 255 * light * 0.9 + grain).clip(0, 1) * 255
    rows, report = prepare(encoded(Image.fromarray(photo.astype(np.uint8)), "JPEG", quality=60), PIXELS)
    assert report.uneven_paper
    assert report.inverted
    assert likeness(rows, REFERENCE) > 0.95


def test_specks_are_dropped_and_counted() -> None:
    image = drawn()
    draw = ImageDraw.Draw(image)
    for x, y in [(10, 10), (270, 20), (15, 260)]:
        draw.rectangle((x, y, x + 2, y + 2), fill=0)
    rows, report = prepared(image)
    assert report.specks == 3
    assert likeness(rows, REFERENCE) > 0.99


def test_a_thin_pen_is_thickened() -> None:
    image = Image.new("L", (600, 600), 255)
    ImageDraw.Draw(image).line([(200, 150), (400, 150), (270, 450)], fill=0, width=3)
    rows, report = prepared(image)
    assert report.thickened
    assert (rows > 0.5).sum(axis=1)[10:20].min() >= 1  # the stroke is there in every row
    assert not prepared(drawn())[1].thickened


def test_a_wide_and_a_tall_digit_keep_their_shape() -> None:
    for size in ((200, 20), (20, 200)):
        image = Image.new("L", (300, 300), 255)
        x, y = (300 - size[0]) // 2, (300 - size[1]) // 2
        ImageDraw.Draw(image).rectangle((x, y, x + size[0] - 1, y + size[1] - 1), fill=0)
        extent = np.ptp(np.argwhere(prepared(image)[0] > 0.3), axis=0) + 1
        assert sorted(extent.tolist()) == [2, 20]


def test_a_small_digit_in_a_large_picture_is_looked_at_from_closer_by() -> None:
    light = np.linspace(0.8, 1, 1400)[None] * np.linspace(0.9, 1, 1000)[:, None]
    image = Image.new("L", (1400, 1000), 230)
    image.paste(drawn(size=100, paper=230), (900, 300))
    rows, report = prepare(encoded(Image.fromarray((np.asarray(image) * light).astype(np.uint8))), PIXELS)
    assert report.enlarged
    assert 900 <= report.box[0] < report.box[2] <= 1000
    assert 300 <= report.box[1] < report.box[3] <= 400
    assert likeness(rows, REFERENCE) > 0.95
    assert not prepared(drawn())[1].enlarged


def test_the_edge_of_a_shadow_through_the_digit() -> None:
    photo = np.asarray(drawn()) * np.where(np.arange(280) < 140, 1.0, 0.5)
    rows, report = prepare(encoded(Image.fromarray(photo.astype(np.uint8))), PIXELS)
    assert report.uneven_paper
    assert likeness(rows, REFERENCE) > 0.95


@pytest.mark.parametrize("sides", [(40, 30, 0, 0), (60, 0, 0, 25), (50, 50, 50, 50)])
def test_a_sheet_of_paper_on_a_table(sides: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = sides
    photo = np.pad(np.asarray(drawn(paper=230)), ((y0, y1), (x0, x1)), constant_values=110)
    rows, report = prepare(encoded(Image.fromarray(photo)), PIXELS)
    assert report.inverted
    assert likeness(rows, REFERENCE) > 0.95


@pytest.mark.parametrize("blur", [8, 12])
def test_a_hole_in_broad_soft_strokes_is_no_digit_on_a_sheet(blur: int) -> None:
    image = Image.new("L", (240, 320), 255)
    pencil = ImageDraw.Draw(image)
    pencil.rounded_rectangle((60, 60, 180, 260), 40, fill=0)
    pencil.ellipse((90, 90, 150, 160), fill=255)
    box = prepared(image.filter(ImageFilter.GaussianBlur(blur)))[1].box
    assert np.abs(np.array(box) - (60, 60, 180, 260)).max() <= 8


def test_printed_lines_and_the_box_of_a_form_are_left_out() -> None:
    image = drawn()
    draw = ImageDraw.Draw(image)
    for y in range(15, 280, 70):
        draw.line([(0, y), (279, y)], fill=60, width=2)
    rows, report = prepared(image)
    assert report.lines == 4
    assert likeness(rows, REFERENCE) > 0.95
    image = drawn()
    ImageDraw.Draw(image).rectangle((20, 20, 259, 259), outline=0, width=4)
    rows, report = prepared(image)
    assert (report.digits, likeness(rows, REFERENCE) > 0.99) == (1, True)


def test_several_digits_are_counted_and_one_is_read() -> None:
    image = Image.new("L", (420, 280), 255)
    image.paste(drawn("1", size=210), (0, 30))
    image.paste(drawn("7").crop((40, 0, 240, 280)), (200, 0))
    rows, report = prepared(image)
    assert report.digits == 2
    assert report.box[0] > 200
    assert likeness(rows, REFERENCE) > 0.98
    assert prepared(drawn())[1].digits == 1


def rectangles(size: tuple[int, int], *boxes: tuple[int, int, int, int], paper: int = 255) -> Image.Image:
    """Black rectangles (x0, y0, x1, y1, ends excluded) on paper of width x height."""
    image = Image.new("L", size, paper)
    for x0, y0, x1, y1 in boxes:
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=0)
    return image


@pytest.mark.parametrize(("width", "thickened"), [(12, True), (18, False)])
def test_strokes_thinner_than_a_twelfth_of_the_digit_are_thickened(width: int, thickened: bool) -> None:
    assert prepared(rectangles((250, 250), (100, 25, 100 + width, 225)))[1].thickened is thickened


@pytest.mark.parametrize(("strength", "x0"), [(0.15, 99), (0.07, 100)])
def test_the_soft_edge_of_a_stroke_belongs_to_the_digit(strength: float, x0: int) -> None:
    image = Image.new("L", (250, 250), 255)
    ImageDraw.Draw(image).rectangle((99, 49, 140, 200), fill=round(255 * (1 - strength)))
    image.paste(0, (100, 50, 140, 200))
    assert prepared(image)[1].box[0] == x0


@pytest.mark.parametrize(("height", "enlarged"), [(230, True), (250, False)])
def test_a_digit_below_a_quarter_of_the_picture_is_enlarged(height: int, enlarged: bool) -> None:
    assert prepared(rectangles((1024, 1024), (500, 300, 560, 300 + height)))[1].enlarged is enlarged


def test_a_small_picture_has_nothing_to_enlarge() -> None:
    assert not prepared(rectangles((200, 200), (90, 80, 98, 120)))[1].enlarged


@pytest.mark.parametrize(("gap", "specks"), [(60, 1), (84, 1), (120, 0)])
def test_a_small_digit_is_cut_out_with_a_margin(gap: int, specks: int) -> None:
    image = rectangles((1024, 1024), (500, 300, 560, 500), (560 + gap, 400, 580 + gap, 420))
    assert prepared(image)[1].specks == specks


@pytest.mark.parametrize(
    ("start", "height", "noise", "is_read"),
    [
        (16, 100, 0, True),
        (10, 100, 0, False),  # too near to the sheet's edge
        (90, 60, 0, True),
        (90, 12, 0, False),  # too low
        (90, 100, 14, True),
        (90, 100, 28, False),  # too noisy
    ],
)
def test_a_dark_bar_on_a_bright_sheet_in_a_dark_room(start: int, height: int, noise: float, is_read: bool) -> None:
    image = Image.new("L", (280, 280), 30)
    image.paste(rectangles((200, 200), (start, 60, start + 16, 60 + height), paper=220), (40, 40))
    noisy = np.asarray(image) + np.random.default_rng(5).normal(0, noise, (280, 280))
    assert prepared(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))[1].inverted is is_read


def test_a_ring_is_no_sheet_with_its_hole_as_the_digit() -> None:
    image = rectangles((300, 300), (50, 50, 250, 250))
    image.paste(255, (85, 85, 215, 215))
    assert prepared(image)[1].box == pytest.approx((50, 50, 250, 250), abs=2)


def test_a_digit_may_lie_along_the_edge_of_a_shadow_for_less_than_half_of_its_strokes() -> None:
    photo = np.asarray(drawn("4")) * np.where(np.arange(280) < 150, 1.0, 0.3)
    report = prepare(encoded(Image.fromarray(photo.astype(np.uint8))), PIXELS)[1]
    assert report.uneven_paper
    assert report.box == pytest.approx((88, 76, 190, 214), abs=2)


@pytest.mark.parametrize(("top", "count", "is_digit"), [(0, 20, True), (0, 30, True), (0, 31, False), (20, 31, True)])
def test_a_mark_at_the_border_of_uneven_paper_is_a_digit_with_few_specks(top: int, count: int, is_digit: bool) -> None:
    photo = np.tile(np.linspace(60, 230, 250), (250, 1))
    photo[top:180, 120:132] = 20
    for index in range(count):
        y, x = divmod(index, 6)
        photo[20 + 30 * y : 22 + 30 * y, 150 + 15 * x : 152 + 15 * x] = 20
    data = encoded(Image.fromarray(photo.astype(np.uint8)))
    if is_digit:
        assert prepare(data, PIXELS)[1].specks == count
    else:
        assert refused(data) == "blank_image"


@pytest.mark.parametrize(("width", "is_digit"), [(50, True), (60, False)])
def test_what_touches_the_border_has_strokes(width: int, is_digit: bool) -> None:
    image = rectangles((200, 200), (0, 50, width, 150))
    if is_digit:
        assert prepared(image)[1].box == (0, 50, width, 150)
    else:
        assert refused(encoded(image)) == "blank_image"


@pytest.mark.parametrize(("paper", "ink", "contrast"), [(255, 0, 1.0), (255, 128, 0.5), (0, 102, 0.4)])
def test_the_contrast_is_reported(paper: int, ink: int, contrast: float) -> None:
    assert prepared(drawn(paper=paper, ink=ink))[1].contrast == pytest.approx(contrast, abs=0.02)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_blank_image_has_no_ink(level: int) -> None:
    assert refused(encoded(Image.new("L", (100, 100), level))) == "blank_image"


def test_noise_and_a_gradient_are_blank() -> None:
    noise = np.random.default_rng(1).normal(128, 4, (200, 200)).clip(0, 255).astype(np.uint8)
    assert refused(encoded(Image.fromarray(noise))) == "blank_image"
    pepper = np.where(np.random.default_rng(2).random((200, 200)) < 0.02, 0, 255).astype(np.uint8)
    assert refused(encoded(Image.fromarray(pepper))) == "blank_image"
    gradient = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))
    assert refused(encoded(Image.fromarray(gradient))) == "blank_image"


@pytest.mark.parametrize("blur", [0.0, 3.0])
def test_empty_paper_with_the_edge_of_a_shadow_or_of_the_sheet_is_blank(blur: float) -> None:
    for corner in ((130, 0), (130, 90), (0, 150)):
        photo = Image.new("L", (300, 280), 205)
        photo.paste(120, (*corner, 300, 280))
        assert refused(encoded(photo.filter(ImageFilter.GaussianBlur(blur)))) == "blank_image"


def test_the_shade_at_one_side_of_empty_paper_is_blank() -> None:
    across = np.clip((np.arange(200) - 120) / 80, 0, 1)
    down = np.exp(-0.5 * ((np.arange(300) - 150) / 60) ** 2)
    shade = 200 - 120 * down[:, None] * across[None, :]
    shade += np.random.default_rng(3).normal(0, 3, shade.shape)
    assert refused(encoded(Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)))) == "blank_image"


@pytest.mark.parametrize(("depth", "grain", "height"), [(40, 3, 120), (40, 4, 60), (60, 6, 60)])
def test_shade_in_the_corners_of_grainy_paper_is_blank(depth: float, grain: float, height: float) -> None:
    y, x = np.mgrid[:340, :240]
    shade = 190 - depth * np.exp(-(((x - 240) / 90) ** 2) - ((y - 60) / height) ** 2)
    shade -= 0.6 * depth * np.exp(-((x / 80) ** 2) - ((y - 340) / height) ** 2)
    shade += np.random.default_rng(3).normal(0, grain, shade.shape)
    assert refused(encoded(Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)))) == "blank_image"


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (2, 2)])
def test_tiny_images_are_answered_or_refused(size: tuple[int, int]) -> None:
    assert refused(encoded(Image.new("L", size, 255))) == "blank_image"


def test_what_is_no_image() -> None:
    assert refused(b"") == "bad_image"
    assert refused(b"hello") == "bad_image"
    assert refused(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "bad_image"
    assert refused(encoded(drawn(), "ICO")) == "bad_image"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_a_truncated_image(form: str) -> None:
    data = encoded(drawn(), form)
    assert refused(data[: len(data) // 2]) == "bad_image"


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_the_size_is_checked_before_anything_is_decoded() -> None:
    assert refused(png(50_000, 50_000)) == "image_too_large"
    assert refused(encoded(drawn(size=200)), pixels=200 * 200 - 1) == "image_too_large"
    prepare(encoded(drawn(size=200)), 200 * 200)


def attempt(data: bytes) -> Plane | str:
    """The rows, or the code of the refusal."""
    try:
        return prepare(data, PIXELS)[0]
    except InvalidRequest as error:
        return error.code


def is_prepared(answer: Plane | str) -> bool:
    return isinstance(answer, np.ndarray) and answer.shape == (SIDE, SIDE) and 0 <= answer.min() <= answer.max() <= 1


@settings(max_examples=40)
@given(
    st.integers(min_value=0, max_value=10_000),
    st.integers(min_value=1, max_value=255),
    st.sampled_from(["PNG", "WEBP"]),
)
def test_a_flipped_byte_is_answered_or_refused(position: int, flip: int, form: str) -> None:
    data = bytearray(encoded(drawn(size=64), form))
    data[position % len(data)] ^= flip
    answer = attempt(bytes(data))
    assert is_prepared(answer) or answer in ("bad_image", "blank_image", "image_too_large")


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_any_pixels_give_finite_rows_or_a_refusal(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    answer = attempt(encoded(Image.fromarray(pixels)))
    assert is_prepared(answer) or answer == "blank_image"


@pytest.mark.data
def test_preparing_an_mnist_image_changes_next_to_nothing(real_data: Path) -> None:
    raw = gzip.decompress((real_data / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, SIDE, SIDE)[:300]
    changes = [np.abs(prepared(Image.fromarray(image))[0] - image / 255).mean() for image in images]
    assert np.quantile(changes, 0.99) < 0.005
