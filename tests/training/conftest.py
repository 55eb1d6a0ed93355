"""What the tests of several training modules share: a local web server, and smaller evaluation sets."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.sine_mixture import sine_mixture
from training.evaluation import evaluate, sine_errors


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the parent's argument
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that serves it."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _as_written() -> Iterator[None]:
    """Exported networks are computed as they are written: to optimize a graph takes seconds, and saves a test none."""
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        yield


@pytest.fixture
def few_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation sets of 50 sine mixtures: a tiny network's scores say nothing more on thousands."""
    series = sine_mixture(50, max(evaluate.CONTEXTS) + evaluate.AHEAD, np.random.default_rng(evaluate.FRESH_SEED))
    monkeypatch.setattr(sine_errors, "SERIES", len(series))
    monkeypatch.setattr(evaluate, "fresh_series", lambda: series)
