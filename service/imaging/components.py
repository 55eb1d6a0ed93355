"""Which of the marks in a picture are the digit: connected parts, and what else they may be.

A scan's specks, the border of a table or a shadow, the box of a form and the lines of ruled paper are no digit; parts
that lie over or within each other are one character, and several characters of like height are several digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

_SPECK = 0.02  # parts smaller than this share of the largest one are dirt
_MOST = 64  # parts beyond so many are dirt, whatever their size
_LONG = 0.25  # a part that lies along so much of a side of the picture may belong to what is behind the paper
_INSIDE = 0.12  # … if another part at least this high (of the longer side) touches no side
_FRAME = 0.85  # a frame has this share of its ink within a twelfth of its sides
_LINE = 0.05  # a printed line is thinner than this share of the picture
_BESIDE = 0.08  # … and reaches further than the rest by this share on both sides
_GRAIN = 30  # so many parts without one that is four times larger than the last of them are grain
_OVERLAP = 0.25  # parts that share this much of the narrower one's width are one character
_SMALL = 0.45  # a part lower than this share of the highest is a piece of a character, not another
_NEAR = 0.2  # … where it is nearer to it than this share of its height
_ALIKE = 0.55  # characters of at least this share of the highest one's height are digits like it


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The connected parts (8 neighbours) of a mask: of each its size, box and pixels at the border, as arrays (N,)."""

    shape: tuple[int, int]
    area: Ints
    left: Ints
    top: Ints
    right: Ints  # one beyond the last column
    bottom: Ints
    contact: Ints  # pixels at the longest-touched side of the picture
    runs: tuple[Ints, Ints, Ints]  # part, start and end (flat index) of each run of pixels

    @property
    def height(self) -> Ints:
        """Rows from top to bottom."""
        return self.bottom - self.top

    @property
    def width(self) -> Ints:
        """Columns from left to right."""
        return self.right - self.left

    def mask(self, kept: Mask) -> Mask:
        """The pixels of the parts that are `kept` (N,)."""
        part, start, end = self.runs
        chosen = kept[part]
        edges = np.zeros(self.shape[0] * self.shape[1] + 1, np.int8)
        edges[start[chosen]] += 1
        edges[end[chosen]] -= 1  # a run that ends a row and one that begins the next share no pixel, so this adds up
        return edges[:-1].cumsum(dtype=np.int8).astype(np.bool_).reshape(self.shape)


def parts(mask: Mask) -> Parts:
    """The connected parts of `mask`: its rows' runs, joined with the runs above that they touch."""
    height, width = mask.shape
    wide = width + 2  # two columns of paper: the end of a row does not touch the beginning of the next
    padded = np.zeros((height, wide), np.int8)
    padded[:, 1:-1] = mask
    edges = np.flatnonzero(np.diff(padded.ravel(), prepend=0, append=0))
    start, end = edges[::2], edges[1::2]
    label = _joined(len(start), *_touching(start, end, wide))
    found, label = np.unique(label, return_inverse=True)
    row, first, last = start // wide, start % wide - 1, end - start + start % wide - 1
    count = len(found)
    runs = (label, row * width + first, row * width + last)
    return Parts(
        (height, width),
        np.bincount(label, weights=end - start, minlength=count).astype(np.int64),
        _least(label, first, count),
        _least(label, row, count),
        -_least(label, -last, count),
        -_least(label, -row - 1, count),
        _contact(label, row, first, last, count, height, width),
        runs,
    )


def _touching(start: Ints, end: Ints, wide: int) -> tuple[Ints, Ints]:
    """Pairs of runs, one above the other, that touch with a side or a corner."""
    low = np.searchsorted(end, start + wide, side="left")
    high = np.searchsorted(start, end + wide, side="right")
    count = np.maximum(high - low, 0)
    upper = np.repeat(np.arange(len(start)), count)
    first = np.repeat(low - (np.cumsum(count) - count), count)
    return upper, first + np.arange(len(upper))


def _joined(count: int, one: Ints, other: Ints) -> Ints:
    """The smallest run that each run is connected with: roots are hooked to smaller ones until no pair differs."""
    label: Ints = np.arange(count)
    while True:
        a, b = label[one], label[other]
        differ = a != b
        if not differ.any():
            return label
        np.minimum.at(label, np.maximum(a, b)[differ], np.minimum(a, b)[differ])
        jumped: Ints = label[label]
        while (label != jumped).any():
            label, jumped = jumped, jumped[jumped]


def _least(label: Ints, values: Ints, count: int) -> Ints:
    found: Ints = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(found, label, values)
    return found


def _contact(label: Ints, row: Ints, first: Ints, last: Ints, count: int, height: int, width: int) -> Ints:
    sides = (
        (row == 0) * (last - first),
        (row == height - 1) * (last - first),
        (first == 0).astype(np.int64),
        (last == width).astype(np.int64),
    )
    touched = np.stack([np.bincount(label, weights=side, minlength=count) for side in sides])
    return np.asarray(touched.max(axis=0), np.int64)


def without_lines(mask: Mask) -> tuple[Mask, int]:
    """`mask` less thin straight lines from one side of the picture to the other, where no stroke crosses them."""
    cleaned = mask
    removed = 0
    for turned in (False, True):
        plane = cleaned.T if turned else cleaned
        lines = (plane.mean(axis=1) > 0.9) & plane[:, 0] & plane[:, -1]
        if lines.any() and (found := _line_rows(plane, lines)) is not None:
            crossed = np.zeros_like(plane)
            crossed[found] = _crossed(plane, found)
            plane = np.where(found[:, None], crossed, plane)
            cleaned = plane.T if turned else plane
            removed += int((np.diff(found.astype(np.int8), prepend=0) == 1).sum())
    return cleaned, removed


def _line_rows(plane: Mask, lines: Mask) -> Mask | None:
    """Rows of lines thin enough to be printed, or None where the rest does not lie well between their ends."""
    edges = np.flatnonzero(np.diff(lines.astype(np.int8), prepend=0, append=0))
    found = np.zeros_like(lines)
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - start <= max(2, _LINE * len(plane)):
            # A line's soft edge is a row or two of broken ink beside it.
            found[max(start - 1, 0) : end + 1] = True
    if not found.any():
        return None
    rest = np.flatnonzero(plane[~found].any(axis=0))
    width = plane.shape[1]
    # Without anything beside the lines there is no digit; a bar that the rest reaches the end of may be part of one.
    return found if not len(rest) or (rest[0] >= _BESIDE * width and rest[-1] < (1 - _BESIDE) * width) else None


def _crossed(plane: Mask, found: Mask) -> Mask:
    """Of each row of a line, the columns with ink both above and below the line."""
    rows = np.flatnonzero(found)
    kept = np.zeros((len(rows), plane.shape[1]), np.bool_)
    for place, row in enumerate(rows.tolist()):
        above, below = row, row
        while above >= 0 and found[above]:
            above -= 1
        while below < len(plane) and found[below]:
            below += 1
        if above >= 0 and below < len(plane):
            kept[place] = _widened(plane[above]) & _widened(plane[below])
    return kept


def _widened(row: Mask) -> Mask:
    wide = np.pad(row, 1)
    return np.asarray(wide[:-2] | wide[1:-1] | wide[2:])


def characters(found: Parts) -> tuple[list[Mask], int]:
    """The characters, the likeliest digit first, each as the parts (N,) that belong to it; and how many parts are dirt.

    Only those of like height are returned: what is much smaller than the first is dirt.
    """
    if not len(found.area):
        return [], 0
    ink = ~_background(found)
    if (inside := ink & ~_frames(found, ink)).any():
        ink = inside
    if not ink.any() or _is_grain(found.area[ink]):
        return [], int(ink.sum())
    large = ink & (found.area >= _SPECK * found.area[ink].max())
    if large.sum() > _MOST:
        large &= found.area >= np.sort(found.area[large])[-_MOST]
    groups = _groups(found, np.flatnonzero(large))
    heights = [_extent(found, group) for group in groups]
    order = sorted(range(len(groups)), key=lambda place: -_weight(found, groups[place], heights[place]))
    alike = [groups[place] for place in order if heights[place] >= _ALIKE * heights[order[0]]]
    chosen = [np.isin(np.arange(len(found.area)), group) for group in alike]
    dirt = int(ink.sum() - sum(len(group) for group in alike))
    return chosen, dirt


def _is_grain(area: Ints) -> bool:
    """Whether many parts of about one size are all there is."""
    return len(area) >= _GRAIN and int(area.max()) < 4 * int(np.sort(area)[-_GRAIN])


def _weight(found: Parts, group: Ints, height: int) -> float:
    """How likely a group is what the picture is about: large, and not at the border."""
    return height * float(np.sqrt(found.area[group].sum())) * (0.5 if found.contact[group].any() else 1.0)


def _background(found: Parts) -> Mask:
    """Parts that lie along a side of the picture while something else stands free: table, shadow, smear, bar."""
    height, width = found.shape
    longer = max(height, width)
    thin = np.minimum(found.height, found.width) < _LINE * longer
    strips = thin & (found.contact >= 0.9 * np.where(found.height < found.width, width, height))
    free = (found.contact == 0) & (found.height >= _INSIDE * longer)
    if not free.any():
        return strips
    return strips | (found.contact >= _LONG * min(height, width))


def _frames(found: Parts, ink: Mask) -> Mask:
    """Parts that run along their own box, with another part inside that is at least a third as high."""
    frames = np.zeros(len(found.area), np.bool_)
    large = ink & (np.maximum(found.height, found.width) >= _INSIDE * max(found.shape))
    for one in np.flatnonzero(large & (found.area >= 0.1 * found.area.max())).tolist():
        left, top, right, bottom = (int(side[one]) for side in (found.left, found.top, found.right, found.bottom))
        inside = (found.left > left) & (found.right < right) & (found.top > top) & (found.bottom < bottom)
        if (inside & ink & (found.height >= (bottom - top) / 3)).any():
            only = np.zeros(len(found.area), np.bool_)
            only[one] = True
            box = found.mask(only)[top:bottom, left:right]
            y, x = max(1, box.shape[0] // 12), max(1, box.shape[1] // 12)
            frames[one] = box[y:-y, x:-x].sum() <= (1 - _FRAME) * box.sum()
    return frames


def _groups(found: Parts, members: Ints) -> list[Ints]:
    """The parts of each character."""
    highest = int(found.height[members].max())
    one, other = (index.ravel() for index in np.meshgrid(members, members, indexing="ij"))
    gap_x = np.maximum(found.left[one], found.left[other]) - np.minimum(found.right[one], found.right[other])
    gap_y = np.maximum(found.top[one], found.top[other]) - np.minimum(found.bottom[one], found.bottom[other])
    narrower = np.minimum(found.width[one], found.width[other])
    lower = np.minimum(found.height[one], found.height[other])
    near = np.maximum(gap_x, gap_y) < _NEAR * highest
    joined = near & ((-gap_x >= _OVERLAP * narrower) | (lower < _SMALL * highest))
    label = _joined(len(found.area), one[joined], other[joined])[members]
    return [members[label == which] for which in np.unique(label)]


def _extent(found: Parts, group: Ints) -> int:
    return int(found.bottom[group].max() - found.top[group].min())
