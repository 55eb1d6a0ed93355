"""The rows of benchmarks/results/digits.csv: one per measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import table


@dataclass(frozen=True)
class Row:
    """One figure of one reader. `section` and `case` name the measurement, `count` is its number of digits."""

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


class Rows(list[Row]):
    """Rows of one run, with look-ups."""

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


def read(file: Path) -> Rows:
    """The rows of `file`."""
    return Rows(table.read(file, Row))


def weighted(rows: Sequence[Row]) -> float:
    """The mean of the values, each counting as many times as it had digits."""
    return sum(row.value * row.count for row in rows) / max(sum(row.count for row in rows), 1)
