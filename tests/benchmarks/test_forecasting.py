"""What the forecasting benchmark stands on: scores, the same windows for all, kept answers, and the service's own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import table
from benchmarks.forecasting import ours, picture, published, report, statistical, windows
from benchmarks.forecasting.answers import MEDIAN, naive, score
from benchmarks.forecasting.rows import ALL, NAIVE, NAIVE_SEASON, SAMPLE, Row
from benchmarks.forecasting.summary import held_out, summaries
from benchmarks.forecasting.windows import LEVELS, Floats, Part
from benchmarks.serving import environments
from training.data.real_series import SeriesFile, Window, read
from training.evaluation import backtest

ROOT = Path(__file__).resolve().parents[2]
SPREAD = np.linspace(-1.0, 1.0, len(LEVELS))


def _file(count: int = 90, length: int = 60) -> SeriesFile:
    rng = np.random.default_rng(0)
    series = [100 + np.tile([5.0, 9.0, 2.0, 4.0], length // 4) + rng.normal(size=length).cumsum() for _ in range(count)]
    cuts = [(k, length - 6) for k in range(count)]
    return SeriesFile("made", "0" * 64, series, [4] * count, [4] * count, [6] * count, cuts)


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_of_two_windows_by_hand() -> None:
    nan = float("nan")
    first = Window(np.array([1.0, 3.0, 2.0, 5.0]), np.array([4.0, nan]), season=1, lag=1)  # mean change 2
    second = Window(np.array([10.0, 14.0, 18.0, 22.0]), np.array([20.0, 30.0]), season=2, lag=2)  # mean change 8
    low, high = np.full((2, MEDIAN), 3.0), np.full((2, MEDIAN), 6.0)
    wide = np.concatenate([low, np.full((2, 1), 5.0), high], axis=1)  # 3 … 5 … 6 at both steps
    sure = np.full((2, len(LEVELS)), 24.0)
    found = score([first, second], [wide, sure])
    assert found.mase == pytest.approx((1 / 2 + (4 + 6) / 2 / 8) / 2)
    assert found.mase_one_step == pytest.approx((1 / 2 + 4 / 8) / 2)
    assert found.smape == pytest.approx((200 * 1 / 9 + (200 * 4 / 44 + 200 * 6 / 54) / 2) / 2)
    assert found.coverage80 == pytest.approx(1 / 3)
    # Twice the pinball loss over 0.1 … 0.9, by level, of 4 below 3/5/6, 20 below 24 and 30 above 24.
    total = 0.0
    for level in backtest.LEVELS:
        said = 3.0 if level < 0.5 else 5.0 if level == 0.5 else 6.0
        total += 2 * (level * (4 - said) if said < 4 else (1 - level) * (said - 4))
        total += 2 * ((1 - level) * 4 + level * 6)
    assert found.wql == pytest.approx(total / 9 / (4 + 20 + 30))


def test_scores_are_those_of_the_backtest() -> None:
    file = _file()

    def predict(contexts: object, seasons: object, horizon: int) -> Floats:
        return np.tile(100 + np.linspace(-3, 3, len(backtest.LEVELS)), (90, horizon, 1))

    want = backtest.score_file(file, predict)
    quantiles = np.interp(LEVELS, backtest.LEVELS, 100 + np.linspace(-3, 3, len(backtest.LEVELS)))
    found = score(file.windows(), [np.tile(quantiles, (6, 1)) for _ in range(90)])
    assert (found.mase, found.wql, found.coverage80) == pytest.approx((want.mase, want.wql, want.coverage80))


@pytest.mark.data
@pytest.mark.parametrize(("name", "smape"), [("m4_hourly", 13.91), ("m4_weekly", 9.16), ("hospital", None)], ids=str)
def test_the_naive_forecast_has_its_published_scores(real_data: Path, name: str, smape: float | None) -> None:
    part = windows.everything(read(real_data / "forecasting" / f"{name}.npz"))
    found = score(part.windows, naive(part.windows, lag=True).quantiles)
    assert round(found.mase, 3) == published.OFFICIAL[name]["seasonal naive"]
    if smape is not None:
        assert round(found.smape, 2) == smape


# --- windows ---------------------------------------------------------------------------------------------------------


def test_a_sample_is_spread_evenly_cut_and_named_by_what_it_asks() -> None:
    file = _file(length=2400)
    part = windows.sample(file)
    assert len(part.windows) == windows.MOST
    assert {len(context) for context in part.contexts} == {windows.LONGEST}
    assert {len(window.context) for window in part.windows} == {2394}  # MASE divides by all of it
    assert np.array_equal(part.windows[0].context, file.windows()[0].context)
    assert np.array_equal(part.windows[-1].context, file.windows()[-1].context)
    keys = {part.key, windows.everything(file).key, windows.sample(replace(file, digest="1" * 64)).key}
    assert len(keys) == 3
    assert windows.sample(file).key == part.key


def test_missing_values_are_filled_from_a_season_before_or_by_a_line() -> None:
    nan = float("nan")
    context = np.array([1.0, nan, 3.0, 4.0, nan, 6.0, nan])
    assert windows.filled(context, 3).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 4.0]
    assert np.isnan(context).sum() == 3


# --- the peers' answers ----------------------------------------------------------------------------------------------


def test_kept_answers_are_not_computed_again(tmp_path: Path) -> None:
    part = windows.sample(_file(count=3))
    folder = next(iter(_kept(tmp_path, part)))
    lines = [{"quantiles": [SPREAD.tolist()] * 6, "seconds": s} for s in (1.0, 2.0, 6.0)]
    lines[1]["failed"] = "more than 60 s"
    folder.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = statistical.answer("AutoARIMA", part, kept=tmp_path)  # the environment does not even exist
    assert found.seconds == 3.0
    assert found.replaced == 1
    assert found.quantiles[2].shape == (6, len(LEVELS))


def _kept(tmp_path: Path, part: Part) -> list[Path]:
    version = environments.REQUIREMENTS[statistical.ENVIRONMENT][0]
    path = tmp_path / version / f"AutoARIMA-{statistical.LIMIT}s" / f"{part.file}-{part.key}.jsonl"
    path.parent.mkdir(parents=True)
    return [path]


# --- this service ----------------------------------------------------------------------------------------------------


def test_the_service_is_asked_over_its_port(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models" / "naive", tmp_path / "naive")
    nan = float("nan")
    asked = [
        Window(np.array([1.0, 2.0, 7.0]), np.zeros(3), season=1, lag=1),
        Window(np.array([5.0] * 40), np.zeros(2), season=12, lag=1),
        Window(np.array([4.0, nan, 9.0]), np.zeros(3), season=1, lag=1),
    ]
    part = Part("made", asked, windows.UNCUT, "key")
    with ours.service(tmp_path, "naive") as service:
        assert service.manifest("naive").name == "naive"
        found = service.answer("naive", part)
        cost = service.timed("naive", part, 4)
    assert [answer.shape for answer in found.quantiles] == [(3, 11), (2, 11), (3, 11)]
    assert [answer[0, MEDIAN] for answer in found.quantiles] == [7.0, 5.0, 9.0]
    assert (np.diff(found.quantiles[0], axis=1) >= 0).all()
    assert 0 < cost.wall < 1
    assert cost.cpu >= 0


# --- rows, summaries, tables, pictures -------------------------------------------------------------------------------


def _rows() -> list[Row]:
    found = []
    for file, scale in (("hospital", 1.0), ("ansett_weekly", 4.0), ("m4_hourly", 2.0)):
        for method, factor in (("forecaster@7", 0.5), ("AutoETS", 0.8), (NAIVE, 1.0), (NAIVE_SEASON, 2.0)):
            point = method in (NAIVE, NAIVE_SEASON)
            row = Row(
                SAMPLE, file, method, 40, 512, scale * factor, 10.0, scale * factor, scale * factor / 10,
                coverage80=None if point else 0.81, coverage95=None if point else 0.9, versions="1", command="c",
                seconds=None if point else factor / 100, parameters=250_000 if "@" in method else None,
            )  # fmt: skip
            found += [row, replace(row, part=ALL)] if method != "AutoETS" else [row]
    return found


def test_rows_survive_their_file(tmp_path: Path) -> None:
    table.write(tmp_path / "rows.csv", Row, _rows())
    assert table.read(tmp_path / "rows.csv", Row) == _rows()


def test_summaries_are_geometric_means_relative_to_both_naive_forecasts() -> None:
    mine = _rows()
    mine = [replace(row, mase=3.0) if (row.file, row.method) == ("hospital", "AutoETS") else row for row in mine]
    found = {one.method: one for one in summaries(held_out(mine))}
    assert found["forecaster@7"].files == 2  # M4's groups are not held out
    assert found["forecaster@7"].mase == pytest.approx(0.5)
    assert found["forecaster@7"].mase_to_season == pytest.approx(0.25)
    assert found["AutoETS"].mase == pytest.approx((3.0 * 0.8) ** 0.5)
    assert found["AutoETS"].right80 == 2
    assert found[NAIVE].covered80 is None


def test_a_method_without_all_files_is_compared_on_those_that_all_have() -> None:
    some = [row for row in _rows() if (row.file, row.method) != ("hospital", "AutoETS")]
    assert {one.files for one in summaries(held_out(some))} == {1}


def test_the_page_and_the_pictures(tmp_path: Path) -> None:
    report.write(_rows(), tmp_path / "forecasting.md", "They agree.")
    text = (tmp_path / "forecasting.md").read_text()
    assert "| **forecaster@7** | 0.500 | 0.500 | 0.500 | 0.250 |" in text
    assert "| **forecaster@7** | 2.000 | – | 1.000 | measured here |" not in text
    assert "| **forecaster@7** | 1.000 | 0.500 | measured here |" in text  # m4_hourly, hospital
    assert "| TiRex | 0.722 | 0.756 | published |" in text
    assert "They agree." in text
    picture.draw(_rows(), tmp_path / "forecasting.png")
    picture.draw_coverage(_rows(), tmp_path / "coverage.png")
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("forecasting.png", "coverage.png"))
