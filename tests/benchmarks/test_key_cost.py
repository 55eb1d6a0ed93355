"""What a key costs is the median over the rounds, and below the goal in what was measured."""

from __future__ import annotations

import pytest

from benchmarks import table
from benchmarks.serving.key_cost import GOAL, KEYED, LIMITED, MEASURED, OPEN, Row, costs, report

FACTS = ("2026-11-29", "a processor", 2, "command", "commit")


def test_a_round_with_other_work_on_the_machine_does_not_count() -> None:
    times = {OPEN: (100.0, 100.0, 500.0), KEYED: (102.0, 104.0, 9000.0), LIMITED: (103.0, 106.0, 250.0)}
    rows = [Row(name, number, 10, 0, cpu, *FACTS) for name, all_ in times.items() for number, cpu in enumerate(all_)]
    assert costs(rows) == {KEYED: pytest.approx(0.04), LIMITED: pytest.approx(0.03)}
    assert report(rows)[-1] == "| a key with three limits | 106 µs | +3.0% |"


def test_a_key_costs_less_than_the_goal() -> None:
    rows = table.read(MEASURED, Row)
    assert len(rows) >= 30
    assert not any(row.failed for row in rows)
    assert costs(rows)[KEYED] < GOAL
