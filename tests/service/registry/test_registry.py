"""The registry over real folders of tiny models."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from service.backend.chunks import CancelledRows
from service.backend.model import LoadedModel, load, warm_up_served
from service.backend.network import IndexedResults
from service.batching.queue import Limits
from service.contract.errors import BrokenModel, DeadlineExceeded, InvalidRequest, Unavailable, UnknownModel
from service.contract.manifest import MANIFEST_FILE, MODEL_FILE
from service.contract.types import DigitItem, DigitResult, ForecastItem, ForecastResult, Item, PaddingStats
from service.registry.registry import Registry
from service.registry.repository import Repository, scan
from service.runtime.fair_share import ANONYMOUS
from tests.models import LSTMDigits, LSTMForecaster, RunningMean, digits, series, write_model

LEVELS = np.array([0.1, 0.5, 0.9])
TIMEOUT = 30.0  # seconds; reached only by a test that fails


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """forecaster 1, 2 and a spoilt 3; digits 1; mean 1; a broken manifest."""
    models = tmp_path_factory.mktemp("models")
    write_model(models, "forecaster", LSTMForecaster())
    write_model(models, "forecaster", LSTMForecaster(seed=1), version=2)
    spoil(write_model(models, "forecaster", LSTMForecaster(), version=3))
    write_model(models, "digits", LSTMDigits())
    write_model(models, "mean", RunningMean())
    (write_model(models, "mean", RunningMean(), version=2) / MANIFEST_FILE).write_text("{}")
    return models


def spoil(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(bytes(data))


@contextlib.asynccontextmanager
async def starting(models: Path, **options: object) -> AsyncIterator[Registry]:
    options = {"load": load_unwarmed, **options}
    registry = Registry(models, device="cpu", threads=1, **options)  # type: ignore[arg-type]
    await registry.start()
    try:
        yield registry
    finally:
        await registry.close()


@contextlib.asynccontextmanager
async def running(models: Path, **options: object) -> AsyncIterator[Registry]:
    async with starting(models, **options) as registry:
        await registry.loaded()
        yield registry


@functools.cache
def load_unwarmed(folder: Path, device: str) -> LoadedModel:
    """Without warm-up, and once for all tests: what is compared here are names and states."""
    return load(folder, device, warm=False)


def forecast(length: int = 20, horizon: int = 3) -> ForecastItem:
    return ForecastItem(series([length])[0], horizon, LEVELS)


async def test_threads_that_share_large_calls_live_as_long_as_the_registry(models: Path) -> None:
    earlier_threads = set(threading.enumerate())
    registry = Registry(models, device="cpu", threads=3, load=load_unwarmed)
    await registry.start()
    await registry.loaded()
    helpers = [t for t in set(threading.enumerate()) - earlier_threads if t.name.startswith("inference-helper")]
    await registry.close()
    for thread in helpers:
        thread.join(5.0)
    assert len(helpers) == 2
    assert not any(thread.is_alive() for thread in helpers)


@pytest.mark.parametrize("seconds", [0.0, 0.3])  # before the folder of models was looked at, and after
async def test_a_broken_torch_is_a_reason_not_to_be_ready(
    models: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    def broken(_device: str) -> str:
        time.sleep(seconds)
        raise ImportError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr("service.registry.registry.resolve_device", broken)
    async with running(models) as registry:
        assert not registry.ready
        assert "no model can be loaded: libtorch.so: cannot open shared object file" in registry.health().reasons


async def test_a_device_that_is_absent_is_told_at_once(models: Path) -> None:
    with pytest.raises(ValueError, match="device 'cuda:77' was asked for"):
        await Registry(models, device="cuda:77").start()


async def test_models_are_found_loaded_and_served(models: Path) -> None:
    async with running(models, load=load) as registry:
        states = {served.reference: served.state for served in registry.models()}
        assert states == {
            "digits@1": "ready",
            "forecaster@1": "ready",
            "forecaster@2": "ready",
            "forecaster@3": "failed",
            "mean@1": "ready",
            "mean@2": "failed",
        }
        outcome = await registry.get("forecaster").submit([forecast(), forecast(5, 1)], time.monotonic() + 10)
        assert [len(r.mean) for r in outcome.results if isinstance(r, ForecastResult)] == [3, 1]
        assert outcome.queue_seconds >= 0
        assert outcome.compute_seconds > 0
        (read,) = (await registry.get("digits").submit([DigitItem(digits([28])[0])])).results
        assert isinstance(read, DigitResult)
        digits_version = registry.models()[0]
        assert digits_version.batch_invariant
        assert digits_version.batch_deviation == 0.0
        assert all((s.load_seconds or 0) > 0 for s in registry.models() if s.state == "ready")


async def test_a_name_means_its_highest_ready_version(models: Path) -> None:
    async with running(models) as registry:
        assert registry.get("forecaster").manifest.version == 2
        assert registry.get("forecaster@1").manifest.version == 1
        assert registry.get("forecaster") is registry.get("forecaster@2")
        assert registry.get("mean").manifest.version == 1


async def test_a_pinned_version_that_is_not_there_is_told(models: Path) -> None:
    async with running(models, pins={"forecaster": 9, "mean": 1}) as registry:
        assert registry.get("forecaster").manifest.version == 2
        told = [warning for warning in registry.health().warnings if "bare name" in warning]
        assert told == ["forecaster@9: the bare name is to mean this version, and it is not there"]


async def test_unknown_references(models: Path) -> None:
    cases = [
        ("forecastr", "model_not_found", "did you mean 'forecaster'"),
        ("zzz", "model_not_found", "there are digits, forecaster, mean"),
        ("", "model_not_found", "there is no model ''"),
        ("@1", "model_not_found", "there is no model ''"),
        ("forecaster@9", "version_not_found", "it has 1, 2, 3"),
        ("forecaster@01", "version_not_found", "no version '01'"),
        ("forecaster@", "version_not_found", "no version ''"),
        ("forecaster@latest", "version_not_found", "no version 'latest'"),
        ("x" * 10_000, "model_not_found", "there is no model"),
    ]
    async with running(models) as registry:
        for reference, code, words in cases:
            with pytest.raises(UnknownModel) as error:
                registry.get(reference)
            assert error.value.code == code
            assert words in error.value.detail
            assert len(error.value.detail) < 300


async def test_a_failed_version_says_so_and_the_service_lives_on(models: Path) -> None:
    async with running(models) as registry:
        for reference in ("forecaster@3", "mean@2"):
            with pytest.raises(Unavailable) as error:
                registry.get(reference)
            assert error.value.code == "model_not_ready"
            assert error.value.retry_after
            assert f"model {reference} is not served: " in error.value.detail
        health = registry.health()
        assert registry.ready
        assert health.reasons == ()
        assert [warning.partition(":")[0] for warning in health.warnings] == ["forecaster@3", "mean@2"]
        assert "is not what the manifest describes" in health.warnings[0]
        broken = next(s for s in registry.models() if s.reference == "mean@2")
        assert broken.manifest is None


async def test_without_any_version_of_a_default_name_it_is_not_ready(tmp_path: Path) -> None:
    spoil(write_model(tmp_path, "forecaster", RunningMean()))
    write_model(tmp_path, "digits", LSTMDigits())
    async with running(tmp_path) as registry:
        assert not registry.ready
        assert registry.health().reasons == ("no version of forecaster could be loaded",)
        assert registry.get("digits").manifest.name == "digits"


async def test_a_folder_with_other_names_only_becomes_ready(tmp_path: Path) -> None:
    write_model(tmp_path, "mine", RunningMean())
    async with running(tmp_path) as registry:
        assert registry.ready


async def test_nothing_to_serve_is_not_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as registry:
        assert registry.health().reasons == (f"there are no models in {tmp_path}",)
        with pytest.raises(Unavailable, match="the models are not there") as error:
            registry.get("forecaster")
        assert (error.value.code, error.value.retry_after) == ("model_not_ready", 60.0)
    async with running(tmp_path / "absent") as registry:
        assert not registry.ready
        assert "cannot be read" in registry.health().reasons[0]
        with pytest.raises(Unavailable) as error:  # not 404: the model may well exist
            registry.get("forecaster@1")
        assert str(tmp_path) not in error.value.detail  # the reason is the operator's, not the caller's
    logged = [record.message for record in caplog.records if "RITMO_MODELS" in record.message]
    assert len(logged) == 2
    assert f"there are no models in {tmp_path}" in logged[0]
    assert f"{tmp_path / 'absent'} cannot be read" in logged[1]
    spoil(write_model(tmp_path, "mine", RunningMean()))
    async with running(tmp_path) as registry:
        assert registry.health().reasons == ("no model could be loaded",)


async def test_the_event_loop_turns_while_models_load(models: Path) -> None:
    started, go = threading.Event(), threading.Event()
    order: list[str] = []

    def load_slowly(folder: Path, device: str) -> LoadedModel:
        order.append(f"{folder.parent.name}@{folder.name}")
        started.set()
        assert go.wait(10)
        return load_unwarmed(folder, device)

    registry = Registry(models, device="cpu", threads=1, load=load_slowly)
    assert not registry.ready
    await registry.start()
    assert await asyncio.to_thread(started.wait, 10)
    with pytest.raises(Unavailable, match="is being loaded") as error:
        registry.get("forecaster")
    assert error.value.retry_after == 1.0
    assert "forecaster@2 is being loaded" in registry.health().reasons
    go.set()
    await registry.loaded()
    assert order == ["forecaster@3", "forecaster@2", "forecaster@1", "digits@1", "mean@1"]
    assert registry.ready
    await registry.close()


@pytest.mark.parametrize(
    ("error", "reason", "has_traceback"),
    [
        (ZeroDivisionError("secret"), "ZeroDivisionError while it was loaded", True),
        (
            MemoryError("you tried to allocate 9 bytes"),
            "there was no memory to load it: you tried to allocate 9 bytes",
            False,
        ),
    ],
    ids=["unexpected", "a lack of memory"],
)
async def test_an_error_fails_that_model_alone(
    error: Exception, reason: str, has_traceback: bool, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def erratic(folder: Path, device: str) -> LoadedModel:
        if folder.parent.name == "mean":
            raise error
        return load_unwarmed(folder, device)

    async with running(models, load=erratic) as registry:
        failed = next(s for s in registry.models() if s.reference == "mean@1")
        assert (failed.state, failed.reason) == ("failed", reason)
        assert registry.get("digits").manifest.name == "digits"
        assert any(record.exc_info for record in caplog.records) == has_traceback


async def test_closing_while_models_load(models: Path) -> None:
    started, go = threading.Event(), threading.Event()

    def endless(folder: Path, device: str) -> LoadedModel:
        started.set()
        go.wait(10)
        raise InvalidRequest("closed meanwhile", code="wrong_type")

    registry = Registry(models, device="cpu", threads=1, load=endless)
    await registry.start()
    await asyncio.to_thread(started.wait, 10)
    await asyncio.wait_for(registry.close(), 5)
    go.set()


async def test_draining_gives_up_what_is_being_loaded(models: Path) -> None:
    registry = Registry(models, device="cpu", threads=1)
    await registry.start()
    registry.drain()
    await asyncio.wait_for(registry.loaded(), 10)
    assert {served.state for served in registry.models()} <= {"loading", "failed"}
    await registry.close()


async def test_draining_makes_it_not_ready_while_it_still_answers(models: Path) -> None:
    async with running(models) as registry:
        registry.drain()
        assert registry.health().reasons == ("the service is going down",)
        assert len((await registry.get("mean").submit([forecast()])).results) == 1
    with pytest.raises(Unavailable) as error:
        await registry.get("mean").submit([forecast()])
    assert error.value.code == "draining"


async def test_limits_and_deadlines_reach_the_queue(models: Path) -> None:
    async with running(models, limits=Limits(queue_items=2)) as registry:
        served = registry.get("mean")
        with pytest.raises(DeadlineExceeded):
            await served.submit([forecast()], time.monotonic() - 1)
        admitted = [served.submit([forecast(400)]) for _ in range(2)]
        with pytest.raises(Unavailable) as error:
            served.submit([forecast(400)])
        assert error.value.code == "queue_full"
        await asyncio.gather(*admitted)


class Mortal(LoadedModel):
    """Kills the thread that runs it, once."""

    killed = False

    def run_batch(
        self, items: Sequence[Item], cancelled: CancelledRows, n_requests: int, padding: PaddingStats
    ) -> Iterator[IndexedResults]:
        if not self.killed:
            self.killed = True
            raise SystemExit
        return super().run_batch(items, cancelled, n_requests, padding)


async def test_a_dead_thread_shows_in_health(models: Path) -> None:
    def mortal(folder: Path, device: str) -> LoadedModel:
        model = load_unwarmed(folder, device)
        return Mortal(model.manifest, model.network, model.shapes)

    async with running(models, load=mortal) as registry:
        with pytest.raises(RuntimeError, match="thread died"):
            await registry.get("mean").submit([forecast()])
        assert len((await registry.get("mean").submit([forecast()])).results) == 1
        assert registry.ready
        assert "the inference thread died and was replaced 1 times" in registry.health().warnings
        registry.metrics.refresh()
        assert b"ritmo_inference_thread_restarts_total 1.0" in registry.metrics.render()
    assert "the inference thread is not running" in registry.health().reasons


async def test_the_work_that_waits_shows_in_seconds(models: Path) -> None:
    async with running(models) as registry:
        registry.get("mean").queue._owner.share.claim(ANONYMOUS, 0.1, 2.5)  # as a request of 2.5 seconds does
        assert registry.queued_work_seconds == 2.5
        registry.metrics.refresh()
        assert b"ritmo_queued_work_seconds 2.5\n" in registry.metrics.render()


async def test_what_is_served_is_counted(models: Path) -> None:
    async with running(models) as registry:
        await registry.get("mean").submit([forecast(), forecast()])
        await registry.get("mean@1").submit([forecast()])
    registry.metrics.refresh()
    page = registry.metrics.render().decode()
    assert 'ritmo_batch_items_sum{model="mean"} 3.0' in page
    assert 'ritmo_queue_seconds_count{model="mean"} 2.0' in page
    assert 'ritmo_steps_total{kind="real",model="mean"} 60.0' in page
    assert 'ritmo_queue_items{model="mean"} 0.0' in page
    assert 'ritmo_model_state{model="forecaster",state="failed",version="3"} 1.0' in page


async def test_names_whose_folder_cannot_be_read_are_unavailable(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scan_unreadable(folder: Path) -> Repository:
        return Repository(scan(folder).versions, {"hidden": "hidden cannot be read: Permission denied"})

    monkeypatch.setattr("service.registry.registry.scan", scan_unreadable)
    async with running(models) as registry:
        with pytest.raises(Unavailable) as error:
            registry.get("hidden")
        assert error.value.code == "model_not_ready"
        with pytest.raises(UnknownModel):
            registry.get("absent")
        assert "hidden: hidden cannot be read: Permission denied" in registry.health().warnings


async def test_before_the_models_have_been_looked_for_none_is_unknown(models: Path) -> None:
    started, go_on = threading.Event(), threading.Event()

    def scan_slowly(folder: Path) -> Repository:
        started.set()
        assert go_on.wait(10)
        return scan(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.registry.registry.scan", scan_slowly)
        async with starting(models) as registry:
            assert await asyncio.to_thread(started.wait, 10)
            with pytest.raises(Unavailable) as error:
                registry.get("forecaster")
            assert error.value.retry_after == 1.0
            assert registry.health().reasons == ("the models have not been looked for yet",)
            go_on.set()
            await registry.loaded()
            assert registry.ready


async def test_others_become_ready_while_a_model_takes_long(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.registry.registry.OVERLAP_SECONDS", 0.01)
    go_on = threading.Event()

    def slow(folder: Path, device: str) -> LoadedModel:
        if folder.parent.name == "forecaster":
            assert go_on.wait(TIMEOUT)
        return load_unwarmed(folder, device)

    def waiting(registry: Registry) -> list[str]:
        return [v.reference for v in registry.models() if v.state == "loading" and v.name != "forecaster"]

    async with starting(models, load=slow) as registry:
        async with asyncio.timeout(TIMEOUT):
            while not registry.models() or waiting(registry):  # noqa: ASYNC110 (a state of a version is no event)
                await asyncio.sleep(0.01)
        states = {v.version: v.state for v in registry.models() if v.name == "forecaster"}
        assert states == {1: "loading", 2: "loading", 3: "loading"}
        assert not registry.health().ready
        go_on.set()
        await registry.loaded()
        assert registry.get("forecaster").manifest.version == 2


async def test_a_model_that_takes_longer_than_it_may_has_failed(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.registry.registry.OVERLAP_SECONDS", 0.01)
    go_on = threading.Event()

    def hanging(folder: Path, device: str) -> LoadedModel:
        if (folder.parent.name, folder.name) == ("forecaster", "2"):
            assert go_on.wait(TIMEOUT)
        return load_unwarmed(folder, device)

    async with starting(models, load=hanging, load_seconds=2.0) as registry:
        await registry.loaded()
        (late,) = (v for v in registry.models() if (v.name, v.version) == ("forecaster", 2))
        assert (late.state, late.reason) == ("failed", "it was not loaded within 2 s (RITMO_MODEL_LOAD_SECONDS)")
        assert registry.health().ready
        assert registry.get("forecaster").manifest.version == 1
        go_on.set()


async def test_a_model_answers_before_it_is_warm_and_with_the_same_bits_after_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def waiting(model: LoadedModel, folder: Path, should_continue: Callable[[], bool]) -> None:
        assert go_on.wait(TIMEOUT)
        warm_up_served(model, folder, should_continue)

    monkeypatch.setattr("service.registry.registry.warm_up_served", waiting)
    item = ForecastItem(np.arange(5.0), 2, np.array([0.1, 0.5]))
    async with starting(models, load=None) as registry:
        await registry.loaded()
        assert registry.health().ready
        served = registry.get("forecaster")
        assert served.model.batch_invariant is None
        before = (await served.submit([item])).results[0]
        go_on.set()
        await registry.warmed()
        assert served.model.batch_invariant is True
        after = (await served.submit([item])).results[0]
        assert np.array_equal(before.quantiles, after.quantiles)
        assert np.array_equal(before.state, after.state)


async def test_a_model_that_cannot_be_warmed_up_is_taken_out(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(model: LoadedModel, _folder: Path, _should_continue: Callable[[], bool]) -> None:
        if model.manifest.name == "digits":
            raise BrokenModel("a test says so")

    monkeypatch.setattr("service.registry.registry.warm_up_served", failing)
    async with starting(models, load=None) as registry:
        await registry.warmed()
        with pytest.raises(Unavailable, match="a test says so"):
            registry.get("digits")
        assert registry.get("forecaster").manifest.name == "forecaster"


async def test_a_stop_ends_the_warming_up(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ended = threading.Event(), threading.Event()

    def warming(_model: LoadedModel, _folder: Path, should_continue: Callable[[], bool]) -> None:
        asked.set()
        while should_continue():
            time.sleep(0.001)
        ended.set()
        raise Unavailable("given up", code="draining")

    monkeypatch.setattr("service.registry.registry.warm_up_served", warming)
    async with starting(models, load=None) as registry:
        await registry.loaded()
        assert await asyncio.to_thread(asked.wait, TIMEOUT)
        registry.drain()
        assert await asyncio.to_thread(ended.wait, TIMEOUT)


async def test_a_folder_that_cannot_be_read_in_time_is_a_reason(models: Path) -> None:
    release = threading.Event()

    def hanging(_: Path) -> Repository:
        assert release.wait(TIMEOUT)
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.registry.registry.scan", hanging)
        async with starting(models, load_seconds=0.05) as registry:
            await registry.loaded()
            assert "could not be read within 0.05 s" in registry.health().reasons[0]
            release.set()


async def test_a_folder_that_hangs_holds_up_no_stop(models: Path) -> None:
    """A file system that never answers: the start returns, and the stop does not wait for it."""
    started, release = threading.Event(), threading.Event()

    def hanging(_: Path) -> Repository:
        started.set()
        release.wait(60)
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.registry.registry.scan", hanging)
        registry = Registry(models, device="cpu", threads=1, load=load_unwarmed)
        await registry.start()
        assert await asyncio.to_thread(started.wait, 10)
        (thread,) = [t for t in threading.enumerate() if t.name == f"loading-{models}"]
        assert thread.daemon
        await asyncio.wait_for(registry.close(), 5)
        release.set()
        thread.join(5)


async def test_a_device_that_is_not_there_stops_the_start(models: Path) -> None:
    with pytest.raises(ValueError, match="choose cpu or auto"):
        await Registry(models, device="cuda:99").start()


async def test_a_folder_with_a_name_that_is_no_utf_8_is_reported_in_words(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    registry = Registry(tmp_path, device="cpu")
    await registry.start()
    await registry.loaded()
    health = registry.health()
    assert json.dumps([*health.reasons, *health.warnings], ensure_ascii=False).encode()
    assert any(r"\udcff" in warning for warning in health.warnings)
    await registry.close()
