"""Forecast every series of a folder of Parquet files on a cluster of Ray: one answer file for each file of input.

    python -m deploy.ray.batch series/ forecasts/ --horizon 28 --actors 8

A row of input is a series: `item_id` (text) and `target` (list of numbers, null where missing, oldest first). A row of
output is its forecast: `item_id`, `mean` and one list for each quantile. Files are what is shared out, so cut a million
series into some hundred files. A file is written under another name and renamed when it is whole: what is there already
is left out, so the same command goes on after a fault. Each actor loads the model once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from service.backend.model import load
from service.contract.types import Floats, ForecastItem, ForecastResult
from service.runtime.cpu_quota import available

BATCH = 1024  # series that are in memory at once, in each actor
MAX_VALUES = 100_000  # of one series, as in the service


class Forecaster:
    """An actor: the model, loaded once."""

    def __init__(self, model: str, output: str, horizon: int, levels: Sequence[float]) -> None:
        """`model`: a folder of models/<name>/<version>."""
        torch.set_num_threads(1)  # Ray gives an actor one processor
        self._model = load(Path(model), "cpu")
        self._output = Path(output)
        self._horizon = horizon
        self._levels = np.array(sorted(levels))
        quantiles = [(f"q{level:g}", pa.list_(pa.float64())) for level in self._levels]
        self._schema = pa.schema([("item_id", pa.string()), ("mean", pa.list_(pa.float64())), *quantiles])

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Forecast whole files: Ray Data's interface, with columns `file` in, `file`, `series` and `seconds` out."""
        files = [str(file) for file in batch["file"]]
        counts, seconds = [], []
        for file in files:
            start = time.perf_counter()
            counts.append(self.forecast(Path(file)))
            seconds.append(time.perf_counter() - start)
        return {"file": files, "series": counts, "seconds": seconds}

    def forecast(self, file: Path) -> int:
        """Write the answer to `file`; returns how many series it has. Raises `ValueError` with the series at fault."""
        target = self._output / file.name
        partial = target.with_suffix(".partial")
        n_series = 0
        with pq.ParquetWriter(partial, self._schema) as writer:
            for names, series in rows(file):
                writer.write_table(self._table(names, series))
                n_series += len(names)
        partial.replace(target)
        return n_series

    def _table(self, names: pa.Array, series: list[Floats]) -> pa.Table:
        items = [ForecastItem(values, self._horizon, self._levels) for values in series]
        results = cast("list[ForecastResult]", self._model.run(items))
        ends = np.arange(1 + len(items), dtype=np.int32) * self._horizon
        columns = [[result.mean for result in results]]
        columns += [[result.quantiles[index] for result in results] for index in range(len(self._levels))]
        lists = [pa.ListArray.from_arrays(ends, np.concatenate(column)) for column in columns]
        return pa.Table.from_arrays([names, *lists], schema=self._schema)


def rows(file: Path) -> Iterator[tuple[pa.Array, list[Floats]]]:
    """Names and values of at most `BATCH` series at a time; raises `ValueError` for what cannot be forecast.

    Values stay in the memory that Arrow read them into: a series is a view of it.
    """
    parquet = pq.ParquetFile(file)
    if not {"item_id", "target"} <= set(parquet.schema_arrow.names):
        raise ValueError(f"{file} needs the columns item_id and target")
    for batch in parquet.iter_batches(BATCH, columns=["item_id", "target"]):
        if not len(batch):
            continue
        names = batch.column("item_id").cast(pa.string())
        target = batch.column("target").cast(pa.list_(pa.float64()))
        lengths = target.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        values = target.flatten().to_numpy(zero_copy_only=False)
        unfit = _unfit(lengths, values)
        if unfit is not None:
            name = names[unfit].as_py()
            raise ValueError(f"{file}: series {name!r} needs 1 to {MAX_VALUES} values, finite ones or null")
        yield names, np.split(values, lengths.cumsum()[:-1])


def _unfit(lengths: NDArray[np.int32], values: Floats) -> int | None:
    """The first series that cannot be forecast, of those with `lengths` one behind the other in `values`."""
    owners, n_series = np.repeat(np.arange(len(lengths)), lengths), len(lengths)
    n_finite = np.bincount(owners[np.isfinite(values)], minlength=n_series)
    n_infinite = np.bincount(owners[np.isinf(values)], minlength=n_series)
    [unfit] = np.nonzero((lengths > MAX_VALUES) | (n_finite == 0) | (n_infinite > 0))
    return int(unfit[0]) if len(unfit) else None


def remaining(source: Path, output: Path) -> list[str]:
    """The files of input that have no answer yet; raises `FileNotFoundError` where there is no input."""
    files = sorted(source.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"no *.parquet in {source}")
    return [str(file.resolve()) for file in files if not (output / file.name).exists()]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of Parquet files, which every node can read")
    parser.add_argument("output", type=Path, help="folder for the answers, likewise")
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--levels", default="0.1,0.5,0.9", help="quantiles, commas between")
    parser.add_argument("--model", type=Path, required=True, help="folder models/<name>/<version>, on every node")
    parser.add_argument("--actors", type=int, default=available(), help="processes that forecast, each with a model")
    arguments = parser.parse_args()
    levels = [float(level) for level in arguments.levels.split(",")]
    if arguments.horizon < 1 or not all(0 < level < 1 for level in levels):
        parser.error("the horizon is 1 or more, and levels are between 0 and 1")
    arguments.output.mkdir(parents=True, exist_ok=True)
    files = remaining(arguments.source, arguments.output)
    if not files:
        print("every file has its answer already")
        return
    start = time.perf_counter()
    n_series, busy = run(files, arguments, levels)
    seconds = time.perf_counter() - start
    rate = n_series / seconds
    print(f"{n_series} series of {len(files)} files in {seconds:.1f} s: {rate:.0f}/s, computing {busy:.1f} s")


def run(files: Sequence[str], arguments: argparse.Namespace, levels: Sequence[float]) -> tuple[int, float]:
    """Series that were forecast, and the seconds that all actors took for them."""
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    model, output = str(arguments.model.resolve()), str(arguments.output.resolve())
    answers = ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files)).map_batches(
        Forecaster,
        fn_constructor_args=(model, output, arguments.horizon, levels),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(arguments.actors, len(files))),
        num_cpus=1,
    )
    rows = answers.take_all()
    return sum(row["series"] for row in rows), sum(row["seconds"] for row in rows)


if __name__ == "__main__":
    main()
