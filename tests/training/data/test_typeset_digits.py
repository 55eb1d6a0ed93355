"""training.data.typeset_digits: characters in the fonts of matplotlib, in MNIST's box, repeatable, families held out."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from training.data.typeset_digits import HELD_OUT_FONTS, LETTERS, TRAINED_FONTS, footless_ones, glyph, typed_digits, typed_others


def test_the_fonts_are_there_and_no_family_is_on_both_sides() -> None:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    assert all((folder / f"{font}.ttf").is_file() for font in TRAINED_FONTS + HELD_OUT_FONTS)
    assert all(font.startswith(("DejaVu", "STIX")) for font in TRAINED_FONTS)
    assert all(font.startswith("cm") for font in HELD_OUT_FONTS)


@pytest.mark.parametrize("font", TRAINED_FONTS + HELD_OUT_FONTS)
def test_every_font_has_ten_different_digits(font: str) -> None:
    pictures = [glyph(font, str(digit)) for digit in range(10)]
    assert len({picture.tobytes() for picture in pictures}) == 10
    for picture in pictures:
        assert all(edge.any() for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]))
        assert picture.max() == 255


def test_a_larger_font_draws_the_same_larger() -> None:
    small, large = glyph("cmr10", "4", 40), glyph("cmr10", "4", 160)
    assert large.shape[0] / small.shape[0] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("make", [typed_digits, typed_others, footless_ones])
def test_images_fill_mnists_box_with_their_mass_in_the_middle(make: object) -> None:
    images, labels = make(60, 4)  # type: ignore[operator]
    assert images.shape == (60, 28, 28)
    assert images.dtype == np.uint8
    assert len(labels) == 60
    repeated, reseeded = make(60, 4)[0], make(60, 5)[0]  # type: ignore[operator]
    assert np.array_equal(images, repeated)
    assert not np.array_equal(images, reseeded)
    position = np.arange(28) + 0.5
    for image in images.astype(np.float64):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 17 <= longer <= 21
        assert abs((image.sum(1) * position).sum() / image.sum() - 14) < 1.6
        assert abs((image.sum(0) * position).sum() / image.sum() - 14) < 1.6


def test_digits_come_in_turn_and_the_others_are_none() -> None:
    assert typed_digits(25, 1)[1].tolist() == [n % 10 for n in range(25)]
    assert set(typed_others(10, 1)[1].tolist()) == {-1}
    assert typed_digits(0, 1)[0].shape == (0, 28, 28)


def test_no_letter_is_some_digit_in_some_hand() -> None:
    assert not set(LETTERS) & set("OoQDIlij|SsZzBbGgqyY0123456789")


def test_a_one_without_a_foot_stands_on_its_stem_alone_and_has_a_flag_to_the_left() -> None:
    images, labels = footless_ones(60, 8)
    assert set(labels.tolist()) == {1}
    for image in images:
        columns = [np.flatnonzero(row > 60) for row in image if (row > 60).any()]
        assert all(len(row) == np.ptp(row) + 1 for row in columns[-4:]), "one stroke at the bottom"
        above, below = columns[: len(columns) // 2], columns[len(columns) // 2 :]
        assert min(row[0] for row in above) < min(row[0] for row in below) + 2, "the flag"
        assert max(row[-1] for row in below) <= max(row[-1] for row in above), "no foot"
