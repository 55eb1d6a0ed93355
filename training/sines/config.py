"""Everything that shapes a fit of the sine specialist.

The names of the fields are options of the command and keys of the `knobs` of a record, so they do not change.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Both stages of a fit."""

    seed: int = 0
    steps: int = 20_000
    values: int = 12_288  # values in a batch: rows x window length
    lengths: tuple[int, ...] = (48, 96, 240, 96, 48, 480)  # window lengths, in turn
    missing: float = 0.25  # share of batches in which some windows have missing values
    hidden: int = 96  # units of the LSTM
    rate: float = 4e-3  # peak learning rate
    decay: float = 1e-4  # weight decay
    ema: float = 0.999  # decay of the averaged weights
    evaluations: int = 20  # rows of the curves of a stage
    head_steps: int = 4_000
    head_rate: float = 2e-3
    head_places: int = 12  # read-outs of each window
