"""training.evaluation.corruptions: each kind changes every image, moderately, repeatably, and as its name says."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.arrays import Images
from training.data.drawn_digits import digit_images
from training.evaluation.corruptions import KINDS, corrupted


@pytest.fixture(scope="module")
def images() -> Images:
    return digit_images(60, 12)[0]


def _mass(images: Images) -> float:
    return float(images.astype(np.float64).sum())


def test_there_are_fifteen_kinds() -> None:
    assert len(set(KINDS)) == len(KINDS) == 15


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_is_changed_but_not_beyond_likeness_and_the_same_on_every_call(kind: str, images: Images) -> None:
    original = images.copy()
    result = corrupted(images, kind)
    assert np.array_equal(images, original), "the argument stays as it is"
    assert result.shape == images.shape
    assert result.dtype == np.uint8
    assert np.array_equal(result, corrupted(images, kind))
    assert (np.abs(result.astype(int) - images).sum((1, 2)) > 500).all()
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(result, images, strict=True)]
    assert np.mean(correlations) > 0.2


@pytest.mark.parametrize("kind", ["rotated", "shifted", "slanted", "struck", "wavy", "covered", "grainy", "speckled"])
def test_another_seed_corrupts_otherwise(kind: str, images: Images) -> None:
    assert not np.array_equal(corrupted(images, kind, seed=1), corrupted(images, kind, seed=2))


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("rotated", 0.97, 1.03),
        ("shifted", 0.97, 1.03),
        ("shrunk", 0.4, 0.66),
        ("slanted", 0.95, 1.05),
        ("stretched", 0.95, 1.05),
        ("thick", 1.4, 2.2),
        ("thin", 0.3, 0.75),
        ("blurred", 0.97, 1.03),
        ("covered", 0.7, 0.95),
        ("struck", 1.02, 1.5),
        ("coarse", 0.97, 1.03),
    ],
)
def test_ink_is_kept_added_or_taken_as_the_kind_says(kind: str, low: float, high: float, images: Images) -> None:
    assert low < _mass(corrupted(images, kind)) / _mass(images) < high


def test_a_thinned_stroke_keeps_some_ink_everywhere(images: Images) -> None:
    assert (corrupted(images, "thin")[images > 200] >= 69).all()


def test_faint_ink_stands_on_grey_paper(images: Images) -> None:
    result = corrupted(images, "faint")
    assert result.max() <= 0.59 * 255
    assert result.min() == 20


def test_blank_paper_survives_every_kind() -> None:
    blank = np.zeros((3, 28, 28), np.uint8)
    for kind in KINDS:
        assert corrupted(blank, kind).shape == blank.shape


def test_an_unknown_kind_is_an_error(images: Images) -> None:
    with pytest.raises(KeyError):
        corrupted(images, "eaten")
