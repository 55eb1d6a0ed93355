"""The forecasting benchmark: scores, the base, windows, stored and committed results of peers, the service, pages."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import table
from benchmarks.forecasting import baseline, picture, published, report, statistical, windows
from benchmarks.forecasting.interval_files import interval_files
from benchmarks.forecasting.reuse import committed_row
from benchmarks.forecasting.rows import ALL, BASE, POINT_BASE, SAMPLE, HorizonRow, Row
from benchmarks.forecasting.scoring import MEDIAN, coverage_by_steps, score
from benchmarks.forecasting.service_client import running_service
from benchmarks.forecasting.summary import held_out, step_coverage, summaries
from benchmarks.forecasting.windows import LEVELS, Floats, Part
from service.contract.manifest import read_manifest
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
    scores = score([first, second], [wide, sure])
    assert scores.mase == pytest.approx((1 / 2 + (4 + 6) / 2 / 8) / 2)
    assert scores.mase_one_step == pytest.approx((1 / 2 + 4 / 8) / 2)
    assert scores.smape == pytest.approx((200 * 1 / 9 + (200 * 4 / 44 + 200 * 6 / 54) / 2) / 2)
    assert scores.coverage80 == pytest.approx(1 / 3)
    # Twice the pinball loss over 0.1 … 0.9, by level, of 4 below 3/5/6, 20 below 24 and 30 above 24.
    total = 0.0
    for level in backtest.LEVELS:
        quantile = 3.0 if level < 0.5 else 5.0 if level == 0.5 else 6.0
        total += 2 * (level * (4 - quantile) if quantile < 4 else (1 - level) * (quantile - 4))
        total += 2 * ((1 - level) * 4 + level * 6)
    assert scores.wql == pytest.approx(total / 9 / (4 + 20 + 30))


def test_scores_are_those_of_the_backtest() -> None:
    file = _file()

    def predict(contexts: object, seasons: object, horizon: int) -> Floats:
        return np.tile(100 + np.linspace(-3, 3, len(backtest.LEVELS)), (90, horizon, 1))

    want = backtest.score_file(file, predict)
    quantiles = np.interp(LEVELS, backtest.LEVELS, 100 + np.linspace(-3, 3, len(backtest.LEVELS)))
    scores = score(file.windows(), [np.tile(quantiles, (6, 1)) for _ in range(90)])
    assert (scores.mase, scores.wql, scores.coverage80) == pytest.approx((want.mase, want.wql, want.coverage80))


@pytest.mark.data
@pytest.mark.parametrize(("name", "smape"), [("m4_hourly", 13.91), ("m4_weekly", 9.16), ("hospital", None)], ids=str)
def test_the_naive_forecast_has_its_published_scores(real_data: Path, name: str, smape: float | None) -> None:
    part = windows.all_windows(read(real_data / "forecasting" / f"{name}.npz"))
    scores = score(part.windows, baseline.seasonal_naive(part.windows).quantiles)
    assert round(scores.mase, 3) == published.OFFICIAL[name]["seasonal naive"]
    if smape is not None:
        assert round(scores.smape, 2) == smape


def test_the_base_has_normal_intervals_that_grow_with_every_season() -> None:
    context = np.array([1.0, 10.0, 3.0, 14.0, 2.0, float("nan")])
    sigma = ((4 + 16 + 1) / 3) ** 0.5  # errors 2, 4, -1 at a lag of two steps; the missing value gives none
    quantiles = baseline.quantiles(context, 2, 4)
    np.testing.assert_allclose(quantiles[:, MEDIAN], [2, 14, 2, 14])
    z = 1.2815515655446004  # of the level 0.9
    np.testing.assert_allclose(quantiles[:, -2] - quantiles[:, MEDIAN], z * sigma * np.sqrt([1, 1, 2, 2]))
    np.testing.assert_allclose(quantiles[:, 1] - quantiles[:, MEDIAN], -z * sigma * np.sqrt([1, 1, 2, 2]))


def test_the_base_after_a_short_or_constant_context() -> None:
    np.testing.assert_allclose(baseline.quantiles(np.array([4.0, 6.0]), 12, 2)[:, MEDIAN], [6, 6])
    assert (baseline.quantiles(np.array([7.0]), 1, 3) == 7).all()
    assert (baseline.quantiles(np.full(9, 5.0), 4, 3) == 5).all()


def test_coverage_is_counted_by_steps_ahead() -> None:
    future = np.array([0.0, 9.0, 0.0, float("nan"), 9.0])
    window = Window(np.arange(8.0), future, season=1, lag=1)
    first, second, third = coverage_by_steps([window], [np.tile(SPREAD, (5, 1))])
    assert (first.first_step, first.last_step, first.values, first.coverage80) == (1, 1, 1, 1.0)
    assert (second.first_step, second.last_step, second.values, second.coverage95) == (2, 4, 2, 0.5)
    assert (third.first_step, third.last_step, third.values, third.coverage80) == (5, 8, 1, 0.0)


# --- windows ---------------------------------------------------------------------------------------------------------


def test_a_sample_is_spread_evenly_cut_and_identified_by_its_windows() -> None:
    file = _file(length=2400)
    part = windows.sample(file)
    assert len(part.windows) == windows.SAMPLE_WINDOWS
    assert {len(context) for context in part.contexts} == {windows.SAMPLE_CONTEXT}
    assert {len(window.context) for window in part.windows} == {2394}  # MASE divides by all of it
    assert np.array_equal(part.windows[0].context, file.windows()[0].context)
    assert np.array_equal(part.windows[-1].context, file.windows()[-1].context)
    keys = {part.key, windows.all_windows(file).key, windows.sample(replace(file, digest="1" * 64)).key}
    assert len(keys) == 3
    assert windows.sample(file).key == part.key


def test_missing_values_are_filled_from_a_season_before_or_by_a_line() -> None:
    nan = float("nan")
    context = np.array([1.0, nan, 3.0, 4.0, nan, 6.0, nan])
    assert windows.filled(context, 3).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 4.0]
    assert np.isnan(context).sum() == 3


# --- the peers -------------------------------------------------------------------------------------------------------


def test_stored_forecasts_are_not_computed_again(tmp_path: Path) -> None:
    part = windows.sample(_file(count=3))
    file = _store_file(tmp_path, part)
    lines = [{"quantiles": [SPREAD.tolist()] * 6, "seconds": s} for s in (1.0, 2.0, 6.0)]
    lines[1]["failed"] = "more than 60 s"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert statistical.is_stored("AutoARIMA", part, tmp_path)
    forecasts = statistical.forecast("AutoARIMA", part, tmp_path)  # the peers' environment need not exist
    assert forecasts.seconds == 3.0
    assert forecasts.replaced == 1
    assert forecasts.quantiles[2].shape == (6, len(LEVELS))


def _store_file(tmp_path: Path, part: Part) -> Path:
    path = tmp_path / statistical.RELEASE / f"AutoARIMA-{statistical.LIMIT}s" / f"{part.file}-{part.key}.jsonl"
    path.parent.mkdir(parents=True)
    return path


def test_a_committed_row_is_reused_only_for_the_same_windows_and_release() -> None:
    part = windows.sample(_file(count=3))
    base = Row(SAMPLE, "made", BASE, 3, 512, 1.00001, 10.0, 0.5, 0.1, windows_key=part.key)
    peer = replace(base, method="AutoETS", mase=0.8, versions="statsforecast 2.1.1, numpy 2.4.6")
    release = "statsforecast==2.1.1"
    assert committed_row([peer], "AutoETS", part, base, release) == peer
    assert committed_row([peer], "AutoARIMA", part, base, release) is None
    assert committed_row([peer], "AutoETS", part, base, "statsforecast==3.0.0") is None
    assert committed_row([replace(peer, windows_key="other")], "AutoETS", part, base, release) is None


def test_a_committed_row_without_a_key_is_recognised_by_the_naive_scores_measured_with_it() -> None:
    part = windows.sample(_file(count=3))
    base = Row(SAMPLE, "made", BASE, 3, 512, 1.00001, 10.0, 0.5, 0.1, windows_key=part.key)
    peer = replace(base, method="AutoETS", mase=0.8, versions="statsforecast 2.1.1", windows_key="")
    point = replace(base, method=POINT_BASE, mase=1.0, wql=0.2, windows_key="")  # the file has five digits
    release = "statsforecast==2.1.1"
    assert committed_row([peer, point], "AutoETS", part, base, release) == peer
    assert committed_row([peer, replace(point, mase=1.001)], "AutoETS", part, base, release) is None
    assert committed_row([peer], "AutoETS", part, base, release) is None


# --- this service ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_forecasts_of_the_running_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.forecasting.service_client.SECONDS", 0.05)
    shutil.copytree(ROOT / "models" / "naive", tmp_path / "naive")
    nan = float("nan")
    windows_ = [
        Window(np.array([1.0, 2.0, 7.0]), np.zeros(3), season=1, lag=1),
        Window(np.array([5.0] * 40), np.zeros(2), season=12, lag=1),
        Window(np.array([4.0, nan, 9.0]), np.zeros(3), season=1, lag=1),
    ]
    part = Part("made", windows_, windows.FULL_CONTEXT, "key")
    with running_service(tmp_path, "naive") as service:
        manifest = service.manifest("naive")
        forecasts = service.forecast("naive", part)
        cost = service.timing("naive", part, 4)
    assert manifest.name == "naive"
    assert interval_files(tmp_path, manifest) == []
    assert [quantiles.shape for quantiles in forecasts.quantiles] == [(3, 11), (2, 11), (3, 11)]
    assert [quantiles[0, MEDIAN] for quantiles in forecasts.quantiles] == [7.0, 5.0, 9.0]
    assert (np.diff(forecasts.quantiles[0], axis=1) >= 0).all()
    assert cost.wall > 0
    assert cost.cpu >= 0


# --- rows, summaries, tables, pictures -------------------------------------------------------------------------------


def _rows() -> list[Row]:
    rows = []
    for file, scale in (("hospital", 1.0), ("ansett_weekly", 4.0), ("m4_hourly", 2.0)):
        for method, factor in (("forecaster@7", 0.5), ("AutoETS", 0.8), (BASE, 1.0)):
            row = Row(
                SAMPLE, file, method, 40, 512, scale * factor, 10.0, scale * factor, scale * factor / 10,
                coverage80=0.81, coverage95=0.9, versions="1", command="c",
                seconds=None if method == BASE else factor / 100, parameters=250_000 if "@" in method else None,
                interval_files="hospital, m3" if "@" in method else "",
            )  # fmt: skip
            rows += [row, replace(row, part=ALL)] if method != "AutoETS" else [row]
    return rows


def test_rows_survive_their_file(tmp_path: Path) -> None:
    table.write(tmp_path / "rows.csv", Row, _rows())
    assert table.read(tmp_path / "rows.csv", Row) == _rows()


def test_summaries_are_geometric_means_relative_to_the_base() -> None:
    rows = [replace(r, mase=3.0) if (r.file, r.method) == ("hospital", "AutoETS") else r for r in _rows()]
    by_method = {summary.method: summary for summary in summaries(held_out(rows))}
    assert by_method["forecaster@7"].files == 2  # M4's groups are not held out
    assert by_method["forecaster@7"].mase == pytest.approx(0.5)
    assert by_method["forecaster@7"].wql == pytest.approx(0.5)
    assert by_method["AutoETS"].mase == pytest.approx((3.0 * 0.8) ** 0.5)
    assert by_method["AutoETS"].calibrated80 == 2
    assert by_method[BASE].wql == 1


def test_coverage_by_steps_weighs_files_alike() -> None:
    rows = [
        HorizonRow(SAMPLE, "a", "AutoETS", 1, 1, 40, 0.9, 1.0),
        HorizonRow(SAMPLE, "b", "AutoETS", 1, 1, 10, 0.7, 0.8),
        HorizonRow(SAMPLE, "b", "AutoETS", 2, 4, 30, 0.5, 0.6),
    ]
    assert step_coverage(rows, "AutoETS", 1) == pytest.approx((0.8, 0.9))
    assert step_coverage(rows, "AutoETS", 5) is None


def test_the_files_of_the_interval_factors_come_from_the_record(tmp_path: Path) -> None:
    manifest = read_manifest(ROOT / "models" / "naive" / "1")
    folder = tmp_path / "naive" / "1"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text('{"held_out": [{"name": "hospital"}]}')
    assert interval_files(tmp_path, manifest) == ["hospital"]  # older records: the scored files themselves
    (folder / "training.json").write_text(
        '{"interval_factors_fitted_on": ["etth1"], "held_out": [{"name": "hospital"}]}'
    )
    assert interval_files(tmp_path, manifest) == ["etth1"]


def test_a_method_without_all_files_is_compared_on_those_that_all_have() -> None:
    rows = [row for row in _rows() if (row.file, row.method) != ("hospital", "AutoETS")]
    assert {summary.files for summary in summaries(held_out(rows))} == {1}


def test_the_page_and_the_pictures(tmp_path: Path) -> None:
    horizons = [HorizonRow(SAMPLE, "hospital", "forecaster@7", 1, 1, 40, 0.9, 1.0)]
    report.write(_rows(), horizons, tmp_path / "forecasting.md", "They agree.")
    text = (tmp_path / "forecasting.md").read_text()
    assert "| **forecaster@7** | 0.500 | 0.500 | 0.500 | 10.0 | 81.0 |" in text
    assert "MASE 0.500, WQL 0.500, next value 0.500; its 80 % interval covers 81.0 %" in text
    assert "The best of the others: MASE 0.800 AutoETS (8.000 ms a series)" in text
    assert "Warning: the interval factors of forecaster@7 were fitted on 1 of the 3 files that are scored here" in text
    assert "| forecaster@7 | 90.0 / 100.0 |" in text
    assert "| **forecaster@7** | 2.000 | – | 1.000 | measured here |" not in text
    assert "| **forecaster@7** | 1.000 | 0.500 | measured here |" in text  # m4_hourly, hospital
    assert "| TiRex | 0.722 | 0.756 | published |" in text
    assert "They agree." in text
    picture.draw(_rows(), tmp_path / "forecasting.png")
    picture.draw_coverage(_rows(), tmp_path / "coverage.png")
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("forecasting.png", "coverage.png"))
