"""`python -m tests.acceptance.forecasts.picture FILE`: forty typical inputs, with what two versions say of them."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.acceptance.forecasts.answers import ask, service
from tests.acceptance.forecasts.kinds import KINDS, Case
from tests.integration.servers import ROOT

SHOWN = 80  # newest values of a series in a panel
KINDS_WITHOUT_PICTURE = ("k13", "k14", "k15")  # equal answers, constants, long histories
COLOURS = {"older": "#d1603d", "newer": "#1b6ca8"}


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of models (default: models/)")
    parser.add_argument("--versions", nargs=2, default=["3", "6"], help="older and newer (default: %(default)s)")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if not kind.__name__.startswith(KINDS_WITHOUT_PICTURE)]
    per_kind = [(kind.__name__, list(itertools.islice(kind(), 9))[::3]) for kind in kinds]
    cases = [(name, case) for name, some in per_kind for case in some][:40]
    figure = Figure((25, 20), 60, layout="constrained")
    with service(options.models) as client:
        for axis, (name, case) in zip(figure.subplots(8, 5).flat, cases, strict=False):
            _panel(axis, client, f"{name.split('_')[0].upper()}: {case.name}", case, options.versions)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(options.file)


def _panel(axis: Axes, client: httpx.Client, title: str, case: Case, versions: list[str]) -> None:
    past = case.series[-SHOWN:]
    axis.plot(np.arange(-len(past), 0), past, color="0.25", linewidth=1)
    ahead = np.arange(case.horizon)
    for version, colour in zip(versions, COLOURS.values(), strict=True):
        prediction = ask(client, case, f"forecaster@{version}")[0]
        axis.plot(ahead, prediction.median, color=colour, label=f"version {version}")
        axis.fill_between(ahead, prediction.low, prediction.high, color=colour, alpha=0.2, linewidth=0)
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.legend(frameon=False, fontsize=7)


if __name__ == "__main__":
    main()
