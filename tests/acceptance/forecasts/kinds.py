"""What people send first, by kinds: generators of requests, and whether an answer is one that a person agrees with.

Every kind has a seed of its own, which nothing is trained with. A case is one series, the same series told in other
words (`twins`, answered in the same request), the parameters, and a judgement of the predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
LEVELS = (0.1, 0.5, 0.9)


class Prediction:
    """One prediction of an answer, as arrays."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.mean = np.array(document["mean"])
        self.low, self.median, self.high = (np.array(document["quantiles"][str(level)]) for level in LEVELS)
        self.season: int = document["context"]["season_length"]

    def error(self, truth: Floats) -> Floats:
        """Absolute distance of the median from `truth`."""
        return np.abs(self.median - truth)


@dataclass(frozen=True)
class Case:
    """One variation of a kind."""

    name: str
    series: Floats  # NaN is null
    horizon: int
    is_right: Callable[..., bool]  # takes a prediction for the series, and one for each twin
    parameters: dict[str, Any] = field(default_factory=dict)
    twins: tuple[Floats, ...] = ()


Kind = Callable[[], Iterator[Case]]


def wave(time: Floats, season: int, rng: np.random.Generator) -> Floats:
    """A sine of five units on twenty, at a random phase."""
    return 20 + 5 * np.sin(2 * np.pi * (time / season + rng.random()))


def k1_exact_repeats() -> Iterator[Case]:
    """A past that repeats itself goes on so, within 1 % of its range."""
    rng = np.random.default_rng(31_001)
    for _ in range(60):
        period = int(rng.choice([2, 3, 4, 5, 7, 7, 10, 12, 24, 48, int(rng.integers(2, 60))]))
        pattern = rng.integers(0, 100, period).astype(float)
        if rng.random() < 0.4:
            pattern = np.where(rng.random(period) < 0.6, pattern[0] + 1, pattern)
        pattern[0] += 50
        turns = max(int(rng.integers(3, 12)), -(-12 // period))
        whole = np.resize(np.roll(pattern, int(rng.integers(period))), turns * period + 24)
        truth, size = whole[-24:], float(np.ptp(pattern))
        yield Case(
            f"period {period}, {turns} times",
            whole[:-24],
            24,
            lambda p, truth=truth, size=size: bool(p.error(truth).max() <= 0.01 * size),
        )


def k2_regular_events() -> Iterator[Case]:
    """An event every so many days: its height is forecast on its day (within 25 %), and the base on the others."""
    rng = np.random.default_rng(31_002)
    for k in range(60):
        period = int(rng.choice([5, 7, 7, 7, 10, 12, 14, 30]))
        turns = int(rng.integers(8, 25))
        base = float(rng.choice([0, 0, 10]))
        length = period * turns + int(rng.integers(period))
        day = int(rng.integers(period))
        time = np.arange(length + period)
        heights = np.round(
            base + 80 + 20 * rng.random(len(time)) if k % 2 else (base + 1) * (9 + rng.random(len(time))), 2
        )
        series = np.where(time % period == day, heights, base)
        is_event = time[length:] % period == day
        height = float(heights.mean() - base)

        def is_right(p: Prediction, is_event: Floats = is_event, height: float = height, base: float = base) -> bool:
            on, off = p.median[is_event] - base, np.abs(p.median[~is_event] - base)
            return bool(np.abs(on - height).max() <= 0.25 * height and off.max() <= 0.1 * height)

        yield Case(f"every {period} on {base:g}, {length} values", series[:length], period, is_right)


def k3_short_lines() -> Iterator[Case]:
    """Three to ten values on a line go on rising or falling (not below zero), within a quarter of the way."""
    rng = np.random.default_rng(31_003)
    for _ in range(60):
        length, slope = int(rng.integers(3, 11)), float(rng.choice([1, 2, 5, 10, 100, -1, -5, -10]))
        start = float(rng.integers(1, 4)) * abs(slope) + (0 if slope > 0 else abs(slope) * (length + 3))
        line = start + slope * np.arange(length + 12)
        truth = np.maximum(line[length:], 0.0)
        room = 0.25 * abs(slope) * np.arange(1, 13) + 0.25 * abs(slope)
        yield Case(
            f"{length} values from {start:g} by {slope:g}",
            line[:length],
            12,
            lambda p, truth=truth, room=room: bool((p.error(truth) <= room).all()),
        )


def k4_glitches() -> Iterator[Case]:
    """One wrong value, however large and wherever, does not spoil the forecast of a season."""
    rng = np.random.default_rng(31_004)
    for k in range(60):
        season = int(rng.choice([7, 12, 24]))
        time = np.arange(season * int(rng.integers(8, 20)) + season)
        clean = wave(time, season, rng)
        series = (clean + 0.3 * rng.normal(size=len(time)))[:-season]
        place = len(series) - 1 if k % 4 == 0 else int(rng.integers(len(series)))
        size = 10 ** rng.uniform(1.5, 6) * rng.choice([-1, 1])
        series[place] += size
        most = 1.5 if place == len(series) - 1 else 1.0
        yield Case(
            f"season {season}, {size:.0f} at {place - len(series)}",
            series,
            season,
            lambda p, truth=clean[-season:], most=most: bool(p.error(truth).mean() <= most),
            {"lower": None},
        )


def k5_noise_and_walks() -> Iterator[Case]:
    """Intervals without stairs, to no side, of about the right width; the mean is near the median."""
    rng = np.random.default_rng(31_005)
    for k in range(60):
        size, is_walk = 10 ** rng.uniform(-2, 3), k % 2 == 1
        steps = size * rng.normal(size=200)
        series = steps.cumsum() if is_walk else steps
        series = series - series.mean()
        right = 2 * 1.2816 * size * (np.sqrt(np.arange(1, 101)) if is_walk else np.ones(100))

        def is_right(p: Prediction, right: Floats = right) -> bool:
            width = p.high - p.low
            is_smooth = np.abs(np.diff(np.log(width[6:]))).max() < 0.12
            is_even = np.median(np.abs(np.log((p.high - p.median) / (p.median - p.low)))) < 0.5
            is_centred = (np.abs(p.mean - p.median) < 0.15 * width).all()
            return bool(is_smooth and is_even and is_centred and np.median(np.abs(np.log2(width / right))[:32]) < 1)

        yield Case(f"{'walk' if is_walk else 'noise'} of {size:.3g}", series, 100, is_right)


def k6_seasons_found() -> Iterator[Case]:
    """The season of a noisy wave is found exactly where ten turns were seen; walks and lines have none."""
    rng = np.random.default_rng(31_006)
    for k in range(90):
        if k % 3 == 0:
            series = rng.normal(size=int(rng.integers(40, 800))).cumsum()
            yield Case(f"walk of {len(series)}", series, 4, lambda p: bool(p.season == 1))
        elif k % 3 == 1:
            series = float(rng.integers(0, 1000)) + float(rng.integers(1, 20)) * np.arange(int(rng.integers(10, 1000)))
            yield Case(f"line of {len(series)}", series, 4, lambda p: bool(p.season == 1))
        else:
            season, turns = int(rng.choice([7, 12, 24, 30, 48, 52])), int(rng.integers(10, 18))
            time = np.arange(season * turns)
            series = wave(time, season, rng) + 5 * rng.uniform(0.02, 0.25) * rng.normal(size=len(time))
            yield Case(
                f"season {season}, {turns} turns", series, season, lambda p, season=season: bool(p.season == season)
            )


def k7_seasons_told() -> Iterator[Case]:
    """A stated season that is right never harms; one that cannot be used is said to be, and harms nothing."""
    rng = np.random.default_rng(31_007)
    for k in range(60):
        if k % 3 == 0:  # a week in a year of days
            time = np.arange(3 * 365 + 28)
            clean = 100 * (1 + 0.3 * np.sin(2 * np.pi * time / 7 + 6 * rng.random()))
            clean = clean * (1 + 0.3 * np.sin(2 * np.pi * time / 365 + 6 * rng.random()))
            told: Any = [365, [7, 365], 364, 7][k // 3 % 4]
            series = clean * (1 + 0.03 * rng.normal(size=len(time)))
            yield Case(
                f"week in a year, told {told}",
                series[:-28],
                28,
                lambda p, truth=clean[-28:]: bool((p.error(truth) / truth).mean() <= 0.1),
                {"season_length": told},
            )
            continue
        season = int(rng.choice([7, 12, 24]))
        time = np.arange(season * 14)
        clean = wave(time, season, rng)
        series = (clean + 0.5 * rng.normal(size=len(time)))[:-season]
        useless = int(rng.choice([600, 1440, len(series) + 50])) if k % 3 == 2 else season

        def is_right(p: Prediction, truth: Floats = clean[-season:], is_useless: bool = k % 3 == 2) -> bool:
            is_said = ("season_length_unused" in p.document["warnings"]) == is_useless
            return bool(is_said and p.error(truth).mean() <= 0.8)

        yield Case(f"season {season}, told {useless}", series, season, is_right, {"season_length": useless})


def k8_gaps() -> Iterator[Case]:
    """After an outage of up to ten seasons, or with half of the values missing, the season goes on."""
    rng = np.random.default_rng(31_008)
    for k in range(60):
        season = int(rng.choice([7, 12, 24]))
        turns, gap = 20, int(season * rng.uniform(0.5, 10)) if k % 2 else 0
        time = np.arange(season * turns + gap + season)
        clean = wave(time, season, rng)
        series = (clean + 0.3 * rng.normal(size=len(time)))[:-season]
        if k % 2:
            series[-gap:] = np.nan
        else:
            series[rng.random(len(series)) < rng.uniform(0.3, 0.6)] = np.nan
        yield Case(
            f"season {season}, {f'gap of {gap}' if k % 2 else 'half missing'}",
            series,
            season,
            lambda p, truth=clean[-season:]: bool(p.error(truth).mean() <= 1.0),
        )


def k9_bounds() -> Iterator[Case]:
    """Stated bounds hold; without one a series that falls towards zero may go below it, with one it does not."""
    rng = np.random.default_rng(31_009)
    for k in range(45):
        slope, length = float(rng.integers(3, 20)), int(rng.integers(20, 60))
        falling = slope * (length + 2) - slope * np.arange(length) + slope * 0.1 * rng.normal(size=length)
        share = np.minimum(100.0, np.round(100 - rng.gamma(1.0, 0.4, size=120), 2))
        if k % 3 == 0:
            yield Case("falls below zero", falling, 12, lambda p: bool(p.median[-1] < 0), {"lower": None})
        elif k % 3 == 1:
            yield Case("stops at zero", falling, 12, lambda p: bool(p.low.min() >= 0 and p.mean.min() >= 0), {})
        else:
            yield Case(
                "a share",
                share,
                24,
                lambda p: bool(p.high.max() <= 100 and p.mean.max() <= 100 and p.low.min() >= 0),
                {"lower": 0, "upper": 100},
            )


def k10_decays() -> Iterator[Case]:
    """A decay goes on, and a saturated curve stays where it is: within 15 % of what was left to go, or of the range."""
    rng = np.random.default_rng(31_010)
    for k in range(60):
        length, rate = int(rng.integers(30, 100)), rng.uniform(0.85, 0.97)
        time = np.arange(length + 24)
        level, size = float(rng.choice([0, 20, 100])), 10 ** rng.uniform(0, 3)
        if k % 3 == 0:
            clean = level + size * (1 - rate**time)
        elif k % 3 == 1:
            clean = level + size * rate**time
        else:
            clean = level + size / (1 + np.exp(-(time - length / 3) * rng.uniform(0.15, 0.4)))
        noise = float(rng.choice([0, 0.002, 0.01]))
        series = clean[:length] + noise * size * rng.normal(size=length)
        left = abs(clean[-1] - clean[length - 1])
        room = 0.15 * left + (0.02 + 1.5 * noise) * size
        yield Case(
            f"{('saturates', 'decays', 'logistic')[k % 3]}, {length} values, noise {noise:g}",
            series,
            24,
            lambda p, truth=clean[length:], room=room: bool(p.error(truth).max() <= room),
        )


def k11_noisy_trends() -> Iterator[Case]:
    """A trend that is clear goes on for as long again: half to one and a half times its slope."""
    rng = np.random.default_rng(31_011)
    for _ in range(60):
        length, slope = int(rng.integers(20, 200)), rng.choice([-1, 1]) * 10 ** rng.uniform(-2, 2)
        horizon = min(length, 96)
        noise = abs(slope) * rng.uniform(0.2, 0.02 * length + 0.6)
        series = 1000 * abs(slope) + slope * np.arange(length) + noise * rng.normal(size=length)
        end = 1000 * abs(slope) + slope * (length - 1 + horizon)

        def is_right(p: Prediction, end: float = end, way: float = slope * horizon, noise: float = noise) -> bool:
            return bool(abs(p.median[-1] - end) <= 0.5 * abs(way) + noise)

        yield Case(f"{length} values, {noise / abs(slope):.1f} slopes of noise", series, horizon, is_right)


def k12_offsets() -> Iterator[Case]:
    """A constant that is added to a series is added to its forecast: within 15 % of a deviation."""
    rng = np.random.default_rng(31_012)
    for k in range(60):
        length = int(rng.integers(40, 300))
        plain = rng.normal(size=length)
        if k % 3 == 1:
            plain = plain.cumsum()
        elif k % 3 == 2:
            plain = 0.3 * plain + np.sin(2 * np.pi * np.arange(length) / 12)
        plain = plain - plain.mean()
        offset = plain.std() * 10 ** rng.uniform(1.5, 5)

        def is_right(p: Prediction, twin: Prediction, offset: float = offset, size: float = plain.std()) -> bool:
            moved = np.abs(p.median - twin.median - offset)
            wider = np.abs(np.log((p.high - p.low) / (twin.high - twin.low)))
            return bool(moved.mean() <= 0.15 * size and np.median(wider) <= 0.25)

        yield Case(
            f"{('noise', 'walk', 'season')[k % 3]} of {length}, {offset / plain.std():.0f} deviations up",
            plain + offset,
            18,
            is_right,
            {"lower": None},
            (plain,),
        )


def k13_gaps_in_front() -> Iterator[Case]:
    """Missing values in front change nothing."""
    rng = np.random.default_rng(31_013)
    for _ in range(40):
        gap, length = int(10 ** rng.uniform(0, 3.3)), int(10 ** rng.uniform(0, 2.3))
        plain = rng.normal(size=length).cumsum() + 5
        yield Case(
            f"{gap} in front of {length}",
            np.concatenate([np.full(gap, np.nan), plain]),
            12,
            lambda p, twin: bool(np.allclose(p.median, twin.median) and np.allclose(p.high, twin.high)),
            {},
            (plain,),
        )


def k14_constants() -> Iterator[Case]:
    """A constant is repeated to the last bit, zero as zero."""
    rng = np.random.default_rng(31_014)
    for k in range(40):
        value = (0.0, round(float(rng.normal()) * 100, 1), float(rng.integers(1, 1000)), float(rng.normal()) * 1e9)[
            k % 4
        ]
        series = np.full(int(10 ** rng.uniform(0.31, 3)), value)
        yield Case(
            f"{len(series)} times {value!r}",
            series,
            30,
            lambda p, value=value: bool(all((rows == value).all() for rows in (p.mean, p.low, p.median, p.high))),
        )


def k15_changes_of_noise() -> Iterator[Case]:
    """From 50 values after a change of the noise on, or after one glitch, intervals of the next value hold again."""
    rng = np.random.default_rng(31_015)
    for k in range(36):
        factor = (1.0, 3.0, 10.0, 0.1, 0.01, 100.0)[k % 6]
        steps = rng.normal(size=900)
        steps[600:] *= factor
        series = 50 + steps
        if factor == 1.0:
            series[600] += 10 ** rng.uniform(2, 6)

        def is_right(p: Prediction, series: Floats = series) -> bool:
            history = p.document["history"]["quantiles"]
            low, high = np.array(history["0.1"][650:]), np.array(history["0.9"][650:])
            inside = (low <= series[650:]) & (series[650:] <= high)
            return bool(0.65 <= inside[:100].mean() <= 0.95 and 0.65 <= inside.mean() <= 0.95)

        name = "one glitch" if factor == 1.0 else f"noise times {factor:g}"
        yield Case(name, series, 1, is_right, {"include": ["history"], "lower": None})


def k16_perfect_lines() -> Iterator[Case]:
    """A perfect line is followed: within 2 % of the way, and inside the interval."""
    rng = np.random.default_rng(31_016)
    for _ in range(60):
        length, slope = int(rng.integers(10, 600)), float(rng.choice([-1, 1])) * float(rng.integers(1, 20))
        line = float(rng.choice([0, 1000, 1e6])) + 20_000 + slope * np.arange(length + 24)
        truth = line[length:]

        def is_right(p: Prediction, truth: Floats = truth, slope: float = slope) -> bool:
            inside = (p.low - 1e-6 <= truth) & (truth <= p.high + 1e-6)
            return bool((p.error(truth) <= 0.02 * abs(slope) * np.arange(1, 25)).all() and inside.all())

        yield Case(f"{length} values by {slope:g}", line[:length], 24, is_right)


def k17_counters_and_closed_days() -> Iterator[Case]:
    """A counter never falls; days that were always closed stay so; six values of two kinds go on taking turns."""
    rng = np.random.default_rng(31_017)
    for k in range(60):
        if k % 3 == 0:
            series = 1000 * rng.integers(0, 50) + rng.poisson(rng.uniform(1, 30), int(rng.integers(40, 300))).cumsum()
            yield Case(
                f"counter of {len(series)}",
                series.astype(float),
                24,
                lambda p, last=series[-1]: bool(p.low.min() >= last and (np.diff(p.median) >= -1e-6 * last).all()),
            )
        elif k % 3 == 1:
            turns, n_closed = int(rng.integers(8, 30)), int(rng.integers(1, 3))
            week = np.where(np.arange(7) >= 7 - n_closed, 0.0, 1.0)
            series = np.round(np.tile(week, turns) * rng.uniform(80, 200) * (1 + 0.1 * rng.normal(size=7 * turns)))
            usual = series[series > 0].mean()
            yield Case(
                f"{n_closed} closed days, {turns} weeks",
                series,
                7,
                lambda p, week=week, usual=usual: bool(
                    p.median[week == 0].max() <= 0.02 * usual
                    and p.high[week == 0].max() <= 0.1 * usual
                    and p.error(usual * week).max() <= 0.2 * usual
                ),
            )
        else:
            pattern = rng.permutation(30)[: int(rng.integers(2, 4))].astype(float)
            turns = -(-6 // len(pattern)) + int(rng.integers(2))
            truth = np.resize(pattern, 6)
            yield Case(
                f"{pattern.tolist()} {turns} times",
                np.tile(pattern, turns),
                6,
                lambda p, truth=truth: bool(p.error(truth).max() <= 0.1 * np.ptp(truth)),
            )


def k18_seasons_on_slow_movements() -> Iterator[Case]:
    """Busy weekends, or days of hours, go on (within 40 % of their height) whatever moves more than they do beneath."""
    rng = np.random.default_rng(31_018)
    for k in range(60):
        count = int(rng.integers(250, 720))
        time = np.arange(count + 28)
        scale = float(rng.choice([0.01, 1.0, 1000.0]))
        kind, slow = [
            ("a year", 10 * np.sin(2 * np.pi * (time / 365.25 + rng.random()))),
            ("a walk", np.cumsum(rng.normal(0, 0.8, count + 28))),
            ("steps", 20 * np.cumsum((rng.random(count + 28) < 0.004) * rng.choice([-1, 1], count + 28))),
            ("a month of another level", np.where(np.abs(time - count * rng.uniform(0.3, 0.7)) < 15, -40.0, 0.0)),
            ("campaigns", 30.0 * (np.convolve(rng.random(count + 28) < 0.01, np.ones(5))[: count + 28] > 0)),
            ("an outage", np.where(np.abs(time - count * rng.uniform(0.4, 0.7)) < 18, -60.0, 0.0)),
        ][k % 6]
        season = 24 if kind == "an outage" else 7
        busy = np.isin(time % 7, [5, 6]) if season == 7 else (time % 24 >= 8) & (time % 24 < 20)
        height = 8.0 if season == 7 else 40.0
        series = scale * (60 + height * busy + slow + rng.normal(0, 3, count + 28))
        ahead = busy[count:]

        def is_right(p: Prediction, ahead: Floats = ahead, height: float = height * scale) -> bool:
            return 0.6 * height < p.median[ahead].mean() - p.median[~ahead].mean() < 1.4 * height

        yield Case(f"{kind}, {count} values", series[:count], 28, is_right)


KINDS: tuple[Kind, ...] = (
    k1_exact_repeats,
    k2_regular_events,
    k3_short_lines,
    k4_glitches,
    k5_noise_and_walks,
    k6_seasons_found,
    k7_seasons_told,
    k8_gaps,
    k9_bounds,
    k10_decays,
    k11_noisy_trends,
    k12_offsets,
    k13_gaps_in_front,
    k14_constants,
    k15_changes_of_noise,
    k16_perfect_lines,
    k17_counters_and_closed_days,
    k18_seasons_on_slow_movements,
)
