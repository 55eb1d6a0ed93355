"""The connected components of a mask, labelled by runs of pixels: size, box and contact with the border of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.imaging.filters import Mask

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The connected components (8 neighbours) of a mask (H, W): of each its size, box and contact, as arrays (N,)."""

    shape: tuple[int, int]
    area: Ints
    left: Ints
    top: Ints
    right: Ints  # one beyond the last column
    bottom: Ints
    width: Ints  # columns from left to right
    height: Ints  # rows from top to bottom
    contact: Ints  # pixels at the side of the picture that it touches most
    runs: tuple[Ints, Ints, Ints]  # component, start and end (flat index) of each run of pixels

    def mask(self, selected: Mask) -> Mask:
        """The pixels of the components that are `selected` (N,)."""
        component, start, end = self.runs
        is_selected = selected[component]
        steps = np.zeros(self.shape[0] * self.shape[1] + 1, np.int8)
        steps[start[is_selected]] += 1
        steps[end[is_selected]] -= 1  # what ends a row and what begins the next share no pixel, so this adds up
        return steps[:-1].cumsum(dtype=np.int8).astype(np.bool_).reshape(self.shape)


def connected_components(mask: Mask) -> Components:
    """The components of `mask`: its rows' runs, joined with the runs above that they touch.

    Labelled with numpy: `scipy.ndimage.label` finds the same components, but scipy would add 113 MB to an installation.
    """
    height, width = mask.shape
    stride = width + 2  # two columns of paper: the end of a row does not touch the beginning of the next
    padded = np.zeros((height, stride), np.int8)
    padded[:, 1:-1] = mask
    edges = np.flatnonzero(np.diff(padded.ravel(), prepend=0, append=0))
    start, end = edges[::2], edges[1::2]
    roots, label = np.unique(_merge_labels(len(start), *_touching_runs(start, end, stride)), return_inverse=True)
    row, first, last = start // stride, start % stride - 1, end - start + start % stride - 1
    count = len(roots)
    left, right = _minimum_by_label(label, first, count), -_minimum_by_label(label, -last, count)
    top, bottom = _minimum_by_label(label, row, count), -_minimum_by_label(label, -row - 1, count)
    return Components(
        shape=(height, width),
        area=np.bincount(label, weights=end - start, minlength=count).astype(np.int64),
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        width=right - left,
        height=bottom - top,
        contact=_contact_by_label(label, row, first, last, count, height, width),
        runs=(label, row * width + first, row * width + last),
    )


def _merge_labels(count: int, first: Ints, second: Ints) -> Ints:
    """The smallest of `count` items that each is connected with, given pairs of connected items.

    Roots are hooked to smaller ones until the two items of no pair differ.
    """
    label: Ints = np.arange(count)
    while True:
        a, b = label[first], label[second]
        differ = a != b
        if not differ.any():
            return label
        np.minimum.at(label, np.maximum(a, b)[differ], np.minimum(a, b)[differ])
        jumped: Ints = label[label]
        while (label != jumped).any():
            label, jumped = jumped, jumped[jumped]


def _touching_runs(start: Ints, end: Ints, stride: int) -> tuple[Ints, Ints]:
    """Pairs of runs, one above the other, that touch with a side or a corner."""
    low = np.searchsorted(end, start + stride, side="left")
    high = np.searchsorted(start, end + stride, side="right")
    count = np.maximum(high - low, 0)
    upper = np.repeat(np.arange(len(start)), count)
    first = np.repeat(low - (np.cumsum(count) - count), count)
    return upper, first + np.arange(len(upper))


def _minimum_by_label(label: Ints, values: Ints, count: int) -> Ints:
    minimum: Ints = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(minimum, label, values)
    return minimum


def _contact_by_label(label: Ints, row: Ints, first: Ints, last: Ints, count: int, height: int, width: int) -> Ints:
    sides = (
        (row == 0) * (last - first),
        (row == height - 1) * (last - first),
        (first == 0).astype(np.int64),
        (last == width).astype(np.int64),
    )
    pixels = np.stack([np.bincount(label, weights=side, minlength=count) for side in sides])
    return np.asarray(pixels.max(axis=0), np.int64)
