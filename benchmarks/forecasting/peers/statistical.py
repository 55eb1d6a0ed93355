"""statsforecast's methods on prepared windows; runs in an environment of its own and imports nothing of this project.

`python statistical.py METHOD questions.npz answers.jsonl SECONDS`: one line per window, appended at once, so that an
interrupted run goes on where it stopped. A window that takes more than SECONDS of CPU time, or on which the
method fails, gets the seasonal naive forecast instead, and its line says why; the time spent on it counts.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from statsforecast import models as sf

INTERVALS = (20, 40, 60, 80, 95)  # their ends are the quantiles 0.4, 0.6, 0.3, … 0.025, 0.975
LONGEST_SEASON = 48  # for AutoARIMA: its cost grows with the square of the season; AutoETS has a limit (24) of its own
DAYS = (24, 48, 96, 144)  # values in a day, for MSTL: it gets the week too where two of them were seen


def model(method: str, season: int, length: int) -> object:
    """A fresh model; AutoARIMA approximates where R's `auto.arima`, from which it was ported, does so by default."""
    if method == "AutoARIMA":
        season = season if season <= LONGEST_SEASON else 1
        return sf.AutoARIMA(season_length=season, approximation=length > 150 or season > 12)
    if method == "MSTL" and season == 1:
        return sf.AutoETS(season_length=1, model="ZZN")  # what MSTL does with what seasons leave
    if method == "MSTL":
        week = 7 * season
        return sf.MSTL(season_length=[season, week] if season in DAYS and length > 2 * week else [season])
    return getattr(sf, method)(season_length=season)


def quantiles(estimator: object, values: np.ndarray, horizon: int) -> list[list[float]]:
    """(horizon, 11) in ascending order; ValueError where one is not a finite number."""
    answer = estimator.forecast(y=values, h=horizon, level=list(INTERVALS))
    low = [answer[f"lo-{level}"] for level in reversed(INTERVALS)]
    high = [answer[f"hi-{level}"] for level in INTERVALS]
    table = np.stack([*low, answer["mean"], *high], axis=1).astype(float)
    if not np.isfinite(table).all():
        raise ValueError("not finite")
    return table.tolist()


def fallback(values: np.ndarray, season: int, horizon: int) -> list[list[float]]:
    """The seasonal naive forecast, or the last value where the series is too short for that."""
    try:
        return quantiles(sf.SeasonalNaive(season_length=season), values, horizon)
    except Exception:  # noqa: BLE001 - the package raises several kinds for a short series
        try:
            return quantiles(sf.Naive(), values, horizon)
        except Exception:  # noqa: BLE001
            return [[float(values[-1])] * (2 * len(INTERVALS) + 1)] * horizon


def limited(method: str, values: np.ndarray, season: int, horizon: int, seconds: float) -> dict[str, object]:
    """Forecast in a child process, which the kernel ends when it has used up its CPU time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        start = time.process_time()
        try:
            result = {"quantiles": quantiles(model(method, season, len(values)), values, horizon)}
        except Exception as error:  # noqa: BLE001
            result = {"failed": f"{type(error).__name__}: {error}"[:200]}
        result["seconds"] = time.process_time() - start
        with os.fdopen(writing, "w") as out:
            json.dump(result, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        output = pipe.read()
    _, _, usage = os.wait4(child, 0)
    if output:
        return json.loads(output)
    return {"failed": f"more than {seconds:g} s", "seconds": usage.ru_utime + usage.ru_stime}


def finished(file: Path) -> int:
    """Number of complete lines of `file`; a line that was cut short is removed."""
    if not file.exists():
        return 0
    lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    file.write_text("".join(lines))
    return len(lines)


def main(method: str, questions: Path, answers: Path, seconds: float) -> None:
    warnings.simplefilter("ignore")
    with np.load(questions) as z:
        y, start, season, horizon = (z[name] for name in ("y", "start", "season", "horizon"))
    # One forecast before the loop compiles numba's functions in this process, so that no child has to.
    quantiles(model(method, 4, 20), np.random.default_rng(0).normal(size=20), 4)
    for k in range(finished(answers), len(season)):
        values, m, h = y[start[k] : start[k + 1]], int(season[k]), int(horizon[k])
        result = limited(method, values, m, h, seconds)
        if "quantiles" not in result:
            result["quantiles"] = fallback(values, m, h)
        with answers.open("a") as out:
            out.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
