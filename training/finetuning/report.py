"""What a run of `ritmo train forecaster` tells: a table of scores and the plot of the forecasts and of what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.data.real_series import SeriesFile
from training.evaluation import plots
from training.evaluation.backtest import LEVELS, FileScore
from training.finetuning.forecaster import Candidate, predictor
from training.finetuning.series import Collection

PANELS = 15
LOW, MEDIAN, HIGH = LEVELS.index(0.1), LEVELS.index(0.5), LEVELS.index(0.9)
PAST = 4  # values of the past that a plot shows for each step ahead


def score_table(tried: Sequence[Candidate], chosen: Candidate) -> str:
    """The scores of all candidates and of the last season repeated, as Markdown; the one that is kept is marked."""
    shipped = tried[0].score
    lines = ["| model | MASE | WQL | 80 % interval covers | WQL beside shipped |", "| --- | --- | --- | --- | --- |"]
    lines.append(f"| last season repeated | {_number(shipped.mase_naive, 3)} | {_number(shipped.wql_naive, 4)} | | |")
    for candidate in tried:
        score = candidate.score
        mark = " (kept)" if candidate is chosen else ""
        gain = f"{100 * (score.wql / shipped.wql - 1):+.1f} %" if shipped.wql > 0 else ""
        lines.append(
            f"| {candidate.name}{mark} | {_number(score.mase, 3)} | {_number(score.wql, 4)} "
            f"| {100 * score.coverage80:.1f} % | {gain} |"
        )
    return "\n".join(lines)


def scores_of(score: FileScore) -> str:
    """MASE and WQL in words."""
    return f"MASE {_number(score.mase, 3)}, WQL {_number(score.wql, 4)}"


def _number(value: float, digits: int) -> str:
    """A score, or a dash where there is none: a series that never changed before has no MASE."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def draw(collection: Collection, test: SeriesFile, tried: Sequence[Candidate], chosen: Candidate, path: Path) -> None:
    """The last scored window of up to fifteen series: the shipped forecaster's answer and the chosen one's."""
    last = {index: cut for index, cut in test.items}  # noqa: C416 (of several windows of a series the last one stays)
    panel_items = [list(last.items())[i] for i in np.unique(np.linspace(0, len(last) - 1, PANELS).astype(int))]
    horizon = test.horizons[0]
    contexts = [test.series[index][:cut] for index, cut in panel_items]
    seasons = [test.seasons[index] for index, _ in panel_items]
    first, second = (predictor(network)(contexts, seasons, horizon) for network in (tried[0].network, chosen.network))
    panels = [
        plots.Comparison(
            collection.names[index][:24],
            test.series[index][:cut][-PAST * horizon :],
            test.series[index][cut : cut + horizon],
            a[:, [LOW, MEDIAN, HIGH]],
            b[:, [LOW, MEDIAN, HIGH]],
        )
        for (index, cut), a, b in zip(panel_items, first, second, strict=True)
    ]
    plots.comparison_grid(panels, ("shipped", chosen.name), path, f"{horizon} steps ahead")
