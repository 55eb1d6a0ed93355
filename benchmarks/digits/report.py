"""From rows to the tables of benchmarks/results/digits.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.digits.metrics import LEVELS
from benchmarks.digits.rows import Row, Rows, weighted
from benchmarks.table import head, line, provenance, title

READ = (7, 10, 14, 17, 21, 24, 28)
STOPPING_SHARE = 0.1  # of the digits that must reach the score for a sentence on stopping at it
OTHER_SOURCES = ("mouse", "pen", "marker", "fonts", "load_digits")  # all sources but MNIST itself


def write(rows: Rows, file: Path, picture: str) -> None:
    """Write the page; `picture` is the name of the plots' file in the same folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(_page(rows, picture)) + "\n", encoding="utf-8")


def _page(rows: Rows, picture: str) -> Iterable[str]:
    split = next((row.split for row in rows if row.split), "")
    yield "# Digits, measured"
    yield ""
    yield provenance(rows[0])
    yield ""
    yield (
        f"Readers of the service are run through its own backend, on MNIST's {split} digits; `cnn` is the network of "
        "PyTorch's MNIST example, trained by `python -m benchmarks.digits.cnn` on the same 55,000 digits. It sees "
        "whole images only. Figures are per cent unless said otherwise."
    )
    yield ""
    yield f"![accuracy against rows, reliability, damage]({picture})"
    names = rows.readers()
    yield from _in_short(rows, names, split)
    yield from title(f"Accuracy after so many rows of 28 ({split}, {_count(rows, 'rows')} digits)")
    yield from _table(rows, "rows", [str(number) for number in READ], names)
    yield from title("Expected calibration error, 15 bins, after so many rows, and its mean over all rows")
    yield from _table(rows, "calibration", [*(str(number) for number in READ), "mean"], names, digits=2)
    yield from _stopping(rows, names)
    yield from title(
        f"Damage of moderate strength (`training/evaluation/corruptions.py`, {_count(rows, 'damage')} digits each)"
    )
    yield from _turned(rows, "damage", names, mean=True)
    yield from _other_sources(rows, names)
    yield from title("Images that are no digits: refused, or answered with a score below a half")
    yield from _turned(rows, "doubt", names, mean=False)
    if with_level := [name for name in names if rows.section("unlikely", name)]:
        yield from title("The same with the level below which the model itself calls a digit unlikely")
        yield from _turned(rows, "unlikely", with_level, mean=False)
    yield from _time(rows, names)


def _in_short(rows: Rows, names: Sequence[str], split: str) -> Iterable[str]:
    """The sentences that README quotes, one for each reader."""
    yield from title("In short")
    for name in names:
        parts = [f"{split} digits {_percent(rows.value(name, 'rows', '28'), 2)} %"]
        if rows.value(name, "rows", "14") is not None:
            shares = " / ".join(_percent(rows.value(name, "rows", count), 2) for count in ("21", "14"))
            parts.append(f"after 21 / 14 of 28 rows {shares} %")
        read, reached = rows.value(name, "stop", "0.99 rows"), rows.value(name, "stop", "0.99 reached")
        if read and reached and reached > STOPPING_SHARE:
            right = _percent(rows.value(name, "stop", "0.99 accuracy"), 1)
            parts.append(f"`stop_at_confidence: 0.99` reads {read:.1f} rows, {right} % of the answers are right")
        if rows.section("damage", name):
            mean, lowest = (_percent(value(rows, "damage", name), 1) for value in (_mean, _lowest))
            parts.append(f"{len(rows.section('damage', name))} kinds of damage: mean {mean}, worst {lowest} %")
        sources = {source: _of_source(rows, name, source) for source in OTHER_SOURCES}
        if any(sources.values()):
            listed = ", ".join(f"{source} {_percent(weighted(group), 1)}" for source, group in sources.items() if group)
            parts.append(f"pictures: {listed} %")
        times = [rows.value(name, "time", batch) for batch in ("1", "32")]
        if times[0] is not None and times[1] is not None:
            parts.append(f"CPU time of a digit, alone / in 32: {times[0] / 1000:.2f} / {times[1] / 1000:.2f} ms")
        yield f"- {name}: {'; '.join(parts)}."


def _of_source(rows: Rows, name: str, source: str) -> list[Row]:
    return [row for row in rows.section("elsewhere", name) if row.case.partition("/")[0] == source]


def _stopping(rows: Rows, names: Sequence[str]) -> Iterable[str]:
    yield from title("Reading that stops at a score: mean rows read / share that reaches it / accuracy of those")
    yield from head(["", *(f"{level}" for level in LEVELS)])
    for name in names:
        if rows.section("stop", name):
            cells = []
            for level in LEVELS:
                count, reached, right = (
                    rows.value(name, "stop", f"{level} {case}") for case in ("rows", "reached", "accuracy")
                )
                cells.append(f"{count or 0:.1f} / {_percent(reached, 1)} / {_percent(right, 2)}")
            yield line([name, *cells])


def _other_sources(rows: Rows, names: Sequence[str]) -> Iterable[str]:
    """By source over all scenes, then by scene over all sources but MNIST."""
    cases = rows.cases("elsewhere")
    if not cases:
        return
    sources = list(dict.fromkeys(case.partition("/")[0] for case in cases))
    scenes = list(dict.fromkeys(case.partition("/")[2] for case in cases))
    yield from title("Digits from other sources, as pictures, in all scenes")
    yield from head(["source", "pictures", *names])
    for source in [*sources, "all but mnist"]:
        chosen = OTHER_SOURCES if source == "all but mnist" else (source,)
        yield _pictured(rows, source, [case for case in cases if case.partition("/")[0] in chosen], names)
    yield from title("The same without MNIST's, by scene (`benchmarks/digits/scenes.py`)")
    yield from head(["scene", "pictures", *names])
    for scene in scenes:
        cases_of_scene = [f"{source}/{scene}" for source in sources if source in OTHER_SOURCES]
        yield _pictured(rows, scene, cases_of_scene, names)


def _pictured(rows: Rows, label: str, cases: Sequence[str], names: Sequence[str]) -> str:
    groups = [[row for row in rows.section("elsewhere", name) if row.case in cases] for name in names]
    count = sum(row.count for row in groups[0])
    return line([label, f"{count:,}", *(_percent(weighted(group), 1) if group else "–" for group in groups)])


def _time(rows: Rows, names: Sequence[str]) -> Iterable[str]:
    yield from title("Processor time an image on one thread, microseconds, and the size of the file")
    yield from head(["", "batch of 1", "batch of 32", "KiB"])
    for name in names:
        figures = [rows.value(name, "time", "1"), rows.value(name, "time", "32"), rows.value(name, "size", "KiB")]
        yield line([name, *("–" if figure is None else f"{figure:,.0f}" for figure in figures)])
    preparation = rows.section("time", "preparation")
    timed = rows.section("time")
    if timed and timed[0].command != rows[0].command:
        yield ""
        yield f"The times are of another run: {provenance(timed[0])}"
    if preparation:
        yield ""
        yield (
            "Preparation of an image: "
            + "; ".join(f"{row.case} {row.value / 1000:.1f} ms" for row in preparation)
            + "."
        )


def _table(rows: Rows, section: str, cases: Sequence[str], names: Sequence[str], digits: int = 2) -> Iterable[str]:
    """A line for each reader, a column for each case."""
    yield from head(["", *cases])
    for name in names:
        yield line([name, *(_percent(rows.value(name, section, case), digits) for case in cases)])


def _turned(rows: Rows, section: str, names: Sequence[str], *, mean: bool) -> Iterable[str]:
    """A line for each case, a column for each reader."""
    yield from head(["", *names])
    for case in rows.cases(section):
        yield line([case, *(_percent(rows.value(name, section, case), 2) for name in names)])
    if mean:
        yield line(["**mean**", *(_percent(_mean(rows, section, name), 2) for name in names)])
        yield line(["**least**", *(_percent(_lowest(rows, section, name), 2) for name in names)])


def _mean(rows: Rows, section: str, name: str) -> float | None:
    values = [row.value for row in rows.section(section, name)]
    return sum(values) / len(values) if values else None


def _lowest(rows: Rows, section: str, name: str) -> float | None:
    return min((row.value for row in rows.section(section, name)), default=None)


def _count(rows: Rows, section: str) -> str:
    return f"{max((row.count for row in rows.section(section)), default=0):,}"


def _percent(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}"
