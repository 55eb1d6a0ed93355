"""The pictures: relative scores with costs, and the coverage of the intervals file by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.forecasting import published
from benchmarks.forecasting.rows import BASE, SAMPLE, SEASON_UNKNOWN, Row
from benchmarks.forecasting.service_client import BATCH
from benchmarks.forecasting.summary import NARROW, WIDE, Summary, held_out, is_own, methods, summaries

OWN_COLOUR, PEER_COLOUR, PUBLISHED_COLOUR = "#d1603d", "#7f9db5", "#dcdcdc"
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # under a number, so that a line does not cross it
DPI = 110


@dataclass(frozen=True)
class _Bar:
    label: str
    mase: float
    wql: float
    seconds: float | None
    style: dict[str, Any]


def draw(rows: Sequence[Row], file: Path) -> None:
    """Horizontal bars, best first: MASE and WQL relative to the base, and seconds for one series."""
    bars = _bars(rows)
    figure = Figure((11.5, 1.5 + 0.34 * len(bars)), DPI)
    panels = figure.subplots(1, 3, sharey=True)
    heights = range(len(bars))[::-1]
    for panel, name in zip(panels[:2], ("mase", "wql"), strict=True):
        values = [getattr(bar, name) for bar in bars]
        for height, value, bar in zip(heights, values, bars, strict=True):
            panel.barh(height, value, **bar.style)
            panel.text(value + 0.015, height, f"{value:.2f}", va="center", fontsize=8, bbox=LABEL_BOX)
        panel.axvline(1, color="0.3", linewidth=0.8)
        panel.set(xlim=(0, max(1.15, max(values) * 1.12)), title=f"{name.upper()} / that of seasonal naive")
    _costs(panels[2], bars, heights)
    panels[0].set_yticks(list(heights), [bar.label for bar in bars])
    for label, bar in zip(panels[0].get_yticklabels(), bars, strict=True):
        label.set_weight("bold" if bar.style["color"] == OWN_COLOUR else "normal")
    for panel in panels:
        panel.title.set_fontsize(9)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    count = len({row.file for row in held_out(rows)})
    figure.suptitle(
        f"Zero-shot on {count} held-out files, same windows, lower is better; hatched: published, on other sets",
        fontsize=10,
    )
    _save(figure, file)


def _bars(rows: Sequence[Row]) -> list[_Bar]:
    bars = [
        _Bar(_label(s), s.mase, s.wql, s.seconds, {"color": OWN_COLOUR if is_own(s.method) else PEER_COLOUR})
        for s in summaries(held_out(rows))
        if s.method != BASE
    ]
    hatched = {"color": PUBLISHED_COLOUR, "hatch": "///", "edgecolor": "0.6", "linewidth": 0}
    bars += [
        _Bar(f"{entry.name}, {entry.parameters}", entry.mase, entry.wql, None, hatched)
        for entry in published.RELATIVE
        if entry.name in published.IN_PICTURE
    ]
    return sorted(bars, key=lambda bar: bar.mase)


def _label(summary: Summary) -> str:
    return summary.method if summary.parameters is None else f"{summary.method}, {summary.parameters / 1e6:.2g} M"


def _costs(panel: Any, bars: Sequence[_Bar], heights: range) -> None:
    costs = [bar.seconds for bar in bars if bar.seconds]
    if not costs:
        return
    floor = min(costs) / 4
    for height, bar in zip(heights, bars, strict=True):
        if bar.seconds is None:
            note = "same model" if bar.style["color"] == OWN_COLOUR else "not measured"
            panel.text(floor * 1.2, height, note, va="center", fontsize=7, color="0.5")
            continue
        panel.barh(height, bar.seconds - floor, left=floor, **bar.style)
        panel.text(bar.seconds * 1.15, height, _duration(bar.seconds), va="center", fontsize=8)
    panel.set(xscale="log", xlim=(floor, max(costs) * 8))
    ticks = [power for power in (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0) if floor <= power <= max(costs) * 8]
    panel.set_xticks(ticks, [_duration(tick) for tick in ticks])
    panel.set_title(f"CPU time of a series, {BATCH} a request")


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.2g} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"


def draw_coverage(rows: Sequence[Row], file: Path) -> None:
    """A dot for each method and file: the share of values within the 80 % and the 95 % interval."""
    sample = [row for row in rows if row.part == SAMPLE and row.coverage80 is not None]
    names, files = methods(sample), list(dict.fromkeys(row.file for row in sample))
    figure = Figure((10, 1.4 + 0.3 * len(files)), DPI)
    panels = figure.subplots(1, 2, sharey=True)
    colours = {name: OWN_COLOUR if is_own(name) else f"C{index}" for index, name in enumerate(names)}
    for panel, level, band in zip(panels, (80, 95), ((NARROW, WIDE), (0.93, 0.97)), strict=True):
        panel.axvspan(*(100 * edge for edge in band), color="0.9")
        panel.axvline(level, color="0.5", linewidth=0.8)
        for name in reversed(names):  # later dots cover earlier ones, and this project's models come first in `names`
            dots = [
                (100 * getattr(row, f"coverage{level}"), files.index(row.file)) for row in sample if row.method == name
            ]
            x, y = zip(*dots, strict=True)
            size, marker = (60, "D") if is_own(name) else (26, "o")
            fill = "none" if name.endswith(SEASON_UNKNOWN) else colours[name]
            panel.scatter(x, y, s=size, marker=marker, facecolors=fill, edgecolors=colours[name], label=name)
        panel.set(xlabel=f"values within the {level} % interval, %")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    panels[0].set_yticks(range(len(files)), files)
    panels[0].invert_yaxis()
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.suptitle(
        "Coverage of the intervals by file; grey: within 4 points of 80 %, within 2 points of 95 %", fontsize=10
    )
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    FigureCanvasAgg(figure)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
