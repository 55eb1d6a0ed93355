"""From rows to the tables of benchmarks/results/serving.md and the picture docs/serving.png.

A figure is the median over the rounds with the least and the greatest in brackets. A ratio is taken within each round,
this service over the other, before its median is taken. A peer that is measured in several configurations has a row for
each, and its ratio stands in the row that is its best at that number of connections.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.serving.contestants import peer_of
from benchmarks.serving.rows import MODEL_ONLY, Row
from benchmarks.table import head, line, provenance, title

RITMO = "ritmo"
CEILING = "constant"  # answers without any network: what HTTP alone allows
MAIN = "series"
Value = Callable[[Row], float | None]


def write(rows: Sequence[Row], file: Path, absences: Sequence[str] = ()) -> None:
    """Write the tables of `rows`, which are all of one run; `absences` say which contestants were not measured."""
    file.write_text("\n".join(_page(rows, absences)) + "\n", encoding="utf-8")


def _page(rows: Sequence[Row], absences: Sequence[str]) -> Iterable[str]:
    yield "# Serving, measured"
    yield ""
    yield f"{provenance(rows[0])} {max(row.round for row in rows)} rounds."
    yield ""
    pinned = "which has all but the last of them" if rows[0].pinned else "nothing is pinned"
    yield (
        "One LSTM layer of 64 units, the same weights everywhere; one series of 10 to 100 values a request. The peers "
        "answer with one number, ritmo with a mean and three quantiles, through its whole `/forecast` contract. All "
        "answers of each server were checked before it was timed. wrk (one thread, closed loop, keep-alive) shares the "
        f"cores with the server, {pinned}. Figures are medians of the rounds (least–greatest). `mosec (tuned)` "
        "reads and writes JSON with msgspec, in batches of at most 64; `ray (tuned)` is Ray Serve in throughput mode "
        "behind HAProxy, as its guide to high throughput has it; `pytriton (binary)` sends tensors as bytes. "
        "The ratio to a peer stands in the row of its best configuration."
    )
    for absence in absences:
        yield ""
        yield f"Not measured: {absence}."
    yield from _in_short(rows)
    for processes in sorted({row.processes for row in rows}):
        yield from _rates(rows, processes)
        yield from _latencies(rows, processes)
    yield from _other_workloads(rows)
    yield from _model_only(rows)
    yield from _starts(rows)
    yield from _versions(rows)


def _in_short(rows: Sequence[Row]) -> Iterable[str]:
    """The sentences that README quotes."""
    yield from title("In short")
    for processes in sorted({row.processes for row in rows}):
        selected = _select(rows, MAIN, processes)
        for level in _levels(selected):
            yield from _rate_sentence(selected, processes, level)
    selected = [row for row in _select(rows, MAIN, 1) if row.connections == 1]
    if selected:
        latencies = ", ".join(
            f"{name} {_median(_at(selected, name, 1), lambda row: row.p50_ms)} ms "
            f"({_median(_at(selected, name, 1), lambda row: row.p99_ms)})"
            for name in _names(selected)
        )
        yield f"- One process, one connection, half of the answers (99 in 100) within: {latencies}."
    tokens = [row for row in rows if row.workload.startswith("token") and (row.processes, row.connections) == (1, 1)]
    if tokens:
        latencies = ", ".join(
            f"{name.removeprefix('token after ')} {_spread(_of_workload(tokens, name), lambda row: row.p50_ms)} ms"
            for name in dict.fromkeys(row.workload for row in tokens)
        )
        yield f"- One more value for a series continued by its token, one connection, by values before it: {latencies}."
    idle = [row for row in rows if row.workload == "start" and row.processes == 1]
    if idle:
        memory = ", ".join(
            f"{name} {_median([row for row in idle if row.contestant == name], lambda row: row.idle_pss_mib)}"
            for name in dict.fromkeys(row.contestant for row in idle)
        )
        yield f"- Memory of an idle server of one process, MiB: {memory}."


def _rate_sentence(rows: Sequence[Row], processes: int, level: int) -> Iterable[str]:
    competitors = [name for name in _names(rows) if name not in (RITMO, CEILING) and _at(rows, name, level)]
    if not competitors or not _at(rows, RITMO, level):
        return
    best = max(competitors, key=lambda name: _rate(rows, name, level))
    rates = [_spread(_at(rows, name, level), lambda row: row.requests_per_second) for name in (RITMO, best)]
    ratio = _ratio(rows, best, level, lambda row: row.requests_per_second)
    yield (
        f"- {_processes(processes).capitalize()}, {_connections(level)}: ritmo answers {rates[0]} requests a second; "
        f"the best other server, {best}, {rates[1]}; ratio within a round {ratio}."
    )


def _rates(rows: Sequence[Row], processes: int) -> Iterable[str]:
    selected = _select(rows, MAIN, processes)
    levels = _levels(selected)
    if not levels:
        return
    yield from title(f"Requests a second, {_processes(processes)}")
    yield from head(["", *(_connections(level) for level in levels), *(f"ritmo / it at {n}" for n in levels)])
    for name in _names(selected):
        cells = [_spread(_at(selected, name, level), lambda row: row.requests_per_second) for level in levels]
        ratios = [
            _ratio(selected, name, level, lambda row: row.requests_per_second)
            if _is_best_of_peer(selected, name, level)
            else "–"
            for level in levels
        ]
        yield line([name, *cells, *ratios])


def _latencies(rows: Sequence[Row], processes: int) -> Iterable[str]:
    selected = _select(rows, MAIN, processes)
    levels = _levels(selected)
    if not levels:
        return
    yield from title(f"Latency in ms, p50 / p99, and the server's CPU time a request, {_processes(processes)}")
    yield from head(["", *(_connections(level) for level in levels), f"CPU µs at {levels[-1]}", "failed"])
    for name in _names(selected):
        cells = [
            f"{_median(_at(selected, name, level), lambda row: row.p50_ms)} / "
            f"{_median(_at(selected, name, level), lambda row: row.p99_ms)}"
            for level in levels
        ]
        cpu = _median(_at(selected, name, levels[-1]), lambda row: row.cpu_us_per_request)
        failed = sum(row.failed or 0 for row in selected if row.contestant == name)
        yield line([name, *cells, cpu, str(failed)])


def _other_workloads(rows: Sequence[Row]) -> Iterable[str]:
    """Every workload of a server but the main one."""
    selected = [row for row in rows if row.workload not in (MAIN, "start") and row.contestant != MODEL_ONLY]
    if not selected:
        return
    yield from title("Other workloads: bulk (512 series of 50 values a request), live updates by token, own models")
    yield from head(["", "workload", "processes", "connections", "series or digits a second", "p50 ms", "p99 ms"])
    keys = dict.fromkeys((row.workload, row.contestant, row.processes, row.connections) for row in selected)
    for workload, name, processes, connections in sorted(keys, key=lambda key: (key[0], key[2], key[3] or 0)):
        group = [
            row
            for row in selected
            if (row.workload, row.contestant, row.processes, row.connections)
            == (workload, name, processes, connections)
        ]
        rate = _spread(group, lambda row: row.items_per_second)
        p50, p99 = _median(group, lambda row: row.p50_ms), _median(group, lambda row: row.p99_ms)
        yield line([name, workload, str(processes), str(connections), rate, p50, p99])


def _model_only(rows: Sequence[Row]) -> Iterable[str]:
    selected = [row for row in rows if row.contestant == MODEL_ONLY]
    if not selected:
        return
    yield from title("The network alone, without a server (one torch thread unless said otherwise)")
    yield from head(["", "series a second", "p50 ms", "p99 ms"])
    for workload in dict.fromkeys(row.workload for row in selected):
        group = _of_workload(selected, workload)
        rate = _spread(group, lambda row: row.items_per_second)
        yield line([workload, rate, _median(group, lambda r: r.p50_ms), _median(group, lambda r: r.p99_ms)])


def _starts(rows: Sequence[Row]) -> Iterable[str]:
    selected = [row for row in rows if row.workload == "start"]
    if not selected:
        return
    yield from title("Memory of all processes of a server, MiB, and seconds from its start to its first answer")
    yield from head(["", "processes", "idle PSS", "idle RSS", "PSS after the load", "first answer, s"])
    for name, processes in dict.fromkeys((row.contestant, row.processes) for row in selected):
        group = [row for row in selected if (row.contestant, row.processes) == (name, processes)]
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


def _of_workload(rows: Sequence[Row], workload: str) -> list[Row]:
    return [row for row in rows if row.workload == workload]


def _at(rows: Sequence[Row], name: str, connections: int) -> list[Row]:
    return [row for row in rows if row.contestant == name and row.connections == connections]


def _levels(rows: Sequence[Row]) -> list[int]:
    return sorted({row.connections for row in rows if row.connections is not None})


def _names(rows: Sequence[Row]) -> list[str]:
    """Contestants, this service first, then by their rate at the highest level."""
    top = _levels(rows)[-1]
    return sorted({row.contestant for row in rows}, key=lambda name: (name != RITMO, -_rate(rows, name, top)))


def _rate(rows: Sequence[Row], name: str, level: int) -> float:
    """Median requests a second; 0 where it was not measured."""
    return statistics.median([row.requests_per_second or 0.0 for row in _at(rows, name, level)] or [0.0])


def _is_best_of_peer(rows: Sequence[Row], name: str, level: int) -> bool:
    """Whether no other configuration of the same peer has a higher rate at `level`."""
    configurations = {row.contestant for row in rows if peer_of(row.contestant) == peer_of(name)}
    return all(_rate(rows, name, level) >= _rate(rows, rival, level) for rival in sorted(configurations - {name}))


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
    ritmo_values = {row.round: value(row) for row in _at(rows, RITMO, connections)}
    ratios = [
        numerator / denominator
        for row in _at(rows, name, connections)
        if (denominator := value(row)) and (numerator := ritmo_values.get(row.round)) is not None
    ]
    if not ratios or name == RITMO:
        return "–"
    middle = f"{statistics.median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f}–{max(ratios):.2f})"


def _round(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


# --- words -----------------------------------------------------------------------------------------------------------


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


# --- the picture -----------------------------------------------------------------------------------------------------


def draw(rows: Sequence[Row], file: Path) -> None:
    """Requests a second against connections, a panel for each number of processes; bars span least to greatest."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    selected = [row for row in rows if row.workload == MAIN]
    counts = sorted({row.processes for row in selected})
    if not counts:
        return
    figure, panels = plt.subplots(1, len(counts), figsize=(1.8 + 4.6 * len(counts), 4.4), sharey=True, squeeze=False)
    names = _names([row for row in selected if row.processes == counts[0]])
    styles = {
        name: {"color": f"C{index % 10}", "linestyle": "--" if "(" in name else "-"} for index, name in enumerate(names)
    }
    for panel, processes in zip(panels[0], counts, strict=True):
        for name in names:
            group = [row for row in selected if row.contestant == name and row.processes == processes]
            _curve(panel, group, name, styles[name])
        panel.set(xscale="log", yscale="log", xlabel="connections", title=_processes(processes))
        panel.set_xticks(_levels(selected), [str(level) for level in _levels(selected)])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("answers a second")
    panels[0][-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    run = rows[0]
    figure.suptitle(f"LSTM-64, one series a request; {run.machine}, {run.cores} cores, {run.date}", fontsize=10)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _curve(panel: object, rows: Sequence[Row], name: str, style: dict[str, str]) -> None:
    levels = _levels(rows)
    numbers = [_numbers(_at(rows, name, level), lambda row: row.requests_per_second) for level in levels]
    if not levels:
        return
    middle = [statistics.median(group) for group in numbers]
    below = [mid - min(group) for mid, group in zip(middle, numbers, strict=True)]
    above = [max(group) - mid for mid, group in zip(middle, numbers, strict=True)]
    if name == CEILING:
        style = {"color": "0.6", "linestyle": ":"}
    label = "constant answer (ceiling)" if name == CEILING else name
    width = 2.4 if name == RITMO else 1.2
    panel.errorbar(levels, middle, yerr=(below, above), label=label, linewidth=width, marker="o", markersize=3, **style)  # type: ignore[attr-defined]
