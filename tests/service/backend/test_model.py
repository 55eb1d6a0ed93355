"""Loading real scripted models: what is refused, and that a loaded model answers alike in any batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.backend.buckets import CHUNK
from service.backend.device import set_threads
from service.backend.model import LoadedModel, load
from service.backend.sharding import ComputeThreads
from service.contract.errors import BrokenModel, ModelFault
from service.contract.manifest import MANIFEST_FILE, MODEL_FILE, read_manifest
from service.contract.types import DigitItem, DigitResult, ForecastItem, ForecastResult, Item, PaddingStats, Result
from tests.models import LSTMDigits, LSTMForecaster, RunningMean, digits, script, series, write_model

T = TypeVar("T")
LEVELS = np.array([0.1, 0.5, 0.9])
FORECASTERS: dict[str, Callable[[], torch.nn.Module]] = {
    "mean": RunningMean,
    "lstm": LSTMForecaster,
    "wide": lambda: LSTMForecaster(64),
}
READERS: dict[str, Callable[[], torch.nn.Module]] = {"reader": LSTMDigits, "odd": lambda: LSTMDigits(20)}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    models = tmp_path_factory.mktemp("models")
    set_threads(1)
    return {name: load(write_model(models, name, make())) for name, make in {**FORECASTERS, **READERS}.items()}


def numbers(result: Result) -> list[object]:
    if isinstance(result, ForecastResult):
        return [result.mean, result.quantiles, result.history, result.state, result.season]
    return [result.probabilities, result.trace, result.rows_used, result.state]


def same_bits(a: Result, b: Result) -> bool:
    return all(
        (x is None and y is None) or np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True)
        for x, y in zip(numbers(a), numbers(b), strict=True)
    )


def forecasts(model: LoadedModel, items: list[ForecastItem]) -> list[ForecastResult]:
    return [result for result in model.run(items) if isinstance(result, ForecastResult)]


def forecast_items(rng: np.random.Generator, count: int, longest: int) -> list[Item]:
    walks = series(rng.integers(1, longest + 1, count).tolist(), seed=int(rng.integers(1 << 30)))
    return [
        ForecastItem(
            walk,
            horizon=int(rng.choice([1, 1, 2, 7, 30])),
            levels=np.sort(rng.uniform(0.01, 0.99, int(rng.integers(0, 6)))),
            season=int(rng.choice([0, 7])),
            history=bool(rng.random() < 0.3),
        )
        for walk in walks
    ]


def digit_items(rng: np.random.Generator, count: int, longest: int) -> list[Item]:
    inks = digits(rng.integers(1, longest + 1, count).tolist(), seed=int(rng.integers(1 << 30)))
    stops = [None, None, 0.3, 0.6]
    return [DigitItem(ink, trace=bool(rng.random() < 0.3), stop=rng.choice(np.array(stops))) for ink in inks]


def items_for(name: str, rng: np.random.Generator, count: int, longest: int = 2 * CHUNK + 20) -> list[Item]:
    return forecast_items(rng, count, longest) if name in FORECASTERS else digit_items(rng, count, min(longest, 64))


# The answer


@pytest.mark.parametrize("name", ["mean", "lstm", "wide", "reader"])
@settings(max_examples=8)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 40), data=st.data())
def test_an_answer_has_the_same_bits_alone_and_in_any_batch(
    loaded: dict[str, LoadedModel], name: str, seed: int, count: int, data: st.DataObject
) -> None:
    model = loaded[name]
    assert model.batch_invariant
    if name == "mean":  # a loop in TorchScript, fifty times slower than a layer
        count = min(count, 8)
    items = items_for(name, np.random.default_rng(seed), count)
    in_one_batch = model.run(items)
    order = data.draw(st.permutations(range(count)))
    shuffled = model.run([items[i] for i in order])
    singles = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=3))
    for position, i in enumerate(order):
        assert same_bits(shuffled[position], in_one_batch[i])
    for i in singles:
        assert same_bits(model.run([items[i]])[0], in_one_batch[i])


@pytest.mark.parametrize("name", ["mean", "lstm", "wide"])
@settings(max_examples=8)
@given(seed=st.integers(0, 1 << 30), length=st.integers(1, 300), data=st.data())
def test_resuming_in_any_chunking_ends_like_the_whole(
    loaded: dict[str, LoadedModel], name: str, seed: int, length: int, data: st.DataObject
) -> None:
    model = loaded[name]
    (values,) = series([length], seed)
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=5)))
    unsplit = ForecastItem(values, 4, LEVELS, season=7, history=True)
    (expected,) = forecasts(model, [unsplit])
    results: list[ForecastResult] = []
    for start, end in zip([0, *cuts], [*cuts, length], strict=True):
        if end == 0:
            continue  # a fresh series has at least one value
        state = results[-1].state if results else None
        results += forecasts(model, [replace(unsplit, values=values[start:end], state=state)])
    result = results[-1]
    assert expected.history is not None
    np.testing.assert_allclose(result.state, expected.state, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.mean, expected.mean, rtol=1e-6, atol=1e-6)
    history = np.concatenate([r.history for r in results if r.history is not None])
    np.testing.assert_allclose(history, expected.history, rtol=1e-6, atol=1e-6)
    if name == "mean":  # float64 throughout, one observation after the other: bit for bit
        assert same_bits(result, replace(expected, history=result.history))


def test_a_digit_may_be_read_in_parts(loaded: dict[str, LoadedModel]) -> None:
    model = loaded["reader"]
    (ink,) = digits([28])
    unsplit = model.run([DigitItem(ink)])[0]
    first_half = model.run([DigitItem(ink[:13])])[0]
    second_half = model.run([DigitItem(ink[13:], state=first_half.state)])[0]
    assert isinstance(unsplit, DigitResult)
    assert isinstance(second_half, DigitResult)
    np.testing.assert_allclose(second_half.probabilities, unsplit.probabilities, rtol=1e-6)
    assert (first_half.rows_used, second_half.rows_used) == (13, 15)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["mean", "lstm"])
def test_results_have_the_shapes_of_their_items(loaded: dict[str, LoadedModel], name: str) -> None:
    model = loaded[name]
    items = [i for i in items_for(name, np.random.default_rng(3), 50) if isinstance(i, ForecastItem)]
    for item, result in zip(items, model.run(items), strict=True):
        assert isinstance(result, ForecastResult)
        assert result.mean.shape == (item.horizon,)
        assert result.quantiles.shape == (len(item.levels), item.horizon)
        assert np.isfinite(result.mean).all()
        assert np.isfinite(result.quantiles).all()
        assert (np.diff(result.quantiles, axis=0) >= 0).all()
        assert result.state.shape == (model.manifest.state.width,)
        assert result.season >= 1
        if item.history:
            assert result.history is not None
            assert result.history.shape == (item.length, 1 + len(item.levels))
            assert np.isnan(result.history[0]).all()
        else:
            assert result.history is None


def test_the_running_mean_is_the_mean(loaded: dict[str, LoadedModel]) -> None:
    walks = series([1, 5, 50, 700], seed=4, missing=0.3)
    for walk, result in zip(walks, loaded["mean"].run([ForecastItem(w, 3, LEVELS) for w in walks]), strict=True):
        assert isinstance(result, ForecastResult)
        np.testing.assert_allclose(result.mean, np.nanmean(walk), rtol=1e-12)


def test_history_is_what_was_forecast_before_each_value(loaded: dict[str, LoadedModel]) -> None:
    model = loaded["lstm"]
    (walk,) = series([CHUNK + 10], seed=5, missing=0.0)
    unsplit = model.run([ForecastItem(walk, 1, LEVELS, history=True)])[0]
    assert isinstance(unsplit, ForecastResult)
    assert unsplit.history is not None
    for t in (1, 2, 50, CHUNK - 1, CHUNK, CHUNK + 9):
        shorter = model.run([ForecastItem(walk[:t], 1, LEVELS)])[0]
        assert isinstance(shorter, ForecastResult)
        np.testing.assert_allclose(unsplit.history[t], [*shorter.mean, *shorter.quantiles[:, 0]], rtol=1e-6, atol=1e-6)


def test_a_resumed_series_may_bring_nothing_new(loaded: dict[str, LoadedModel]) -> None:
    model = loaded["lstm"]
    (walk,) = series([40])
    first = model.run([ForecastItem(walk, 5, LEVELS)])[0]
    no_values = ForecastItem(walk[:0], 5, LEVELS, history=True, state=first.state)
    resumed = model.run([no_values, ForecastItem(walk, 2, LEVELS), replace(no_values, history=False)])
    for result in (resumed[0], resumed[2]):
        assert isinstance(first, ForecastResult)
        assert isinstance(result, ForecastResult)
        np.testing.assert_array_equal(result.state, first.state)
        np.testing.assert_array_equal(result.mean, first.mean)
    assert isinstance(resumed[0], ForecastResult)
    assert resumed[0].history is not None
    assert resumed[0].history.shape == (0, 4)


def test_reading_stops_at_the_first_confident_row(loaded: dict[str, LoadedModel]) -> None:
    model = loaded["reader"]
    inks = digits([28] * 30, seed=7)
    traced = [r for r in model.run([DigitItem(ink, trace=True) for ink in inks]) if isinstance(r, DigitResult)]
    stopped = [r for r in model.run([DigitItem(ink, stop=0.5) for ink in inks]) if isinstance(r, DigitResult)]
    early = 0
    for ink, full, result in zip(inks, traced, stopped, strict=True):
        assert full.trace is not None
        np.testing.assert_allclose(full.trace.sum(axis=1), 1.0, rtol=1e-12)
        np.testing.assert_array_equal(full.trace[-1], full.probabilities)
        confident = np.flatnonzero(full.trace.max(axis=1) >= 0.5)
        expected = int(confident[0]) + 1 if len(confident) else 28
        assert result.rows_used == expected
        assert result.trace is None
        np.testing.assert_array_equal(result.probabilities, full.trace[expected - 1])
        if expected < 28:
            early += 1
            assert result.probabilities.max() >= 0.5
            # The state is the one at that row: it goes on as if only those rows had been sent.
            cut = model.run([DigitItem(ink[:expected], trace=True)])[0]
            np.testing.assert_allclose(result.state, cut.state, rtol=1e-6, atol=1e-7)
    assert 0 < early < 30


def test_cancelled_items_are_not_answered_and_others_are(loaded: dict[str, LoadedModel]) -> None:
    model = loaded["mean"]
    items = [ForecastItem(walk, 1, LEVELS) for walk in series([10, 5 * CHUNK, 10, 5 * CHUNK])]
    answered: list[int] = []
    cancelled = {2}
    for calls, answers in enumerate(model.run_batch(items, lambda: cancelled, 4, PaddingStats())):
        answered += [i for i, _ in answers]
        if calls == 2:
            cancelled.add(1)
    assert sorted(answered) == [0, 3]


def test_short_series_are_answered_before_long_ones(loaded: dict[str, LoadedModel]) -> None:
    model = loaded["lstm"]
    items = [ForecastItem(walk, 1, LEVELS) for walk in series([9 * CHUNK, 10, 3 * CHUNK, 20])]
    order = [i for answers in model.run_batch(items, tuple, 1, PaddingStats()) for i, _ in answers]
    assert (set(order[:2]), order[2:]) == ({1, 3}, [2, 0])


def test_items_are_priced_by_the_calls_of_the_warm_up(loaded: dict[str, LoadedModel]) -> None:
    # What costs more than what is tested in test_estimate.py: here the prices are measured, on whatever machine.
    model, plain = loaded["lstm"], ForecastItem(np.ones(10), 1, LEVELS)
    assert model.seconds([plain], 10) > 0
    assert model.seconds([replace(plain, history=True)], 10) > 0
    assert model.seconds([plain] * 100, 1000) == pytest.approx(100 * model.seconds([plain], 10))


def test_digits_are_priced_by_rows_and_by_whether_each_row_is_answered(loaded: dict[str, LoadedModel]) -> None:
    ink = np.zeros((28, 28), np.float32)
    model = loaded["reader"]
    plain, traced, stopped = (
        model.seconds([item], 28) for item in (DigitItem(ink), DigitItem(ink, trace=True), DigitItem(ink, stop=0.9))
    )
    assert plain > 0
    assert 0 < traced < stopped


def test_no_items_have_no_results(loaded: dict[str, LoadedModel]) -> None:
    assert loaded["mean"].run([]) == []


def test_padding_is_counted(loaded: dict[str, LoadedModel]) -> None:
    padding = PaddingStats()
    items = [ForecastItem(walk, 1, LEVELS) for walk in series([110, 300])]
    for _ in loaded["mean"].run_batch(items, tuple, 1, padding):
        pass
    assert padding.real == 410
    assert 410 <= padding.computed < 2 * 410


class Faulty(RunningMean):
    """Forecasts infinity once it has seen 13."""

    @torch.jit.export
    def forecast(self, state: torch.Tensor, horizon: int, levels: torch.Tensor) -> torch.Tensor:
        answer = torch.cat((state[:, 1:2], state[:, 1:2] + levels), 1).unsqueeze(1).repeat(1, horizon, 1)
        return torch.where((state[:, 1] == 13.0)[:, None, None], torch.full_like(answer, float("inf")), answer)


def test_an_answer_that_is_not_finite_is_a_fault_of_that_item_alone(tmp_path: Path) -> None:
    model = load(write_model(tmp_path, "faulty", Faulty(), version=7), warm=False)
    items = [ForecastItem(np.array([v]), 2, LEVELS) for v in (1.0, 13.0, 2.0)]
    answers = dict(a for answers in model.run_batch(items, tuple, 3, PaddingStats()) for a in answers)
    fault = answers[1]
    assert isinstance(fault, ModelFault)
    assert (fault.code, fault.log_fields) == ("model_fault", {"model": "faulty", "version": 7})
    assert fault.detail == "model faulty@7 gave no sound answer: its forecast is not finite"
    assert isinstance(answers[0], ForecastResult)
    assert isinstance(answers[2], ForecastResult)
    for items_of_run in (items, items[1:2]):
        with pytest.raises(ModelFault, match="faulty@7"):
            model.run(items_of_run)


def test_finite_values_that_overflow_in_the_model_are_its_fault(loaded: dict[str, LoadedModel]) -> None:
    with pytest.raises(ModelFault, match="mean@1"):
        loaded["mean"].run([ForecastItem(np.array([1.7e308, -1.7e308]), 1, LEVELS)])


# Row counts


class Neighbourly(RunningMean):
    """Every answer depends on what else is in the batch."""

    @torch.jit.export
    def forecast(self, state: torch.Tensor, horizon: int, levels: torch.Tensor) -> torch.Tensor:
        count, mean = state[:, 0:1], state[:, 1:2] * (1.0 + 1e-9 * state.size(0))
        unseen = torch.full_like(count, float("nan"))
        return torch.where(count > 0, torch.cat((mean, mean + levels), 1), unseen).unsqueeze(1).repeat(1, horizon, 1)


class Small(RunningMean):
    """Differs in batches of fewer than five rows, as kernels for few rows do."""

    @torch.jit.export
    def forecast(self, state: torch.Tensor, horizon: int, levels: torch.Tensor) -> torch.Tensor:
        factor = 1.0 + (1e-12 if state.size(0) < 5 else 0.0)
        mean = state[:, 1:2] * factor
        return torch.cat((mean, mean + levels), 1).unsqueeze(1).repeat(1, horizon, 1)


def test_the_least_row_count_is_found_and_kept(tmp_path: Path) -> None:
    model = load(write_model(tmp_path, "small", Small()))
    assert model.batch_invariant
    assert model.shapes.least_rows == 8
    items = [ForecastItem(walk, 2, LEVELS) for walk in series([5] * 20)]
    assert all(same_bits(model.run([i])[0], r) for i, r in zip(items, model.run(items), strict=True))


def test_a_model_whose_rows_see_each_other_is_served_with_a_bound(tmp_path: Path) -> None:
    model = load(write_model(tmp_path, "neighbourly", Neighbourly()))
    assert model.batch_invariant is False
    assert model.batch_deviation == pytest.approx(1.27e-7, rel=0.01)


def test_odd_widths_are_measured_honestly(loaded: dict[str, LoadedModel]) -> None:
    model = loaded["odd"]  # rows of 20 floats are not aligned, so their kernels may depend on the place in the batch
    items = items_for("odd", np.random.default_rng(1), 60)
    in_one_batch = model.run(items)
    one_by_one = [model.run([item])[0] for item in items]
    if model.batch_invariant:
        assert all(same_bits(a, b) for a, b in zip(one_by_one, in_one_batch, strict=True))
    for a, b in zip(one_by_one, in_one_batch, strict=True):
        np.testing.assert_allclose(a.state, b.state, rtol=1e-4, atol=1e-6)


# Loading


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def replace_module(folder: Path, data: bytes) -> None:
    """Another model.pt, with its digest in the manifest."""
    (folder / MODEL_FILE).write_bytes(data)
    read_manifest(folder).model_copy(update={"sha256": hashlib.sha256(data).hexdigest()}).write(folder)


class Empty(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Raising(RunningMean):
    @torch.jit.export
    def step(self, values: torch.Tensor, lengths: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        assert values.size(1) < 0, "no step today"
        return state


class Float32(RunningMean):
    @torch.jit.export
    def initial(self, season: torch.Tensor) -> torch.Tensor:
        return torch.zeros((season.size(0), 4))


class Shifted(RunningMean):
    @torch.jit.export
    def step(self, values: torch.Tensor, lengths: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        for t in range(values.size(1)):
            state = self._observe(values[:, t] + 1.0, lengths > t, state)
        return state


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "does not exist"),
        (lambda folder: (folder / MODEL_FILE).unlink(), "does not exist"),
        (lambda folder: flip(folder / MODEL_FILE, 700), "is not what the manifest describes: sha256"),
        (lambda folder: replace_module(folder, b"PK nonsense"), "is no TorchScript module"),
        (lambda folder: replace_module(folder, script(Empty())), "lacks the methods initial, step"),
        (lambda folder: replace_module(folder, script(Raising())), "golden sample cannot be computed"),
        (lambda folder: replace_module(folder, script(Float32())), "float32"),
        (lambda folder: replace_module(folder, script(Shifted())), "differs from what training recorded"),
        (lambda folder: replace_module(folder, script(LSTMForecaster())), "golden sample|state|initial"),
    ],
)
def test_a_spoilt_folder_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = write_model(tmp_path, "mean", RunningMean())
    spoil(folder)
    with pytest.raises(BrokenModel, match=message):
        load(folder)


# Threads and devices


def test_threads_share_the_batches_of_few_requests_with_many_items(tmp_path: Path) -> None:
    threads = Counted(2)
    model = load(write_model(tmp_path, "mean", RunningMean()), warm=False, threads=threads)
    items = [ForecastItem(walk, 1, LEVELS) for walk in series([40] * 128)]
    for n_requests, shared in ((1, True), (4, True), (5, False), (128, False)):
        threads.shared = 0
        for _ in model.run_batch(items, tuple, n_requests, PaddingStats()):
            pass
        assert bool(threads.shared) is shared


class Counted(ComputeThreads):
    """Counts the calls that threads shared."""

    shared = 0

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        self.shared += 1
        return super().run(tasks)


@pytest.mark.parametrize("name", ["lstm", "wide", "reader"])
def test_threads_that_share_a_call_change_no_bit(loaded: dict[str, LoadedModel], tmp_path: Path, name: str) -> None:
    threads = Counted(3)
    shared = load(write_model(tmp_path, name, {**FORECASTERS, **READERS}[name]()), threads=threads)
    assert shared.batch_invariant
    n_shared, rng = threads.shared, np.random.default_rng(5)
    for count in (64, 150, 500):
        items = items_for(name, rng, count, longest=20 if name in FORECASTERS else 60)
        for expected, result in zip(loaded[name].run(items), shared.run(items), strict=True):
            assert same_bits(expected, result)
    assert threads.shared > n_shared


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["mean", "lstm", "reader"])
def test_a_gpu_answers_as_the_cpu_does(loaded: dict[str, LoadedModel], tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path, name, {**FORECASTERS, **READERS}[name]())
    model = load(folder, "cuda")
    items = items_for(name, np.random.default_rng(8), 80)
    on_gpu, on_cpu = model.run(items), loaded[name].run(items)
    for a, b in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(a.state, b.state, rtol=1e-3, atol=1e-4)
    if model.batch_invariant:
        assert all(same_bits(model.run([item])[0], r) for item, r in zip(items[:10], on_gpu, strict=False))
