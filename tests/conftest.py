"""What all tests share: real data that must be there in continuous integration, and quiet torch threads."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

# Before any test imports torch: tests run beside one another, and what is compared bit for bit has one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def data_root() -> Path | None:
    """The folder of the real data sets: `RITMO_DATA`, or `../shared/data` beside the repository; None where absent."""
    named = os.environ.get("RITMO_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets; a test that asks for it is skipped where there is none."""
    folder = data_root()
    if folder is None:
        pytest.skip("no real data: set RITMO_DATA to the folder that holds mnist/ and forecasting/")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With RITMO_REQUIRE_DATA=1 a test of real data fails where it would be skipped."""
    report = yield
    if report.skipped and os.environ.get("RITMO_REQUIRE_DATA") == "1" and item.get_closest_marker("data"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped although RITMO_REQUIRE_DATA=1: {report.longrepr}"
    return report
