"""How far the preparation of a mark can be trusted: what is known of it lowers the score that the network gives.

The weights were fitted by `python -m benchmarks.digits.trust` on scenes of its own, none of which is scored anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from service.imaging.marks import Mark

_FAINT = 0.35  # contrast of ink, of the full scale

# Each lowers the logarithm of the trust. The order is that of `features_of`. What came out below 0.01 stays at zero.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "uneven_paper": 0.0,
        "at_border": 0.0575,
        "uneven_paper_at_border": 0.0,
        "enlarged": 0.0,
        "faint": 0.0,
        "lines": 0.0,
        "specks": 0.0,
        "several": 0.0503,
        "thickened": 0.0,
        "unlikely_way": 0.0,
        # Not fitted: the scenes of that fit show digits and empty paper only.
        "excess_length": 6.25,
        "turned": 0.0,
    }
)
NO_FEATURES = (0.0,) * len(WEIGHTS)


def features_of(mark: Mark, *, is_thickened: bool, excess_length: float) -> tuple[float, ...]:
    """What the preparation of `mark` met, a number for each of `WEIGHTS`; 0 where it did not.

    `excess_length`: how much longer than those of any digit its strokes are, see `service.imaging.strokes`.
    """
    is_uneven = mark.ink.paper != "even"
    return (
        float(is_uneven),
        float(mark.at_border),
        float(is_uneven and mark.at_border),
        float(mark.enlarged),
        float(mark.ink.contrast < _FAINT),
        float(mark.n_lines > 0),
        min(math.log1p(mark.n_noise) / 3, 1.0),
        float(mark.n_candidates > 1),
        float(is_thickened),
        min(-mark.prior, 3.0),
        excess_length**2,
        0.0,
    )


def features_of_turned(upright: Sequence[float]) -> tuple[float, ...]:
    """The features of a mark that is read another way up than it stands, given those of the upright one."""
    return (*upright[:-1], 1.0)


def log_trust(features: Sequence[float]) -> float:
    """The logarithm of the share of the network's belief that is left where the preparation met `features`."""
    return -sum(weight * feature for weight, feature in zip(WEIGHTS.values(), features, strict=True))
