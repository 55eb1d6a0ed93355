"""One process that changes what it serves: old versions go with the last one who uses them."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from service.backend.model import load
from service.contract.errors import Unavailable
from service.contract.types import ForecastItem, ForecastResult
from service.registry.control import LocalControl
from service.registry.registry import Registry
from service.runtime.model_plan import Change
from tests.models import LastValue, write_model

LEVELS = np.array([0.1, 0.5, 0.9])
ITEM = ForecastItem(np.array([1.0, 2.0]), 2, LEVELS)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    write_model(tmp_path, "forecaster", LastValue())
    registry = Registry(tmp_path, device="cpu", threads=1, load=partial(load, warm=False), fault_limit=2)
    await registry.start()
    await registry.loaded()
    yield registry
    await registry.close()


async def test_a_new_version_takes_over_and_the_old_one_is_forgotten(registry: Registry, tmp_path: Path) -> None:
    control = LocalControl(registry, tmp_path)
    in_use = registry.get("forecaster")
    old = weakref.ref(in_use)
    write_model(tmp_path, "forecaster", LastValue(), version=2)
    await control.change(Change("reload"))
    assert registry.get("forecaster").manifest.version == 2
    await control.change(Change("unload", "forecaster", 1))
    (result,) = (await in_use.submit([ITEM])).results  # a live connection goes on with what it began with
    assert isinstance(result, ForecastResult)
    assert registry._scheduler is not None
    assert len(registry._scheduler._queues) == 2
    del in_use
    gc.collect()
    await asyncio.sleep(0)
    assert old() is None
    assert len(registry._scheduler._queues) == 1


async def test_changes_come_one_after_the_other(registry: Registry, tmp_path: Path) -> None:
    control = LocalControl(registry, tmp_path)
    for version in (2, 3):
        write_model(tmp_path, "forecaster", LastValue(), version=version)
    changes = [Change("load", "forecaster", 2), Change("load", "forecaster", 3), Change("default", "forecaster", 2)]
    await asyncio.gather(*(control.change(change) for change in changes))
    assert registry.plan.number == 3
    assert registry.get("forecaster").manifest.version == 2


async def test_a_version_that_was_taken_out_is_loaded_again_when_asked_for(registry: Registry, tmp_path: Path) -> None:
    control = LocalControl(registry, tmp_path)
    registry._take_out("forecaster", 1, "it was taken out")
    assert not registry.expects("forecaster@1")
    await control.change(Change("reload"))  # nothing has changed on disk
    with pytest.raises(Unavailable, match="it was taken out"):
        registry.get("forecaster")
    await control.change(Change("load", "forecaster"))
    assert registry.get("forecaster").manifest.version == 1
    assert registry.expects("forecaster@1")


async def test_a_folder_that_was_copied_in_part_is_loaded_when_the_rest_has_come(
    registry: Registry, tmp_path: Path
) -> None:
    """Its manifest comes first and stays the same, and so does the digest by which versions are told apart."""
    control = LocalControl(registry, tmp_path)
    whole = write_model(tmp_path.parent / f"{tmp_path.name}-elsewhere", "forecaster", LastValue(), version=2)
    target = tmp_path / "forecaster" / "2"
    target.mkdir()
    for name in ("manifest.json", "golden.npz"):
        (target / name).write_bytes((whole / name).read_bytes())
        await control.change(Change("reload"))
        assert registry.get("forecaster").manifest.version == 1
    (target / "model.pt").write_bytes((whole / "model.pt").read_bytes())
    await control.change(Change("reload"))
    assert registry.get("forecaster").manifest.version == 2


async def test_without_any_model_left_it_is_not_ready(registry: Registry, tmp_path: Path) -> None:
    control = LocalControl(registry, tmp_path)
    assert registry.ready
    shutil.rmtree(tmp_path / "forecaster")
    await control.change(Change("reload"))
    assert registry.health().reasons == (f"there are no models in {tmp_path} any more",)
    write_model(tmp_path, "forecaster", LastValue())
    await control.change(Change("reload"))
    assert registry.ready
