"""The level of the paper below rows of a digit, estimated causally, so that dark ink on bright paper reads as ink.

The contract of a digit reader is ink high and paper at zero. Rows of other kinds are common all the same: inverted
ones, bright or foggy paper, sides that are inverted. `PaperLevel` turns each row into its distance from the paper, as
far as the rows so far tell where that is; rows on paper at zero stay exactly as they are.

- The first row is paper where it is smooth, or bright along a broad strip on both sides and dark between them. Any
  other first row does not tell: the contract holds.
- A later row tells the level where both its ends and most of it are alike, the rest is not, and that is far from the
  level so far. A row of one level alone never tells: it may be a bar of the digit.
- Paper that varies is followed: columns near their level drag it along, and with it that of the columns with ink.

Shapes: B digits, T rows, 28 columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.steady import SteadyLinear

COLUMNS = 28
STEADY = 0.06  # paper whose ends stay as near as this to their level does not vary
SMOOTH = 0.22  # greatest difference of neighbours in a row without ink
STRIP, BETWEEN = 5, 12  # columns of a strip of paper along both sides, and between the two
ALIKE, APART = 0.15, 0.3  # columns of one level, and of different ones
MOST = 16  # columns
LEAST_CONTRAST = 0.3  # of ink on paper that varies
FOLLOWED = 0.6  # share of a change of the paper that is taken over from a row


class PaperLevel(nn.Module):
    """`forward(rows, padding, state, is_fresh) -> (rows, state)`: distances from the paper, ink high.

    rows (B, T, 28) float32 in 0..1; padding (B, T), True where a digit has no row; is_fresh (B,), True where a digit
    has had no row before. The state, float32 (B, 30): the level of each column, the greatest distance from it so far
    on paper that varies, and 1 where it varies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.neighbours = SteadyLinear(COLUMNS, COLUMNS, bias=False)
        distance = (torch.arange(COLUMNS)[:, None] - torch.arange(COLUMNS)).abs().float()
        with torch.no_grad():
            self.neighbours.weight.copy_(torch.exp(-distance / 2.5))
        self.requires_grad_(False)

    def forward(self, rows: Tensor, padding: Tensor, state: Tensor, is_fresh: Tensor) -> tuple[Tensor, Tensor]:
        if rows.size(1) == 0:
            return rows, state
        # Paper at zero, as nearly all rows have it: nothing changes.
        if (
            bool((rows[:, :, ::27] <= STEADY).all())
            and not bool(state.any())
            and not bool(((rows[:, 0].amax(1) > STEADY) & is_fresh).any())
        ):
            return rows, state
        level, contrast, varies = state[:, :COLUMNS], state[:, COLUMNS : COLUMNS + 1], state[:, COLUMNS + 1 :]
        fresh = is_fresh[:, None] & ~padding[:, :1]
        level = torch.where(fresh, self._first(rows[:, 0]), level)
        distances = torch.jit.annotate(list[Tensor], [])
        for t in range(rows.size(1)):
            row, ended = rows[:, t], padding[:, t : t + 1]
            told, tells = self._told(row, level)
            tells = tells & ~ended
            level = torch.where(tells, told, level)
            off = ((row - level).abs()[:, ::27] > STEADY).any(1, keepdim=True)
            varies = torch.where(ended, varies, torch.where(tells, 0.0, torch.where(off, 1.0, varies)))
            followed, contrast_then, distance = self._follow(row, level, contrast)
            drifting = (varies > 0) & ~ended
            steady = (row - level).abs() / torch.maximum(level, 1 - level)
            level = torch.where(drifting, followed, level)
            contrast = torch.where(drifting, contrast_then, contrast)
            distances.append(torch.where(drifting, distance, steady))
        return torch.stack(distances, 1), torch.cat([level, contrast, varies], 1)

    def _first(self, row: Tensor) -> Tensor:
        """The level (B, 28) that the first row shows: itself where it is paper, else zero."""
        smooth = (row[:, 1:] - row[:, :-1]).abs().amax(1, keepdim=True) < SMOOTH
        bright = row > 0.5 * (row.amax(1, keepdim=True) + row.amin(1, keepdim=True))
        strips = bright[:, :STRIP].all(1, keepdim=True) & bright[:, -STRIP:].all(1, keepdim=True)
        changes = (bright[:, 1:] != bright[:, :-1]).sum(1, keepdim=True)
        between = (~bright).sum(1, keepdim=True) >= BETWEEN
        shown = (smooth & (row.amax(1, keepdim=True) > STEADY)) | (strips & between & (changes == 2))
        return torch.where(shown, row, 0.0)

    def _told(self, row: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """The one level that a row tells (B, 1), and whether it tells any that is another one than `level`."""
        ends = row[:, ::27]
        told = ends.amin(1, keepdim=True)
        apart = (row - told).abs()
        alike = (ends.amax(1, keepdim=True) - told < ALIKE) & ((apart < ALIKE).sum(1, keepdim=True) >= MOST)
        is_new = ((ends - level[:, ::27]).abs() > APART).all(1, keepdim=True)
        return told.expand(-1, COLUMNS), alike & is_new & (apart.amax(1, keepdim=True) > APART)

    def _follow(self, row: Tensor, level: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The level after a row on paper that varies, the contrast, and the row's distance from the paper."""
        change = row - level
        is_paper = change.abs() < (0.4 * contrast).clamp(0.13, 0.25)
        paper = is_paper.to(row.dtype)
        sums = self.neighbours(torch.stack([paper, paper * change, paper * row]))
        near = sums[0] + 1e-6
        drift, nearby = sums[1] / near, sums[2] / near
        below = torch.where(sums[0] > 0.2, 0.8 * (level + drift) + 0.2 * nearby, level)
        smoothed = level + FOLLOWED * (0.5 * change + 0.5 * drift)
        followed = torch.where(is_paper, smoothed, below).clamp(0, 1)
        followed = torch.where((row <= STEADY) & (level == 0), level, followed)
        distance = (row - followed).abs()
        contrast = torch.maximum(contrast, distance.amax(1, keepdim=True))
        is_raised = (followed > STEADY).any(1, keepdim=True)
        gain = torch.where(is_raised, 1 / contrast.clamp(LEAST_CONTRAST, 1.0), torch.ones_like(contrast))
        return followed, contrast, (distance * gain).clamp(max=1)


@torch.no_grad()
def levelled(rows: Tensor) -> Tensor:
    """Whole digits (B, T, 28) as `PaperLevel` gives them to a network that is being trained."""
    batch, count = rows.shape[:2]
    padding = torch.zeros(batch, count, dtype=torch.bool, device=rows.device)
    state = torch.zeros(batch, COLUMNS + 2, device=rows.device)
    fresh = torch.ones(batch, dtype=torch.bool, device=rows.device)
    # Only rows that are off the contract are worked on.
    off = ((rows[:, :, ::27] > STEADY).any(2).any(1)) | (rows[:, 0] > STEADY).any(1)
    level = PaperLevel().to(rows.device)
    answer = rows.clone()
    answer[off] = level(rows[off], padding[off], state[off], fresh[off])[0]
    return answer
