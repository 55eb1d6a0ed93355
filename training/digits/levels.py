"""Rows as others send them: inverted, bright, foggy or striped paper, little contrast, tight crops, neighbours' ink.

Everything is drawn from torch's global generator, as in `training.digits.augment`. B images, T rows, 28 columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from training.digits.augment import SIDE

OCTAVES = (2, 3, 5, 9, 17, 33)  # control points of fog, from coarse to fine


def densely_fogged(canvas: Tensor, share: float) -> Tensor:
    """A `share` of the canvases (B, T, 28), those from the middle on, behind fog two to four times as strong as ink."""
    count = round(share * len(canvas))
    if count == 0:
        return canvas
    middle = slice(len(canvas) // 2, len(canvas) // 2 + count)
    behind = canvas[middle]
    strength = torch.exp(_uniform(behind, math.log(2), math.log(4)))
    grain = 0.03 * _uniform(behind, 0, 1) * torch.randn_like(behind)
    fogged = (behind + strength * fog(behind)) / (1 + strength) + grain
    changed = canvas.clone()
    changed[middle] = fogged.clamp(0, 1)
    return changed


def relevelled(canvas: Tensor, share: float) -> Tensor:
    """Paper and ink at other levels on a `share` of the canvases (B, T, 28), ink 0..1; the kinds in turn."""
    count = round(share * len(canvas))
    if count == 0:
        return canvas
    changed = canvas.clone()
    for index, kind in enumerate(KINDS):
        part = slice(index * count // len(KINDS), (index + 1) * count // len(KINDS))
        if part.start < part.stop:
            changed[part] = kind(canvas[part]).clamp(0, 1)
    return changed


def _uniform(canvas: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(len(canvas), 1, 1, device=canvas.device)


def _inverted(canvas: Tensor) -> Tensor:
    return 1 - canvas


def _bright(canvas: Tensor) -> Tensor:
    return canvas + _uniform(canvas, 0.08, 0.6)


def _between(canvas: Tensor) -> Tensor:
    """Ink and paper anywhere, either of them higher."""
    paper, ink = _uniform(canvas, 0, 1), _uniform(canvas, 0, 1)
    contrast = torch.where((ink - paper).abs() < 0.15, 0.3 * torch.where(paper < 0.5, 1.0, -1.0), ink - paper)
    return paper + contrast * canvas


def _faint(canvas: Tensor) -> Tensor:
    return canvas * torch.exp(_uniform(canvas, math.log(0.1), math.log(0.5)))


def _foggy(canvas: Tensor) -> Tensor:
    """Fog of several octaves over the canvas, up to three times as strong as the ink."""
    strength = torch.exp(_uniform(canvas, math.log(0.5), math.log(3.3)))
    return (canvas + strength * fog(canvas)) / (1 + strength)


def _lit(canvas: Tensor) -> Tensor:
    """Smoothly uneven paper, dark or bright ink on it."""
    light = fog(canvas, octaves=2) * _uniform(canvas, 0.1, 0.5)
    light = light + _uniform(canvas, 0, 1) * (0.7 - light.amax((1, 2), keepdim=True)).clamp(min=0)
    dark = (light + 0.3) * (1 - canvas * _uniform(canvas, 0.4, 1))
    bright = light + canvas * _uniform(canvas, 0.3, 0.6)
    return torch.where(torch.rand(len(canvas), 1, 1, device=canvas.device) < 0.5, dark, bright)


def _striped(canvas: Tensor) -> Tensor:
    """Inverted along both sides, in one band, or in several."""
    column = torch.arange(SIDE, device=canvas.device)[None, None]
    left_width, right_width = (_uniform(canvas, 5, 9).round() for _ in range(2))
    sides = (column < left_width) | (column >= SIDE - right_width)
    band = (column - _uniform(canvas, 2, 26)).abs() < _uniform(canvas, 2, 6)
    waves = torch.sin((column + _uniform(canvas, 0, 28)) * 2 * math.pi / _uniform(canvas, 6, 20)) > 0
    kind = torch.rand(len(canvas), 1, 1, device=canvas.device)
    where = torch.where(kind < 0.7, sides, torch.where(kind < 0.85, band, waves))
    return torch.where(where, 1 - canvas, canvas)


def _beside_zeros(canvas: Tensor) -> Tensor:
    """Inverted, with rows or columns of zeros around it."""
    inverted = 1 - canvas
    rows = torch.arange(canvas.shape[1], device=canvas.device)[None, :, None]
    columns = torch.arange(SIDE, device=canvas.device)[None, None]
    top, side = _uniform(canvas, 0, 4).floor(), _uniform(canvas, -2, 4).floor()
    return torch.where((rows < top) | (columns < side) | (columns >= SIDE - side), 0.0, inverted)


KINDS: tuple[Callable[[Tensor], Tensor], ...] = (
    _inverted,
    _bright,
    _foggy,
    _striped,
    _between,
    _foggy,
    _faint,
    _lit,
    _beside_zeros,
)


def fog(canvas: Tensor, octaves: int = len(OCTAVES)) -> Tensor:
    """Clouds (B, T, 28), 0..1: noise of several octaves, each one weaker than the coarser one before."""
    batch, rows, columns = canvas.shape
    decay = 1.3 + 0.9 * torch.rand(batch, 1, 1, device=canvas.device)
    clouds = torch.zeros_like(canvas)
    for index, points in enumerate(OCTAVES[:octaves]):
        noise = torch.randn(batch, 1, points, points, device=canvas.device)
        layer = functional.interpolate(noise, size=(rows, columns), mode="bilinear", align_corners=True)[:, 0]
        clouds = clouds + layer / decay**index
    clouds = clouds - clouds.amin((1, 2), keepdim=True)
    return clouds / clouds.amax((1, 2), keepdim=True)


def reframed(images: Tensor, share: float) -> Tensor:
    """A `share` of the images (B, 28, 28) framed as others do: tight, stretched or not, next to other ink, small."""
    count = round(share * len(images))
    if count == 0:
        return images
    changed = images.clone()
    chosen = images[-count:]
    first, second = count // 3, 2 * count // 3
    parts = [_tight(chosen[:first]), _beside_ink(chosen[first:second]), _small(chosen[second:])]
    changed[-count:] = torch.cat(parts)
    return changed


def _small(images: Tensor) -> Tensor:
    """At 40 to 85 % of the size, anywhere near the middle."""
    scale = _uniform(images, 0.4, 0.85)[:, :, 0]
    positions = torch.arange(SIDE, device=images.device, dtype=torch.float32) - (SIDE - 1) / 2
    x, y = ((positions - 3 * torch.randn(len(images), 1, device=images.device).clamp(-2, 2)) / scale for _ in range(2))
    grid = torch.stack([x[:, None, :].expand(-1, SIDE, -1), y[:, :, None].expand(-1, -1, SIDE)], -1) / (SIDE / 2)
    return functional.grid_sample(images[:, None], grid, padding_mode="zeros", align_corners=False)[:, 0]


def _tight(images: Tensor) -> Tensor:
    """The box of the ink fills the image but for up to three pixels, its shape kept or stretched."""
    device = images.device
    ink = images > 0.3
    positions = torch.arange(SIDE, device=device, dtype=torch.float32)
    bounds = []
    for axis in (1, 2):
        inked = ink.any(3 - axis)
        first = torch.where(inked, positions, 99.0).amin(1)
        last = torch.where(inked, positions, -1.0).amax(1)
        is_blank = last < 0
        bounds.append((torch.where(is_blank, 4.0, first), torch.where(is_blank, 23.0, last)))
    (top, bottom), (left_edge, right_edge) = bounds
    margin = 3 * torch.rand(len(images), device=device)
    high, wide = bottom - top + 1, right_edge - left_edge + 1
    scale_y = high / (SIDE - 2 * margin)
    stretch = torch.rand(len(images), device=device) < 0.4
    scale_x = torch.where(stretch, wide / (SIDE - 2 * margin), scale_y)
    scale_y, scale_x = (torch.where(stretch, s, torch.maximum(scale_y, scale_x)) for s in (scale_y, scale_x))
    y = (positions - (SIDE - 1) / 2) * scale_y[:, None] + ((top + bottom) / 2 - (SIDE - 1) / 2)[:, None]
    x = (positions - (SIDE - 1) / 2) * scale_x[:, None] + ((left_edge + right_edge) / 2 - (SIDE - 1) / 2)[:, None]
    grid = torch.stack([x[:, None, :].expand(-1, SIDE, -1), y[:, :, None].expand(-1, -1, SIDE)], -1) / (SIDE / 2)
    return functional.grid_sample(images[:, None], grid, padding_mode="zeros", align_corners=False)[:, 0]


def _beside_ink(images: Tensor) -> Tensor:
    """Up to five columns of another image's ink along one side, or a bar of up to two rows at the top or bottom."""
    column = torch.arange(SIDE, device=images.device)[None, None]
    row = torch.arange(SIDE, device=images.device)[None, :, None]
    neighbour = images.roll(1, 0).roll(SIDE // 2, 2)
    depth = _uniform(images, 2, 6).floor()
    kind = torch.rand(len(images), 1, 1, device=images.device)
    at_left, at_right = (kind < 0.35) & (column < depth), (kind >= 0.35) & (kind < 0.7) & (column >= SIDE - depth)
    bar = (kind >= 0.7) & (kind < 0.85) & (row >= SIDE - (depth / 2).floor())
    bar |= (kind >= 0.85) & (row < (depth / 2).floor())
    return torch.where(at_left | at_right, torch.maximum(images, neighbour), torch.where(bar, 1.0, images))
