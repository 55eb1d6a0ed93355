"""From rows to the tables of benchmarks/results/serving.md and the picture docs/serving.png.

A figure is the median over the rounds with the least and the greatest beside it. A ratio is taken within each round,
this service over the other, before its median is taken.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.serving.rows import Row
from benchmarks.table import head, line, title

OURS = "ritmo"
MAIN = "series"
Value = Callable[[Row], float | None]


def write(rows: Sequence[Row], file: Path) -> None:
    """Write the tables of `rows`, which are all of one run."""
    file.write_text("\n".join(_page(rows)) + "\n", encoding="utf-8")


def _page(rows: Sequence[Row]) -> Iterable[str]:
    one = rows[0]
    yield "# Serving, measured"
    yield ""
    yield f"{one.date}, {one.machine}, {one.cores} cores, commit {one.commit}: `{one.command}`."
    yield ""
    yield (
        "One LSTM layer of 64 units, the same weights everywhere; one series of 10 to 100 values a request, one number "
        "asked of the peers and a mean with three quantiles of ritmo, through its whole `/forecast` contract. Each "
        "server answered all requests rightly before it was timed. wrk (one thread, closed loop, keep-alive) shares "
        "the cores with the server, nothing is pinned. Median of the rounds (least–greatest)."
    )
    for processes in sorted({row.processes for row in rows}):
        yield from _rates(rows, processes)
        yield from _latencies(rows, processes)
    yield from _own(rows)
    yield from _alone(rows)
    yield from _starts(rows)
    yield from _versions(rows)


def _rates(rows: Sequence[Row], processes: int) -> Iterable[str]:
    here = _select(rows, MAIN, processes)
    levels = _levels(here)
    if not levels:
        return
    yield from title(f"Requests a second, {_processes(processes)}")
    yield from head(["", *(f"{level} connections" for level in levels), *(f"ritmo / it at {n}" for n in levels)])
    for name in _names(here):
        cells = [_spread(_at(here, name, level), lambda row: row.requests_per_second) for level in levels]
        ratios = [_ratio(here, name, level, lambda row: row.requests_per_second) for level in levels]
        yield line([name, *cells, *ratios])


def _latencies(rows: Sequence[Row], processes: int) -> Iterable[str]:
    here = _select(rows, MAIN, processes)
    levels = _levels(here)
    if not levels:
        return
    yield from title(f"Latency in ms, p50 / p99, and the server's CPU time a request, {_processes(processes)}")
    yield from head(["", *(f"{level} connections" for level in levels), f"CPU µs at {levels[-1]}", "failed"])
    for name in _names(here):
        cells = [
            f"{_median(_at(here, name, level), lambda row: row.p50_ms)} / "
            f"{_median(_at(here, name, level), lambda row: row.p99_ms)}"
            for level in levels
        ]
        cpu = _median(_at(here, name, levels[-1]), lambda row: row.cpu_us_per_request)
        failed = sum(row.failed or 0 for row in here if row.contestant == name)
        yield line([name, *cells, cpu, str(failed)])


def _own(rows: Sequence[Row]) -> Iterable[str]:
    """Every other workload of a server."""
    here = [row for row in rows if row.workload not in (MAIN, "start") and row.contestant != "model alone"]
    if not here:
        return
    yield from title("Other workloads: bulk (512 series of 50 values a request), live updates by token, own models")
    yield from head(["", "workload", "processes", "connections", "series or digits a second", "p50 ms", "p99 ms"])
    keys = dict.fromkeys((row.workload, row.contestant, row.processes, row.connections) for row in here)
    for workload, name, processes, connections in sorted(keys, key=lambda key: (key[0], key[2], key[3] or 0)):
        group = [
            row
            for row in here
            if (row.workload, row.contestant, row.processes, row.connections)
            == (workload, name, processes, connections)
        ]
        rate = _spread(group, lambda row: row.items_per_second)
        p50, p99 = _median(group, lambda row: row.p50_ms), _median(group, lambda row: row.p99_ms)
        yield line([name, workload, str(processes), str(connections), rate, p50, p99])


def _alone(rows: Sequence[Row]) -> Iterable[str]:
    here = [row for row in rows if row.contestant == "model alone"]
    if not here:
        return
    yield from title("The model alone, without a server (one torch thread where nothing else is said)")
    yield from head(["", "series a second", "p50 ms", "p99 ms"])
    for workload in dict.fromkeys(row.workload for row in here):
        group = [row for row in here if row.workload == workload]
        rate = _spread(group, lambda row: row.items_per_second)
        yield line([workload, rate, _median(group, lambda r: r.p50_ms), _median(group, lambda r: r.p99_ms)])


def _starts(rows: Sequence[Row]) -> Iterable[str]:
    here = [row for row in rows if row.workload == "start"]
    if not here:
        return
    yield from title("Memory of all processes of a server, MiB, and seconds from its start to its first answer")
    yield from head(["", "processes", "idle PSS", "idle RSS", "PSS after the load", "first answer, s"])
    for name, processes in dict.fromkeys((row.contestant, row.processes) for row in here):
        group = [row for row in here if (row.contestant, row.processes) == (name, processes)]
        values: list[Value] = [
            lambda row: row.idle_pss_mib,
            lambda row: row.idle_rss_mib,
            lambda row: row.loaded_pss_mib,
            lambda row: row.cold_start_s,
        ]
        yield line([name, str(processes), *(_spread(group, value) for value in values)])


def _versions(rows: Sequence[Row]) -> Iterable[str]:
    yield from title("Versions")
    for name, versions in dict.fromkeys((row.contestant, row.versions) for row in rows):
        yield f"- {name}: {versions}"


# --- numbers ---------------------------------------------------------------------------------------------------------


def _select(rows: Sequence[Row], workload: str, processes: int) -> list[Row]:
    return [row for row in rows if row.workload == workload and row.processes == processes]


def _at(rows: Sequence[Row], name: str, connections: int) -> list[Row]:
    return [row for row in rows if row.contestant == name and row.connections == connections]


def _levels(rows: Sequence[Row]) -> list[int]:
    return sorted({row.connections for row in rows if row.connections is not None})


def _names(rows: Sequence[Row]) -> list[str]:
    """Contestants, ours first, then by their rate at the highest level."""
    top = _levels(rows)[-1]

    def rate(name: str) -> float:
        return statistics.median([row.requests_per_second or 0.0 for row in _at(rows, name, top)] or [0.0])

    return sorted({row.contestant for row in rows}, key=lambda name: (name != OURS, -rate(name)))


def _numbers(rows: Iterable[Row], value: Value) -> list[float]:
    return [number for row in rows if (number := value(row)) is not None]


def _median(rows: Iterable[Row], value: Value) -> str:
    numbers = _numbers(rows, value)
    return _round(statistics.median(numbers)) if numbers else "–"


def _spread(rows: Iterable[Row], value: Value) -> str:
    numbers = _numbers(rows, value)
    if not numbers:
        return "–"
    middle = _round(statistics.median(numbers))
    return middle if len(numbers) == 1 else f"{middle} ({_round(min(numbers))}–{_round(max(numbers))})"


def _ratio(rows: Sequence[Row], name: str, connections: int, value: Value) -> str:
    mine = {row.round: value(row) for row in _at(rows, OURS, connections)}
    ratios = [
        ours / theirs
        for row in _at(rows, name, connections)
        if (theirs := value(row)) and (ours := mine.get(row.round)) is not None
    ]
    if not ratios or name == OURS:
        return "–"
    middle = f"{statistics.median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f}–{max(ratios):.2f})"


def _round(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


# --- words -----------------------------------------------------------------------------------------------------------


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


# --- the picture -----------------------------------------------------------------------------------------------------


def draw(rows: Sequence[Row], file: Path) -> None:
    """Requests a second against connections, a panel for each number of processes; bars span least to greatest."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    here = [row for row in rows if row.workload == MAIN]
    counts = sorted({row.processes for row in here})
    if not counts:
        return
    figure, panels = plt.subplots(1, len(counts), figsize=(1.8 + 4.6 * len(counts), 4.4), sharey=True, squeeze=False)
    names = _names([row for row in here if row.processes == counts[0]])
    styles = {name: f"C{place}" for place, name in enumerate(names)}
    for panel, processes in zip(panels[0], counts, strict=True):
        for name in names:
            group = [row for row in here if row.contestant == name and row.processes == processes]
            _curve(panel, group, name, styles[name])
        panel.set(xscale="log", yscale="log", xlabel="connections", title=_processes(processes))
        panel.set_xticks(_levels(here), [str(level) for level in _levels(here)])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("answers a second")
    panels[0][-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    one = rows[0]
    figure.suptitle(f"LSTM-64, one series a request; {one.machine}, {one.cores} cores, {one.date}", fontsize=10)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _curve(panel: object, rows: Sequence[Row], name: str, colour: str) -> None:
    levels = _levels(rows)
    numbers = [_numbers(_at(rows, name, level), lambda row: row.requests_per_second) for level in levels]
    if not levels:
        return
    middle = [statistics.median(group) for group in numbers]
    below = [mid - min(group) for mid, group in zip(middle, numbers, strict=True)]
    above = [max(group) - mid for mid, group in zip(middle, numbers, strict=True)]
    style = {"color": "0.6", "linestyle": ":"} if name == "constant" else {"color": colour}
    label = "constant answer (ceiling)" if name == "constant" else name
    width = 2.4 if name == OURS else 1.2
    panel.errorbar(levels, middle, yerr=(below, above), label=label, linewidth=width, marker="o", markersize=3, **style)  # type: ignore[attr-defined]
