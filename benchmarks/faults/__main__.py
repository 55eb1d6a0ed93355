"""`python -m benchmarks.faults`: the service, a process of its own each time, under every kind of fault that is known.

Writes benchmarks/results/faults.csv and the table in docs/reliability.md. The exit status is 1 where a fault was not
held. `--only R3,R14` tries some and keeps the rows of the others; `--pages` writes the table anew.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from benchmarks import table
from benchmarks.faults import connection_faults, process_faults, work_faults
from benchmarks.faults.bench import FAULTS, ROOT, Fault, SkippedError

MODULES = (connection_faults, work_faults, process_faults)  # imported for what they add to FAULTS
RESULT = ROOT / "benchmarks" / "results" / "faults.csv"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by `make faults` -->", "<!-- end of faults -->"


@dataclass(frozen=True)
class Row:
    """One fault as it was tried."""

    id: str
    kind: str
    load: str
    result: str  # held, not held, or skipped
    bystanders: str
    figures: str
    tests: str
    date: str
    machine: str
    cores: int
    command: str
    commit: str


def main() -> int:
    options = _options()
    chosen = [fault for fault in FAULTS if not options.only or fault.id in options.only]
    rows_by_fault = {(row.id, row.load): row for row in table.read(RESULT, Row)} if RESULT.exists() else {}
    if not options.pages:
        for fault in chosen:
            row = _try(fault)
            rows_by_fault[fault.id, fault.load] = row
            print(f"{row.id:5} {row.result:9} {row.kind}: {row.figures}; {row.bystanders}", flush=True)
            table.write(RESULT, Row, _ordered(rows_by_fault))
    rows = _ordered(rows_by_fault)
    write_page(PAGE, rows)
    return int(any(row.result == "not held" for row in rows))


def _ordered(rows: dict[tuple[str, str], Row]) -> list[Row]:
    """The rows of the faults that are listed now, in the order of their ids."""
    listed = {(fault.id, fault.load) for fault in FAULTS}
    return sorted(
        (row for key, row in rows.items() if key in listed),
        key=lambda row: (int("".join(filter(str.isdigit, row.id))), row.id),
    )


def _try(fault: Fault) -> Row:
    start = time.monotonic()
    try:
        outcome = fault.run()
        result, figures, bystanders = ("held" if outcome.passed else "not held"), outcome.figures, outcome.bystanders
    except SkippedError as reason:
        result, figures, bystanders = "skipped", str(reason), ""
    except Exception as error:  # noqa: BLE001 - the other faults are tried all the same
        traceback.print_exc()
        result, figures, bystanders = "not held", f"{type(error).__name__}: {error}"[:200], ""
    print(f"({time.monotonic() - start:.0f} s)", file=sys.stderr)
    circumstances = table.circumstances("python -m benchmarks.faults")
    return Row(fault.id, fault.kind, fault.load, result, bystanders, figures, fault.tests, **circumstances)  # type: ignore[arg-type]


def write_page(page: Path, rows: list[Row]) -> None:
    """Replace the table between the marks in `page`."""
    text = page.read_text(encoding="utf-8")
    beginning, remainder = text.split(BEGIN, 1)
    ending = remainder.split(END, 1)[1]
    lines = [BEGIN, "", *table.head(["", "fault", "load", "result", "figures", "others meanwhile", "test"])]
    for row in rows:
        cells = [row.id, row.kind, row.load, row.result, row.figures, row.bystanders, row.tests]
        lines.append(table.line([cell.replace("|", "\\|") for cell in cells]))
    if rows:
        lines += ["", table.provenance(max(rows, key=lambda row: row.date))]
    page.write_text(beginning + "\n".join([*lines, "", END]) + ending, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--only", type=lambda text: set(text.split(",")), help="ids of faults, commas between")
    parser.add_argument("--pages", action="store_true", help="write the table from the committed rows")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
