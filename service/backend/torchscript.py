"""A TorchScript module as a `Network`: loaded from verified bytes, called with numpy arrays, its answers checked.

The only module of the service that uses `torch.jit`. TorchScript's optimiser is off: it gains nothing on these few
large operators, compiles every method for half a second (`forecaster`) at its first calls, and keeps 28 MB of graphs
for that. What remains is oneDNN, which prepares a primitive for each new shape (0.4 ms, 0.5 MB);
`service.backend.buckets` keeps the shapes few, and each row and each length bucket is run before the model is ready.
"""

from __future__ import annotations

import copy
import io
import re
import time
import warnings
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from service.backend.buckets import MIN_SHARD_ROWS, Ints, n_dear_shards, n_shards
from service.backend.network import Array, ForecastOutput
from service.backend.prices import CallPrices, steps_with_levels
from service.backend.program import forbidden
from service.backend.sharding import ComputeThreads
from service.contract.errors import BrokenModel, ModelFault
from service.contract.files import MAX_MODEL_BYTES, check_archive, read_verified
from service.contract.manifest import MODEL_FILE, Manifest, Task
from service.contract.types import Floats

# One call for two: each of them would release the interpreter and have to ask for it again.
FUSED_METHODS: dict[Task, str] = {
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
MODULE_ERRORS = (RuntimeError, TypeError, ValueError, torch.jit.Error)  # what calling a module may raise
NO_MEMORY = "out of memory", "can't allocate memory"  # in errors that say something of the machine, not of the module
MAX_MESSAGE = 300  # characters of a module's own words
# Types of the arguments (without `self`) and of the answer, as TorchScript names them.
SIGNATURES: dict[Task, dict[str, tuple[tuple[str, ...], str]]] = {
    "forecast": {
        "initial": (("Tensor",), "Tensor"),
        "step": (("Tensor", "Tensor", "Tensor"), "Tensor"),
        "forecast": (("Tensor", "int", "Tensor"), "Tensor"),
        "history": (("Tensor", "Tensor", "Tensor", "Tensor"), "Tuple[Tensor, Tensor]"),
        "season": (("Tensor",), "Tensor"),
    },
    "classify-digit": {
        "initial": (("int",), "Tensor"),
        "step": (("Tensor", "Tensor", "Tensor"), "Tensor"),
        "read": (("Tensor",), "Tensor"),
        "trace": (("Tensor", "Tensor", "Tensor"), "Tuple[Tensor, Tensor]"),
    },
}
MAX_CACHED_SEASONS = 1024
FLOAT64, FLOAT32, INT64 = np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.int64)


def load_module(folder: Path, manifest: Manifest, device: torch.device) -> torch.jit.ScriptModule:
    """The module in `folder`, with the fused methods added; raises `BrokenModel` when it is not the manifest's.

    The digest is taken of the bytes that torch gets: a model file is a program, and only what the manifest vouches for
    is run.
    """
    path = folder / MODEL_FILE
    data = read_verified(path, MAX_MODEL_BYTES, manifest.sha256)
    check_archive(path, data, MAX_MODEL_BYTES)
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated in favour of torch.export, which freezes the time length of a recurrent network.
            warnings.filterwarnings("ignore", r".*torch\.jit\.load.* is (deprecated|not supported)", DeprecationWarning)
            module = torch.jit.load(io.BytesIO(data), map_location=device)
    except RuntimeError as error:
        if _holds_no_program(data):
            raise BrokenModel(
                f"{path} is no TorchScript module: it holds weights or a pickled object (torch.save); write it with "
                "torch.jit.save(torch.jit.script(module), path)"
            ) from error
        raise BrokenModel(f"{path} is no TorchScript module: {error}") from error
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        fault = forbidden(archive)
    if fault is not None:
        raise BrokenModel(
            f"{path}: {fault}; a model keeps nothing between calls but the state, draws no random numbers and prints "
            "nothing (docs/models.md)"
        )
    missing = [name for name in SIGNATURES[manifest.task] if not hasattr(module, name)]
    if missing:
        raise BrokenModel(f"{path} lacks the methods {', '.join(missing)} of task {manifest.task!r}")
    for name, (arguments, answer) in SIGNATURES[manifest.task].items():
        schema = getattr(module, name).schema
        found = tuple(str(argument.type) for argument in schema.arguments[1:]), str(schema.returns[0].type)
        if found != (arguments, answer):
            raise BrokenModel(
                f"{path}: {name}{_signature(*found)} is not the contract's {name}{_signature(arguments, answer)} "
                "(docs/models.md)"
            )
    try:
        module.define(FUSED_METHODS[manifest.task])
    except RuntimeError as error:
        raise BrokenModel(f"the methods in {path} are not those of docs/models.md: {last_line(error)}") from error
    return cast("torch.jit.ScriptModule", module.eval())


def _signature(arguments: Sequence[str], answer: str) -> str:
    return f"({', '.join(arguments)}) -> {answer}"


def _holds_no_program(data: bytes) -> bool:
    """Whether an archive of torch is one of `torch.save`, which has data but no code."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        return False
    return any(name.endswith("data.pkl") for name in names) and not any("/code/" in name for name in names)


class ScriptedNetwork:
    """The methods of docs/models.md over numpy arrays; see `service.backend.network` for the letters of the shapes.

    An error of the module, or an answer of another shape or type, raises `ModelFault`; lack of memory passes as it is.
    """

    # Of the thread, so that other processes on the machine do not make a call look dear.
    _clock = staticmethod(time.thread_time)

    def __init__(self, module: torch.jit.ScriptModule, manifest: Manifest, threads: ComputeThreads) -> None:
        self.max_horizon = manifest.input.max_horizon
        self._manifest = manifest
        self._threads = threads
        self._module = module
        self._width = manifest.state.width
        self._classes = manifest.classes
        self._initial: dict[int, Floats] = {}
        self.prices = CallPrices()
        self.least_rows = MIN_SHARD_ROWS  # of a shard of `history` or `trace`
        self._calls_to_skip = 0  # before the next one that is measured

    @property
    def threads(self) -> int:
        """How many threads share its large calls."""
        return self._threads.threads

    def single_threaded(self) -> ScriptedNetwork:
        """The same network, with calls that are never split between threads."""
        if self._threads.threads == 1:
            return self
        network = copy.copy(self)
        network._threads = ComputeThreads()
        return network

    def source(self, method: str) -> str | None:
        """`file:line` where `method` begins in the program that the module was exported from, where it tells."""
        graph = str(getattr(self._module, method).graph)
        location = re.search(r"# (\S+\.py:\d+):\d+", graph)
        return location.group(1) if location else None

    def fault(self, description: str) -> ModelFault:
        """The error that takes the place of an answer which is not sound."""
        return ModelFault(self._manifest.name, self._manifest.version, description)

    def initial(self, season: int) -> Floats:
        """The state (S,) before the first observation, for a `season` (digit readers have none)."""
        state = self._initial.get(season)
        if state is None:
            if len(self._initial) >= MAX_CACHED_SEASONS:
                self._initial.clear()
            argument = np.array([season]) if self._manifest.task == "forecast" else 1
            state = cast("Floats", self._call("initial", argument)[0])
            if state.dtype != np.float64 or state.shape != (self._width,):
                raise self.fault(f"initial() is {state.dtype} {state.shape}, not float64 ({self._width},)")
            state.flags.writeable = False
            self._initial[season] = state
        return state

    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats:
        """State (R, S) after `values` (R, T, …)."""
        new_state: Floats = self._call_rows("step", values.shape[1], 0, 0, values, lengths, state)
        self._check("step()", new_state, state.shape)
        return new_state

    def forecast(self, state: Floats, horizon: int, levels: Floats) -> ForecastOutput:
        """Mean and quantiles (R, horizon, 1 + Q), and the season lengths in use (R,)."""
        forecasts, seasons = self._call_rows("service_forecast", 0, horizon, levels.shape[1], state, horizon, levels)
        self._check("forecast()", forecasts, (len(state), horizon, 1 + levels.shape[1]))
        self._check_seasons(seasons, len(state))
        return forecasts, seasons

    def finish(
        self, values: Array, lengths: Ints, state: Floats, horizon: int, levels: Floats
    ) -> tuple[Floats, ForecastOutput]:
        """State (R, S) after `values`, and the forecast from there."""
        new_state, forecasts, seasons = self._call_rows(
            "service_finish", values.shape[1], horizon, levels.shape[1], values, lengths, state, horizon, levels
        )
        self._check("step()", new_state, state.shape)
        self._check("forecast()", forecasts, (len(state), horizon, 1 + levels.shape[1]))
        self._check_seasons(seasons, len(state))
        return new_state, (forecasts, seasons)

    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
        """State (R, S) after `values`, and what was forecast before each of them (R, T, 1 + Q)."""
        new_state, forecasts = self._call_rows(
            "history", 0, values.shape[1], levels.shape[1], values, lengths, state, levels
        )
        self._check("history()", new_state, state.shape)
        self._check("history()", forecasts, (*values.shape[:2], 1 + levels.shape[1]))
        return new_state, forecasts

    def read(self, state: Floats) -> Array:
        """Log-probabilities (R, classes)."""
        logarithms: Array = self._call_rows("read", 0, 1, 0, state)
        self._check("read()", logarithms, (len(state), self._classes), FLOAT32)
        return logarithms

    def finish_reading(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        """State (R, S) after `rows`, and log-probabilities (R, classes) there."""
        new_state, logarithms = self._call_rows("service_finish", rows.shape[1], 1, 0, rows, lengths, state)
        self._check("step()", new_state, state.shape)
        self._check("read()", logarithms, (len(state), self._classes), FLOAT32)
        return new_state, logarithms

    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        """State (R, S) after `rows`, and log-probabilities after each of them (R, T, classes)."""
        new_state, logarithms = self._call_rows("trace", 0, rows.shape[1], 0, rows, lengths, state)
        self._check("trace()", new_state, state.shape)
        self._check("trace()", logarithms, (*rows.shape[:2], self._classes), FLOAT32)
        return new_state, logarithms

    def _check(self, method: str, answer: Array, shape: tuple[int, ...], dtype: np.dtype[Any] = FLOAT64) -> None:
        if answer.shape != shape:
            raise self.fault(f"{method} gave an array of shape {answer.shape}, not {shape}")
        if answer.dtype != dtype:
            raise self.fault(f"{method} gave numbers of {answer.dtype}, not {dtype}")

    def _check_seasons(self, seasons: Ints, rows: int) -> None:
        self._check("season()", seasons, (rows,), INT64)
        if min(seasons.tolist()) < 1:
            raise self.fault(f"season() gave {seasons.min()}; no season is 1")

    def _call_rows(
        self, method: str, steps: int, ahead: int, levels: int, first: Any, *more_arguments: Array | int
    ) -> Any:
        """`method` of the rows in its arguments, each of which reads `steps` steps, and answers `ahead` with `levels`.

        A call of many rows of many steps is shared by threads.
        """
        self._calls_to_skip -= 1
        started = None
        if self._calls_to_skip < 0:
            self._calls_to_skip, started = self.prices.measured_every - 1, self._clock()
        rows, threads = len(first), self._threads.threads
        shards = 1 if threads == 1 else self._n_shards(method, rows, steps + steps_with_levels(ahead, levels))
        if shards == 1:
            answer = self._call(method, first, *more_arguments)
        else:
            answer = self._call_shards(method, rows // shards, first, *more_arguments)
        if started is not None:
            self.prices.calls.append((method, rows / shards, steps, ahead, levels, self._clock() - started))
        return answer

    def _n_shards(self, method: str, rows: int, steps: float) -> int:
        threads = self._threads.threads
        shards = n_shards(rows, int(steps), threads)
        if shards == 1 and method in ("history", "trace"):
            return n_dear_shards(rows, self.prices.stepwise.seconds(rows, steps), threads, self.least_rows)
        return shards

    def _call_shards(self, method: str, shard_rows: int, *arguments: Any) -> Any:
        """`method` of `shard_rows` rows in each thread."""
        cuts = [slice(start, start + shard_rows) for start in range(0, len(arguments[0]), shard_rows)]
        answers = self._threads.run(
            [partial(self._call, method, *(a if isinstance(a, int) else a[cut] for a in arguments)) for cut in cuts]
        )
        if isinstance(answers[0], tuple):
            return tuple(map(np.concatenate, zip(*answers, strict=True)))
        return np.concatenate(answers)

    def _call(self, method: str, *arguments: Array | int) -> Any:
        """`method` of `arguments`, as arrays; the docstring of this module says how it is run."""
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            tensors = [value if isinstance(value, int) else self._to_tensor(value) for value in arguments]
            try:
                answer = getattr(self._module, method)(*tensors)
                # Inside, too: a type or layout that numpy has not is the module's fault.
                return tuple(map(self._to_array, answer)) if isinstance(answer, tuple) else self._to_array(answer)
            except MODULE_ERRORS as error:
                raise self._error(method, arguments[0], error) from error

    def _error(self, method: str, first: Array | int, error: Exception) -> Exception:
        """What takes the place of `error`, which `method` raised for arguments of which this is the `first`."""
        if any(words in str(error).lower() for words in NO_MEMORY):
            return MemoryError(last_line(error)[:MAX_MESSAGE])
        name = {"service_finish": "step() or what follows it", "service_forecast": "forecast() or season()"}
        shape = "" if isinstance(first, int) else f" for an argument of shape {first.shape}"
        return self.fault(f"{name.get(method, method + '()')} raised an error{shape}: {last_line(error)[:MAX_MESSAGE]}")

    def _to_tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array)

    def _to_array(self, tensor: torch.Tensor) -> Any:
        return tensor.numpy()


class CudaNetwork(ScriptedNetwork):
    """The same on a GPU: a stream of its own, and pinned memory on the way in and out, so that nothing else waits."""

    _clock = staticmethod(time.perf_counter)  # the thread only waits for the device

    def __init__(self, module: torch.jit.ScriptModule, manifest: Manifest, device: torch.device) -> None:
        super().__init__(module, manifest, ComputeThreads())
        self.device = device
        torch.cuda.synchronize(device)  # the weights came by the default stream
        self._stream = torch.cuda.Stream(device)

    def _call(self, method: str, *arguments: Array | int) -> Any:
        with torch.cuda.stream(self._stream):
            return super()._call(method, *arguments)

    def _to_tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)

    def _to_array(self, tensor: torch.Tensor) -> Any:
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return pinned.numpy()


def last_line(error: Exception) -> str:
    """The last line of the message of `error`: the one that names the fault in the traceback of a scripted module."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
