"""Files are read again when they change; a broken one leaves what was there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from service.runtime import watched_file
from service.runtime.watched_file import UnusableFile, WatchedFiles, watch


class Number:
    """What a test file holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.value = 0
        self.loads = 0

    def load(self) -> None:
        self.loads += 1
        try:
            self.value = int(self.path.read_text())
        except (OSError, ValueError) as error:
            raise UnusableFile(f"no number: {error}") from error


@pytest.fixture
def number(tmp_path: Path) -> Number:
    path = tmp_path / "number"
    path.write_text("1")
    return Number(path)


def test_a_change_is_read_and_nothing_else(number: Number) -> None:
    files = WatchedFiles("n", [number.path], number.load)
    assert (number.value, number.loads) == (1, 1)
    files.check()
    assert number.loads == 1
    number.path.write_text("23")
    files.check()
    assert (number.value, number.loads) == (23, 2)
    other = number.path.with_name("other")
    other.write_text("45")
    other.replace(number.path)  # of the same size
    files.check()
    assert number.value == 45


def test_a_broken_or_missing_file_leaves_the_last_good_one_and_is_logged_once(
    number: Number, caplog: pytest.LogCaptureFixture
) -> None:
    files = WatchedFiles("the number", [number.path], number.load)
    with caplog.at_level(logging.INFO):
        number.path.write_text("1x")
        for _ in range(3):
            files.check()
        assert number.value == 1
        assert files.fault is not None
        assert [record.getMessage()[:40] for record in caplog.records] == ["the number: the last good state stays in"]
        number.path.unlink()
        files.check()
        assert number.value == 1
        number.path.write_text("2")
        files.check()
    assert number.value == 2
    assert files.fault is None
    assert caplog.records[-1].getMessage() == "the number: read again"


def test_at_the_start_a_broken_file_is_the_callers_to_report(number: Number) -> None:
    number.path.write_text("?")
    with pytest.raises(UnusableFile):
        WatchedFiles("n", [number.path], number.load)


async def test_the_watch_goes_on_until_it_is_cancelled(number: Number, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_file, "SECONDS", 0.001)
    task = asyncio.create_task(watch([WatchedFiles("n", [number.path], number.load)]))
    number.path.write_text("77")
    async with asyncio.timeout(100):
        while number.value != 77:  # noqa: ASYNC110 (a file sets no event)
            await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
