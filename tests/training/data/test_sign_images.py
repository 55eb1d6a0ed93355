"""training.data.sign_images: what is no digit, framed as MNIST frames it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.data import sign_images
from training.data.drawn_digits import NO_DIGIT
from training.data.typeset_digits import glyph


def test_images_are_framed_like_digits_and_the_same_for_a_seed() -> None:
    images, labels = sign_images.sign_images(130, 3)
    assert images.shape == (130, 28, 28)
    assert images.dtype == np.uint8
    assert set(labels.tolist()) == {NO_DIGIT}
    assert np.array_equal(images, sign_images.sign_images(130, 3)[0])
    assert not np.array_equal(images, sign_images.sign_images(130, 4)[0])
    for image in images:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 15 <= longer <= 24


def test_no_symbol_that_is_a_digit_in_some_hand_is_typed() -> None:
    assert not sign_images._LIKE_DIGITS & set(sign_images.SYMBOLS)
    assert not set("0123456789OIlSZB|○") & set(sign_images.SYMBOLS + sign_images.GREEK + sign_images.CYRILLIC)


def test_every_character_has_a_glyph_of_its_own() -> None:
    missing = glyph("DejaVuSans", "\U000f0000", 60).tobytes()
    assert len(missing) > 0
    for text in sign_images.GREEK + sign_images.CYRILLIC + sign_images.CURRENCIES:
        assert glyph("DejaVuSans", text, 60).tobytes() != missing, text


def test_what_strokes_enclose_is_filled() -> None:
    plane = np.zeros((90, 90), np.uint8)
    plane[20:70, 20:26] = plane[20:70, 64:70] = plane[20:26, 20:70] = plane[64:70, 20:70] = 255
    filled = np.asarray(sign_images._filled(Image.fromarray(plane)))
    assert filled[filled.shape[0] // 2, filled.shape[1] // 2] == 255
    assert filled[0, 0] == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_smear_has_ink_and_paper(seed: int) -> None:
    ink = sign_images.smear(np.random.default_rng(seed))
    assert ink.max() > 60
    assert ink.min() < 60
