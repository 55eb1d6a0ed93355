"""From a trained module to `models/<name>/<version>/`: script, reload, check parity, golden, manifest, rename.

The folder appears whole or not at all: everything is written next to its final place and renamed there. Metrics are
measured on the reloaded file by the caller's `metrics_of`, never on the module that was trained.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from service.contract.manifest import (
    GOLDEN_FILE,
    MODEL_FILE,
    Golden,
    InputContract,
    Manifest,
    OutputContract,
    StateContract,
    Task,
)
from training.fit.record import Record

RTOL, ATOL = 1e-4, 1e-6  # the absolute one holds for forecasts up to 1, and grows with larger ones

Arrays = dict[str, np.ndarray[Any, Any]]
Metrics = Callable[[Path], Mapping[str, float]]


def script(module: nn.Module) -> bytes:
    """The module as TorchScript bytes, in eval mode, on the CPU, without gradients; see `packed`."""
    module = module.cpu().eval().requires_grad_(False)
    with warnings.catch_warnings():
        # torch deprecates TorchScript in favour of torch.export, which freezes the time length of a recurrent network.
        warnings.filterwarnings("ignore", r".*torch\.jit\..* is (deprecated|not supported)", DeprecationWarning)
        scripted = torch.jit.script(module)
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer)
    return packed(buffer.getvalue())


def packed(archive: bytes) -> bytes:
    """A TorchScript archive without what is of this machine: equal weights and code become equal bytes.

    Left out are the source positions, which hold paths of the machine that exported, and a number that differs with
    every save. Neither is needed to load a module, and what it computes stays the same to the last bit.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(buffer, "w") as target:
        for entry in sorted(source.infolist(), key=lambda entry: entry.filename):
            name = entry.filename.partition("/")[2]
            if name.endswith(".debug_pkl") or name == ".data/serialization_id":
                continue
            content = source.read(entry)
            plain = zipfile.ZipInfo(f"model/{name}", (1980, 1, 1, 0, 0, 0))
            target.writestr(plain, _in_order(content) if name.endswith(".py") else content)
    return buffer.getvalue()


def _in_order(code: bytes) -> bytes:
    """The code of a class with its constants by name: torch writes them in the order of a set, another in each run."""
    lines: list[bytes] = []
    for are_constants, group in groupby(code.split(b"\n"), lambda line: b" : Final[" in line):
        group_lines = list(group)
        lines += sorted(group_lines) if are_constants else group_lines
    return b"\n".join(lines)


def reload(data: bytes) -> Any:
    """The module that `script` wrote, as the service loads it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\..* is (deprecated|not supported)", DeprecationWarning)
        return torch.jit.load(io.BytesIO(data), map_location="cpu")


@contextlib.contextmanager
def computing_as_served() -> Iterator[None]:
    """Run modules without gradients, and without TorchScript's optimiser, as the service does."""
    with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        yield


@contextlib.contextmanager
def computing_optimized() -> Iterator[None]:
    """Run modules with TorchScript's optimiser, which the exporter to ONNX asks for types."""
    with torch.jit.optimized_execution(True):  # type: ignore[attr-defined]
        yield


def forecast_golden(module: Any, sample: Mapping[str, np.ndarray[Any, Any]], horizon: int) -> Arrays:
    """A golden file's content: `sample` (values, lengths, season, levels) with a forecaster's outputs for it."""
    values, lengths, levels = (torch.from_numpy(sample[k]) for k in ("values", "lengths", "levels"))
    with torch.inference_mode():
        fresh = module.initial(torch.from_numpy(sample["season"]))
        state = module.step(values, lengths, fresh)
        forecast = module.forecast(state, horizon, levels)
        _, history = module.history(values, lengths, fresh, levels)
    outputs = {"state": state.numpy(), "forecast": forecast.numpy(), "history": history.numpy()}
    return {**sample, "horizon": np.int64(horizon) * np.ones((), np.int64), **outputs}


def digit_golden(module: Any, sample: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
    """A golden file's content: `sample` (rows, lengths) with a digit reader's outputs for it."""
    rows, lengths = torch.from_numpy(sample["rows"]), torch.from_numpy(sample["lengths"])
    with torch.inference_mode():
        fresh = module.initial(len(lengths))
        state, trace = module.trace(rows, lengths, fresh)
        read = module.read(module.step(rows, lengths, fresh))
    outputs = {"state": state.numpy(), "log_probabilities": read.numpy(), "trace": trace.numpy()}
    return {**sample, **outputs}


def export(
    module: nn.Module,
    *,
    name: str,
    task: Task,
    description: str,
    inputs: InputContract,
    outputs: OutputContract,
    state: StateContract,
    golden: Callable[[Any], Arrays],
    record: Record,
    metrics_of: Metrics,
    version: int | None = None,
    models: Path,
) -> Path:
    """Write `models/<name>/<version>/` and return it. `version` None: one above the highest there is.

    `golden(module)` returns the inputs and outputs of the golden sample for a module; it is called with the eager and
    with the reloaded one, and a difference beyond the tolerance raises `ValueError` before anything is written.
    `metrics_of(folder)` scores the complete folder. The service's loader verifies a folder by its manifest, so one
    without metrics is there while they are measured; the one with metrics then takes its place.
    """
    eager = golden(module.cpu().eval())
    data = script(module)
    arrays = golden(reload(data))
    _check_parity(eager, arrays)
    parent = models / name
    parent.mkdir(parents=True, exist_ok=True)
    number = _next_version(parent) if version is None else version
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
    folder.chmod(0o755)  # mkdtemp makes it private; a served model is not
    try:
        (folder / MODEL_FILE).write_bytes(data)
        np.savez_compressed(folder / GOLDEN_FILE, **arrays)  # type: ignore[arg-type]
        record.write(folder)
        manifest = Manifest(
            name=name,
            version=number,
            task=task,
            description=description,
            sha256=hashlib.sha256(data).hexdigest(),
            input=inputs,
            output=outputs,
            state=state,
            golden=Golden(sha256=_sha256(folder / GOLDEN_FILE), rtol=RTOL, atol=absolute_tolerance(arrays)),
            training=record.provenance(),
            metrics={},
        )
        manifest.write(folder)
        metrics = {key: float(value) for key, value in metrics_of(folder).items()}
        manifest.model_copy(update={"metrics": metrics}).write(folder)
        return replace_folder(folder, parent / str(number))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_parity(eager: Arrays, loaded: Arrays) -> None:
    for key, expected in eager.items():
        if not np.allclose(loaded[key], expected, rtol=RTOL, atol=absolute_tolerance(eager), equal_nan=True):
            worst = np.nanmax(np.abs(loaded[key] - expected))
            raise ValueError(f"the exported module's {key!r} differs from the trained one's by up to {worst:.3g}")


def absolute_tolerance(arrays: Arrays) -> float:
    """How far a result may be from the recorded one near zero: float32 rounds in proportion to the values around it."""
    answers = [arrays[key] for key in ("forecast", "history") if key in arrays]
    largest = max((float(np.abs(answer[np.isfinite(answer)]).max(initial=0.0)) for answer in answers), default=0.0)
    return ATOL * max(1.0, largest)


def _next_version(parent: Path) -> int:
    return max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0) + 1


def replace_folder(folder: Path, target: Path) -> Path:
    """Rename `folder` to `target` in place of an older folder of that name."""
    old = target.with_name(f".old-{target.name}")
    if target.exists():
        target.replace(old)
    folder.replace(target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
