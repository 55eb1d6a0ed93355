"""TorchScript: verify a model folder, load it, prove it against its golden sample, warm it up, run it.

The only module of the service that knows torch. What a loaded model does with a list of items stands in
`service.backend.forecasting`; here are its methods over numpy arrays, and what must be true before anyone is answered.

TorchScript's optimiser is off: it gains nothing on these few large operators, compiles every method for half a second
(`forecaster`) at its first calls, and keeps 28 MB of graphs for that. What remains is oneDNN, which prepares a
primitive for each new shape (0.4 ms, 0.5 MB); `service.backend.buckets` keeps the shapes few, and each row and each length
bucket is run before the model is ready.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from service.backend import golden
from service.backend.buckets import Ints, ShapeBuckets, rows_for_threads, shares
from service.backend.chunks import IsCancelled, PaddingStats
from service.backend.forecasting import Array, ForecastOutput, IndexedResults, forecast_batch
from service.backend.reading import read_batch
from service.backend.sharding import ComputeThreads
from service.backend.warmup import warm_up
from service.contract.errors import BrokenModel
from service.contract.manifest import MODEL_FILE, Manifest, Task, read_manifest
from service.contract.types import DigitItem, Floats, ForecastItem, Item, Result
from service.runtime import cpu_quota as cpus

METHODS: dict[Task, tuple[str, ...]] = {
    "forecast": ("initial", "step", "forecast", "history", "season"),
    "classify-digit": ("initial", "step", "read", "trace"),
}
# One call for two: each of them would give the interpreter away and have to ask for it again.
TOGETHER: dict[Task, str] = {
    "forecast": """
def service_finish(
    self, values: Tensor, lengths: Tensor, state: Tensor, horizon: int, levels: Tensor
) -> Tuple[Tensor, Tensor, Tensor]:
    after = self.step(values, lengths, state)
    return after, self.forecast(after, horizon, levels), self.season(after)

def service_forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tuple[Tensor, Tensor]:
    return self.forecast(state, horizon, levels), self.season(state)
""",
    "classify-digit": """
def service_finish(self, rows: Tensor, lengths: Tensor, state: Tensor) -> Tuple[Tensor, Tensor]:
    after = self.step(rows, lengths, state)
    return after, self.read(after)
""",
}
SEASONS_KEPT = 1024
MOST_THREADS = 4
CUDA_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def resolve_device(name_or_device: str | torch.device) -> torch.device:
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:<n>`; raises ValueError for anything that is not there.

    Counting devices does not initialise CUDA, so a process may still fork afterwards.
    """
    if isinstance(name_or_device, torch.device):
        return name_or_device
    count = _cuda_devices()
    if name_or_device == "cpu" or (name_or_device == "auto" and not count):
        return torch.device("cpu")
    name, _, number = name_or_device.partition(":")
    if name_or_device not in {"auto", "cuda"} and (name != "cuda" or not number.isdecimal()):
        raise ValueError(f"device {name_or_device!r} is not one of auto, cpu, cuda, cuda:<number>")
    index = int(number or 0)
    if index >= count:
        build = "this build of torch has no CUDA" if torch.version.cuda is None else f"torch sees {count} CUDA devices"
        raise ValueError(f"device {name_or_device!r} was asked for, but {build}; choose cpu or auto")
    return torch.device("cuda", index)


def _cuda_devices() -> int:
    if torch.version.cuda is None:
        return 0
    # With this set torch asks the driver's management library instead of opening a context, which would end forking.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return torch.cuda.device_count()


def set_threads(threads: int | None = None, processes: int = 1) -> int:
    """Give torch one thread an operation; returns how many threads are to share the rows of a large call (`ComputeThreads`).

    None: one for each CPU that the container may use, at most `MOST_THREADS`, shared between several `processes`.
    Torch's own threads gain 5 % at 128 rows of a small network, and lose a third at few.
    """
    torch.set_num_threads(1)
    return threads or min(MOST_THREADS, max(1, cpus.available() // processes))


def load(
    folder: Path,
    device: str | torch.device = "cpu",
    *,
    warm: bool = True,
    should_continue: Callable[[], bool] = lambda: True,
    helpers: ComputeThreads | None = None,
) -> LoadedModel:
    """Verify, load, prove and warm up the model in `folder`; on a CPU `helpers` share its large calls.

    Raises `BrokenModel` when manifest, digest, module or golden sample do not agree. The digest is taken of the bytes
    that torch gets: a model file is a program, and none runs that the manifest does not vouch for. Warming up takes
    seconds; it ends with `Unavailable` where the model is not `should_continue` any more.
    """
    manifest = read_manifest(folder)
    place = resolve_device(device)
    module = _module(folder, manifest, place)
    network: ScriptedNetwork
    if place.type == "cuda":
        network, shapes = CudaNetwork(module, manifest, place), ShapeBuckets(rows=CUDA_ROWS)
    else:
        helpers = helpers or ComputeThreads()
        network, shapes = (
            ScriptedNetwork(module, manifest, helpers),
            ShapeBuckets(rows=rows_for_threads(helpers.threads)),
        )
    sample = golden.read(folder, manifest)
    model = LoadedModel(manifest, network, shapes)
    model.prove(sample)
    if warm:
        model.warm_up(sample, should_continue)
    return model


def _module(folder: Path, manifest: Manifest, device: torch.device) -> torch.jit.ScriptModule:
    path = folder / MODEL_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenModel(f"{path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        raise BrokenModel(f"{path} is not what the manifest describes: sha256 {found}, expected {manifest.sha256}")
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated in favour of torch.export, which freezes the time length of a recurrent network.
            warnings.filterwarnings("ignore", r".*torch\.jit\.load.* is (deprecated|not supported)", DeprecationWarning)
            module = torch.jit.load(io.BytesIO(data), map_location=device)
    except RuntimeError as error:
        raise BrokenModel(f"{path} is no TorchScript module: {error}") from error
    missing = [name for name in METHODS[manifest.task] if not hasattr(module, name)]
    if missing:
        raise BrokenModel(f"{path} lacks the methods {', '.join(missing)} of task {manifest.task!r}")
    try:
        module.define(TOGETHER[manifest.task])
    except RuntimeError as error:
        raise BrokenModel(f"the methods in {path} are not those of docs/models.md: {_last_line(error)}") from error
    return cast("torch.jit.ScriptModule", module.eval())


class ScriptedNetwork:
    """The methods of docs/models.md over numpy arrays; errors of the module pass through as they are."""

    def __init__(self, module: torch.jit.ScriptModule, manifest: Manifest, helpers: ComputeThreads) -> None:
        self.max_horizon = manifest.input.max_horizon
        self._helpers = helpers
        self._module = module
        self._width = manifest.state.width
        self._task = manifest.task
        self._initial: dict[int, Floats] = {}

    def unshared(self) -> ScriptedNetwork:
        """The same network, without helpers."""
        if self._helpers.threads == 1:
            return self
        alone = copy.copy(self)
        alone._helpers = ComputeThreads()
        return alone

    def initial(self, season: int) -> Floats:
        """The state (S,) before the first observation, for a `season` (digit readers have none)."""
        state = self._initial.get(season)
        if state is None:
            if len(self._initial) >= SEASONS_KEPT:
                self._initial.clear()
            argument = np.array([season]) if self._task == "forecast" else 1
            state = cast("Floats", self._call("initial", argument)[0])
            if state.dtype != np.float64 or state.shape != (self._width,):
                raise BrokenModel(
                    f"initial() gave a state of {state.dtype} {state.shape}, not float64 ({self._width},)"
                )
            state.flags.writeable = False
            self._initial[season] = state
        return state

    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats:
        """State (R, S) after `values` (R, T, …)."""
        after: Floats = self._rows("step", values.shape[1], values, lengths, state)
        return after

    def forecast(self, state: Floats, horizon: int, levels: Floats) -> ForecastOutput:
        """Mean and quantiles (R, horizon, 1 + Q), and the season lengths in use (R,)."""
        said, seasons = self._rows("service_forecast", horizon, state, horizon, levels)
        return said, seasons

    def finish(
        self, values: Array, lengths: Ints, state: Floats, horizon: int, levels: Floats
    ) -> tuple[Floats, ForecastOutput]:
        """State (R, S) after `values`, and the forecast from there."""
        steps = values.shape[1] + horizon
        after, said, seasons = self._rows("service_finish", steps, values, lengths, state, horizon, levels)
        return after, (said, seasons)

    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
        """State (R, S) after `values`, and what was forecast before each of them (R, T, 1 + Q)."""
        after, said = self._rows("history", values.shape[1], values, lengths, state, levels)
        return after, said

    def read(self, state: Floats) -> Array:
        """Log-probabilities (R, 10)."""
        said: Array = self._rows("read", 1, state)
        return said

    def finish_reading(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        """State (R, S) after `rows`, and log-probabilities (R, 10) there."""
        after, said = self._rows("service_finish", rows.shape[1], rows, lengths, state)
        return after, said

    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        """State (R, S) after `rows`, and log-probabilities after each of them (R, T, 10)."""
        after, said = self._rows("trace", rows.shape[1], rows, lengths, state)
        return after, said

    def _rows(self, method: str, steps: int, first: NDArray[Any], *others: NDArray[Any] | int) -> Any:
        """What `method` answers for rows, whose arrays are `first` and `others`; many rows of many steps in shares."""
        rows = len(first)
        parts = shares(rows, steps, self._helpers.threads)
        if parts == 1:
            return self._call(method, first, *others)
        cuts = [slice(start, start + rows // parts) for start in range(0, rows, rows // parts)]
        answers = self._helpers.run(
            [
                partial(self._call, method, *(a if isinstance(a, int) else a[cut] for a in (first, *others)))
                for cut in cuts
            ]
        )
        together = isinstance(answers[0], tuple)
        return tuple(map(np.concatenate, zip(*answers, strict=True))) if together else np.concatenate(answers)

    def _call(self, method: str, *arguments: NDArray[Any] | int) -> Any:
        """What `method` answers, as arrays; see the module's docstring about how it is run."""
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            given = [each if isinstance(each, int) else self._in(each) for each in arguments]
            answer = getattr(self._module, method)(*given)
        return tuple(map(self._out, answer)) if isinstance(answer, tuple) else self._out(answer)

    def _in(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array)

    def _out(self, tensor: torch.Tensor) -> Any:
        return tensor.numpy()


class CudaNetwork(ScriptedNetwork):
    """The same on a GPU: a stream of its own, and pinned memory on the way in and out, so that nothing else waits."""

    def __init__(self, module: torch.jit.ScriptModule, manifest: Manifest, device: torch.device) -> None:
        super().__init__(module, manifest, ComputeThreads())
        self.device = device
        torch.cuda.synchronize(device)  # the weights came by the default stream
        self._stream = torch.cuda.Stream(device)

    def _call(self, method: str, *arguments: NDArray[Any] | int) -> Any:
        with torch.cuda.stream(self._stream):
            return super()._call(method, *arguments)

    def _in(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)

    def _out(self, tensor: torch.Tensor) -> Any:
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return pinned.numpy()


class LoadedModel:
    """A model that has proved itself; not thread-safe: one thread runs it."""

    def __init__(self, manifest: Manifest, network: ScriptedNetwork, shapes: ShapeBuckets) -> None:
        self.manifest = manifest
        self.network = network
        self.shapes = shapes
        self._unshared = network.unshared(), shapes if network.unshared() is network else ShapeBuckets()
        self.batch_invariant: bool | None = None  # None: not measured
        self.batch_deviation: float | None = None  # largest relative difference between row counts, 0.0 if invariant

    def stream(
        self, items: Sequence[Item], is_cancelled: IsCancelled, padding: PaddingStats, *, shared: bool = True
    ) -> Iterator[IndexedResults]:
        """One pass over `items` (see `service.backend.forecasting`); `gone(i)` says that nobody waits for item `i` any more.

        Helpers take part where it is `shared`; the answers are the same.
        """
        network, shapes = (self.network, self.shapes) if shared else self._unshared
        if self.manifest.task == "forecast":
            return forecast_batch(network, shapes, cast("Sequence[ForecastItem]", items), is_cancelled, padding)
        return read_batch(network, shapes, cast("Sequence[DigitItem]", items), is_cancelled, padding)

    def run(self, items: Sequence[Item]) -> list[Result]:
        """The results of `items` in their order; raises the first item's error where one has no sound answer."""
        results: list[Result | None] = [None] * len(items)
        for answers in self.stream(items, _nobody, PaddingStats()) if items else ():
            for index, answer in answers:
                if isinstance(answer, Exception):
                    raise answer
                results[index] = answer
        return cast("list[Result]", results)

    def prove(self, sample: golden.Sample) -> None:
        """Replay the golden sample through `run`; raises `BrokenModel` where it differs beyond the tolerance."""
        try:
            sample.compare(self.run(sample.items), self.run(sample.plain_items))
        except (RuntimeError, TypeError, ValueError, torch.jit.Error) as error:
            raise BrokenModel(f"the golden sample cannot be computed: {_last_line(error)}") from error

    def warm_up(self, sample: golden.Sample, should_continue: Callable[[], bool] = lambda: True) -> None:
        """Run every shape bucket, and pad from now on to the least shape whose bits do not depend on neighbours."""
        found = warm_up(self.network, self.shapes, sample.items, self.manifest.input.max_length, should_continue)
        self.batch_invariant, self.batch_deviation = found.exact, found.deviation
        network, shapes = self._unshared
        self.shapes = ShapeBuckets(found.least_rows, found.least_steps, self.shapes.rows)
        self._unshared = network, ShapeBuckets(found.least_rows, found.least_steps, shapes.rows)


def _nobody(_: int) -> bool:
    return False


def _last_line(error: Exception) -> str:
    """The last line of a scripted module's traceback, which is the one that names the fault."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
