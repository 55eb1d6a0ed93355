"""`ritmo model export-onnx NAME`: a model as one ONNX file, compared with the served one in onnxruntime.

The file answers fresh rows, whole: it has no state to go on from. A forecaster takes `values` (B, T), `lengths` (B,),
`season` (B,; 0: not stated), `horizon` () and `levels` (B, Q), and gives `forecast` (B, horizon, 1 + Q); a digit reader
takes `rows` (B, T, 28) and `lengths` (B,), and gives `log_probabilities` (B, classes). Loops over time become ONNX's.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.contract.manifest import MODEL_FILE, Manifest, read_manifest
from training.evaluation.evaluate import folders
from training.fit.export import computing_as_served, computing_optimized, reload, script

Arrays = dict[str, np.ndarray[Any, Any]]

SIZES = ((1, 1), (1, 28), (3, 28), (5, 17), (2, 700))  # rows and steps of the comparison, besides those of the export
LONG = 256  # steps from which a longer forecast is asked, too
RTOL, ATOL = 1e-3, 1e-4
ADVICE = "onnx and onnxruntime are not installed here: pip install 'ritmo[onnx]'"


class Forecast(nn.Module):
    """A forecaster from the first value to the forecast."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: Tensor, lengths: Tensor, season: Tensor, horizon: Tensor, levels: Tensor) -> Tensor:
        """(B, horizon, 1 + Q) float64."""
        answer: Tensor = self.model.forecast(
            self.model.step(values, lengths, self.model.initial(season)), int(horizon), levels
        )
        return answer


class Reading(nn.Module):
    """A digit reader from the first row to the answer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """(B, classes) float32."""
        answer: Tensor = self.model.read(self.model.step(rows, lengths, self.model.initial(rows.size(0))))
        return answer


_OPERATOR = re.compile(r"operator '(aten::\w+)'|implementation for (\w+)\(")  # that torch or onnxruntime misses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `ritmo model export-onnx`."""
    parser.add_argument("model", help="name (its highest version) or name@version")
    parser.add_argument("--output", type=Path, help="file to write (default: NAME-VERSION.onnx)")
    default = Path(os.environ.get("RITMO_MODELS") or "models")
    parser.add_argument("--folder", type=Path, default=default, help="folder of models (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="export and compare, and write nothing")


def main(arguments: argparse.Namespace) -> None:
    """Export, compare, write; `SystemExit` with a sentence where that cannot be."""
    try:
        import onnx  # noqa: F401 (the exporter needs it, and says so late)
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise SystemExit(ADVICE) from error
    chosen = folders(arguments.folder, [arguments.model])
    if not chosen:
        raise SystemExit(f"{arguments.folder} has no {arguments.model}: --folder names the folder of models")
    folder = chosen[-1]
    manifest = read_manifest(folder)
    try:
        data = onnx_file(folder)
        worst = difference(data, folder)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(f"{manifest.name}@{manifest.version}: {len(data):,} bytes; answers differ by {worst:.2g} of their size")
    if not arguments.dry_run:
        path = arguments.output or Path(f"{manifest.name}-{manifest.version}.onnx")
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        print(f"wrote {partial.replace(path)}")


@computing_optimized()
def onnx_file(folder: Path) -> bytes:
    """The model in `folder` as the bytes of an ONNX file; `ValueError` names an operator that ONNX has not."""
    from torch.onnx import errors

    from training.reports import onnx_graphs, onnx_operators

    onnx_operators.register()
    manifest = read_manifest(folder)
    sample = inputs_of(manifest, 3, _length(manifest, 40))
    module = reload(script(_wrapped(folder, manifest)))
    onnx_graphs.name_values_apart(module)
    buffer: Any = io.BytesIO()  # which this exporter takes, though only paths are declared
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        try:
            torch.onnx.export(
                module,
                tuple(torch.from_numpy(value) for value in sample.values()),
                buffer,
                input_names=list(sample),
                output_names=["forecast" if manifest.task == "forecast" else "log_probabilities"],
                dynamic_axes={name: _axes(value) for name, value in sample.items() if value.ndim},
                opset_version=onnx_operators.OPSET,
                dynamo=False,
            )
        except (errors.OnnxExporterError, RuntimeError) as error:
            raise ValueError(refusal(manifest, "cannot be written as ONNX", error)) from error
    return onnx_graphs.repaired(buffer.getvalue())


def refusal(manifest: Manifest, failure: str, error: Exception) -> str:
    """Why a model is not exported, in a sentence: the operator that is lacking, where the error names one."""
    text = str(error)
    operator = _OPERATOR.search(text)
    if operator:
        reason = f"there is nothing for its operator {operator[1] or operator[2]}"
    elif "scalar type" in text:
        reason = "the exporter cannot follow the types of its numbers"
    else:
        reason = text.strip().partition("\n")[0].partition(". ")[0]
    return f"{manifest.name}@{manifest.version} {failure}: {reason}"


def difference(data: bytes, folder: Path) -> float:
    """The largest difference between the file's answers and the served model's, relative to the answer's size.

    Batches of several sizes and lengths are asked; `ValueError` where one differs by more than rounding.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    manifest = read_manifest(folder)
    served = _wrapped(folder, manifest)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of sizes that the exporter has guessed, and that are not relied on
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (faults.Fail, faults.InvalidGraph, faults.NotImplemented, faults.RuntimeException) as error:
        raise ValueError(refusal(manifest, "cannot be run by onnxruntime", error)) from error
    worst = 0.0
    for sample in samples(manifest):
        try:
            [answer] = session.run(None, sample)
        except (faults.Fail, faults.InvalidArgument, faults.RuntimeException) as error:
            raise ValueError(refusal(manifest, "cannot be run by onnxruntime", error)) from error
        with computing_as_served():
            expected = served(*(torch.from_numpy(value) for value in sample.values())).numpy()
        size = ATOL / RTOL + np.abs(expected) + _size(sample)
        gap = np.abs(answer - expected) / size if answer.shape == expected.shape else np.array(np.inf)
        if not gap.max() <= RTOL:
            raise ValueError(
                f"{manifest.name}@{manifest.version} as ONNX answers otherwise: {answer.shape} for {expected.shape}, "
                f"by up to {gap.max():.2g}"
            )
        worst = max(worst, float(gap.max()))
    return worst


def _size(sample: Arrays) -> Any:
    """A tenth of the largest value of each series: what is left of sums of large values is rounding."""
    if "values" not in sample:
        return 0.0
    return 0.1 * np.nanmax(np.abs(sample["values"]), 1, keepdims=True)[:, :, None]


def samples(manifest: Manifest) -> Iterator[Arrays]:
    """Inputs of several sizes, rows of different lengths in each; and, of series, of kinds that take other branches."""
    for rows, steps in SIZES:
        yield inputs_of(manifest, rows, _length(manifest, steps))
    if manifest.task == "forecast":
        steps = _length(manifest, 120)
        for values in _kinds(steps, missing=manifest.input.missing):
            yield inputs_of(manifest, len(values), steps) | {"values": values}


def _kinds(steps: int, *, missing: bool) -> Iterator[np.ndarray[Any, Any]]:
    """Series (rows, steps) of which each shows a model something else than noisy waves do."""
    rng, t = np.random.default_rng(steps), np.arange(steps, dtype=np.float64)
    yield np.stack([np.full(steps, 7.0), t, 100 * 0.9**t, np.where(t == steps // 2, 1e6, t % 7)])
    counts, events = rng.poisson(3.0, (2, steps)).astype(np.float64), rng.random(steps) < 0.1
    yield np.stack([counts[0].cumsum(), 5.0 * events, (t % 7 != 6) * counts[1]])
    yield np.stack([rng.normal(size=steps) * np.where(t > 0.7 * steps, 20.0, 1.0), 1e200 * np.sin(t)])
    if missing:
        values = rng.normal(size=(3, steps)) + 5 * np.sin(t)
        values[0, : steps // 3] = np.nan  # the only row that is read to its end
        values[1, 1:][rng.random(steps - 1) < 0.3] = np.nan
        values[2, 1:] = np.nan
        yield values


def inputs_of(manifest: Manifest, rows: int, steps: int) -> Arrays:
    """`rows` rows of up to `steps` observations."""
    rng = np.random.default_rng(rows * 1000 + steps)
    shortest = max(1, manifest.input.min_length)
    lengths = np.maximum(steps - 5 * np.arange(rows, dtype=np.int64), min(shortest, steps))
    if manifest.task != "forecast":
        return {"rows": rng.random((rows, steps, 28), np.float32), "lengths": lengths}
    t = np.arange(steps)
    values = 10 + 3 * np.sin(2 * np.pi * t / 7) + 0.1 * t + rng.normal(size=(rows, steps))
    levels = np.tile(np.array([0.1, 0.5, 0.9]), (rows, 1))
    season = np.array(([0, 7] * rows)[:rows], np.int64)
    return {
        "values": values,
        "lengths": lengths,
        "season": season if manifest.input.season else 0 * season,
        "horizon": np.array(min(12 if steps < LONG else 300, manifest.input.max_horizon or 12), np.int64),
        "levels": levels,
    }


def _length(manifest: Manifest, steps: int) -> int:
    return min(max(steps, manifest.input.min_length), manifest.input.max_length or steps)


def _wrapped(folder: Path, manifest: Manifest) -> nn.Module:
    model = reload((folder / MODEL_FILE).read_bytes())
    return Forecast(model) if manifest.task == "forecast" else Reading(model)


def _axes(value: np.ndarray[Any, Any]) -> dict[int, str]:
    names = ("batch", "steps", "columns")
    return {axis: names[axis] for axis in range(min(value.ndim, 2))}
