"""The level of the paper below rows of a digit, estimated causally, so that dark ink on bright paper reads as ink.

The contract of a digit reader is ink high and paper at zero. Rows of other kinds are common all the same: inverted
ones, bright or foggy paper, sides that are inverted. `PaperLevel` turns each row into its distance from the paper, as
far as the rows so far tell where that is; rows on paper at zero stay exactly as they are.

- The first row is paper where it is smooth and mostly above zero, or bright along a broad strip on both sides and dark
  between them. Any other first row does not tell: the contract holds.
- A later row tells the level where both its ends and most of it are alike, the rest is not, and that is far from the
  level so far. A row of one level alone never tells: it may be a bar of the digit.
- Paper at zero stays so while a row has a few columns or both ends at zero.
- Paper that varies is followed: columns near their level drag it along, and with it that of the columns with ink.

Shapes: B digits, T rows, 28 columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.steady import SteadyLinear

COLUMNS = 28
LEVELS = COLUMNS + 2  # numbers in the state


class PaperLevel(nn.Module):
    """`forward(rows, padding, state, counts) -> (rows, state)`: distances from the paper, ink high.

    rows (B, T, 28) float32 in 0..1; padding (B, T), True where a digit has no row; counts (B,): the rows that each
    digit has had before. The state, float32 (B, 30): the level of each column, the greatest distance from it so far
    on paper that varies, and 1 where it varies.
    """

    # TorchScript sees constants only as attributes of the class that `__constants__` lists.
    __constants__ = (
        "ALIKE",
        "APART",
        "BETWEEN",
        "COLUMNS",
        "FOLLOWED",
        "HALF",
        "LEAST_CONTRAST",
        "MOST",
        "SMOOTH",
        "SOME",
        "STEADY",
        "STRIP",
    )
    COLUMNS = COLUMNS
    STEADY = 0.06  # paper whose ends stay as near as this to their level does not vary
    SMOOTH = 0.22  # greatest difference of neighbours in a row without ink
    STRIP = 5  # columns of a strip of paper along a side
    BETWEEN = 12  # columns between two of them
    ALIKE = 0.15  # greatest distance of columns of one level
    APART = 0.3  # least distance of columns of different levels
    MOST = 16  # columns of a row
    SOME, HALF = 6, 14
    LEAST_CONTRAST = 0.3  # of ink on paper that varies
    FOLLOWED = 0.6  # share of a change of the paper that is taken over from a row

    def __init__(self) -> None:
        super().__init__()
        self.neighbours = SteadyLinear(COLUMNS, COLUMNS, bias=False)
        distance = (torch.arange(COLUMNS)[:, None] - torch.arange(COLUMNS)).abs().float()
        with torch.no_grad():
            self.neighbours.weight.copy_(torch.exp(-distance / 2.5))
        self.requires_grad_(False)

    def forward(self, rows: Tensor, padding: Tensor, state: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        if rows.size(1) == 0:
            return rows, state
        ends = rows[:, :, ::27]
        on_zero = not bool(state.any())
        # Paper at zero, as nearly all rows have it: nothing changes.
        if on_zero and float(ends.amax()) <= self.STEADY and float(rows[:, 0].amax()) <= self.STEADY:
            return rows, state
        level, contrast, varies = state[:, : self.COLUMNS], state[:, -2:-1], state[:, -1:]
        fresh = (counts == 0.0)[:, None] & ~padding[:, :1]
        level = torch.where(fresh, self._first(rows[:, 0]), level)
        if on_zero and not bool(level.any()):
            plain = self._at_zero(ends) | ((rows <= self.STEADY).sum(2) >= self.SOME)
            if bool((plain | padding).all()) and not bool((ends > self.APART).all(2).any()):
                return rows, state
        steady = (rows - level[:, None]).abs() / torch.maximum(level, 1 - level)[:, None]
        if not bool(varies.any()) and bool((self._near(ends, level) | padding).all()):
            return steady.masked_fill(padding[:, :, None], 0.0), torch.cat([level, contrast, varies], 1)
        return self._row_by_row(rows, padding, level, contrast, varies)

    def _row_by_row(
        self, rows: Tensor, padding: Tensor, level: Tensor, contrast: Tensor, varies: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What `forward` returns, where the level may change from row to row."""
        distances: list[Tensor] = []
        for t in range(rows.size(1)):
            row, ended = rows[:, t], padding[:, t : t + 1]
            ends = rows[:, t : t + 1, ::27]
            told, tells = self._told(row, level)
            tells = tells & ~ended
            level = torch.where(tells, told, level)
            some = (row <= self.STEADY).sum(1, keepdim=True) >= self.SOME
            plain = (level == 0.0).all(1, keepdim=True) & (self._at_zero(ends) | some)
            varies = varies.masked_fill(tells, 0.0).masked_fill(~(self._near(ends, level) | plain | tells | ended), 1.0)
            drifting = (varies > 0) & ~(plain | ended)
            distance = ((row - level).abs() / torch.maximum(level, 1 - level)).masked_fill(ended, 0.0)
            if bool(drifting.any()):
                followed, contrast_then, varying = self._follow(row, level, contrast)
                level = torch.where(drifting, followed, level)
                contrast = torch.where(drifting, contrast_then, contrast)
                distance = torch.where(drifting, varying, distance)
            distances.append(distance)
        return torch.stack(distances, 1), torch.cat([level, contrast, varies], 1)

    def _at_zero(self, ends: Tensor) -> Tensor:
        """Whether both ends (B, T, 2) of rows are at zero: (B, T)."""
        return (ends <= self.STEADY).all(2)

    def _near(self, ends: Tensor, level: Tensor) -> Tensor:
        """Whether both ends (B, T, 2) of rows are at their level (B, 28): (B, T)."""
        return ((ends - level[:, None, ::27]).abs() <= self.STEADY).all(2)

    def _first(self, row: Tensor) -> Tensor:
        """The level (B, 28) that the first row shows: itself where it is paper, else zero."""
        smooth = (row[:, 1:] - row[:, :-1]).abs().amax(1, keepdim=True) < self.SMOOTH
        bright = row > 0.5 * (row.amax(1, keepdim=True) + row.amin(1, keepdim=True))
        strips = bright[:, : self.STRIP].all(1, keepdim=True) & bright[:, -self.STRIP :].all(1, keepdim=True)
        changes = (bright[:, 1:] != bright[:, :-1]).sum(1, keepdim=True)
        between = (~bright).sum(1, keepdim=True) >= self.BETWEEN
        raised = (row > self.STEADY).sum(1, keepdim=True) >= self.HALF
        shown = (smooth & raised) | (strips & between & (changes == 2))
        return torch.where(shown, row, 0.0)

    def _told(self, row: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """The one level that a row tells (B, 1), and whether it tells any that is another one than `level`."""
        ends = row[:, ::27]
        told = ends.amin(1, keepdim=True)
        apart = (row - told).abs()
        alike = (ends.amax(1, keepdim=True) - told < self.ALIKE) & (
            (apart < self.ALIKE).sum(1, keepdim=True) >= self.MOST
        )
        is_new = ((ends - level[:, ::27]).abs() > self.APART).all(1, keepdim=True)
        return told.expand(-1, self.COLUMNS), alike & is_new & (apart.amax(1, keepdim=True) > self.APART)

    def _follow(self, row: Tensor, level: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The level after a row on paper that varies, the contrast, and the row's distance from the paper."""
        change = row - level
        is_paper = change.abs() < (0.4 * contrast).clamp(0.13, 0.25)
        paper = is_paper.to(row.dtype)
        sums = self.neighbours(torch.stack([paper, paper * change, paper * row]))
        near = sums[0] + 1e-6
        drift, nearby = sums[1] / near, sums[2] / near
        below = torch.where(sums[0] > 0.2, 0.8 * (level + drift) + 0.2 * nearby, level)
        smoothed = level + self.FOLLOWED * (0.5 * change + 0.5 * drift)
        followed = torch.where(is_paper, smoothed, below).clamp(0, 1)
        distance = (row - followed).abs()
        contrast = torch.maximum(contrast, distance.amax(1, keepdim=True))
        is_raised = (followed > self.STEADY).any(1, keepdim=True)
        gain = torch.where(is_raised, 1 / contrast.clamp(self.LEAST_CONTRAST, 1.0), torch.ones_like(contrast))
        return followed, contrast, (distance * gain).clamp(max=1)


@torch.no_grad()
def levelled(rows: Tensor) -> Tensor:
    """Whole digits (B, T, 28) as `PaperLevel` gives them to a network that is being trained."""
    batch, count = rows.shape[:2]
    padding = torch.zeros(batch, count, dtype=torch.bool, device=rows.device)
    state = torch.zeros(batch, LEVELS, device=rows.device)
    counts = torch.zeros(batch, device=rows.device)
    # Only rows that are off the contract are worked on.
    off = ((rows[:, :, ::27] > PaperLevel.STEADY).any(2).any(1)) | (rows[:, 0] > PaperLevel.STEADY).any(1)
    level = PaperLevel().to(rows.device)
    answer = rows.clone()
    answer[off] = level(rows[off], padding[off], state[off], counts[off])[0]
    return answer
