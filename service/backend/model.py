"""A model folder as something that answers items: verified, loaded, proved against its golden sample, warmed up."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from service.backend import golden
from service.backend.buckets import MIN_SHARD_ROWS, ROWS, CallLimits, ShapeBuckets, rows_for_threads
from service.backend.checks import refuse_breaches
from service.backend.chunks import CancelledRows
from service.backend.device import resolve_device
from service.backend.estimate import expected_seconds
from service.backend.forecasting import forecast_batch
from service.backend.network import IndexedResults
from service.backend.reading import read_batch
from service.backend.sharding import ComputeThreads
from service.backend.torchscript import MODULE_ERRORS, CudaNetwork, ScriptedNetwork, last_line, load_module
from service.backend.warmup import MAX_LEAST_ROWS, MAX_LEAST_STEPS, rows_before_warm_up, warm_up
from service.contract.errors import BrokenModel, ModelFault
from service.contract.manifest import Manifest, read_manifest
from service.contract.model_signatures import TrustedKeys
from service.contract.types import DigitItem, ForecastItem, Item, PaddingStats, Result

MAX_DEVIATION = 1e-2  # between batches of other sizes; kernels differ in the last bits, not in the first digits
CUDA_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def load(
    folder: Path,
    device: str | torch.device = "cpu",
    *,
    warm: bool = True,
    threads: ComputeThreads | None = None,
    trusted: TrustedKeys | None = None,
) -> LoadedModel:
    """Verify, load, prove and, if `warm`, warm up the model in `folder`; on a CPU `threads` share its large calls.

    With `trusted`, one of these keys must have signed the manifest, and so the digests of all that is loaded.

    Raises `BrokenModel` when manifest, digest, module or golden sample do not agree. Warming up takes seconds.
    """
    model, sample = _load_proved(folder, device, threads, trusted)
    if warm:
        model.warm_up(sample)
    return model


def load_served(
    folder: Path,
    device: str | torch.device = "cpu",
    *,
    threads: ComputeThreads | None = None,
    trusted: TrustedKeys | None = None,
) -> LoadedModel:
    """`load` without the warm-up, for a service that answers before it is over: see `LoadedModel.pad_safely`."""
    model, sample = _load_proved(folder, device, threads, trusted)
    try:
        model.pad_safely(sample)
    except MODULE_ERRORS as error:
        raise BrokenModel(f"it fails for a batch of {MAX_LEAST_ROWS} rows: {last_line(error)}") from error
    return model


def _load_proved(
    folder: Path, device: str | torch.device, threads: ComputeThreads | None, trusted: TrustedKeys | None
) -> tuple[LoadedModel, golden.Sample]:
    """The model in `folder`, verified and proved by its golden sample."""
    model = open_model(folder, device, threads, trusted)
    manifest = model.manifest
    sample = golden.read(folder, manifest)
    try:
        model.self_test(sample)
    except BrokenModel as error:
        refuse_breaches(model.network, manifest, because=f"{error.detail}; ")  # the likely cause, where one is found
        raise
    refuse_breaches(model.network, manifest)
    model.network.prices.calls.clear()  # first calls of a shape tell nothing of its price
    return model, sample


def warm_up_served(model: LoadedModel, folder: Path, should_continue: Callable[[], bool] = lambda: True) -> None:
    """Warm up `model`, which `load_served` loaded from `folder`, while it answers already.

    Raises `Unavailable` as soon as `should_continue()` is false, `BrokenModel` where it fails for a shape.
    """
    try:
        model.warm_up(golden.read(folder, model.manifest), should_continue)
    except MODULE_ERRORS as error:
        raise BrokenModel(f"it fails where it is warmed up: {last_line(error)}") from error


def open_model(
    folder: Path,
    device: str | torch.device = "cpu",
    threads: ComputeThreads | None = None,
    trusted: TrustedKeys | None = None,
) -> LoadedModel:
    """The model in `folder`, its files verified, but neither proved nor warmed up; see `load`."""
    manifest = read_manifest(folder, trusted)
    device = resolve_device(device)
    module = load_module(folder, manifest, device)
    if device.type == "cuda":
        return LoadedModel(manifest, CudaNetwork(module, manifest, device), ShapeBuckets(rows=CUDA_ROWS))
    threads = threads or ComputeThreads()
    shapes = ShapeBuckets(rows=rows_for_threads(threads.threads))
    return LoadedModel(manifest, ScriptedNetwork(module, manifest, threads), shapes)


class LoadedModel:
    """A model that is ready to run batches; not thread-safe: one thread at a time runs it."""

    def __init__(self, manifest: Manifest, network: ScriptedNetwork, shapes: ShapeBuckets) -> None:
        self.manifest = manifest
        self.network = network
        self.shapes = shapes
        self._rows = shapes.rows  # of calls, the fewest included
        single = network.single_threaded()
        self._single_threaded = single, shapes if single is network else ShapeBuckets()
        self.seconds = functools.partial(expected_seconds, network)  # of items, and their observations
        self.batch_invariant: bool | None = None  # None: not measured
        self.batch_deviation: float | None = None  # largest relative difference between row counts, 0.0 if invariant

    def speed(self) -> float:
        """Seconds of work, as `seconds` counts them, that it does in a second at most; infinite before its warm-up."""
        return self.network.threads if self.network.prices.is_fitted else math.inf

    def run_batch(
        self, items: Sequence[Item], cancelled: CancelledRows, n_requests: int, padding: PaddingStats
    ) -> Iterator[IndexedResults]:
        """The answers to `items` of `n_requests` requests, call by call; their steps are added to `padding`.

        `cancelled()` are the indices of items that need no answer any more. Many requests keep the event loop busy: a
        helper thread would take its CPU, and contend for the interpreter with it. So threads share the calls of few
        requests with many items only; the answers are the same.
        """
        sharded = len(items) >= MIN_SHARD_ROWS * n_requests
        network, shapes = (self.network, self.shapes) if sharded else self._single_threaded
        if self.manifest.task == "forecast":
            return forecast_batch(network, shapes, cast("Sequence[ForecastItem]", items), cancelled, padding)
        return read_batch(network, shapes, cast("Sequence[DigitItem]", items), cancelled, padding)

    def run(self, items: Sequence[Item]) -> list[Result]:
        """The results of `items` in their order; raises the first item's error where one has no sound answer."""
        results: list[Result | None] = [None] * len(items)
        for answers in self.run_batch(items, lambda: (), 1, PaddingStats()) if items else ():
            for index, answer in answers:
                if isinstance(answer, Exception):
                    raise answer
                results[index] = answer
        return cast("list[Result]", results)

    def self_test(self, sample: golden.Sample) -> None:
        """Replay the golden sample through `run`; raises `BrokenModel` where it differs beyond the tolerance."""
        try:
            sample.compare(self.run(sample.items), self.run(sample.plain_items))
        except (*MODULE_ERRORS, ModelFault) as error:
            raise BrokenModel(f"the golden sample cannot be computed: {last_line(error)}") from error

    def pad_safely(self, sample: golden.Sample) -> None:
        """Pad every call until the warm-up to rows and steps from which on kernels agree, as far as a few calls tell:
        the answers have the same bits as after it, unless kernels agree only beyond these."""
        rows = rows_before_warm_up(self.network, sample.items, self.manifest.input.max_length)
        limits = CallLimits(stepwise=self.network.prices.stepwise, threads=self.network.threads)
        self._pad(rows, MAX_LEAST_STEPS, limits)

    def _pad(self, least_rows: int, least_steps: int, limits: CallLimits) -> None:
        self.shapes = ShapeBuckets(least_rows, least_steps, self._rows, limits)
        network, _ = self._single_threaded
        rows = self._rows if network is self.network else ROWS
        self._single_threaded = network, ShapeBuckets(least_rows, least_steps, rows, replace(limits, threads=1))

    def warm_up(self, sample: golden.Sample, should_continue: Callable[[], bool] = lambda: True) -> None:
        """Run every shape bucket, and pad from then on to the least shape with bits independent of neighbours."""
        shapes, max_length = ShapeBuckets(rows=self._rows), self.manifest.input.max_length
        invariance = warm_up(self.network, shapes, sample.items, max_length, should_continue)
        if invariance.deviation > MAX_DEVIATION:
            raise BrokenModel(
                f"its answers depend on what else is in a batch, by {invariance.deviation:.2g} of their size "
                "(docs/models.md: a row's result depends on that row alone)"
            )
        prices = self.network.prices
        prices.fit()
        least_rows = invariance.least_rows
        limits = CallLimits(prices.step, prices.stepwise, prices.readout, self.network.threads, least_rows)
        self.network.least_rows = least_rows
        self._pad(invariance.least_rows, invariance.least_steps, limits)
        self.batch_invariant, self.batch_deviation = invariance.exact, invariance.deviation
