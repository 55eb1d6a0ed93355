"""Augmentation of training digits: warps, pens, and the defects of a photograph, a whole batch at a time.

Everything is a tensor operation on the device of the batch, drawn from torch's global generator: a recipe that seeds it
by the step number gets the same batch at that step on every run. B images, T rows of canvas, 28 columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 28


@dataclass(frozen=True)
class Distortion:
    """How far images are distorted. Angles in degrees, lengths in pixels; spreads are standard deviations.

    Every image draws a strength in 0..1 that scales its warp, so that many stay nearly as they were.
    """

    untouched: float = 0.1  # share of images that are not warped at all
    rotation: float = 9.0
    shear: float = 0.2
    scale: float = 0.1
    shift: float = 1.2
    elastic: float = 1.1  # displacement of a coarse grid of control points
    pen: float = 0.35  # share with a thicker or thinner stroke
    contrast: float = 0.25  # share with another gamma and brightness
    erased: float = 0.15  # share with a rectangle of paper over the ink
    noise: float = 0.08  # share with grain
    blurred: float = 0.08  # share out of focus
    lined: float = 0.04  # share with a line across
    coarse: float = 0.1  # share at a third of the resolution
    moire: float = 0.0  # share behind waves of light
    squared: float = 0.0  # share with what is left of the lines of squared paper
    free_scale: tuple[float, float] = (0.75, 1.7)  # vertical scale on a free canvas


def warp(images: Tensor, distortion: Distortion, rows: int = SIDE, *, free: bool = False) -> tuple[Tensor, Tensor]:
    """(B, 28, 28) -> canvases (B, T, 28) and the share of each digit that lies above each row's end, 0..1 (B, T).

    One resampling does rotation, slant, scale, shift and elastic distortion. A `free` canvas has its digit anywhere in
    its rows, and scaled vertically, otherwise the digit stays where MNIST has it.
    """
    batch, device = len(images), images.device
    strength = torch.rand(batch, device=device).pow(0.7)
    strength = torch.where(torch.rand(batch, device=device) < distortion.untouched, 0.0, strength)
    inverse, middle, height = _frame(strength, distortion, rows, free)
    y = torch.arange(rows, device=device, dtype=torch.float32)
    x = torch.arange(SIDE, device=device, dtype=torch.float32) - (SIDE - 1) / 2
    dy = (y[None, :] - middle[:, None])[:, :, None].expand(-1, -1, SIDE)
    dx = x[None, None, :].expand(batch, rows, -1)
    source_x = inverse[:, 0, 0, None, None] * dx + inverse[:, 0, 1, None, None] * dy
    source_y = inverse[:, 1, 0, None, None] * dx + inverse[:, 1, 1, None, None] * dy
    shift = torch.randn(batch, 1, 1, 1, device=device).clamp(-2.5, 2.5) * distortion.shift
    grid = torch.stack([source_x, source_y], dim=-1)
    grid[..., 0] -= shift[..., 0] * (strength > 0)[:, None, None]
    grid = (grid + _elastic(strength, distortion, rows)) / (SIDE / 2)
    canvas = functional.grid_sample(images[:, None], grid, padding_mode="zeros", align_corners=False)[:, 0]
    share_read = ((y[None, :] - middle[:, None]) / height[:, None] + 0.5 + 0.5 / SIDE).clamp(0, 1)
    return canvas, share_read


def _frame(strength: Tensor, d: Distortion, rows: int, free: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse of each image's linear map (B, 2, 2), the canvas row of its middle and its height there (B,)."""
    batch, device = len(strength), strength.device
    angle, shear, wide, high, up = torch.randn(5, batch, device=device).clamp(-2.5, 2.5) * strength
    angle = angle * math.radians(d.rotation)
    scale_x, scale_y = torch.exp(d.scale * wide), torch.exp(d.scale * high)
    middle = torch.full((batch,), (rows - 1) / 2, device=device) + up * d.shift
    if free:
        low, top = math.log(d.free_scale[0]), math.log(min(d.free_scale[1], rows / SIDE))
        scale_y = scale_y * torch.exp(low + (top - low) * torch.rand(batch, device=device))
        room = (rows - SIDE * scale_y) / 2 + 4 * scale_y  # MNIST's box has four empty rows above and below
        middle = middle + (2 * torch.rand(batch, device=device) - 1) * room.clamp(min=0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rotated = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    slanted = torch.eye(2, device=device).expand(batch, 2, 2).clone()
    slanted[:, 0, 1] = shear * d.shear
    scales = torch.stack([1 / scale_x, 1 / scale_y], -1)[:, :, None]
    return scales * (slanted @ rotated), middle, SIDE * scale_y


def _elastic(strength: Tensor, d: Distortion, rows: int) -> Tensor:
    """Smooth random displacements (B, T, 28, 2) in pixels, from control points about five pixels apart."""
    coarse = torch.randn(len(strength), 2, max(rows // 5, 2), SIDE // 5 + 1, device=strength.device)
    coarse = coarse * (d.elastic * strength)[:, None, None, None]
    fine = functional.interpolate(coarse, size=(rows, SIDE), mode="bicubic", align_corners=True)
    return fine.permute(0, 2, 3, 1)


def pen(images: Tensor, share: float) -> Tensor:
    """Thicker or thinner strokes by up to about a pixel on each side, for a `share` of (B, 28, 28)."""
    chosen, amount, sign = torch.rand(3, len(images), 1, 1, device=images.device)
    thick = functional.max_pool2d(images[:, None], 3, 1, 1)[:, 0]
    thin = -functional.max_pool2d(-images[:, None], 3, 1, 1)[:, 0]
    changed = torch.where(sign < 0.55, thick, thin)
    # A thin stroke loses all its ink to the erosion: take no more than half of it away.
    amount = torch.where(sign < 0.55, amount, 0.6 * amount)
    return torch.lerp(images, changed, amount * (chosen < share))


def photograph(images: Tensor, d: Distortion) -> Tensor:
    """Contrast, blur, waves, grain, lines and covered patches, each on its share of (B, T, 28); stays within 0..1."""
    chosen = torch.rand(7, len(images), 1, 1, device=images.device)
    images = torch.where(chosen[0] < d.blurred, _blurred(images), images)
    images = torch.where(chosen[1] < d.contrast, _contrasted(images), images)
    images = torch.where(chosen[5] < d.coarse, _coarse(images), images)
    images = torch.where(chosen[6] < d.moire, _behind_waves(images), images) if d.moire else images
    images = _on_squares(images, d.squared) if d.squared else images
    images = torch.where((chosen[2] < d.erased) & _patch(images), 0.0, images)
    images = torch.where((chosen[3] < d.lined) & _line(images), torch.rand_like(chosen[3]), images)
    return torch.where(chosen[4] < d.noise, _grained(images), images)


def _behind_waves(images: Tensor) -> Tensor:
    """Ink weakened by waves of 2 to 9 pixels in any direction, as a camera sees a screen (moire)."""
    _, rows, columns = images.shape
    angle, phase, length, depth = torch.rand(4, len(images), 1, 1, device=images.device)
    y = torch.arange(rows, device=images.device)[None, :, None]
    x = torch.arange(columns, device=images.device)[None, None, :]
    along = (x * torch.cos(math.pi * angle) + y * torch.sin(math.pi * angle)) * 2 * math.pi / (2.2 + 6.8 * length)
    return images * (1 - (0.2 + 0.5 * depth) * (0.5 + 0.5 * torch.sin(along + 2 * math.pi * phase)))


def _on_squares(images: Tensor, share: float) -> Tensor:
    """Parts of a grid of lines, 6 to 20 pixels apart and turned by a little, over a `share` of the images."""
    batch, rows, columns = images.shape
    device = images.device
    chosen, gap, tilt, width, level, remnant = torch.rand(6, batch, 1, 1, device=device)
    phases = torch.rand(2, batch, 1, 1, device=device)
    y = torch.arange(rows, device=device, dtype=torch.float32)[None, :, None]
    x = torch.arange(columns, device=device, dtype=torch.float32)[None, None, :]
    gap, tilt = 6 + 14 * gap, 0.16 * (tilt - 0.5)
    lines = torch.zeros_like(images)
    for along, phase in zip((x + tilt * y, y - tilt * x), phases, strict=True):
        distance = (torch.remainder(along / gap + phase, 1) - 0.5).abs() * gap
        lines = torch.maximum(lines, (0.9 + 0.7 * width - distance).clamp(0, 1))
    # Preparation has taken some of them away, in patches.
    patches = functional.interpolate(torch.rand(batch, 1, 4, 4, device=device), size=(rows, columns), mode="bilinear")
    lines = lines * (0.1 + 0.6 * level) * (patches[:, 0] < 0.3 + 0.7 * remnant)
    return torch.where(chosen < share, torch.maximum(images, lines), images)


def _blurred(images: Tensor) -> Tensor:
    soft = functional.avg_pool2d(images[:, None], 3, 1, 1)[:, 0]
    return torch.lerp(images, soft, torch.rand(len(images), 1, 1, device=images.device))


def _coarse(images: Tensor) -> Tensor:
    rows, columns = images.shape[1:]
    small = functional.interpolate(images[:, None], size=(rows * 9 // SIDE, 9), mode="area")
    return functional.interpolate(small, size=(rows, columns), mode="bilinear", align_corners=False)[:, 0]


def _contrasted(images: Tensor) -> Tensor:
    gamma, gain = torch.rand(2, len(images), 1, 1, device=images.device)
    return images.clamp(0, 1).pow(torch.exp(1.4 * gamma - 0.7)) * (0.45 + 0.55 * gain)


def _grained(images: Tensor) -> Tensor:
    level = 0.25 * torch.rand(len(images), 1, 1, device=images.device)
    return (images + level * torch.randn_like(images)).clamp(0, 1)


def _patch(images: Tensor) -> Tensor:
    """True inside one rectangle of 3..9 pixels a side in each canvas."""
    batch, rows, columns = images.shape
    top, start, high, wide = torch.rand(4, batch, 1, 1, device=images.device)
    y = torch.arange(rows, device=images.device)[None, :, None] - top * (rows - 3)
    x = torch.arange(columns, device=images.device)[None, None, :] - start * (columns - 3)
    return (y >= 0) & (y < 3 + 6 * high) & (x >= 0) & (x < 3 + 6 * wide)


def _line(images: Tensor) -> Tensor:
    """True on one line, one or two pixels wide, that crosses each canvas at a small angle, lengthwise or not."""
    batch, rows, columns = images.shape
    offset, slope, flip, width = torch.rand(4, batch, 1, 1, device=images.device)
    y = torch.arange(rows, device=images.device)[None, :, None] / rows
    x = torch.arange(columns, device=images.device)[None, None, :] / columns
    tilt = 0.6 * slope - 0.3
    across = torch.where(flip < 0.5, y - offset - tilt * (x - 0.5), x - offset - tilt * (y - 0.5))
    return across.abs() * SIDE < 0.5 + 0.5 * width
