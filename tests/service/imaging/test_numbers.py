from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.imaging import numbers
from service.imaging.decode import Picture, view_of
from service.imaging.marks import bounding_slices
from service.imaging.numbers import Line, lines_of_digits
from tests.pictures import drawn


def picture(plane: np.ndarray) -> Picture:
    image = Image.fromarray(plane.astype(np.uint8))
    return Picture(image, view_of(image, (0, 0, *image.size)), image.size, 1, rotated=False)


def row(text: str, gap: int = 20) -> np.ndarray:
    """Digits side by side, dark on white."""
    parts = []
    for character in text:
        ink = 255 - np.asarray(drawn(character))
        columns = np.flatnonzero(ink.any(axis=0))
        parts.append(np.pad(ink[:, columns[0] : columns[-1] + 1], ((0, 0), (0, gap))))
    return 255 - np.pad(np.concatenate(parts, axis=1), ((0, 0), (40, 40 - min(gap, 40))))


def whole(line: Line) -> list[tuple[int, int]]:
    """Places of the characters as they stand."""
    return [(piece.start, piece.stop) for piece in line.pieces if piece.prior == 0]


def test_characters_are_in_the_order_of_reading() -> None:
    lines = lines_of_digits(picture(np.concatenate((row("472"), row("472")))))
    assert [whole(line) for line in lines] == [[(0, 1), (1, 2), (2, 3)]] * 2
    for line in lines:
        lefts = [piece.box[0] for piece in line.pieces if piece.prior == 0]
        assert lefts == sorted(lefts)
    assert lines[0].pieces[0].box[3] < lines[1].pieces[0].box[1]
    assert all(piece.rows.shape == (28, 28) for line in lines for piece in line.pieces)


def test_a_wide_character_may_be_cut() -> None:
    (line,) = lines_of_digits(picture(_touching()))
    steps = {(piece.start, piece.stop) for piece in line.pieces}
    assert (0, line.places) in steps
    assert any((0, place) in steps and (place, line.places) in steps for place in range(1, line.places))


def _touching() -> np.ndarray:
    """A 4 and a 7 that a bar joins."""
    plane = row("47", gap=6)
    ink = np.flatnonzero((plane < 128).any(axis=1))
    middle = (ink[0] + ink[-1]) // 2
    columns = np.flatnonzero((plane < 128).any(axis=0))
    plane[middle : middle + 6, columns[0] : columns[-1]] = 0
    return plane


def test_near_strokes_may_be_one_digit() -> None:
    plane = np.full((200, 200), 255, np.uint8)
    plane[40:160, 70:82] = plane[40:160, 92:104] = 0
    (line,) = lines_of_digits(picture(plane))
    assert (0, 2) in {(piece.start, piece.stop) for piece in line.pieces}


def test_small_digits_are_looked_at_from_closer_by() -> None:
    large = np.full((1200, 1600), 255, np.uint8)
    small = np.asarray(Image.fromarray(row("47")).resize((150, 100)))
    large[300:400, 900:1050] = small
    (line,) = lines_of_digits(picture(large))
    assert len(whole(line)) == 2
    assert 900 <= line.pieces[0].box[0] < line.pieces[-1].box[2] <= 1050


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_has_no_lines(level: int) -> None:
    assert lines_of_digits(picture(np.full((100, 100), level))) == []


def test_digits_that_lean_over_each_other_are_pieces_of_their_own() -> None:
    plane = np.full((200, 240), 255)
    for start in (60, 85):
        for y in range(40, 160):
            x = start + (160 - y) // 3
            plane[y, x : x + 10] = 20
    (line,) = lines_of_digits(picture(plane))
    steps = [(piece.start, piece.stop) for piece in line.pieces]
    assert (0, 1) in steps
    assert (1, 2) in steps


def test_the_wider_the_gap_the_less_two_strokes_are_one_digit() -> None:
    priors = []
    for gap in (4, 14):
        plane = np.full((200, 240), 255)
        plane[40:160, 80:90] = plane[40:160, 90 + gap : 100 + gap] = 20
        (line,) = lines_of_digits(picture(plane))
        priors += [piece.prior for piece in line.pieces if (piece.start, piece.stop) == (0, 2)]
    assert len(priors) == 2
    assert priors[1] < priors[0] - 0.5


def test_a_plate_that_its_number_covers_is_looked_at() -> None:
    wall = np.full((200, 420), 120)
    wall[50:150, 40:380] = 235
    for index in range(6):
        wall[62:138, 60 + 52 * index : 92 + 52 * index] = 20
    (line,) = lines_of_digits(picture(wall))
    assert len(whole(line)) == 6


@pytest.mark.parametrize("beside", [4, 30])
def test_a_point_is_a_sign_and_no_part_of_a_digit(beside: int) -> None:
    plane = np.full((200, 300), 255)
    plane[40:160, 40:90] = plane[40:160, 200:250] = 20
    (without,) = lines_of_digits(picture(plane))
    plane[146:160, 90 + beside : 104 + beside] = 20
    (line,) = lines_of_digits(picture(plane))
    assert (without.has_signs, line.has_signs) == (False, True)
    assert [piece.box for piece in line.pieces] == [piece.box for piece in without.pieces]


def test_lower_strokes_between_tall_ones_are_a_digit_and_none_is_lost() -> None:
    plane = np.full((160, 260), 255, np.uint8)
    plane[30:130, 40:50] = plane[30:130, 150:160] = 0  # two tall strokes
    plane[60:66, 48:152] = 255
    plane[30:80, 90:98] = plane[84:130, 92:100] = 0  # one in two pieces between them
    mask = plane < 128
    parts = numbers._tall_parts(mask)
    assert [bounding_slices(part)[1].start for part in parts] == [40, 90, 150]
    assert np.array_equal(np.any(parts, axis=0), mask)


def test_strokes_of_a_fainter_pen_are_in_a_second_look() -> None:
    plane = np.full((200, 300), 255)
    plane[40:160, 40:60] = plane[40:160, 150:170] = 10
    (usual,) = lines_of_digits(picture(plane))
    plane[40:160, 95:98] = 185
    lines = lines_of_digits(picture(plane))
    assert [line.is_faint for line in lines] == [False, True]
    assert [piece.box for piece in lines[0].pieces] == [piece.box for piece in usual.pieces]
    assert any(90 < piece.box[0] < 100 and piece.box[2] < 105 for piece in lines[1].pieces)


def plate(turn: float, *, blob: bool = False) -> np.ndarray:
    """A wide plate on a wall, turned, with strokes that come near to its edges; `blob`: a dark place touches it."""
    image = Image.new("L", (320, 110), 40)
    pencil = ImageDraw.Draw(image)
    for left in range(30, 290, 52):
        pencil.rectangle((left, 14, left + 12, 96), fill=230)
    shape = Image.new("L", image.size, 255)
    wall = Image.new("L", (460, 240), 140)
    image, shape = (one.rotate(turn, Image.Resampling.BICUBIC, expand=True) for one in (image, shape))
    wall.paste(image, (60, 50), shape)
    if blob:
        ImageDraw.Draw(wall).polygon([(66, 60), (20, 40), (40, 30), (80, 60)], fill=40)
    return np.asarray(wall)


@pytest.mark.parametrize(("turn", "blob"), [(0, False), (4, False), (0, True)])
def test_strokes_near_the_edges_of_a_plate_are_whole(turn: float, blob: bool) -> None:
    line = lines_of_digits(picture(plate(turn, blob=blob)))[0]
    boxes = [piece.box for piece in line.pieces if piece.prior == 0]
    assert len(boxes) == 5
    assert all(80 <= box[3] - box[1] <= 96 for box in boxes)


def test_a_wide_character_is_cut_in_several_ways() -> None:
    plane = np.full((200, 300), 255)
    plane[40:160, 60:246] = 20  # 1.55 times as wide as high: two digits, or three
    plane[50:150, 75:147] = plane[50:150, 159:231] = 255
    (line,) = lines_of_digits(picture(plane))
    steps = {(piece.start, piece.stop) for piece in line.pieces}
    assert (0, line.places) in steps
    assert {(place, place + 1) for place in range(1, line.places - 1)} & steps
    middles = [place for place in range(1, line.places) if {(0, place), (place, line.places)} <= steps]
    assert middles


def test_a_seam_goes_between_strokes_that_lean_over_one_another() -> None:
    plane = np.full((200, 300), 255)
    for start in (60, 130):
        for y in range(40, 160):
            x = start + (160 - y) // 2
            plane[y, x : x + 10] = 20
    plane[98:102, 95:170] = 20  # a thin stroke joins them
    (line,) = lines_of_digits(picture(plane))
    highest = [piece.box for piece in line.pieces if piece.prior != 0 and piece.box[3] - piece.box[1] > 115]
    left, right = min(highest, key=lambda box: box[2]), max(highest, key=lambda box: box[0])
    assert left[2] > right[0], "columns that both have"
