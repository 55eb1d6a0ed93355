"""What a person tries first, by kinds: the newest `forecaster` answers nearly all variations of each kind well.

A kind is a generator of series with a seed of its own, and the bounds that a person would agree with. The model is
loaded and run as the service does it, without HTTP between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import pytest

from service.backend.torchscript import LoadedModel, load
from service.contract.types import ForecastItem, ForecastResult
from training.evaluation.evaluate import folders
from training.fit.export import MODELS

Floats = np.ndarray[Any, np.dtype[np.float64]]
LEVELS = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
LOW, MEDIAN, HIGH = 1, 3, 5  # of LEVELS: the 80 % interval and its middle
SHARE = 0.95  # of the variations of a kind

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Case:
    """One variation: a series, the steps ahead, and whether an answer is what a person expects."""

    series: Floats
    horizon: int
    is_right: Callable[[ForecastResult], bool]
    name: str


@cache
def model() -> LoadedModel:
    """The newest committed version of `forecaster`."""
    return load(folders(MODELS, ["forecaster"])[0], warm=False)


def answers(series: Sequence[Floats], horizon: int) -> list[ForecastResult]:
    """The forecasts of all `series` in one batch."""
    items = [ForecastItem(values=values, horizon=horizon, levels=LEVELS) for values in series]
    return cast("list[ForecastResult]", model().run(items))


def failures(cases: Sequence[Case]) -> list[str]:
    """The names of the cases that are not right; those of one horizon are asked for together."""
    wrong = []
    for horizon in sorted({case.horizon for case in cases}):
        some = [case for case in cases if case.horizon == horizon]
        for case, result in zip(some, answers([case.series for case in some], horizon), strict=True):
            if not case.is_right(result):
                wrong.append(f"{case.name}: season {result.season}, median {np.round(result.quantiles[MEDIAN][:8], 3)}")
    return wrong


def error(result: ForecastResult, truth: Floats) -> Floats:
    """Absolute distance of the median from `truth` (H,)."""
    return np.abs(result.quantiles[MEDIAN] - truth)


def patterns(rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """Patterns that people type: few numbers, closed days, one event, on and off, stairs, long random ones."""
    for _ in range(8):
        yield "integers", rng.permutation(60)[: rng.integers(2, 15)].astype(float)
        yield "closed days", np.array([rng.integers(50, 200)] * 5 + [0, 0], float)
        yield "event", np.array([rng.integers(0, 9)] * int(rng.integers(3, 12)) + [rng.integers(50, 200)], float)
        yield "on and off", np.repeat([0.0, 1.0], rng.integers(1, 13))
        yield "stairs", np.arange(float(rng.integers(2, 10))) * rng.integers(1, 30) + rng.integers(0, 1000)
        yield "long", rng.normal(size=int(rng.integers(20, 300))) * 10 ** rng.uniform(-3, 6)


def exact_repeats() -> Iterator[Case]:
    """K1 and K17: a past that repeats itself goes on so, within 1 % of its range and with narrow intervals."""
    rng = np.random.default_rng(20_261)
    for kind, pattern in patterns(rng):
        period = len(pattern)
        turns = max(int(rng.integers(2, 6)) if period > 60 else int(rng.integers(4, 14)), -(-12 // period))
        shift = int(rng.integers(period))
        whole = np.resize(np.roll(pattern, shift), turns * period + 24)
        series, truth = whole[: turns * period], whole[turns * period :]

        def is_right(result: ForecastResult, truth: Floats = truth, size: float = float(np.ptp(pattern))) -> bool:
            width = np.mean(result.quantiles[HIGH] - result.quantiles[LOW])
            return bool(error(result, truth).max() <= 0.01 * size and width <= 0.1 * size)

        yield Case(series, 24, is_right, f"{kind} of {period}, {turns} times")


def glitches() -> Iterator[Case]:
    """K4a: one glitch does not hide the season; a moderate one does not spoil the forecast either."""
    rng = np.random.default_rng(20_262)
    for _ in range(60):
        season = int(rng.choice([7, 12, 24]))
        time = np.arange(season * int(rng.integers(8, 20)) + season)
        size = 10 ** rng.uniform(-2, 4)
        clean = size * (rng.uniform(2, 10) + np.sin(2 * np.pi * (time / season + rng.random())))
        series = (clean + 0.06 * size * rng.normal(size=len(time)))[:-season]
        height = 10 ** rng.uniform(0.7, 3)
        series[rng.integers(len(series) - season)] += size * height * rng.choice([-1, 1])

        def is_right(
            result: ForecastResult,
            truth: Floats = clean[-season:],
            season: int = season,
            most: float = size * (0.3 if height < 30 else np.inf),
        ) -> bool:
            return result.season == season and bool(error(result, truth).mean() <= most)

        yield Case(series, season, is_right, f"season {season}, glitch of {height:.0f} amplitudes")


def noises() -> Iterator[Case]:
    """K5: intervals of noise and walks have no stairs, lean to no side, and are about as wide as they should be."""
    rng = np.random.default_rng(20_263)
    for k in range(60):
        size = 10 ** rng.uniform(-2, 3)
        steps = size * rng.normal(size=200)
        is_walk = k % 2 == 1
        series = steps.cumsum() if is_walk else steps
        series -= series.mean()  # nothing is held above zero

        def is_right(result: ForecastResult, size: float = size, is_walk: bool = is_walk) -> bool:
            low, middle, high = (result.quantiles[k] for k in (LOW, MEDIAN, HIGH))
            width = high - low
            jumps = np.abs(np.diff(np.log(width[6:])))
            is_smooth = jumps.max() < 0.1 and np.abs(np.diff(result.mean - middle)[3:]).max() < 0.08 * width.mean()
            lean = np.abs(np.log((high - middle) / (middle - low)))
            right = 2 * 1.2816 * size * (np.sqrt(np.arange(1, 101)) if is_walk else 1)
            # What 200 values say of the width is vague, and more so far ahead: twice or half of it is wrong.
            off = np.abs(np.log2(width / right))[:32]
            centred = np.abs(result.mean - middle) < 0.1 * width
            return bool(is_smooth and np.median(lean) < 0.4 and np.median(off) < 1 and centred.all())

        yield Case(series, 100, is_right, f"{'walk' if is_walk else 'noise'} {k}")


def noisy_seasons() -> Iterator[Case]:
    """K6: the season of a noisy wave is found exactly where ten turns of it were seen."""
    rng = np.random.default_rng(20_264)
    for _ in range(60):
        season = int(rng.choice([7, 12, 24, 30, 48, 52]))
        turns = int(rng.integers(10, 20))
        noise = rng.uniform(0.02, 0.25)
        time = np.arange(season * turns + season)
        clean = 20 + 5 * np.sin(2 * np.pi * (time / season + rng.random()))
        series = (clean + 5 * noise * rng.normal(size=len(time)))[:-season]

        def is_right(result: ForecastResult, season: int = season, truth: Floats = clean[-season:]) -> bool:
            return result.season == season and bool(error(result, truth).mean() <= 1.0)

        yield Case(series, season, is_right, f"season {season}, {turns} turns, noise {noise:.2f}")


def lines() -> Iterator[Case]:
    """K6: a straight line has no season, whatever its length, slope and level."""
    rng = np.random.default_rng(20_265)
    for _ in range(60):
        length, slope, level = int(rng.integers(10, 1100)), rng.choice([-1, 1]) * 10 ** rng.uniform(-3, 3), rng.normal()
        if rng.random() < 0.5:
            slope, level = float(rng.integers(1, 20)), float(rng.integers(0, 1_000_000))
        series = level + slope * np.arange(length)
        yield Case(series, 1, lambda result: result.season == 1, f"{length} values, slope {slope:g}")


def walks_without_season() -> Iterator[Case]:
    """K6: a random walk has no season."""
    rng = np.random.default_rng(20_266)
    for _ in range(100):
        length = int(rng.integers(40, 1000))
        yield Case(rng.normal(size=length).cumsum(), 1, lambda result: result.season == 1, f"walk of {length}")


def gaps_in_front() -> Iterator[Case]:
    """K13: missing values in front change nothing."""
    rng = np.random.default_rng(20_267)
    for _ in range(40):
        gap, length = int(10 ** rng.uniform(0, 3.3)), int(10 ** rng.uniform(0, 2.3))
        plain = rng.normal(size=length).cumsum() + 5
        (want,) = answers([plain], 12)

        def is_right(result: ForecastResult, want: ForecastResult = want) -> bool:
            return bool(
                np.allclose(result.quantiles, want.quantiles, rtol=1e-12, atol=1e-12)
                and np.allclose(result.mean, want.mean, rtol=1e-12, atol=1e-12)
                and result.season == want.season
            )

        yield Case(np.concatenate([np.full(gap, np.nan), plain]), 12, is_right, f"{gap} in front of {length}")


def constants() -> Iterator[Case]:
    """K14: a constant is repeated to the last bit, zero as zero."""
    rng = np.random.default_rng(20_268)
    for k in range(60):
        choices = (0.0, round(float(rng.normal()) * 100, 1), float(rng.integers(1, 1000)), float(rng.normal()) * 1e9)
        value = choices[k % 4]
        length = int(10 ** rng.uniform(0.31, 3))

        def is_right(result: ForecastResult, value: float = value) -> bool:
            return bool((result.quantiles == value).all() and (result.mean == value).all())

        yield Case(np.full(length, value), 30, is_right, f"{length} times {value!r}")


@pytest.mark.parametrize(
    "kind",
    [
        exact_repeats,
        glitches,
        noises,
        noisy_seasons,
        lines,
        walks_without_season,
        gaps_in_front,
        constants,
    ],
    ids=lambda kind: kind.__name__,
)
def test_nearly_all_variations_of_a_kind_are_right(kind: Callable[[], Iterator[Case]]) -> None:
    cases = list(kind())
    assert len(cases) >= 30
    wrong = failures(cases)
    assert len(wrong) <= (1 - SHARE) * len(cases), f"{len(wrong)} of {len(cases)} are wrong:\n" + "\n".join(wrong)


@pytest.mark.parametrize("kind", ["noise", "walk"])
def test_on_average_nothing_is_shifted_and_four_in_five_values_are_inside(kind: str) -> None:
    """K5: over many series the mean is where the future is, and each part of the horizon is covered alike."""
    rng = np.random.default_rng(20_269)
    noise = rng.normal(size=(300, 300))
    whole = noise if kind == "noise" else noise.cumsum(1) - noise[:, :200].cumsum(1).mean(1, keepdims=True)
    results = answers(list(whole[:, :200]), 100)
    level = 0.0 if kind == "noise" else whole[:, 199:200]
    means = np.mean(np.array([result.mean for result in results]) - level, 0)
    assert abs(means[:64].mean()) < 0.03 if kind == "noise" else abs(means[:16].mean()) < 0.1
    assert np.abs(np.diff(means)).max() < 0.05  # no stairs
    inside = np.array(
        [
            (result.quantiles[LOW] <= future) & (future <= result.quantiles[HIGH])
            for result, future in zip(results, whole[:, 200:], strict=True)
        ]
    )
    for part in (slice(0, 4), slice(4, 16), slice(16, 64), slice(64, 100)):
        assert 0.7 <= inside[:, part].mean() <= 0.9


def test_gaps_in_front_that_come_in_several_requests_change_nothing() -> None:
    series = np.array([3.0, 5.0, 4.0, 6.0])
    (want,) = answers([series], 6)
    state = None
    for values in (np.full(3, np.nan), np.full(1, np.nan), np.array([np.nan, np.nan, *series])):
        item = ForecastItem(values=values, horizon=6, levels=LEVELS, state=state)
        # Nothing can be forecast before the first value, but the state goes on.
        if np.isfinite(values).any():
            (got,) = cast("list[ForecastResult]", model().run([item]))
            np.testing.assert_allclose(got.quantiles, want.quantiles, rtol=1e-6)
        else:
            network = model().network
            fresh = network.initial(0).copy() if state is None else state
            state = network.step(values[None], np.array([len(values)]), fresh[None])[0]
            np.testing.assert_array_equal(state, network.initial(0))


def test_a_season_that_cannot_be_used_shows_in_the_answer() -> None:
    """K7: the season in use differs from the one that was stated, and is the one that the series has."""
    time = np.arange(300)
    series = 100 + 20 * np.sin(2 * np.pi * time / 7)
    for stated in (400, 512, 672, 1440):
        item = ForecastItem(values=series, horizon=14, levels=LEVELS, season=stated)
        (result,) = cast("list[ForecastResult]", model().run([item]))
        assert result.season == 7
        assert error(result, 100 + 20 * np.sin(2 * np.pi * (time[-1] + 1 + np.arange(14)) / 7)).mean() < 1
