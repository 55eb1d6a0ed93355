"""The way from a picture to what may be its digit, each as 28 rows like MNIST's, with a report of what was done.

The stages, each entered once for all that may be the digit: `decode` makes a plane of grey, `binarize` separates ink
from paper, `lines` and `cell_lines` take printed lines away, `components` and `layout` select what may be the digit,
`strokes` refuses shade, `marks` cuts out what remains (`search` calls these in turn), and `mnist` makes the rows.
Pillow and numpy only.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from service.contract.errors import InvalidRequest
from service.imaging.decode import Picture
from service.imaging.filters import Plane
from service.imaging.mnist import normalized
from service.imaging.report import Preparation, preparation_of
from service.imaging.search import search
from service.imaging.strokes import excess_length, stroke_width, thickened
from service.imaging.trust import NO_FEATURES, features_of, features_of_turned, log_trust

TURNED = -0.2  # logarithm of the weight of a digit that lies or stands on its head, where the upright one is doubtful


class Hypothesis(Struct, frozen=True, eq=False, gc=False):
    """One way to see a picture: the rows (28, 28) of its digit, ink 0..1, what was done, and how likely that is.

    `prior` is the logarithm of a weight: 0 for the likeliest way. `features` are what the preparation met
    that lowers the score, and `log_trust` is the logarithm of the share that is left (`service.imaging.trust`).
    """

    rows: Plane
    report: Preparation
    prior: float = 0.0
    features: tuple[float, ...] = NO_FEATURES
    log_trust: float = 0.0
    is_turned: bool = False


def hypotheses(picture: Picture) -> tuple[list[Hypothesis], InvalidRequest | None]:
    """The ways to see a digit in `picture`, the likeliest first, and why it is blank in the likeliest view of it.

    Raises `InvalidRequest` (`blank_image`) where it is blank in all of them.
    """
    look = search(picture)
    inks, lengths = [], []
    for mark in look.marks:
        width = stroke_width(mark.mask)
        inks.append(thickened(mark.strength, width))
        lengths.append(excess_length(mark.mask, width))
    rows = []
    for strength, _ in inks:
        plane = normalized(strength)
        rows.append(plane)
    by_rows: dict[bytes, Hypothesis] = {}
    for mark, plane, (_, is_thickened), length in zip(look.marks, rows, inks, lengths, strict=True):
        # Of two ways that come to the same rows, the likelier one.
        report = preparation_of(picture, mark, is_thickened)
        features = features_of(mark, is_thickened=is_thickened, excess_length=length)
        by_rows.setdefault(plane.tobytes(), Hypothesis(plane, report, mark.prior, features, log_trust(features)))
    found = list(by_rows.values())
    if picture.is_photograph and not picture.rotated and not _is_at_border(found[0].report):
        found += _turned(found[0], inks[0][0])
    return found, look.refusal


def _is_at_border(report: Preparation) -> bool:
    """Whether a mark touches the border of the picture, as a digit that was photographed seldom does."""
    width, height = report.source_size
    left, top, right, bottom = report.box
    reach = max(1.0, 0.01 * max(width, height))
    return min(left, top) <= reach or right >= width - reach or bottom >= height - reach


def _turned(upright: Hypothesis, strength: Plane) -> list[Hypothesis]:
    """The same mark turned by 90, 180 and 270 degrees: cameras do not always say which way up they were held."""
    features = features_of_turned(upright.features)
    return [
        Hypothesis(
            normalized(np.ascontiguousarray(np.rot90(strength, -quarters))),
            replace(upright.report, turned=90 * quarters),
            upright.prior + TURNED,
            features,
            log_trust(features),
            is_turned=True,
        )
        for quarters in (1, 2, 3)
    ]
