"""What runs on Ray, as far as it needs no cluster: the files of a batch, and how many replicas a queue asks for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
import pyarrow.parquet as pq  # noqa: E402 (where the line above has found it)

from deploy.ray.batch import Forecaster, remaining  # noqa: E402 (likewise)
from deploy.ray.scaling import QUEUED_WORK, replicas_for_queued_work  # noqa: E402 (likewise)
from tests.models import LSTMForecaster, write_model  # noqa: E402 (likewise)


def write(file: Path, series: dict[str, list[float | None]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    target = pa.array(list(series.values()), pa.list_(pa.float64()))
    pq.write_table(pa.table({"item_id": list(series), "target": target}), file)


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    folder = tmp_path_factory.mktemp("batch")
    model = write_model(folder, "forecaster", LSTMForecaster())
    (folder / "out").mkdir()
    return Forecaster(str(model), str(folder / "out"), 3, [0.9, 0.1])


def test_every_series_has_its_forecast(forecaster: Forecaster, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"rise": [1.0, 2.0, None, 4.0], "flat": [5.0]})
    answer = forecaster({"file": np.array([str(tmp_path / "a.parquet")])})
    assert answer["series"] == [2]
    table = pq.read_table(forecaster._output / "a.parquet")
    assert table.column_names == ["item_id", "mean", "q0.1", "q0.9"]
    assert table["item_id"].to_pylist() == ["rise", "flat"]
    for name in ("mean", "q0.1", "q0.9"):
        assert [len(values) for values in table[name].to_pylist()] == [3, 3]
    assert np.isfinite(table["mean"].to_pylist()).all()
    assert (np.array(table["q0.1"].to_pylist()) <= np.array(table["q0.9"].to_pylist())).all()


@pytest.mark.parametrize("values", [[], [None], [1.0, float("inf")]])
def test_a_series_that_cannot_be_forecast_is_named(
    forecaster: Forecaster, tmp_path: Path, values: list[float | None]
) -> None:
    write(tmp_path / "bad.parquet", {"good": [1.0], "bad": values})
    with pytest.raises(ValueError, match=r"bad\.parquet: series 'bad' needs"):
        forecaster.forecast(tmp_path / "bad.parquet")
    assert not (forecaster._output / "bad.parquet").exists()


def test_columns_of_other_types_are_read_and_others_missed(forecaster: Forecaster, tmp_path: Path) -> None:
    target = pa.array([[1, None, 3], [4.5]], pa.large_list(pa.float32()))
    pq.write_table(pa.table({"item_id": [17, None], "target": target, "note": ["", ""]}), tmp_path / "types.parquet")
    assert forecaster.forecast(tmp_path / "types.parquet") == 2
    assert pq.read_table(forecaster._output / "types.parquet")["item_id"].to_pylist() == ["17", None]
    pq.write_table(pa.table({"item_id": pa.array([], pa.string()), "target": target[:0]}), tmp_path / "none.parquet")
    assert forecaster.forecast(tmp_path / "none.parquet") == 0
    pq.write_table(pa.table({"id": ["a"], "target": [[1.0]]}), tmp_path / "names.parquet")
    with pytest.raises(ValueError, match=r"names\.parquet needs the columns item_id and target"):
        forecaster.forecast(tmp_path / "names.parquet")


def test_many_series_have_the_forecasts_of_each(
    forecaster: Forecaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.ray.batch.BATCH", 3)
    random_numbers = np.random.default_rng(0)
    series = {str(n): random_numbers.normal(size=1 + n).tolist() for n in range(8)}
    write(tmp_path / "all.parquet", series)
    assert forecaster.forecast(tmp_path / "all.parquet") == 8
    together = pq.read_table(forecaster._output / "all.parquet").to_pylist()
    for row, (name, values) in zip(together, series.items(), strict=True):
        write(tmp_path / "one.parquet", {name: values})
        forecaster.forecast(tmp_path / "one.parquet")
        [alone] = pq.read_table(forecaster._output / "one.parquet").to_pylist()
        assert row.pop("item_id") == alone.pop("item_id")
        assert all(row[column] == pytest.approx(alone[column]) for column in alone)


def test_what_is_there_is_not_done_again(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    output.mkdir()
    for name in ("a", "b", "c"):
        write(source / f"{name}.parquet", {"s": [1.0]})
    (output / "b.parquet").touch()
    (output / "c.partial").touch()
    assert [Path(file).name for file in remaining(source, output)] == ["a.parquet", "c.parquet"]
    with pytest.raises(FileNotFoundError, match=r"no \*\.parquet"):
        remaining(output / "none", output)


@pytest.mark.parametrize(
    ("waiting", "running", "wanted"),
    [(0.0, 1, 1), (0.0, 3, 2), (0.4, 1, 1), (1.2, 1, 2), (9.0, 2, 4), (9.0, 4, 4), (0.3, 2, 2), (0.2, 2, 1)],
)
def test_replicas_follow_the_work_that_waits(waiting: float, running: int, wanted: int) -> None:
    context = SimpleNamespace(
        aggregated_metrics={QUEUED_WORK: {"a": waiting / 2, "b": waiting / 2}},
        current_num_replicas=running,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=4,
    )
    assert replicas_for_queued_work(context)[0] == wanted
