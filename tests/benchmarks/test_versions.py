"""Two source trees are compared within a round, by what they answered well."""

from __future__ import annotations

from benchmarks.serving.versions import BASELINE, CURRENT, Row, report

FACTS = ("2026-11-30", "a processor", 2, "command", "commit")


def test_the_ratio_is_that_within_a_round() -> None:
    rates = {BASELINE: (100.0, 1000.0, 10.0), CURRENT: (110.0, 900.0, 12.0)}
    rows = [
        Row(name, "abc", "one series", 64, number, rate, 0, *FACTS)
        for name, all_rates in rates.items()
        for number, rate in enumerate(all_rates)
    ]
    assert report(rows)[-1] == "| one series | 64 | 100 | 110 | 1.10 (0.90 to 1.20) |"
