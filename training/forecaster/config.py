"""Everything that shapes a fit of the forecaster, and the stages of the committed model.

The names of the fields are options of the command and keys of the `knobs` of a record, so they do not change.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """One stage of a fit."""

    seed: int = 0
    steps: int = 32_000
    values: int = 20_000  # values in a batch: rows x window length
    lengths: tuple[int, ...] = (128, 320, 1280)  # window lengths, one drawn for each step
    cuts: int = 4  # forecasts from each window
    ahead: int = 12  # steps ahead of each forecast that enter the loss
    real: float = 0.56  # share of windows from real series
    variety: float = 1.0  # how often real windows are varied: times the shares in `windows.augment`
    offsets: float = 0.15  # share of windows that are lifted by up to a million of their deviations
    glitches: float = 0.1  # share of windows with wrong values in the context
    dense: float = 0.3  # weight of the loss of the next value's bands
    fast: int = 64  # hidden units of the clock that reads every value
    slow: int = 128  # hidden units of the clock that ticks every eighth value
    width: int = 160  # units of the read-out
    rate: float = 2e-3  # peak learning rate
    hold: float = 0.4  # share of the steps at the peak rate; a cosine falls after it
    decay: float = 0.01  # weight decay
    ema: float = 0.999  # decay of the averaged weights
    bfloat16: bool = False  # products of matrices in 16 bits: a fifth less time where the processor has them
    evaluations: int = 16  # rows of the curves, each with a validation and a checkpoint


STAGES = (Config(), Config(seed=1, steps=12_000, rate=1e-3, real=0.5, variety=2.5, evaluations=6))
