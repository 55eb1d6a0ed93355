"""Numbers in memory and in files: where they are, who reads them, what is left of the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.metrics.store import ROOM, Counter, CounterStore, Histogram, bury

ROOT = Path(__file__).resolve().parents[3]


def test_a_count_and_a_spread() -> None:
    numbers = CounterStore()
    count, spread = Counter(numbers, "requests", ("a", "b")), Histogram(numbers, "seconds", (), (0.1, 1.0))
    count.inc()
    count.inc(2.5)
    for value in (0.0, 0.1, 0.11, 1.0, 1.1, 5.0):
        spread.observe(value)
    assert list(numbers.rows()) == [
        ("requests", ("a", "b"), True, [3.5]),
        ("seconds", (), True, [2, 2, 2, pytest.approx(7.31)]),  # a bound belongs below, the last is the sum
    ]
    count.set(1)
    assert next(numbers.rows())[3] == [1]


def test_there_is_an_end_to_the_room() -> None:
    numbers = CounterStore()
    numbers.take("all", (), ROOM)
    with pytest.raises(RuntimeError, match=r"no room for the numbers of more \('a',\)"):
        Counter(numbers, "more", ("a",))


def test_processes_read_one_another(tmp_path: Path) -> None:
    one, other = CounterStore(tmp_path), CounterStore(tmp_path)
    mine, theirs = Counter(one, "x", ()), Counter(other, "x", ())
    mine.inc(3)
    theirs.inc(4)
    assert list(one.rows()) == list(other.rows()) == [("x", (), True, [3]), ("x", (), True, [4])]
    theirs.inc()
    assert sum(numbers[0] for *_, numbers in one.rows()) == 8


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    numbers = CounterStore(tmp_path)
    Counter(numbers, "x", ()).inc()
    (index,) = tmp_path.glob("*.index")
    with index.open("ab") as file:
        file.write(b'["y", [')
    assert [family for family, *_ in numbers.rows()] == ["x"]


VICTIM = """
import os, sys, time
from pathlib import Path
from service.metrics.store import Count, Numbers
count = Count(Numbers(Path(sys.argv[1])), "x", ("é",))
for _ in range(1000):
    count.inc()
print("counted", flush=True)
time.sleep(600)
"""


def test_what_a_process_counted_outlives_it_however_it_dies(tmp_path: Path) -> None:
    mine = CounterStore(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "counted\n"
        assert list(mine.rows()) == [("x", ("é",), True, [1000])]
        os.kill(victim.pid, signal.SIGKILL)
    bury(tmp_path, victim.pid)
    assert list(mine.rows()) == [("x", ("é",), False, [1000])]
    bury(tmp_path, victim.pid)  # twice does no harm
    assert len(list(mine.rows())) == 1
