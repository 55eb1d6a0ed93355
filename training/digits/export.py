"""From a trained digit reader to `models/digits/<version>/`: choose, calibrate, export, measure the exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.backend.model import LoadedModel, load
from service.contract.manifest import InputContract, OutputContract, StateContract
from service.contract.types import Floats
from training.data import drawn_digits as glyphs
from training.data import typeset_digits as typeset
from training.data.mnist import Digits, Mnist
from training.digits.augment import SIDE, Distortion, warp
from training.digits.temperature import fit_temperatures, smooth
from training.evaluation import corruptions as damage
from training.evaluation import evaluate, scores
from training.fit.export import MODELS, Arrays, digit_golden, export
from training.fit.record import Record, parameters
from training.networks.digits import CLASSES, MAX_ROWS, DigitReader, RowReader, answered

CONFIDENT = 0.99
DOUBT = 0.5  # a score below this says that the reader does not know
UNLIKELY_SHARE = 0.01  # of the digits, half of them damaged, may be called unlikely to be one
DAMAGED = 2_000  # validation digits on which each kind of damage is tried
UNSEEN = 9  # seed of drawn images that training did not have
STILL = Distortion(untouched=1.0)
# A row's temperature is fitted on digits where MNIST has them from here on; above it there is hardly any ink yet.
FIRST_INK = 5


def export_digits(
    weights: dict[str, nn.Module],
    record: dict[str, Any],
    data: Mnist,
    *,
    name: str = "digits",
    version: int | None = None,
    models: Path = MODELS,
) -> Path:
    """Write `models/<name>/<version>/` for the trained network that is the best on validation digits."""
    readers = {size: network for size, network in weights.items() if isinstance(network, RowReader)}
    size = best(readers, data.validation)
    core = readers[size]
    scale = temperatures(core, data.validation)
    reader = DigitReader(core, scale)
    return export(
        reader,
        name=name,
        task="classify-digit",
        description=f"Reads a digit row by row and answers after each: strokes of three rows, LSTM {size}, calibrated",
        inputs=InputContract(features=SIDE, min_length=1, max_length=MAX_ROWS, missing=False),
        outputs=OutputContract(classes=CLASSES, unlikely_below=unlikely_below(core, scale, data.validation)),
        state=StateContract(width=reader.initial(1).shape[1], exact=0),
        golden=lambda module: digit_golden(module, golden_sample()),
        record=Record(**record, parameters=parameters(core)),
        metrics_of=lambda folder: metrics(folder, data),
        version=version,
        models=models,
    )


def best(readers: dict[str, RowReader], validation: Digits) -> str:
    """The size whose reader is right most often over the last rows of the validation digits."""
    labels = torch.from_numpy(validation.labels)
    right = {
        size: logits(core, validation.rows())[..., :CLASSES].argmax(-1) == labels[:, None]
        for size, core in readers.items()
    }
    return max(right, key=lambda size: float(right[size][:, -4:].float().mean()))


@torch.inference_mode()
def logits(core: RowReader, rows: Floats | np.ndarray[Any, np.dtype[np.float32]], batch: int = 250) -> Tensor:
    """(N, T, 28) -> (N, T, 11) after each row."""
    core.eval()
    return torch.cat([core(part) for part in torch.from_numpy(rows).float().split(batch)])


def temperatures(core: RowReader, validation: Digits) -> Tensor:
    """(64,): rows up to 28 from digits where MNIST has them, the rest (and the first few) from digits anywhere."""
    labels = torch.from_numpy(validation.labels)
    tall = smooth(fit_temperatures(logits(core, anywhere(validation)), labels), 3)
    usual = smooth(fit_temperatures(logits(core, validation.rows()), labels))
    tall[FIRST_INK - 1 : SIDE] = usual[FIRST_INK - 1 :]
    return tall


def unlikely_below(core: RowReader, scale: Tensor, validation: Digits) -> float:
    """The score that `UNLIKELY_SHARE` of the validation digits stay below after all rows, every other one damaged."""
    images = validation.images.copy()
    for place, kind in enumerate(damage.KINDS):
        chosen = slice(2 * place, None, 2 * len(damage.KINDS))
        images[chosen] = damage.damaged(images[chosen], kind, seed=1)
    said = answered(logits(core, Digits(images, validation.labels).rows())[:, -1] / scale[SIDE - 1])
    return round(float(said.exp().amax(-1).quantile(UNLIKELY_SHARE)), 3)


def anywhere(digits: Digits) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(N, 64, 28): the digits at random heights of a tall canvas and scaled at random, the same ones on every call."""
    torch.manual_seed(20_260_301)
    return np.concatenate(
        [warp(part, STILL, MAX_ROWS, free=True)[0].numpy() for part in torch.from_numpy(digits.rows()).split(500)]
    )


def metrics(folder: Path, data: Mnist) -> dict[str, float]:
    """Scores of the exported file beyond those every digit reader has: see the comment at each."""
    model = load(folder, warm=False)
    trace = evaluate.digit_traces(model, data.test)
    found = evaluate.digit_metrics(trace, data.test.labels) | reading_metrics(trace, data.test.labels)
    found["validation_accuracy"] = scores.accuracy(
        data.validation.labels, evaluate.digit_traces(model, data.validation)[:, -1]
    )
    tall = Digits(np.round(anywhere(data.test) * 255).astype(np.uint8), data.test.labels)
    found["anywhere_accuracy"] = scores.accuracy(tall.labels, evaluate.digit_traces(model, tall)[:, -1])
    return found | damaged_metrics(model, data.validation) | elsewhere_metrics(model) | doubt_metrics(model, trace)


def damaged_metrics(model: LoadedModel, validation: Digits) -> dict[str, float]:
    """Accuracy over all kinds of damage done to validation digits, and under the kind that costs the most."""
    labels, found = validation.labels[:DAMAGED], []
    for kind in damage.KINDS:
        digits = Digits(damage.damaged(validation.images[:DAMAGED], kind), labels)
        found.append(scores.accuracy(labels, evaluate.digit_traces(model, digits)[:, -1]))
    return {"damaged_accuracy": float(np.mean(found)), "damaged_accuracy_worst": min(found)}


def reading_metrics(trace: Floats, labels: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, float]:
    """How well the score is calibrated over all rows, and what stopping at a score of 0.99 costs and saves.

    trace (N, T, 10). A digit whose score never reaches 0.99 is read to the end; `stop_99_reached` is the share that
    does, and `stop_99_accuracy` is the accuracy of those.
    """
    errors = [scores.calibration_error(labels, trace[:, row]) for row in range(trace.shape[1])]
    sure = trace.max(axis=2) >= CONFIDENT
    reached = sure.any(axis=1)
    stop = np.where(reached, sure.argmax(axis=1), trace.shape[1] - 1)
    right = trace[np.arange(len(trace)), stop].argmax(axis=1) == labels
    return {
        "test_calibration_error_rows": float(np.mean(errors)),
        "stop_99_rows": float(np.mean(stop + 1)),
        "stop_99_reached": float(reached.mean()),
        "stop_99_accuracy": float(right[reached].mean()) if reached.any() else 0.0,
    }


def elsewhere_metrics(model: LoadedModel) -> dict[str, float]:
    """Accuracy on digits drawn by the project, and on those typed in fonts that training did not have."""
    drawn = Digits(*glyphs.digit_images(500, UNSEEN))
    typed = Digits(*typeset.typed_digits(500, UNSEEN, typeset.HELD_OUT_FONTS))
    return {
        "drawn_accuracy": scores.accuracy(drawn.labels, evaluate.digit_traces(model, drawn)[:, -1]),
        "typed_accuracy": scores.accuracy(typed.labels, evaluate.digit_traces(model, typed)[:, -1]),
    }


def doubt_metrics(model: LoadedModel, trace: Floats) -> dict[str, float]:
    """Shares whose score is below a half, and below what the contract calls unlikely: of digits, and of other things.

    trace (N, T, 10) is that of test digits. The others: half drawn, half typed in fonts that training did not have.
    """
    others = (
        Digits(*glyphs.other_images(500, UNSEEN)),
        Digits(*typeset.typed_others(500, UNSEEN, typeset.HELD_OUT_FONTS)),
    )
    said = {"digits": trace[:, -1], "others": np.concatenate([evaluate.digit_traces(model, d)[:, -1] for d in others])}
    unlikely = model.manifest.output.unlikely_below or 0.0
    found = {}
    for name, probabilities in said.items():
        found[f"{name}_doubted"] = float((probabilities.max(axis=1) < DOUBT).mean())
        found[f"{name}_unlikely"] = float((probabilities.max(axis=1) < unlikely).mean())
    return found


def golden_sample() -> Arrays:
    """Drawn digits and a scribble, read whole, taller than usual, in part, and by their first row alone."""
    images = np.concatenate([glyphs.digit_images(7, 7)[0], glyphs.other_images(4, 7)[0][3:]])
    rows = np.zeros((len(images), MAX_ROWS, SIDE), np.float32)
    rows[:, :SIDE] = images / np.float32(255)
    rows[1, 30 : 30 + SIDE] = rows[1, :SIDE]
    rows[1, :SIDE] = 0
    lengths = np.array([28, 64, 28, 21, 14, 7, 1, 28])
    rows[np.arange(MAX_ROWS) >= lengths[:, None]] = 0
    return {"rows": rows, "lengths": lengths}
