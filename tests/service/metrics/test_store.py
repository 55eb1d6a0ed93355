"""Numbers in memory and in files: their slots, the processes that read them, the sums of the dead."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import service.metrics.store as store_module
from service.metrics.store import CAPACITY, Counter, CounterStore, Histogram, mark_process_dead

ROOT = Path(__file__).resolve().parents[3]


def test_a_counter_and_a_histogram() -> None:
    store = CounterStore()
    counter, histogram = Counter(store, "requests", ("a", "b")), Histogram(store, "seconds", (), (0.1, 1.0))
    counter.inc()
    counter.inc(2.5)
    for value in (0.0, 0.1, 0.11, 1.0, 1.1, 5.0):
        histogram.observe(value)
    assert list(store.rows()) == [
        ("requests", ("a", "b"), True, [3.5]),
        ("seconds", (), True, [2, 2, 2, pytest.approx(7.31)]),  # a bound belongs below, the last is the sum
    ]
    counter.set(1)
    assert next(store.rows())[3] == [1]


def test_the_capacity_has_an_end() -> None:
    store = CounterStore()
    store.allocate("all", (), CAPACITY)
    with pytest.raises(RuntimeError, match=r"no room for the numbers of more \('a',\)"):
        Counter(store, "more", ("a",))


def test_processes_read_the_numbers_of_all(tmp_path: Path) -> None:
    first, second = CounterStore(tmp_path), CounterStore(tmp_path)
    mine, theirs = Counter(first, "x", ()), Counter(second, "x", ())
    mine.inc(3)
    theirs.inc(4)
    assert list(first.rows()) == list(second.rows()) == [("x", (), True, [3]), ("x", (), True, [4])]
    theirs.inc()
    assert sum(numbers[0] for *_, numbers in first.rows()) == 8


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    store = CounterStore(tmp_path)
    Counter(store, "x", ()).inc()
    (index,) = tmp_path.glob("*.index")
    with index.open("ab") as file:
        file.write(b'["y", [')
    assert [family for family, *_ in store.rows()] == ["x"]


VICTIM = """
import os, sys, time
from pathlib import Path
from service.metrics.store import Counter, CounterStore
count = Counter(CounterStore(Path(sys.argv[1])), "x", ("é",))
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
    for _ in range(2):  # a second time does no harm
        mark_process_dead(tmp_path, victim.pid)
        assert list(mine.rows()) == [("x", ("é",), False, [1000])]


def dead_process(folder: Path, pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What process `pid` leaves behind when it dies."""
    monkeypatch.setattr(os, "getpid", lambda: pid)
    store = CounterStore(folder)
    Counter(store, "requests", ("a",)).inc()
    Histogram(store, "seconds", (), (0.1, 1.0)).observe(0.5)


def test_a_scrape_reads_as_much_after_two_hundred_deaths_as_after_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, files = [], []
    for pid in range(100_000, 100_200):
        dead_process(tmp_path, pid, monkeypatch)
        mark_process_dead(tmp_path, pid)
        rows.append(len(list(CounterStore(tmp_path).rows())))
        for own_file in tmp_path.glob(f"{pid}-*"):
            own_file.unlink()
        files.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert set(rows) == {2}
    assert files[-1] < files[0] + 4096
    store = CounterStore(tmp_path)
    assert list(store.rows()) == [("requests", ("a",), False, [200]), ("seconds", (), False, [0, 200, 0, 100.0])]


def test_a_scrape_during_a_fold_counts_a_process_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies and its files are folded after the scrape has read them, and before it reads the totals."""
    dead_process(tmp_path, 7, monkeypatch)
    read = store_module._read

    def read_and_fold(index: Path) -> list[store_module.Row]:
        rows = read(index)
        monkeypatch.setattr(store_module, "_read", read)
        mark_process_dead(tmp_path, 7)
        return rows

    store = CounterStore(tmp_path)
    monkeypatch.setattr(store_module, "_read", read_and_fold)
    assert [numbers for family, _, _, numbers in store.rows() if family == "requests"] == [[1]]


def test_what_is_not_folded_for_lack_of_room_is_kept_until_the_next_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(totals: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    dead_process(tmp_path, 7, monkeypatch)
    with monkeypatch.context() as full:
        full.setattr(store_module._Totals, "write", no_room)
        mark_process_dead(tmp_path, 7)
    store = CounterStore(tmp_path)
    assert [(lives, numbers) for family, _, lives, numbers in store.rows() if family == "requests"] == [(False, [1])]
    dead_process(tmp_path, 8, monkeypatch)
    mark_process_dead(tmp_path, 8)
    assert [(lives, numbers) for family, _, lives, numbers in store.rows() if family == "requests"] == [(False, [2])]
    assert not list(tmp_path.glob("*.dead"))


def test_the_file_is_allocated_and_a_full_disk_is_an_error_at_the_start(tmp_path: Path) -> None:
    """A sparse file would end the process (SIGBUS) at the first count that finds no room."""
    CounterStore(tmp_path)
    (numbers,) = tmp_path.glob("*.numbers")
    assert numbers.stat().st_blocks * 512 >= numbers.stat().st_size == 8 * CAPACITY
    script = """
import resource, signal, sys
from pathlib import Path
from service.metrics.store import CounterStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    CounterStore(Path(sys.argv[1]))
except OSError as error:
    print("refused:", error.errno)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout == f"refused: {errno.EFBIG}\n", run.stderr


def test_an_index_that_cannot_grow_loses_rows_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = CounterStore(tmp_path)
    Counter(store, "first", ()).inc()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))  # the disk fills in the middle of a line
    Counter(store, "lost", ()).inc()
    monkeypatch.undo()
    Counter(store, "third", ()).inc(3)
    assert [(family, numbers) for family, _, _, numbers in store.rows()] == [("first", [1]), ("third", [3])]
    assert ["metrics are lost" in record.getMessage() for record in caplog.records] == [True]
