"""service.imaging.search: a clean picture goes straight through the stages, and needs no more than one paper."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from service import imaging
from service.contract.errors import InvalidRequest
from service.imaging import binarize
from service.imaging.decode import decode
from service.imaging.hypotheses import hypotheses
from service.imaging.search import search
from tests.pictures import drawn, encoded

FOLDER = str(Path(imaging.__file__).parent)


def stays(call: Callable[[], object]) -> list[str]:
    """The modules of the package in the order in which their functions are called, each stay once."""
    files: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(FOLDER):
            files.append(Path(name).stem)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return [name for name, _ in groupby(files)]


def test_a_clean_picture_goes_straight_through_the_stages() -> None:
    data = encoded(drawn())
    way = stays(lambda: hypotheses(decode(data, 1_000_000)))
    assert way[:2] == ["decode", "hypotheses"]
    assert len(way) - len(set(way)) <= 10


@pytest.mark.parametrize(("light", "papers"), [(1.0, ["even"]), (0.3, ["even", "smooth"])])
def test_further_papers_are_tried_only_where_the_first_does_not_explain_the_picture(
    monkeypatch: pytest.MonkeyPatch, light: float, papers: list[str]
) -> None:
    tried: list[str] = []
    ink_on = binarize._ink_on

    def counted(plane: Any, paper: Any, kind: str, is_dark: bool | None) -> Any:
        tried.append(kind)
        return ink_on(plane, paper, kind, is_dark)

    monkeypatch.setattr(binarize, "_ink_on", counted)
    shaded = np.asarray(drawn(), np.float32) * np.linspace(light, 1, 280)
    found, refusal = hypotheses(decode(encoded(Image.fromarray(shaded.astype(np.uint8))), 1_000_000))
    assert found
    assert refusal is None
    assert tried[: len(papers)] == papers
    assert (len(tried) == 1) is (light == 1)


def squares(turn: float) -> Image.Image:
    """Squared paper that ends within the picture, on a darker table, with a one of a pen two squares high."""
    image = Image.new("L", (480, 360), 240)
    pencil = ImageDraw.Draw(image)
    for at in range(7, 480, 27):
        pencil.line((at, 0, at, 360), fill=165, width=2)
        pencil.line((0, at, 480, at), fill=165, width=2)
    pencil.line((200, 150, 214, 138, 214, 206), fill=40, width=7)
    return image.rotate(turn, Image.Resampling.BICUBIC, fillcolor=120)


@pytest.mark.parametrize("turn", [-3, 3, 5])
def test_a_digit_on_squared_paper_is_found_beside_the_table(turn: float) -> None:
    found, _ = hypotheses(decode(encoded(squares(turn)), 1_000_000))
    assert any(item.report.box[3] - item.report.box[1] == pytest.approx(72, abs=12) for item in found)


def test_an_empty_sheet_in_a_frame_is_blank() -> None:
    image = Image.new("L", (90, 90), 20)
    ImageDraw.Draw(image).rectangle((2, 2, 87, 87), fill=255)
    _, refusal = hypotheses(decode(encoded(image), 1_000_000))
    assert refusal is not None
    assert refusal.code == "blank_image"


@pytest.mark.parametrize("beside", [(44, 10, 46, 24), (46, 2, 47, 40)])
def test_what_is_left_of_a_line_beside_the_side_of_a_cell_is_no_digit(beside: tuple[int, int, int, int]) -> None:
    image = Image.new("L", (50, 50), 235)
    pencil = ImageDraw.Draw(image)
    pencil.rectangle((3, 0, 5, 50), fill=60)
    pencil.rectangle(beside, fill=60)
    with pytest.raises(InvalidRequest, match="cell"):
        hypotheses(decode(encoded(image), 1_000_000))


def squared_page(light: Any, table: list[tuple[int, int]]) -> Image.Image:
    """A page of squared paper in some light (360, 480), a dark table along a side, a small zero at (303, 231)."""
    image = Image.new("L", (480, 360), 240)
    pencil = ImageDraw.Draw(image)
    for at in range(7, 480, 24):
        pencil.line((at, 0, at, 360), fill=150, width=2)
        pencil.line((0, at, 480, at), fill=150, width=2)
    pencil.ellipse((293, 213, 313, 249), outline=40, width=5)
    lit = Image.fromarray(np.uint8(np.asarray(image) * light))
    if table:
        ImageDraw.Draw(lit).polygon([(float(x), float(y)) for x, y in table], fill=60)
    turned = np.asarray(lit.rotate(1.5, Image.Resampling.BICUBIC, fillcolor=90), np.float32)
    grain = np.random.default_rng(3).normal(0, 3, turned.shape)
    return Image.fromarray(np.uint8((turned + grain).clip(0, 255)))


_Y, _X = np.mgrid[:360, :480]


@pytest.mark.parametrize(
    ("light", "table"),
    [
        (0.6 + 0.4 * _Y / 360, [(0, 120), (14, 120), (22, 360), (0, 360)]),
        (0.45 + 0.55 * np.clip(_Y / 360 - _X / 480 + 0.4, 0, 1), []),
    ],
    ids=["table along a side", "bright squares"],
)
def test_a_small_digit_on_squared_paper_is_found_beside_what_is_larger(
    light: Any, table: list[tuple[int, int]]
) -> None:
    look = search(decode(encoded(squared_page(light, table)), 1_000_000))
    boxes = [mark.box for mark in look.marks]
    assert any(280 < box[0] < 300 and 200 < box[1] < 220 and box[2] < 340 and box[3] < 275 for box in boxes), boxes


def test_a_white_sheet_within_a_line_at_the_very_border_is_blank() -> None:
    plane = np.full((90, 90), 255, np.uint8)
    plane[[0, -1]] = plane[:, [0, -1]] = 100
    assert search(decode(encoded(Image.fromarray(plane)), 1_000_000)).refusal is not None


@pytest.mark.parametrize("side", [28, 60])
def test_a_digit_that_was_cut_out_and_made_square_is_likelier_than_its_parts(side: int) -> None:
    image = Image.new("L", (4 * side, 4 * side))
    pencil = ImageDraw.Draw(image)
    pencil.ellipse((1.2 * side, 0, 2.8 * side, 1.9 * side), outline=255, width=side // 4)
    pencil.line((2.7 * side, 0.9 * side, 2.5 * side, 4 * side), fill=255, width=side // 4)
    look = search(decode(encoded(image.resize((side, side), Image.Resampling.BOX)), 1_000_000))
    assert look.refusal is None
    spanning = [mark for mark in look.marks if mark.mask.shape[0] >= side - 1 and mark.mask.mean() < 0.6]
    assert spanning
    assert spanning[0].prior > -0.5


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_grain_of_dark_paper_is_blank(seed: int) -> None:
    plane = 0.17 + np.random.default_rng(seed).normal(0, 0.012, (50, 50))
    image = Image.fromarray(np.uint8(255 * plane.clip(0, 1))).filter(ImageFilter.GaussianBlur(0.6))
    with pytest.raises(InvalidRequest, match=r"ink|shadows|specks"):
        search(decode(encoded(image, "JPEG"), 1_000_000))


def test_beside_a_shadow_that_touches_it_a_digit_is_found_on_even_paper() -> None:
    image = Image.new("L", (260, 260), 225)
    pencil = ImageDraw.Draw(image)
    pencil.polygon([(120, 130), (90, 240), (170, 235)], fill=110)
    image = image.filter(ImageFilter.GaussianBlur(3))
    ImageDraw.Draw(image).line([(100, 40), (160, 40), (115, 150)], fill=25, width=12, joint="curve")
    boxes = [mark.box for mark in search(decode(encoded(image, "JPEG"), 1_000_000)).marks]
    assert any(bottom < 175 for _, _, _, bottom in boxes), boxes
