"""Which of the components in a picture are the digit: background, frames and noise are not.

The border of a table or a shadow, the box of a form and a scan's specks are no digit; components that lie over or
within each other are one character, and several characters of like height several digits. All selections of components
are masks (N,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.imaging.components import Components, Ints
from service.imaging.filters import Mask
from service.imaging.parameters import PARAMETERS

_JOINED_GAP = 0.16  # share of the height, that strokes of one digit are apart at most
_PIECE_HEIGHT = 0.25  # share of the height, that a stroke next to another has at least
_JOINED_WIDTH = 1.0  # of the height, that a digit of several strokes has at most
_BAR_LENGTH = 4.0  # of its thickness
_MOST_COMPONENTS = 512  # that are looked at, where many are of one size
_ALIKE = 0.15  # share of their width, by which bars of a display differ at most
_WIDER = 1.05  # of all else, that a bar is wider than where it is a line under the digit
# Logarithms of weights, set by hand on drawn scenes; 0 is the likeliest.
_JOINED, _WITH_BARS = -0.2, -1.5


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A selection of components that may be the digit, the number of candidates with it, and its prior."""

    selected: Mask
    n_candidates: int
    prior: float


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What may be the digit among the components of a picture, the likeliest first."""

    choices: list[Choice]
    first: int  # of the choices: the likeliest candidate as it stands
    box: tuple[slice, slice]  # of that one: rows and columns
    border_gap: int  # pixels, from that box to the nearest side of the picture
    at_border: bool  # whether that one touches the border
    n_noise: int  # components
    area: int  # pixels of all that stands free, and of all candidates
    other_height: int  # pixels, of the second highest component


def layout_of(components: Components) -> Layout | None:
    """The likeliest candidate, and the same with and without what may belong to it; None where there is none.

    The choices are this one without bars below it, as it is, and joined with a near one.
    """
    candidates, n_noise = digit_candidates(components)
    if not candidates:
        return None
    first, count = candidates[0], len(candidates)
    is_candidate = np.any(candidates, axis=0)
    choices = []
    bars = underlines(components, first)
    if bars is not None:
        choices.append(Choice(first & ~bars[0], count, 0.0))
    choices.append(Choice(first, count, _WITH_BARS if bars is not None and bars[1] > _WIDER else 0.0))
    pair = joined(components, candidates)
    if pair is not None:
        n_joined = sum([bool((pair[0] & candidate).any()) for candidate in candidates])
        choices.append(Choice(pair[0], count - n_joined + 1, _JOINED))
    left, top = int(components.left[first].min()), int(components.top[first].min())
    right, bottom = int(components.right[first].max()), int(components.bottom[first].max())
    height, width = components.shape
    return Layout(
        choices,
        first=0 if bars is None else 1,
        box=(slice(top, bottom), slice(left, right)),
        border_gap=min(left, top, width - right, height - bottom),
        at_border=bool(components.contact[first].any()),
        n_noise=n_noise,
        area=int(components.area[(components.contact == 0) | is_candidate].sum()),
        other_height=int(np.sort(components.height)[-2]) if len(components.height) > 1 else 0,
    )


def digit_candidates(components: Components) -> tuple[list[Mask], int]:
    """The characters that may be the digit, the likeliest first, each as its components (N,); and the count of noise.

    Only characters of like height are returned: what is much smaller than the first is noise.
    """
    if not len(components.area):
        return [], 0
    ink = ~_background(components)
    if (unframed := ink & ~_frames(components, ink)).any():
        ink = unframed
    if not ink.any() or _is_only_noise(components.area[ink]):
        return [], int(ink.sum())
    large = ink & (components.area >= PARAMETERS.noise_area * components.area[ink].max())
    if large.sum() > PARAMETERS.max_components:
        large &= components.area >= np.sort(components.area[large])[-PARAMETERS.max_components]
        # Many may be as large as the last of these: the dots of a dotted digit, or noise by the thousand.
        large &= np.isin(np.arange(len(large)), np.argsort(-components.area, kind="stable")[:_MOST_COMPONENTS])
    characters = _characters(components, np.flatnonzero(large))
    heights = [_height(components, character) for character in characters]
    order = sorted(range(len(characters)), key=lambda i: -_prominence(components, characters[i], heights[i]))
    candidates = [characters[i] for i in order if heights[i] >= PARAMETERS.digit_height * heights[order[0]]]
    n_noise = int(ink.sum()) - sum(map(len, candidates))
    return [np.isin(np.arange(len(components.area)), candidate) for candidate in candidates], n_noise


def joined(components: Components, candidates: Sequence[Mask]) -> tuple[Mask, float] | None:
    """The likeliest of the `candidates` with the one next to it, and their gap as a share of the height.

    Strokes of one digit need not touch. None where nothing is near, or both together are wider than a digit.
    """
    first, best = np.flatnonzero(candidates[0]), None
    height = _height(components, first)
    pieces = (components.height >= _PIECE_HEIGHT * height) & (components.contact == 0)
    index = np.arange(len(components.area))
    for other in (*candidates[1:], *(index == piece for piece in np.flatnonzero(pieces & ~np.any(candidates, axis=0)))):
        pair = np.concatenate((first, np.flatnonzero(other)))
        height = _height(components, pair)
        width = int(components.right[pair].max() - components.left[pair].min())
        gap = _gap(components, first, np.flatnonzero(other)) / height
        if gap <= _JOINED_GAP and width <= _JOINED_WIDTH * height and (best is None or gap < best[1]):
            best = candidates[0] | other, gap
    return best


def _gap(components: Components, first: Ints, second: Ints) -> int:
    """Pixels between the boxes of two characters, along the axis on which they are further apart."""
    low = max(components.left[first].min(), components.left[second].min())
    high = min(components.right[first].max(), components.right[second].max())
    upper = max(components.top[first].min(), components.top[second].min())
    lower = min(components.bottom[first].max(), components.bottom[second].max())
    return max(int(low - high), int(upper - lower), 0)


def underlines(components: Components, character: Mask) -> tuple[Mask, float] | None:
    """The bars of a character below all else of it, and how much wider than that they are; None: there are none."""
    members = np.flatnonzero(character)
    is_bar = components.width[members] >= _BAR_LENGTH * components.height[members]
    if not is_bar.any() or is_bar.all():
        return None
    body = members[~is_bar]
    bottom, height = int(components.bottom[body].max()), _height(components, body)
    below = members[is_bar & (components.top[members] >= bottom - 0.05 * height)]
    if not len(below):
        return None
    above = np.setdiff1d(members[is_bar], below)
    if len(above) and np.abs(components.width[above] / components.width[below].max() - 1).min() < _ALIKE:
        return None  # a segment of a display
    width = int(components.right[body].max() - components.left[body].min())
    ratio = float(components.width[below].max()) / max(width, 1)
    return np.isin(np.arange(len(components.area)), below), ratio


def _is_only_noise(area: Ints) -> bool:
    """Whether many components of about one size are all there is."""
    count = PARAMETERS.noise_count
    return len(area) >= count and int(area.max()) < 4 * int(np.sort(area)[-count])


def _prominence(components: Components, character: Ints, height: int) -> float:
    """How likely a character is what the picture is about: large, and not at the border."""
    at_border = bool(components.contact[character].any())
    return height * float(np.sqrt(components.area[character].sum())) * (0.5 if at_border else 1.0)


def _background(components: Components) -> Mask:
    """Components along a side of the picture while another stands free (N,): table, shadow, smear, bar."""
    height, width = components.shape
    longer = max(height, width)
    thin = np.minimum(components.height, components.width) < PARAMETERS.line_thickness * longer
    side = np.where(components.height < components.width, width, height)
    strips = thin & (components.contact >= 0.9 * side)
    free = (components.contact == 0) & (components.height >= PARAMETERS.free_height * longer)
    if not free.any():
        return strips
    return strips | (components.contact >= PARAMETERS.border_length * min(height, width))


def _frames(components: Components, ink: Mask) -> Mask:
    """Components that run along their own box (N,), with another inside that is at least a third as high."""
    frames = np.zeros(len(components.area), np.bool_)
    longer_side = np.maximum(components.height, components.width)
    large = ink & (longer_side >= PARAMETERS.free_height * max(components.shape))
    for index in np.flatnonzero(large & (components.area >= 0.1 * components.area.max())).tolist():
        if (_enclosed(components, index) & ink & (components.height >= components.height[index] / 3)).any():
            frames[index] = _is_hollow(components, index)
    return frames


def _enclosed(components: Components, index: int) -> Mask:
    """The components (N,) that lie within the box of one and touch no side of it."""
    columns: Mask = (components.left > components.left[index]) & (components.right < components.right[index])
    rows: Mask = (components.top > components.top[index]) & (components.bottom < components.bottom[index])
    return columns & rows


def _is_hollow(components: Components, index: int) -> bool:
    """Whether a component has nearly all of its pixels within a twelfth of the sides of its box."""
    rows = slice(components.top[index], components.bottom[index])
    columns = slice(components.left[index], components.right[index])
    box = components.mask(np.arange(len(components.area)) == index)[rows, columns]
    y, x = max(1, box.shape[0] // 12), max(1, box.shape[1] // 12)
    return bool(box[y:-y, x:-x].sum() <= (1 - PARAMETERS.frame_share) * box.sum())


def _characters(components: Components, members: Ints) -> list[Ints]:
    """The `members` (indices of components) that belong to each character."""
    boxes = components.left, components.right, components.top, components.bottom, components.width, components.height
    left, right, top, bottom, width, height = (side[members] for side in boxes)
    highest = int(height.max())
    gap_x = np.maximum.outer(left, left) - np.minimum.outer(right, right)
    gap_y = np.maximum.outer(top, top) - np.minimum.outer(bottom, bottom)
    near = np.maximum(gap_x, gap_y) < PARAMETERS.piece_distance * highest
    is_piece = np.minimum.outer(height, height) < PARAMETERS.piece_height * highest
    connected = near & ((-gap_x >= PARAMETERS.overlap * np.minimum.outer(width, width)) | is_piece)
    np.fill_diagonal(connected, True)
    n_pairs = 0
    while (n_connected := int(connected.sum())) > n_pairs:
        n_pairs, steps = n_connected, connected.astype(np.float32)
        connected = steps @ steps > 0  # also those that a third one connects
    first = connected.argmax(axis=1)  # of the members of the same character
    return [members[first == member] for member in np.unique(first)]


def _height(components: Components, character: Ints) -> int:
    return int(components.bottom[character].max() - components.top[character].min())
