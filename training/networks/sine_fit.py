"""Two sines through the last values: from a network's first guess to the posterior of the future, given the noise.

A window's likely futures are those of all pairs of sines that pass through the noise's bounds, +-`NOISE` around every
value. A sum of squares ignores bounds, so the guess is moved to the middle of the region that they allow (the sum of
the squares first, then of the eighth powers of the residuals, by damped Gauss-Newton steps). `DRAWS` fixed quasi-random
points around it, weighted by how little they break the bounds, then stand for the posterior: their weighted mean and
spread at any step ahead are the forecast. Everything is a fixed number of operations on a row's own numbers.

Shapes: N windows, W remembered values, H steps ahead, P draws. The four parameters are phase and frequency (radians a
step) of the slow sine, then of the fast one; phases are those of the next value, one step after the window.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

AMPLITUDES = (0.5, 0.2)
MIDDLE, REACH = (0.3, 0.6), (0.1, 0.2)  # the frequencies are uniform within MIDDLE +- REACH, radians a step
NOISE = 0.05  # uniform within +-NOISE
SOFTNESS = 0.002  # how far a draw may break the bounds: hard ones would leave too few of the draws
# Of each Gauss-Newton step: the power of the residuals, and how many of the last values count. A small error of the
# frequency is a full turn at the far end of a long window, so the first steps use its near end only.
STEPS = ((2.0, 32.0), (2.0, 64.0), (2.0, math.inf), (4.0, math.inf), (8.0, math.inf), (8.0, math.inf), (8.0, math.inf))
LARGEST_STEP = 0.2
WIDTH = 1.0  # of the draws, in standard deviations of the last step's quadratic form
DRAWS = 64
ROWS = 16  # windows with draws weighted at once: their memory fits the processor's cache


class SineFit(nn.Module):
    """`forward(window, observed, guess, horizon) -> (mean, spread, misfit)`, see the module's docstring.

    window (N, W) float64, finite, observed (N, W) bool, guess (N, 4) float64; mean and spread
    (standard deviation without the noise) (N, H) float64. misfit (N,) is the mean eighth power of the residuals over
    the noise's bound, to the power of an eighth: below 0.9 for series made of two such sines and the noise.
    """

    __constants__ = ("AMPLITUDES", "LARGEST_STEP", "NOISE", "ROWS", "SOFTNESS", "STEPS", "WIDTH")
    AMPLITUDES = AMPLITUDES
    LARGEST_STEP = LARGEST_STEP
    NOISE = NOISE
    ROWS = ROWS
    SOFTNESS = SOFTNESS
    STEPS = STEPS
    WIDTH = WIDTH

    def __init__(self, window: int) -> None:
        super().__init__()
        self.back: Tensor
        self.register_buffer("back", torch.arange(-window, 0, dtype=torch.float64))
        self.amplitudes: Tensor
        self.register_buffer("amplitudes", torch.tensor(AMPLITUDES, dtype=torch.float64)[:, None])
        self.middle: Tensor
        self.register_buffer("middle", torch.tensor([0.0, MIDDLE[0], 0.0, MIDDLE[1]], dtype=torch.float64))
        # The inverse variance of a uniform distribution is 3 / reach squared. Phases are free: their small precision
        # keeps the equations solvable where no value was observed.
        precision = [1e-2, 3 / REACH[0] ** 2, 1e-2, 3 / REACH[1] ** 2]
        self.held: Tensor
        self.register_buffer("held", torch.tensor(precision, dtype=torch.float64))
        self.reach: Tensor
        self.register_buffer("reach", torch.tensor(REACH, dtype=torch.float64))
        even = torch.quasirandom.SobolEngine(4, scramble=True, seed=1).draw(DRAWS, dtype=torch.float64)
        self.scores: Tensor
        self.register_buffer("scores", torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6)))

    def forward(self, window: Tensor, observed: Tensor, guess: Tensor, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
        counts = observed.to(torch.float64)
        centre, factor, misfit = self.centre(window, counts, guess)
        light, light_counts = window.to(torch.float32), counts.to(torch.float32)
        means: list[Tensor] = []
        spreads: list[Tensor] = []
        for start in range(0, window.shape[0], self.ROWS):
            end = start + self.ROWS
            draws, weight = self.weigh(light[start:end], light_counts[start:end], centre[start:end], factor[start:end])
            mean, spread = self.ahead(draws, weight, horizon)
            means.append(mean)
            spreads.append(spread)
        return torch.cat(means), torch.cat(spreads), misfit

    def centre(self, values: Tensor, observed: Tensor, guess: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The middle of the allowed region (N, 4), the Cholesky factor of the last step's form, and the misfit."""
        theta = guess
        factor = torch.zeros(0)
        for power, span in self.STEPS:
            counts = observed * (self.back >= -span) / self.NOISE
            angle = self.angle(theta, self.back)
            residual = (values - (self.amplitudes * angle.sin()).sum(1)) * counts
            slope = self.amplitudes * angle.cos() * counts[:, None]
            slopes = torch.stack([slope, slope * self.back], 2).flatten(1, 2)  # (N, 4, W)
            weight = power * residual.square().clamp(max=9.0) ** (0.5 * power - 1)
            curvature = slopes * ((power - 1) * weight + 0.1)[:, None]
            form = (curvature[:, :, None] * slopes[:, None]).sum(3) + self.held.diag()
            pull = (slopes * (weight * residual)[:, None]).sum(2) - self.held * (theta - self.middle)
            factor, _ = torch.linalg.cholesky_ex(form)
            step = torch.cholesky_solve(pull[:, :, None], factor)[:, :, 0]
            theta = theta + step.clamp(-self.LARGEST_STEP, self.LARGEST_STEP)
        residual = (values - (self.amplitudes * self.angle(theta, self.back).sin()).sum(1)) * observed / self.NOISE
        eighth = residual.square().square().square().sum(1) / observed.sum(1).clamp(min=1)
        return theta, factor, eighth.sqrt().sqrt().sqrt()

    def angle(self, theta: Tensor, times: Tensor) -> Tensor:
        """Both sines' angles at `times` (L,), steps from the next value: (N, 4) -> (N, 2, L)."""
        pairs = theta.unflatten(1, (2, 2))
        return pairs[:, :, :1] + pairs[:, :, 1:] * times

    def weigh(self, values: Tensor, observed: Tensor, centre: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Draws around `centre`, (N, P, 4) float32, and their weights (N, P) float64."""
        offset = torch.linalg.solve_triangular(factor.mT, self.scores.T.expand(len(factor), -1, -1), upper=True)
        draws = centre[:, None] + self.WIDTH * offset.mT  # (N, P, 4)
        outside = ((draws[:, :, 1::2] - self.middle[1::2]).abs() - self.reach).clamp(min=0).sum(2)
        light = draws.to(torch.float32)
        off = self.wave(light, self.back.to(torch.float32)).sub_(values[:, None]).abs_()
        broken = off.sub_(self.NOISE).clamp_(min=0).mul_(observed[:, None])
        score = -0.5 / self.SOFTNESS**2 * broken.square_().sum(2).to(torch.float64)
        return light, (score + 0.5 * self.scores.square().sum(1) - 1e3 * outside).softmax(1)

    def ahead(self, draws: Tensor, weight: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
        """Weighted mean and spread of the draws at every step ahead, (N, H)."""
        steps = torch.arange(horizon, device=draws.device, dtype=torch.float32)
        future = self.wave(draws, steps).to(torch.float64).mT.contiguous()  # (N, H, P)
        mean = (weight[:, None] * future).sum(2)
        return mean, (weight[:, None] * (future - mean[:, :, None]).square()).sum(2).sqrt()

    def wave(self, draws: Tensor, times: Tensor) -> Tensor:
        """The sum of both sines of every draw: (N, P, 4), (L,) -> (N, P, L)."""
        slow_wave = (draws[:, :, 1:2] * times).add_(draws[:, :, :1]).sin_().mul_(self.AMPLITUDES[0])
        fast_wave = (draws[:, :, 3:] * times).add_(draws[:, :, 2:3]).sin_()
        return slow_wave.add_(fast_wave, alpha=self.AMPLITUDES[1])
