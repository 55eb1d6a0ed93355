"""Servers that several test files share, and the folders of models they serve.

Files that share a server run in one process, which starts it once: tests/conftest.py groups them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from service.contract.manifest import InputContract
from tests.integration.servers import ROOT, Server, new_client, running
from tests.models import LastValue, LSTMDigits, LSTMForecaster, RunningMean, write_model


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`forecaster` reads any length, `linear` only 50 values, `lstm` is cut at 100; `digits` reads rows."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "forecaster", RunningMean())
    only_50 = InputContract(features=1, min_length=50, max_length=50, missing=False, max_horizon=1)
    write_model(folder, "linear", LastValue(), inputs=only_50)
    cut = InputContract(features=1, min_length=1, max_length=None, context=100, missing=True, max_horizon=64)
    write_model(folder, "lstm", LSTMForecaster(), inputs=cut)
    write_model(folder, "digits", LSTMDigits())
    return folder


@pytest.fixture(scope="session")
def one_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that loads at once: `forecaster` answers with the last value."""
    folder = tmp_path_factory.mktemp("one")
    write_model(folder, "forecaster", LastValue())
    return folder


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one `forecaster`, which takes about a second for a hundred thousand values."""
    folder = tmp_path_factory.mktemp("slow")
    write_model(folder, "forecaster", RunningMean())
    return folder


@pytest.fixture(scope="session")
def server(tiny_models: Path) -> Iterator[Server]:
    with running(tiny_models) as server:
        yield server.settled()


@pytest.fixture(scope="session")
def committed() -> Iterator[Server]:
    """A server with the committed models."""
    with running(ROOT / "models") as server:
        yield server.settled()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with new_client(server.url) as client:
        yield client
