"""Shared by all tests: real data that continuous integration requires, one torch thread, groups for parallel runs.

Tests of properties try forty examples, however long one takes: how fast the machine is, is no property of the code.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

# Set before any test imports torch: tests run side by side, and answers compared bit for bit come from one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("any machine", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parents[1]
MAX_PROCESSES = 8  # each holds torch, and may start servers
GROUPS = {  # file -> the server that it shares with the other files of that server
    f"tests/integration/test_{name}.py": server
    for server, names in {
        "tiny models": ("classify", "errors", "forecast", "streams"),
        "committed models": ("committed", "readme", "recipes"),
    }.items()
    for name in names
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes of `-n auto`: the CPUs that this container may use, not those of its host."""
    from service.runtime.cpu_quota import available

    return min(available(), MAX_PROCESSES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With `--dist loadfile`, files that share a server run in one process, too."""
    from xdist.scheduler import LoadScopeScheduling

    if config.getvalue("dist") != "loadfile":
        return None

    class FileScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return GROUPS.get(file, file)

    return FileScheduling(config, log)


def pytest_collection_finish() -> None:
    """Spare collections what is imported by now: three hundred thousand objects, which stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_more_freezing() -> Iterator[None]:
    """A registry freezes what is alive once it is warm: here, objects of a test, which must be collected after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "freeze", lambda: None)
        yield


def data_root() -> Path | None:
    """Folder of the real data sets: `RITMO_DATA`, or `../shared/data` next to the repository; None where absent."""
    path = os.environ.get("RITMO_DATA")
    folder = Path(path) if path else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; tests with this fixture are skipped where there is none."""
    folder = data_root()
    if folder is None:
        pytest.skip("no real data: set RITMO_DATA to the folder that holds mnist/ and forecasting/")
    return folder


def pytest_sessionfinish() -> None:
    """Wait for models that are being loaded or warmed up: torch aborts a process that ends in one of its calls."""
    for thread in threading.enumerate():
        if thread.name.startswith("loading-"):
            thread.join(60)


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
