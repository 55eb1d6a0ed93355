"""The cases of a kind, asked over HTTP; `python -m tests.acceptance.forecasts.answers` prints how many were right.

A service is started with all versions of `forecaster` in a folder of models; `--model forecaster@5` asks one of them.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from tests.acceptance.forecasts.kinds import KINDS, LEVELS, Case, Floats, Kind, Prediction
from tests.integration.servers import ROOT, TIMEOUT, running


@contextmanager
def service(models: Path = ROOT / "models") -> Iterator[httpx.Client]:
    """A client of a service that has all versions of `forecaster` and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(models / "forecaster", Path(folder) / "forecaster")
        with running(Path(folder), max_answer_numbers=10_000_000) as server:
            server.settled()
            with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:
                yield client


def failures(client: httpx.Client, kind: Kind, model: str = "forecaster") -> tuple[int, list[str]]:
    """How many cases `kind` has, and the names of those that were answered wrong."""
    cases = list(kind())
    return len(cases), [case.name for case in cases if not case.is_right(*ask(client, case, model))]


def ask(client: httpx.Client, case: Case, model: str) -> list[Prediction]:
    """The predictions for the series of `case` and its twins."""
    parameters = {"prediction_length": case.horizon, "quantile_levels": LEVELS} | case.parameters
    inputs = [{"target": _numbers(series)} for series in (case.series, *case.twins)]
    response = client.post("/forecast", json={"model": model, "inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, f"{case.name}: {response.text}"
    return [Prediction(prediction) for prediction in response.json()["predictions"]]


def _numbers(series: Floats) -> list[float | None]:
    return [None if np.isnan(value) else value for value in series.tolist()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of models (default: models/)")
    parser.add_argument("--model", default="forecaster", help="a name, or name@version (default: %(default)s)")
    parser.add_argument("--failed", action="store_true", help="name the cases that were answered wrong")
    parser.add_argument("--kinds", nargs="*", default=[], metavar="K1", help="these kinds only")
    options = parser.parse_args()
    print("| kind | what | right |\n| --- | --- | --- |")
    with service(options.models) as client:
        for kind in KINDS:
            number, _, name = kind.__name__.partition("_")
            if options.kinds and number.upper() not in options.kinds:
                continue
            count, wrong = failures(client, kind, options.model)
            print(f"| {number.upper()} | {name.replace('_', ' ')} | {count - len(wrong)} of {count} |", flush=True)
            if options.failed:
                print(*(f"  {case}" for case in wrong), sep="\n", flush=True)


if __name__ == "__main__":
    main()
