from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.imaging.components import _merge_labels, connected_components
from service.imaging.filters import Mask


def picture(*rows: str) -> Mask:
    return np.array([[character == "#" for character in row] for row in rows])


def flood_count(mask: Mask) -> int:
    """The number of connected components, pixel by pixel."""
    pixels = {(y, x) for y, x in np.argwhere(mask).tolist()}
    count = 0
    while pixels:
        count += 1
        edge = [pixels.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & pixels
            pixels -= near
            edge.extend(near)
    return count


@settings(max_examples=80)
@given(st.integers(1, 14), st.integers(1, 14), st.floats(0, 1), st.integers(0, 2**32))
def test_components_are_those_of_a_flood_fill(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    components = connected_components(mask)
    assert len(components.area) == flood_count(mask)
    assert components.area.sum() == mask.sum()
    for index in range(len(components.area)):
        pixels = components.mask(np.arange(len(components.area)) == index)
        ys, xs = np.nonzero(pixels)
        assert len(ys) == components.area[index]
        box = (components.left[index], components.top[index], components.right[index], components.bottom[index])
        assert box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        sides = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
        assert components.contact[index] == max(side.sum() for side in sides)
    np.testing.assert_array_equal(components.mask(np.ones(len(components.area), np.bool_)), mask)


def test_a_spiral_is_one_component() -> None:
    mask = picture("########", "#......#", "#.####.#", "#.#..#.#", "#.#.##.#", "#.#....#", "#.######", "#.......")
    components = connected_components(mask)
    assert len(components.area) == 1
    assert components.contact.tolist() == [8]
    assert (components.width.tolist(), components.height.tolist()) == ([8], [8])


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [([], [], [0, 1, 2, 3]), ([3, 2], [2, 1], [0, 1, 1, 1]), ([0, 1, 2], [3, 2, 3], [0, 0, 0, 0])],
)
def test_connected_items_have_the_label_of_the_smallest(first: list[int], second: list[int], labels: list[int]) -> None:
    assert _merge_labels(4, np.array(first, np.int64), np.array(second, np.int64)).tolist() == labels
