"""What a caller states about a series besides its values: seasons and bounds, and what cannot be used of it, in words.

A model gets it in one number, `ForecastItem.season`: a season, plus `SECOND` times a second one, plus `NO_FLOOR` for a
series that may fall below zero although it has not yet (docs/models.md). Models with a manifest that does not say
that they know the latter two get the first season alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import UNSET

from service.codec.forecast_types import ForecastParameters, SeriesInput
from service.codec.strict_json import FieldErrors
from service.contract.manifest import InputContract, Manifest
from service.contract.types import Floats, ForecastResult

SECOND = 4096
NO_FLOOR = SECOND * SECOND


class Bounds(NamedTuple):
    """What no answer may go below or above; None: nothing."""

    lower: float | None = None
    upper: float | None = None

    def applied(self, values: Floats) -> Floats:
        """`values` within the bounds; NaN stays NaN."""
        if self.lower is not None:
            values = np.maximum(values, self.lower)
        return values if self.upper is None else np.minimum(values, self.upper)


def stated_seasons(parameters: ForecastParameters) -> tuple[int, ...]:
    """The seasons that `parameters` state, ascending: none, one or two."""
    stated = parameters.season_length
    if stated is None:
        return ()
    return (stated,) if isinstance(stated, int) else tuple(sorted(set(stated)))


def bounds_of(series: SeriesInput, parameters: ForecastParameters) -> tuple[Bounds | None, bool]:
    """The bounds that are stated for `series`, the item's own first, and whether they exclude a floor at zero."""
    lower = parameters.lower if series.lower is UNSET else series.lower
    upper = parameters.upper if series.upper is UNSET else series.upper
    has_no_floor = lower is None or (lower is not UNSET and lower < 0)
    bounds = Bounds(None if lower is UNSET else lower, None if upper is UNSET else upper)
    return (None if bounds == Bounds() else bounds), has_no_floor


def check_bounds(bounds: Bounds, pointer: str, errors: FieldErrors) -> None:
    """Record whether the lower bound is above the upper one."""
    if bounds.lower is not None and bounds.upper is not None and bounds.lower > bounds.upper:
        errors.add(f"{pointer}/lower", "out_of_range", f"lower {bounds.lower:g} is above upper {bounds.upper:g}")


def season_number(seasons: Sequence[int], has_no_floor: bool, contract: InputContract) -> int:
    """The number that tells a model what is stated; see the module's docstring."""
    if contract.seasons == 1:
        number = seasons[0] if seasons else 0
        return number + NO_FLOOR if has_no_floor and contract.optional_floor else number
    usable = [season for season in seasons if season < SECOND]
    number = sum(season * SECOND**place for place, season in enumerate(usable))
    return number + NO_FLOOR if has_no_floor and contract.optional_floor else number


def differs(stated: int, begun_with: int) -> bool:
    """Whether `stated` says anything else than what a series was `begun_with`; what it leaves open is none."""
    seasons, floor = stated % NO_FLOOR, stated // NO_FLOOR
    return (seasons != 0 and seasons != begun_with % NO_FLOOR) or floor > begun_with // NO_FLOOR


def in_words(number: int) -> str:
    """What a series was begun with, for a message: 'with 7 and 365', 'without one'."""
    seasons = [str(season) for season in (number % SECOND, number // SECOND % SECOND) if season]
    return f"with {' and '.join(seasons)}" if seasons else "without one"


def season_warning(
    seasons: Sequence[int], result: ForecastResult, observations: int, manifest: Manifest
) -> tuple[str, str] | None:
    """The code and the sentence of a warning that something stated about the season was of no use; None if all was."""
    if not seasons:
        return None
    contract = manifest.input
    if not contract.season:
        return "season_length_ignored", f"'{manifest.name}' makes no use of a season."
    reasons = [
        reason
        for place, season in enumerate(seasons)
        if (reason := _why_unused(place, season, result, observations, contract))
    ]
    if not reasons:
        return None
    in_use = "no season is in use" if result.season == 1 else f"the season in use is {result.season}"
    return "season_length_unused", f"{'; '.join(reasons)}; {in_use}."


def _why_unused(place: int, season: int, result: ForecastResult, observations: int, contract: InputContract) -> str:
    if place == 0 and season == result.season:
        return ""
    if contract.max_season is not None and season > contract.max_season:
        return f"a season of {season} was not used: the model can use seasons of up to {contract.max_season}"
    if season > observations:
        return f"a season of {season} was not used: only {observations} values are known, less than one season"
    if place >= contract.seasons:
        return f"a second season of {season} was not used: the model takes one"
    return f"a season of {season} was not used" if place == 0 else ""
