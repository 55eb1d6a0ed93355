"""Rows of a benchmark as a CSV file and as Markdown, and the circumstances shared by all rows of a run."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
R = TypeVar("R")  # a dataclass with fields of text, numbers, or None


def write(file: Path, kind: type[R], rows: Iterable[R], digits: int = 5) -> None:
    """Replace `file` by `rows`, numbers with so many significant `digits`; None is an empty cell."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, [field.name for field in fields(kind)], lineterminator="\n")  # type: ignore[arg-type]
        table.writeheader()
        for row in rows:
            cells = asdict(row)  # type: ignore[call-overload]
            table.writerow({n: f"{v:.{digits}g}" if isinstance(v, float) else v for n, v in cells.items()})
    partial.replace(file)


def append(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Add `rows` to `file`, which begins with their names where it is new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as out:
        for row in rows:
            table = csv.DictWriter(out, list(row), lineterminator="\n")
            if is_new:
                table.writeheader()
                is_new = False
            table.writerow(row)


def read(file: Path, kind: type[R]) -> list[R]:
    """The rows of `file`."""
    types = get_type_hints(kind)
    with file.open(newline="", encoding="utf-8") as lines:
        return [
            kind(**{name: _value(types[name], text) for name, text in line.items()}) for line in csv.DictReader(lines)
        ]


def _value(kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if not text:
        return None
    if kind is bool:
        return text == "True"
    return int(text) if kind in (int, int | None) else float(text)


def circumstances(command: str) -> dict[str, str | int]:
    """Date, machine, command and commit, shared by all rows of a run."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": cpu_model(),
        "cores": os.cpu_count() or 0,
        "command": command,
        "commit": _commit(),
    }


def cpu_model() -> str:
    """The processor's name in /proc/cpuinfo, else Python's name of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The checked-out commit, with `+` when the service's code differs from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "service") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def provenance(row: Any) -> str:
    """When, where and by which command a row was measured; `row` has the fields of `circumstances`."""
    return f"{row.date}, {row.machine}, {row.cores} cores, commit {row.commit}: `{row.command}`."


def title(text: str) -> Iterable[str]:
    """A heading, as lines of Markdown."""
    return ("", f"## {text}", "")


def head(cells: Sequence[str]) -> Iterable[str]:
    """The first two lines of a table."""
    return (line(cells), "|" + " --- |" * len(cells))


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"
