"""From rows to the tables of benchmarks/results/digits.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.digits.measures import LEVELS
from benchmarks.digits.rows import Rows, weighted
from benchmarks.table import head, line, title

READ = (7, 10, 14, 17, 21, 24, 28)
DRAWN = ("mouse", "pen", "marker", "fonts", "load_digits")  # drawn elsewhere: all sources but MNIST itself


def write(rows: Rows, file: Path, picture: str) -> None:
    """Write the page; `picture` is the plots' file name beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(_page(rows, picture)) + "\n", encoding="utf-8")


def _page(rows: Rows, picture: str) -> Iterable[str]:
    one = rows[0]
    split = next((row.split for row in rows if row.split), "")
    yield "# Digits, measured"
    yield ""
    yield f"{one.date}, {one.machine}, {one.cores} cores, commit {one.commit}: `{one.command}`."
    yield ""
    yield (
        f"Readers of the service are run through its own backend, on MNIST's {split} digits; `cnn` is the network of "
        "PyTorch's MNIST example, trained by `python -m benchmarks.digits.cnn` on the same 55,000 digits. It sees "
        "whole images only. Figures are per cent unless said."
    )
    yield ""
    yield f"![accuracy against rows, reliability, damage]({picture})"
    names = rows.readers()
    yield from title(f"Accuracy after so many rows of 28 ({split}, {_count(rows, 'rows')} digits)")
    yield from _table(rows, "rows", [str(number) for number in READ], names)
    yield from title("Expected calibration error, 15 bins, after so many rows, and its mean over all rows")
    yield from _table(rows, "calibration", [*(str(number) for number in READ), "mean"], names, digits=2)
    yield from _stopping(rows, names)
    yield from title(
        f"Damage of moderate strength (`training/evaluation/corruptions.py`, {_count(rows, 'damage')} digits each)"
    )
    yield from _turned(rows, "damage", names, mean=True)
    yield from _elsewhere(rows, names)
    yield from title("What is no digit: refused, or answered with a score below a half")
    yield from _turned(rows, "doubt", names, mean=False)
    if knowing := [name for name in names if rows.section("unlikely", name)]:
        yield from title("The same with the level below which the model itself calls a digit unlikely")
        yield from _turned(rows, "unlikely", knowing, mean=False)
    yield from _time(rows, names)


def _stopping(rows: Rows, names: Sequence[str]) -> Iterable[str]:
    yield from title("Reading that stops at a score: mean rows read / share that reaches it / accuracy of those")
    yield from head(["", *(f"{level}" for level in LEVELS)])
    for name in names:
        if rows.section("stop", name):
            cells = []
            for level in LEVELS:
                count, reached, right = (
                    rows.value(name, "stop", f"{level} {what}") for what in ("rows", "reached", "accuracy")
                )
                cells.append(f"{count or 0:.1f} / {_percent(reached, 1)} / {_percent(right, 2)}")
            yield line([name, *cells])


def _elsewhere(rows: Rows, names: Sequence[str]) -> Iterable[str]:
    """By source and by scene, each over all of the other; the last line over what is not MNIST's."""
    cases = rows.cases("elsewhere")
    if not cases:
        return
    sources = list(dict.fromkeys(case.partition("/")[0] for case in cases))
    scenes = list(dict.fromkeys(case.partition("/")[2] for case in cases))
    yield from title("Digits drawn elsewhere, through the image path, in all scenes")
    yield from head(["source", "pictures", *names])
    for source in [*sources, "all but mnist"]:
        wanted = DRAWN if source == "all but mnist" else (source,)
        yield _pictured(rows, source, [case for case in cases if case.partition("/")[0] in wanted], names)
    yield from title("The same without MNIST's, by scene (`benchmarks/digits/scenes.py`)")
    yield from head(["scene", "pictures", *names])
    for scene in scenes:
        wanted_cases = [f"{source}/{scene}" for source in sources if source in DRAWN]
        yield _pictured(rows, scene, wanted_cases, names)


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
        yield f"Measured by themselves: {timed[0].date}, commit {timed[0].commit}: `{timed[0].command}`."
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
        yield line(["**least**", *(_percent(_least(rows, section, name), 2) for name in names)])


def _mean(rows: Rows, section: str, name: str) -> float | None:
    found = [row.value for row in rows.section(section, name)]
    return sum(found) / len(found) if found else None


def _least(rows: Rows, section: str, name: str) -> float | None:
    return min((row.value for row in rows.section(section, name)), default=None)


def _count(rows: Rows, section: str) -> str:
    return f"{max((row.count for row in rows.section(section)), default=0):,}"


def _percent(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}"
