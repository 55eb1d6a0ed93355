"""Synthetic series on the training device, whole batches at a time: the priors of the zero-shot forecaster.

Each prior takes `(batch, length, generator, device)` and returns values (batch, length) float64 and the season length
(batch,) int64 that a caller might state, 0 where there is none to state. They cover what real series do and the real
collection shows too rarely: clean seasons of any length, trends that bend, levels that jump, counts, sparse demand,
lines, decays, regular events, meters, changes of noise, traffic with two seasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Sample = tuple[Tensor, Tensor]  # values, season lengths
Prior = Callable[[int, int, torch.Generator, torch.device], Sample]

CALENDAR = (4, 5, 6, 7, 12, 13, 24, 26, 30, 48, 52, 96, 144, 168, 288)


class _Random:
    """Draws with one generator on one device, in float64."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.generator, self.device = generator, device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        u = torch.rand(*shape, generator=self.generator, device=self.device, dtype=torch.float64)
        return low + (high - low) * u

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return torch.exp(self.uniform(*shape, low=math.log(low), high=math.log(high)))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device, dtype=torch.float64)

    def chance(self, probability: float, *shape: int) -> Tensor:
        return self.uniform(*shape) < probability


def sines(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """The forecasting tutorial's mixture of two sine waves and uniform noise (see `data.sine_mixture`)."""
    noisy, _, _ = sines_and_truth(batch, length, generator, device)
    return noisy, torch.zeros(batch, dtype=torch.int64, device=device)


def sines_and_truth(
    batch: int, length: int, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The series of `sines`, the same without their noise, both (batch, length), and their components (batch, 4).

    The components are phase at the first value and radians a step of the slow sine, then of the fast one. All float64.
    """
    random = _Random(generator, device)
    time = torch.arange(length, device=device, dtype=torch.float64)[None, :] / 50
    u = random.uniform(batch, 4, 1)
    slow_frequency, fast_frequency = 10 + 10 * u[:, 1], 20 + 20 * u[:, 3]
    clean = 0.5 * torch.sin((time - u[:, 0]) * slow_frequency)
    clean += 0.2 * torch.sin((time - u[:, 2]) * fast_frequency)
    phases = -u[:, 0] * slow_frequency, -u[:, 2] * fast_frequency
    components = torch.cat([phases[0], slow_frequency / 50, phases[1], fast_frequency / 50], 1)
    return clean + 0.1 * (random.uniform(batch, length) - 0.5), clean, components


def seasonal(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Trend + one or two seasons with harmonics that may drift + noise; one in three multiplicative and positive."""
    random = _Random(generator, device)
    period = _periods(batch, random)
    season = _shape(batch, length, period, random)
    second = period * (2 + (6 * random.uniform(batch)).floor())
    season = season + torch.where(random.chance(0.3, batch), random.uniform(batch), 0.0)[:, None] * _shape(
        batch, length, second, random
    )
    drift = 1 + random.log_uniform(batch, 1, low=0.01, high=0.6) * _walk(batch, length, random)
    trend = _bent_trend(batch, length, random) * random.log_uniform(batch, 1, low=0.05, high=4.0)
    noise = random.normal(batch, length) * random.log_uniform(batch, 1, low=0.01, high=1.0)
    level = random.log_uniform(batch, 1, low=0.05, high=4.0) * _walk(batch, length, random)
    level = torch.where(random.chance(0.5, batch, 1), level, 0.0)
    total = season * torch.where(random.chance(0.4, batch, 1), drift, 1.0) + trend + noise + level
    factor = torch.exp(total * random.log_uniform(batch, 1, low=0.05, high=0.6))
    series = torch.where(random.chance(0.35, batch, 1), factor, total)
    stated = torch.where((period - period.round()).abs() < 1e-9, period.round(), 0.0).to(torch.int64)
    return series, stated


def rough(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Noise of a power-law or a rational spectrum: white noise, random walks, smooth curves, the swings of an AR(2)."""
    random = _Random(generator, device)
    size = 2 * length
    frequency = torch.fft.rfftfreq(size, device=device, dtype=torch.float64)[None, :]
    exponent = random.uniform(batch, 1, low=0.0, high=3.5)
    floor = random.log_uniform(batch, 1, low=0.2 / size, high=0.1)
    power_law = (frequency**2 + floor**2) ** (-exponent / 4)
    radius, angle = (
        1 - random.log_uniform(batch, 1, low=0.003, high=0.8),
        random.log_uniform(batch, 1, low=0.02, high=3.0),
    )
    z = torch.exp(-2j * math.pi * frequency)
    pole = torch.polar(radius, angle)
    swing = 1 / ((1 - pole * z).abs() * (1 - pole.conj() * z).abs()).clamp(min=1e-4)
    gain = torch.where(random.chance(0.6, batch, 1), power_law, swing)
    series = torch.fft.irfft(torch.fft.rfft(random.normal(batch, size)) * gain, size)[:, :length]
    series = series / series.std(1, keepdim=True).clamp(min=1e-9)
    series = series + random.normal(batch, length) * torch.where(
        random.chance(0.5, batch, 1), random.log_uniform(batch, 1, low=0.005, high=0.5), 0.0
    )
    return _exponentiated(series, random), torch.zeros(batch, dtype=torch.int64, device=device)


def walks(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Local level and local trend models: integrated noise with drift, changing volatility and heavy tails."""
    random = _Random(generator, device)
    shocks = random.normal(batch, length)
    heavy = shocks / random.uniform(batch, length, low=0.05).sqrt()
    shocks = torch.where(random.chance(0.3, batch, 1), heavy, shocks)
    volatility = torch.exp(random.log_uniform(batch, 1, low=0.02, high=1.0) * _walk(batch, length, random))
    shocks = shocks * torch.where(random.chance(0.4, batch, 1), volatility, 1.0)
    slope = random.normal(batch, 1) * random.log_uniform(batch, 1, low=0.001, high=0.5)
    slopes = slope + random.log_uniform(batch, 1, low=0.0005, high=0.1) * random.normal(batch, length).cumsum(1)
    slopes = torch.where(random.chance(0.4, batch, 1), slopes, slope * random.chance(0.5, batch, 1))
    series = (shocks + slopes).cumsum(1)
    noise = random.normal(batch, length) * random.log_uniform(batch, 1, low=0.05, high=5.0)
    series = series + torch.where(random.chance(0.5, batch, 1), noise, 0.0)
    return _exponentiated(series, random), torch.zeros(batch, dtype=torch.int64, device=device)


def counts(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Poisson counts of a rate with season and drift; one in two intermittent (mostly zero, sizes when not)."""
    random = _Random(generator, device)
    period = _periods(batch, random).round()
    swing = random.log_uniform(batch, 1, low=0.05, high=1.0)
    log_rate = swing * _shape(batch, length, period, random)
    log_rate = log_rate + random.log_uniform(batch, 1, low=0.05, high=1.0) * _walk(batch, length, random)
    rate = torch.exp(log_rate.clamp(-5, 5)) * random.log_uniform(batch, 1, low=0.05, high=100.0)
    plain = torch.poisson(rate.clamp(max=1e6), generator=generator)
    demand = random.uniform(batch, length) < random.uniform(batch, 1, high=0.6)
    size = 1 + torch.poisson(rate.clamp(max=1e4), generator=generator)
    series = torch.where(random.chance(0.5, batch, 1), plain, demand * size)
    return series, torch.where(swing[:, 0] > 0.3, period, 0).to(torch.int64)


def lines(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Straight and bent lines with little noise or none, some of them rounded, some of whole numbers."""
    random = _Random(generator, device)
    slope = random.normal(batch, 1)
    bends = 2.0 * random.uniform(batch, 1) / length
    bend = (random.uniform(batch, length) < bends).to(torch.float64) * random.normal(batch, length)
    slopes = slope + torch.where(random.chance(0.4, batch, 1), bend.cumsum(1), 0.0)
    start = slope * random.log_uniform(batch, 1, low=0.5, high=500.0) * (2 * random.chance(0.7, batch, 1).double() - 1)
    noise = random.normal(batch, length) * slope.abs() * random.log_uniform(batch, 1, low=0.003, high=30.0)
    series = start + slopes.cumsum(1) + torch.where(random.chance(0.8, batch, 1), noise, 0.0)
    grain = slope.abs() * random.log_uniform(batch, 1, low=0.05, high=1.0)
    series = torch.where(random.chance(0.3, batch, 1), (series / grain).round() * grain, series)
    return series, torch.zeros(batch, dtype=torch.int64, device=device)


def decays(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Exponential decay to a level, growth to a limit (logistic), both with little noise; one in three over a season."""
    random = _Random(generator, device)
    time = torch.arange(length, device=device, dtype=torch.float64)[None, :]
    constant = random.log_uniform(batch, 1, low=2.0, high=300.0)
    decay = torch.exp(-time / constant)
    middle = random.uniform(batch, 1, high=4.0) * constant
    middle = torch.where(random.chance(0.5, batch, 1), middle, random.uniform(batch, 1, high=0.6) * length)
    logistic = torch.sigmoid(((time - middle) / constant).clamp(min=-20.0))
    shape = torch.where(random.chance(0.5, batch, 1), decay, logistic)
    shape = torch.where(random.chance(0.3, batch, 1), 1 - shape, shape)
    level = torch.where(random.chance(0.5, batch, 1), random.log_uniform(batch, 1, low=0.01, high=10.0), 0.0)
    noise = random.normal(batch, length) * random.log_uniform(batch, 1, low=0.0005, high=0.1)
    noise = noise * torch.where(random.chance(0.4, batch, 1), shape, 1.0)
    season, period = torch.where(random.chance(0.3, batch, 1), 0.2, 0.0), _periods(batch, random).round()
    season = season * random.uniform(batch, 1) * _shape(batch, length, period, random)
    series = shape + level + torch.where(random.chance(0.85, batch, 1), noise, 0.0) + season
    grain = random.log_uniform(batch, 1, low=0.001, high=0.05)
    series = torch.where(random.chance(0.2, batch, 1), (series / grain).round() * grain, series)
    return series, torch.where(season.abs().amax(1) > 0, period, 0.0).to(torch.int64)


def events(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Regular events on a base of zero or another constant, and their counterpart, regular days without business."""
    random = _Random(generator, device)
    period = _periods(batch, random).round().clamp(max=60)
    phase = torch.arange(length, device=device, dtype=torch.float64)[None, :] + (random.uniform(batch, 1) * 60).floor()
    phase = phase.remainder(period[:, None]).to(torch.int64)
    order = random.uniform(batch, 64).masked_fill(
        torch.arange(64, device=device)[None, :] >= period[:, None].to(torch.int64), 9.0
    )
    rank = order.argsort(1).argsort(1).gather(1, phase)
    n_open = 1 + (3 * random.uniform(batch, 1) ** 2).floor()
    open_days = torch.where(random.chance(0.6, batch, 1), n_open, period[:, None] - n_open).clamp(min=1)
    size = torch.exp(random.uniform(batch, 64) * random.uniform(batch, 1)).gather(1, phase)
    size = size * (1 + random.normal(batch, length) * random.log_uniform(batch, 1, low=0.003, high=0.3))
    size = size * torch.exp(random.log_uniform(batch, 1, low=0.02, high=0.7) * _walk(batch, length, random))
    base = torch.where(random.chance(0.4, batch, 1), random.uniform(batch, 1), 0.0)
    base = base + torch.where(random.chance(0.25, batch, 1), 0.05, 0.0) * random.normal(batch, length).abs()
    series = torch.where(rank < open_days, size, base)
    unit = random.log_uniform(batch, 1, low=5.0, high=200.0)
    series = torch.where(random.chance(0.5, batch, 1), (unit * series).round(), series)
    return series, period.to(torch.int64)


def noises(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Noise, walks and noisy seasons whose noise becomes up to a hundred times as large or as small, now and then."""
    random = _Random(generator, device)
    change = (random.uniform(batch, length) < 2 / length).to(torch.float64)
    change = change * random.uniform(batch, length, low=-4.6, high=4.6)
    sizes = torch.exp(change.cumsum(1).clamp(-6.0, 6.0))
    shocks = random.normal(batch, length) * sizes
    walk = shocks.cumsum(1)
    period = _periods(batch, random).round()
    season = shocks + random.log_uniform(batch, 1, low=0.1, high=10.0) * _shape(batch, length, period, random)
    kind = random.uniform(batch, 1)
    series = torch.where(kind < 0.5, shocks, torch.where(kind < 0.75, walk, season))
    return series, torch.where(kind[:, 0] < 0.75, 0.0, period).to(torch.int64)


def counters(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Meters and running totals: sums of steps that are never negative, even or with a season, from any start."""
    random = _Random(generator, device)
    period = _periods(batch, random).round()
    rate = torch.exp(random.log_uniform(batch, 1, low=0.01, high=1.0) * _shape(batch, length, period, random))
    noise = torch.exp(random.log_uniform(batch, 1, low=0.01, high=1.0) * random.normal(batch, length))
    smooth = rate * noise
    rates = (random.log_uniform(batch, 1, low=0.1, high=20.0) * rate).clamp(max=1e6)
    counted = torch.poisson(rates, generator=generator)
    steps = torch.where(random.chance(0.5, batch, 1), smooth, counted)
    start = torch.where(random.chance(0.6, batch, 1), random.log_uniform(batch, 1, low=1.0, high=1e6), 0.0)
    return start + steps.cumsum(1), period.to(torch.int64)


def traffic(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """Visits and loads: a week of days in a year, or days in a week, multiplied, with a trend, noise and bursts."""
    random = _Random(generator, device)
    kinds = torch.tensor([[7.0, 365.25], [7.0, 364.0], [24.0, 168.0], [48.0, 336.0], [96.0, 672.0]], device=device)
    weights = torch.tensor([0.35, 0.1, 0.35, 0.1, 0.1], device=device)
    pair = kinds[torch.multinomial(weights, batch, replacement=True, generator=generator)].double()
    short = _shape(batch, length, pair[:, 0], random) * random.log_uniform(batch, 1, low=0.03, high=0.8)
    long = _shape(batch, length, pair[:, 1], random) * random.log_uniform(batch, 1, low=0.03, high=0.5)
    # The days of a week that are unlike the others: a modulation of the day by the week.
    modulated = short * (1 + 0.5 * random.uniform(batch, 1) * _shape(batch, length, pair[:, 1], random))
    short = torch.where((pair[:, :1] > 7) & random.chance(0.7, batch, 1), modulated, short)
    noise = random.normal(batch, length) * random.log_uniform(batch, 1, low=0.01, high=0.4)
    start = (random.uniform(batch, length) < random.log_uniform(batch, 1, low=0.0005, high=0.03)).to(torch.float64)
    burst = start * random.uniform(batch, length) * random.log_uniform(batch, 1, low=0.1, high=2.0)
    decay = random.uniform(batch, 1, high=0.9)
    for shift in (1, 2, 4, 8):  # an exponential decay over sixteen steps, by doubling
        burst = burst + decay**shift * torch.nn.functional.pad(burst, (shift, 0))[:, :length]
    level = random.log_uniform(batch, 1, low=0.05, high=1.0) * (_walk(batch, length, random) + random.normal(batch, 1))
    trend = _bent_trend(batch, length, random) * random.uniform(batch, 1)
    series = torch.exp((short + long + noise + burst + level + trend).clamp(-12.0, 12.0))
    unit = random.log_uniform(batch, 1, low=3.0, high=3000.0)
    series = torch.where(random.chance(0.4, batch, 1), (unit * series).round(), series)
    return series, pair[:, 0].to(torch.int64)


PRIORS: dict[str, tuple[Prior, float]] = {
    "sines": (sines, 0.04),
    "seasonal": (seasonal, 0.22),
    "rough": (rough, 0.10),
    "walks": (walks, 0.10),
    "counts": (counts, 0.07),
    "lines": (lines, 0.08),
    "decays": (decays, 0.10),
    "events": (events, 0.09),
    "noises": (noises, 0.10),
    "counters": (counters, 0.04),
    "traffic": (traffic, 0.06),
}


def mixture(batch: int, length: int, generator: torch.Generator, device: torch.device) -> Sample:
    """A batch with every prior in its share, disturbed now and then by jumps, spikes and flat stretches."""
    shares = [share for _, share in PRIORS.values()]
    sizes = [int(batch * share) for share in shares]
    sizes[1] += batch - sum(sizes)
    priors = zip(PRIORS.values(), sizes, strict=True)
    samples = [prior(n, length, generator, device) for (prior, _), n in priors if n > 0]
    clean = sizes[0]  # the sine mixture stays as the tutorial has it
    values, season = torch.cat([v for v, _ in samples]), torch.cat([s for _, s in samples])
    values[clean:] = disturb(values[clean:], _Random(generator, device))
    return values, season


def disturb(values: Tensor, random: _Random) -> Tensor:
    """Level shifts, spikes, censoring and rounding on a few of the rows of values (batch, length)."""
    batch, length = values.shape
    spread = values.std(1, keepdim=True).clamp(min=1e-9)
    jump = (random.uniform(batch, length) < 2 / length).to(torch.float64) * random.normal(batch, length)
    values = values + torch.where(random.chance(0.12, batch, 1), 2 * spread * jump.cumsum(1), 0.0)
    spike = (random.uniform(batch, length) < 0.01).to(torch.float64) * random.normal(batch, length)
    values = values + torch.where(random.chance(0.1, batch, 1), 5 * spread * spike, 0.0)
    ceiling = values.mean(1, keepdim=True) + spread * random.uniform(batch, 1, low=0.3, high=2.0)
    values = torch.where(random.chance(0.05, batch, 1), torch.minimum(values, ceiling), values)
    grain = spread * random.log_uniform(batch, 1, low=0.02, high=1.0)
    return torch.where(random.chance(0.1, batch, 1), (values / grain).round() * grain, values)


def _periods(batch: int, random: _Random) -> Tensor:
    """Season lengths: two in three from the calendar, the others anywhere from 3 to 300, one in six not whole."""
    calendar = torch.tensor(CALENDAR, device=random.device, dtype=torch.float64)
    weight = calendar**-0.25
    chosen = torch.multinomial(weight, batch, replacement=True, generator=random.generator)
    anywhere = random.log_uniform(batch, low=3.0, high=300.0)
    anywhere = torch.where(random.chance(0.5, batch), anywhere.round(), anywhere)
    return torch.where(random.chance(2 / 3, batch), calendar[chosen], anywhere)


def _shape(batch: int, length: int, period: Tensor, random: _Random) -> Tensor:
    """A repeating pattern of unit spread: up to eight harmonics, or a few narrow bumps, (batch, length)."""
    phase = torch.arange(length, device=random.device, dtype=torch.float64)[None, :] / period[:, None]
    phase = phase + random.uniform(batch, 1)
    order = torch.arange(1, 9, device=random.device, dtype=torch.float64)
    decay = random.uniform(batch, 1, low=0.3, high=2.5)
    amplitude = random.normal(batch, 8) * order**-decay * (order <= (period[:, None] / 2).clamp(min=1))
    total = torch.zeros(batch, length, device=random.device, dtype=torch.float64)
    for k in range(8):
        total += amplitude[:, k, None] * torch.sin(2 * math.pi * ((k + 1) * phase + random.uniform(batch, 1)))
    sharp = torch.exp(random.log_uniform(batch, 1, low=0.3, high=3.0) * torch.sin(2 * math.pi * phase))
    pattern = torch.where(random.chance(0.25, batch, 1), sharp, total)
    return (pattern - pattern.mean(1, keepdim=True)) / pattern.std(1, keepdim=True).clamp(min=1e-6)


def _walk(batch: int, length: int, random: _Random) -> Tensor:
    """A random walk scaled to end about one unit from its start."""
    return random.normal(batch, length).cumsum(1) / math.sqrt(length)


def _bent_trend(batch: int, length: int, random: _Random) -> Tensor:
    """A piecewise linear trend with about three bends, of order one over the window."""
    bend = (random.uniform(batch, length) < 3 / length).to(torch.float64) * random.normal(batch, length)
    slope = random.normal(batch, 1) + torch.where(random.chance(0.6, batch, 1), bend.cumsum(1), 0.0)
    return slope.cumsum(1) / length


def _exponentiated(series: Tensor, random: _Random) -> Tensor:
    """One series in three as a positive, multiplicative one."""
    spread = series.std(1, keepdim=True).clamp(min=1e-9)
    log = (series - series.mean(1, keepdim=True)) / spread * random.log_uniform(len(series), 1, low=0.02, high=1.0)
    return torch.where(random.chance(1 / 3, len(series), 1), torch.exp(log.clamp(-20, 20)), series)
