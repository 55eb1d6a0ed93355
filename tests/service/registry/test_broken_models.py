"""The ways to break a model that docs/own-models.md lists, and what is answered for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from service.contract.errors import ModelFault, Unavailable
from service.contract.manifest import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, RECORD_FILE, InputContract
from service.contract.types import DigitItem, ForecastItem, ForecastResult, Item
from service.registry.registry import Registry
from tests.models import Endless, LastValue, LSTMDigits, let_end, script, write_model

DOCS = Path(__file__).resolve().parents[3] / "docs" / "own-models.md"
LEVELS = np.array([0.1, 0.5, 0.9])
LOAD_SECONDS = 60.0
ANY_LENGTH = InputContract(features=1, min_length=1, max_length=None, missing=True, max_horizon=64)
SHORT = InputContract(features=1, min_length=1, max_length=60, missing=True, max_horizon=24)  # warm at once


class LargeIsNaN(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        answer = torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)
        return torch.where(answer > 1e6, torch.full_like(answer, float("nan")), answer)


class AlwaysNaN(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.full((state.size(0), horizon, 1 + levels.size(1)), float("nan"), dtype=torch.float64)


class Crossing(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state, state + 0.5 - levels), 1).unsqueeze(1).repeat(1, horizon, 1)


class CrossingAboveMillion(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        spread = torch.where(state > 1e6, -state, torch.ones_like(state))
        return torch.cat((state, state + spread * (levels - 0.5)), 1).unsqueeze(1).repeat(1, horizon, 1)


class Short(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, min(horizon, 8), 1)


class TooFewColumns(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state, state + levels[:, :2] - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)


class MixesNeighbours(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        mean = state.mean(0, keepdim=True).expand(state.size(0), 1)
        return torch.cat((mean, mean + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)


class RaisesForSome(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if bool((values == 666.0).any()):
            raise RuntimeError("six hundred and sixty-six")
        return self._latest(values, lengths, state)[:, -1:]


class RaisesAlways(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.size(0) > 0:
            raise RuntimeError("not implemented yet")
        return state


class RaisesWhenLong(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.size(1) > 256:
            raise RuntimeError("no more than 256 values")
        return self._latest(values, lengths, state)[:, -1:]


class IgnoresLengths(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        return values[:, -1:] if values.size(1) > 0 else state


class Float32Initial(LastValue):
    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        return torch.full((season.size(0), 1), float("nan"))


class Float32Step(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        return self._latest(values, lengths, state)[:, -1:].to(torch.float32)


class Float32Forecast(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1).to(torch.float32)


class RandomForecast(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state, state + levels), 1).unsqueeze(1).repeat(1, horizon, 1) + torch.randn(1).double()


class RandomForSome(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        end = self._latest(values, lengths, state)[:, -1:]
        return end + torch.rand_like(end) if bool((end > 1e6).any()) else end


class Counts(LastValue):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        self.calls += 1
        later = 1.0 if self.calls > 1000 else 0.0
        return later + torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)


class Grows(LastValue):
    def __init__(self) -> None:
        super().__init__()
        self.kept = [torch.zeros(1)]

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        self.kept.append(values.clone())
        return self._latest(values, lengths, state)[:, -1:]


class ChangesItsArguments(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        end = self._latest(values, lengths, state)[:, -1:]
        values.fill_(7.0)
        return end


class Prints(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        print("step", values.size(0))
        return self._latest(values, lengths, state)[:, -1:]


class MixesMany(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        mean = state if state.size(0) < 16 else state.nanmean(0, keepdim=True).expand(state.size(0), 1)
        return torch.cat((mean, mean + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)


class HistoryCrosses(LastValue):
    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        latest = self._latest(values, lengths, state)
        mean = latest[:, :-1].unsqueeze(2)
        spread = torch.where(mean > 1e6, -mean, torch.ones_like(mean))
        return latest[:, -1:], torch.cat((mean, mean + spread * (levels.unsqueeze(1) - 0.5)), 2)


class NegativeSeason(LastValue):
    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        return torch.where(state.select(1, 0) > 1e6, -5, 1)


class HalfPrecisionForSome(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        answer = torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)
        return answer.to(torch.bfloat16) if bool((state > 1e6).any()) else answer


class SparseForSome(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        answer = torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)
        return answer.to_sparse() if bool((state > 1e6).any()) else answer


class WiderForSome(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        end = self._latest(values, lengths, state)[:, -1:]
        return torch.cat((end, end), 1) if bool((end > 1e6).any()) else end


class EmptyForSome(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        answer = torch.cat((state, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)
        return answer[:0] if bool((state > 1e6).any()) else answer


class InfiniteMeanForSome(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        mean = torch.where(state > 1e6, torch.full_like(state, float("inf")), state)
        return torch.cat((mean, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)


class MeanElsewhere(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state + 1e9, state + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)


class FailsOnResuming(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if bool((state > 1e6).any()):
            raise RuntimeError("only fresh series")
        return self._latest(values, lengths, state)[:, -1:]


class TraceTurned(LSTMDigits):
    @torch.jit.export
    def trace(self, rows: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        end, outputs = self._run(rows, lengths, state)
        return end, torch.log_softmax(self.head(outputs), -1).flip(2)


class OtherSignature(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, levels: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat((state, state + levels), 1).unsqueeze(1)


class NoSeason(torch.nn.Module):
    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        return season.double().unsqueeze(1)

    def forward(self, values: Tensor) -> Tensor:
        return values


class DependsOnHorizon(LastValue):
    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        return torch.cat((state + horizon, state + horizon + levels), 1).unsqueeze(1).repeat(1, horizon, 1)


class ForgetsState(LastValue):
    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        return self._latest(values, lengths, torch.zeros_like(state))[:, -1:]


class SumsToTwo(LSTMDigits):
    @torch.jit.export
    def read(self, state: Tensor) -> Tensor:
        return torch.log_softmax(self.head(state[:, : self.hidden].to(torch.float32)), -1) + 0.6931472

    @torch.jit.export
    def trace(self, rows: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        end, outputs = self._run(rows, lengths, state)
        return end, torch.log_softmax(self.head(outputs), -1) + 0.6931472


class NaNForFullInk(LSTMDigits):
    @torch.jit.export
    def step(self, rows: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        end = self._run(rows, lengths, state)[0]
        real = torch.arange(rows.size(1)).unsqueeze(0) < lengths.unsqueeze(1)
        full = ((rows.amin(2) > 0.99) & real).any(1, keepdim=True)
        return torch.where(full, torch.full_like(end, float("nan")), end)


# What is done to a folder after it was written


def edit_manifest(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        edit(manifest)
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")

    return spoil


def replace_model(make: Callable[[], bytes]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = make()
        (folder / MODEL_FILE).write_bytes(data)
        edit_manifest(lambda manifest: manifest.update(sha256=hashlib.sha256(data).hexdigest()))(folder)

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(bytes(data))


def weights() -> bytes:
    buffer = io.BytesIO()
    torch.save(LSTMDigits().state_dict(), buffer)
    return buffer.getvalue()


def newer_archive() -> bytes:
    source, target = io.BytesIO(script(LastValue())), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, b"99\n" if name.endswith("version") else old.read(name))
    return target.getvalue()


def leave(_: Path) -> None:
    pass


def add_a_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine", encoding="utf-8")


def never_end(folder: Path) -> None:
    replace_model(lambda: script(Endless(end_of(folder.parents[1]))))(folder)


def end_of(models: Path) -> Path:
    """The file that ends the model that never does."""
    return models.parent / "end"


def values(*numbers: float) -> list[Item]:
    return [ForecastItem(np.array(numbers), 12, LEVELS)]


def told(*numbers: float) -> list[Item]:
    return [ForecastItem(np.array(numbers * 3), 12, LEVELS, history=True)]


def resumed(number: float) -> list[Item]:
    return [ForecastItem(np.array([1.0]), 12, LEVELS, state=np.array([number]))]


# The cases


@dataclass(frozen=True)
class Case:
    """`refused`: at load, with these words; `fault`: words of the answer to `asked`; neither: it is served."""

    module: type[torch.nn.Module] = LastValue
    spoil: Callable[[Path], None] = leave
    refused: str = ""
    fault: str = ""
    asked: Callable[[], list[Item]] = lambda: values(1.0, 2.0)
    warning: str = ""
    inputs: InputContract | None = None


def mistyped(**parts: object) -> Callable[[Path], None]:
    def edit(manifest: dict[str, Any]) -> None:
        for name, value in parts.items():
            section, _, key = name.partition("__")
            manifest[section][key] = value

    return edit_manifest(edit)


CASES: dict[str, Case] = {
    "wrong-digest": Case(spoil=flip_a_bit, refused="sha256"),
    "method-missing": Case(NoSeason, refused="lacks the methods step, forecast, history, season"),
    "wrong-signature": Case(
        OtherSignature,
        refused=r"forecast\(Tensor, Tensor\) -> Tensor is not the contract's forecast\(Tensor, int, Tensor\) -> Tensor",
    ),
    "wrong-width": Case(spoil=mistyped(state__width=2), refused=r"initial\(\) is float64 \(1,\), not float64 \(2,\)"),
    "exact-above-width": Case(spoil=mistyped(state__exact=40), refused="exact is 40, more columns than the state has"),
    "exact-too-small": Case(spoil=mistyped(state__exact=0), refused="column 0 of the state needs 64 bits"),
    "always-nan": Case(AlwaysNaN, refused="not finite"),
    "nan-for-large-values": Case(LargeIsNaN, fault="its forecast is not finite", asked=lambda: values(1e9)),
    "crossing": Case(Crossing, refused="do not ascend|cross"),
    "crossing-for-large-values": Case(CrossingAboveMillion, fault="do not ascend", asked=lambda: values(1e9)),
    "short-forecast": Case(Short, refused=r"shape \(4, 8, 6\), not \(4, 24, 6\)"),
    "too-few-columns": Case(TooFewColumns, refused=r"forecast\(\) gave an array of shape"),
    "mixes-neighbours": Case(MixesNeighbours, refused="depends on that row alone|differs"),
    "depends-on-horizon": Case(DependsOnHorizon, refused="asked for 1 steps, or for 24, a step differs"),
    "forgets-state": Case(ForgetsState, refused="leaves its state as it was|another state"),
    "raises-for-some-values": Case(
        RaisesForSome,
        fault=r"step\(\) or what follows it raised an error .*six hundred and sixty-six",
        asked=lambda: values(1.0, 666.0),
    ),
    "raises-always": Case(RaisesAlways, refused="not implemented yet"),
    "raises-beyond-256-values": Case(RaisesWhenLong, refused="no more than 256 values", inputs=ANY_LENGTH),
    "ignores-lengths": Case(IgnoresLengths, refused="golden sample|padding"),
    "missing-not-declared": Case(
        inputs=InputContract(features=1, min_length=1, max_length=60, missing=False, max_horizon=24)
    ),
    "float32-initial": Case(Float32Initial, refused=r"initial\(\) is float32"),
    "float32-step": Case(Float32Step, refused=r"step\(\) gave numbers of float32, not float64"),
    "float32-forecast": Case(Float32Forecast, refused=r"forecast\(\) gave numbers of float32, not float64"),
    "random": Case(RandomForecast, refused=r"forecast\(\) draws random numbers"),
    "golden-missing": Case(spoil=remove(GOLDEN_FILE), refused=f"{GOLDEN_FILE} does not exist"),
    "manifest-missing": Case(spoil=remove(MANIFEST_FILE), refused=f"{MANIFEST_FILE} does not exist"),
    "model-missing": Case(spoil=remove(MODEL_FILE), refused=f"{MODEL_FILE} does not exist"),
    "record-missing": Case(spoil=remove(RECORD_FILE), warning="training.json is absent"),
    "extra-file": Case(spoil=add_a_file),
    "other-torch-in-the-manifest": Case(spoil=mistyped(training__torch="2.5.1")),
    "archive-of-a-newer-torch": Case(spoil=replace_model(newer_archive), refused="no TorchScript module: .*version"),
    "weights-instead-of-a-program": Case(spoil=replace_model(weights), refused="holds weights or a pickled object"),
    "mistyped-field": Case(
        spoil=edit_manifest(lambda manifest: manifest.update(descripton="x")), refused="descripton: Extra inputs"
    ),
    "seven-features": Case(spoil=mistyped(input__features=7), refused="input.features is 7; models of task 'forecast'"),
    "nine-classes": Case(LSTMDigits, spoil=mistyped(output__classes=9), refused="output.labels must name the 9"),
    "other-name": Case(
        spoil=edit_manifest(lambda manifest: manifest.update(name="another")), refused="the manifest of another@1"
    ),
    "never-ends": Case(spoil=never_end, refused="was not loaded within"),
    "probabilities-sum-to-two": Case(SumsToTwo, refused="its probabilities sum to 2, not to 1"),
    "nan-for-full-ink": Case(
        NaNForFullInk, fault="reading is not finite", asked=lambda: [DigitItem(np.ones((3, 28), np.float32))]
    ),
    "random-for-some-values": Case(RandomForSome, refused=r"step\(\) draws random numbers"),
    "counts-its-calls": Case(Counts, refused=r"forecast\(\) changes self.calls"),
    "memory-grows": Case(Grows, refused="kept, which is the module's, in place"),
    "changes-its-arguments": Case(ChangesItsArguments, refused="golden sample"),
    "prints": Case(Prints, refused=r"step\(\) prints"),
    "mixes-neighbours-of-large-batches": Case(MixesMany, refused="among 32 rows, not 4, a row is answered otherwise"),
    "crossing-history": Case(HistoryCrosses, fault="quantiles of its history do not ascend", asked=lambda: told(1e9)),
    "season-below-one": Case(NegativeSeason, fault=r"season\(\) gave -5", asked=lambda: values(1e9)),
    "bfloat16-for-some-values": Case(HalfPrecisionForSome, fault="BFloat16", asked=lambda: values(1e9)),
    "sparse-for-some-values": Case(SparseForSome, fault="Sparse layout", asked=lambda: values(1e9)),
    "wider-state-for-some-values": Case(WiderForSome, fault="raised an error", asked=lambda: values(1e9)),
    "no-rows-for-some-values": Case(EmptyForSome, fault=r"shape \(0, 12, 4\)", asked=lambda: values(1e9)),
    "infinite-mean-for-some-values": Case(InfiniteMeanForSome, fault="not finite", asked=lambda: values(1e9)),
    "mean-is-not-in-history": Case(MeanElsewhere, refused="is not what is answered at step"),
    "raises-on-resuming": Case(FailsOnResuming, fault="only fresh series", asked=lambda: resumed(1e9)),
    "trace-is-no-reading": Case(TraceTurned, refused="trace"),
}


def write(models: Path, name: str, case: Case) -> None:
    module = case.module()
    if isinstance(module, NoSeason | OtherSignature | RaisesAlways | IgnoresLengths):  # no golden sample of their own
        folder = write_model(models, name, LastValue(), inputs=SHORT)
        replace_model(lambda: script(module))(folder)
    else:
        reader = hasattr(module, "read")
        folder = write_model(models, name, module, inputs=None if reader else case.inputs or SHORT)
    case.spoil(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    write_model(models, "good", LastValue(), inputs=SHORT)
    for name, case in CASES.items():
        write(models, name, case)
    return models


@contextlib.asynccontextmanager
async def starting(models: Path, *names: str, **options: Any) -> AsyncIterator[Registry]:
    """A registry of these models alone."""
    folder = models.parent / "-".join(("of", *names))
    for name in names:
        shutil.copytree(models / name, folder / name)
    registry = Registry(folder, device="cpu", threads=1, defaults=("good",), **options)
    await registry.start()
    await registry.warmed()
    try:
        yield registry
    finally:
        await registry.close()
        if "never-ends" in names:
            let_end(end_of(models))
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", CASES)
async def test_a_broken_model_is_refused_with_a_reason_and_others_go_on(models: Path, name: str) -> None:
    case = CASES[name]
    seconds = 3.0 if name == "never-ends" else LOAD_SECONDS
    async with starting(models, "good", name, load_seconds=seconds) as registry:
        (result,) = (await registry.get("good").submit(values(1.0, 2.0))).results
        assert isinstance(result, ForecastResult)
        assert len(result.mean) == 12
        if case.refused:
            with pytest.raises(Unavailable) as refusal:
                registry.get(name)
            assert re.search(case.refused, refusal.value.detail), refusal.value.detail
            assert refusal.value.code == "model_not_ready"
            assert any(warning.startswith(f"{name}@1: ") for warning in registry.health().warnings)
        elif case.fault:
            with pytest.raises(ModelFault, match=f"model {name}@1 gave no sound answer: .*{case.fault}"):
                await registry.get(name).submit(case.asked())
        else:
            await registry.get(name).submit(case.asked())
            assert [w for w in registry.health().warnings if case.warning and case.warning in w] or not case.warning
        assert registry.get("good").manifest.name == "good"


async def test_after_faults_in_a_row_a_model_is_taken_out_and_others_go_on(models: Path) -> None:
    async with starting(models, "good", "crossing-for-large-values", fault_limit=3) as registry:
        name = "crossing-for-large-values"
        for value in (1e9, 1e9, 1.0, 1e9, 1e9):  # a sound answer begins the count anew
            with pytest.raises(ModelFault) if value > 1 else contextlib.nullcontext():
                await registry.get(name).submit(values(value))
        with pytest.raises(ModelFault):
            await registry.get(name).submit(values(1e9))
        await asyncio.sleep(0)  # the event loop is told to take it out before it is told of the last answer
        with pytest.raises(Unavailable, match=r"taken out after 3 answers in a row .* do not ascend"):
            registry.get(name)
        assert registry.get("good").manifest.name == "good"
        registry.metrics.refresh()
        page = registry.metrics.render().decode()
        assert f'ritmo_model_faults_total{{model="{name}",version="1"}} 5.0' in page


async def test_folders_that_are_no_model_or_version_are_named(models: Path) -> None:
    (models / "Capital").mkdir()
    (models / "good" / "v2").mkdir()
    async with starting(models, "good") as registry:
        assert [w.partition(":")[0] for w in registry.health().warnings] == ["good/v2"]


def test_the_table_in_the_docs_has_a_line_for_each() -> None:
    lines = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines if line.split("`")[1] in CASES] == list(CASES)
