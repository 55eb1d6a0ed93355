"""The rows of benchmarks/results/digits.csv: one per measurement."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure of one reader. `section` and `case` say what was measured, `count` on how many digits."""

    reader: str
    section: str
    case: str
    value: float
    count: int = 0
    split: str = ""  # of MNIST, where its digits were used: validation or test
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""


NAMES = [field.name for field in fields(Row)]


class Rows(list[Row]):
    """Rows of one run, and where to find one of them."""

    def readers(self) -> list[str]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(row.reader for row in self if row.reader != "preparation"))

    def section(self, section: str, reader: str | None = None) -> list[Row]:
        """All rows of a section, of one reader or of all."""
        return [row for row in self if row.section == section and reader in (None, row.reader)]

    def cases(self, section: str) -> list[str]:
        """The cases of a section, in the order in which they were measured."""
        return list(dict.fromkeys(row.case for row in self.section(section)))

    def value(self, reader: str, section: str, case: str) -> float | None:
        """One figure; None where it was not measured."""
        return next((row.value for row in self.section(section, reader) if row.case == case), None)

    def under(self, section: str, prefix: str, reader: str) -> Iterator[Row]:
        """The rows whose case begins with `prefix`."""
        return (row for row in self.section(section, reader) if row.case.startswith(prefix))


def write(file: Path, rows: Iterable[Row]) -> None:
    """Replace `file` by `rows`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, NAMES, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow(asdict(row) | {"value": f"{row.value:.6g}"})
    partial.replace(file)


def read(file: Path) -> Rows:
    """The rows of `file`."""
    with file.open(newline="", encoding="utf-8") as lines:
        found = [dict(line) for line in csv.DictReader(lines)]
    return Rows(_row(line) for line in found)


def _row(line: dict[str, str]) -> Row:
    numbers = {"value": float(line["value"]), "count": int(line["count"]), "cores": int(line["cores"])}
    texts = {name: line[name] for name in NAMES if name not in numbers}
    return Row(**texts, value=numbers["value"], count=int(numbers["count"]), cores=int(numbers["cores"]))


def weighted(rows: Sequence[Row]) -> float:
    """The mean of the values, each counting as many times as it had digits."""
    return sum(row.value * row.count for row in rows) / max(sum(row.count for row in rows), 1)
