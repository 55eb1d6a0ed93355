"""From a trained digit reader to `models/digits/<version>/`: choose, calibrate, export, measure the exported file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.backend.model import LoadedModel, load
from service.contract.manifest import InputContract, OutputContract, StateContract
from service.contract.types import Floats
from training.data import drawn_digits, typeset_digits
from training.data.mnist import Digits, Mnist
from training.digits.augment import SIDE, Distortion, warp
from training.digits.temperature import fit_temperatures, smooth
from training.evaluation import corruptions, evaluate, scores
from training.fit.export import Arrays, Metrics, digit_golden, export
from training.fit.record import Record, parameters
from training.networks.digits import CLASSES, MAX_ROWS, DigitJudge, DigitReader, RowReader

CONFIDENT = 0.99
DOUBT = 0.5  # a score below this is that of an unsure reader
UNLIKELY_SHARE = 0.01  # of the digits, half of them corrupted, may be called unlikely to be one
CORRUPTED = 2_000  # validation digits on which each kind of corruption is tried
UNSEEN = 9  # seed of drawn and typed images that training did not have
UNSEEN_IMAGES = 500  # of each kind
NO_WARP = Distortion(untouched=1.0)
# A row's temperature is fitted on digits where MNIST has them from here on; above it there is hardly any ink yet.
FIRST_INK = 5
# Of a judge's log-odds, chosen on validation digits and unseen images of no digit: a factor, what is added after
# `LAST_INK` rows and more, and how much lower that is for each row less.
SHARPNESS, CAUTION, EARLY_CAUTION, LAST_INK = 2.0, -2.0, 0.4, 25


def export_digits(
    networks: dict[str, nn.Module],
    record: dict[str, Any],
    data: Mnist,
    *,
    judge: DigitJudge | None = None,
    name: str = "digits",
    version: int | None = None,
    models: Path,
) -> Path:
    """Write `models/<name>/<version>/` for the row reader among `networks` that is the best on validation digits.

    A `judge` was trained with that one.
    """
    readers = {size: network for size, network in networks.items() if isinstance(network, RowReader)}
    size = best_size(readers, data.validation)
    core = readers[size]
    reader = DigitReader(core, temperatures(core, data.validation), judge and sharpened(judge), caution())
    parts = f"strokes of three rows, LSTM {size}{', a judge of what is no digit' if judge else ''}"
    return write_folder(
        reader,
        name=name,
        description=f"Reads a digit row by row and answers after each: {parts}, calibrated",
        unlikely=unlikely_below(reader, data.validation),
        record=Record(**record, parameters=parameters(core) + (parameters(judge) if judge else 0)),
        metrics_of=lambda folder: metrics(folder, data),
        version=version,
        models=models,
    )


def write_folder(
    reader: DigitReader,
    *,
    name: str,
    description: str,
    unlikely: float | None,
    record: Record,
    metrics_of: Metrics,
    version: int | None,
    models: Path,
    labels: tuple[str, ...] = (),
) -> Path:
    """`training.fit.export.export` with the contract that every reader of this kind has.

    `labels` are the names of the classes, where these are not the digits.
    """
    sample = golden_sample()
    return export(
        reader,
        name=name,
        task="classify-digit",
        description=description,
        inputs=InputContract(features=SIDE, min_length=1, max_length=MAX_ROWS, missing=False),
        outputs=OutputContract(classes=len(labels) or CLASSES, labels=labels, unlikely_below=unlikely),
        state=StateContract(width=reader.initial(1).shape[1], exact=0),
        golden=lambda module: digit_golden(module, sample),
        record=record,
        metrics_of=metrics_of,
        version=version,
        models=models,
    )


def best_size(readers: dict[str, RowReader], validation: Digits) -> str:
    """The size of the reader that is right most often over the last rows of the validation digits."""
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
    return torch.cat([core(chunk) for chunk in torch.from_numpy(rows).float().split(batch)])


def temperatures(core: RowReader, validation: Digits) -> Tensor:
    """(64,): rows up to 28 from digits where MNIST has them, the others (and the first few) from digits anywhere."""
    labels = torch.from_numpy(validation.labels)
    tall = smooth(fit_temperatures(logits(core, anywhere(validation)), labels), 3)
    usual = smooth(fit_temperatures(logits(core, validation.rows()), labels))
    tall[FIRST_INK - 1 : SIDE] = usual[FIRST_INK - 1 :]
    return tall


def caution() -> Tensor:
    """(64,): what is added to a judge's log-odds of no digit, less of it the fewer rows there are to judge by."""
    rows = torch.arange(1, MAX_ROWS + 1)
    return SHARPNESS * (CAUTION - EARLY_CAUTION * (LAST_INK - rows).clamp(min=0))


def sharpened(judge: DigitJudge) -> DigitJudge:
    """A judge with `SHARPNESS` times the log-odds."""
    result = copy.deepcopy(judge)
    with torch.no_grad():
        for parameter in result.verdict.second.parameters():
            parameter.mul_(SHARPNESS)
    return result.eval()


def unlikely_below(reader: DigitReader, validation: Digits) -> float:
    """The score that `UNLIKELY_SHARE` of the validation digits stay below after all rows, every other one corrupted."""
    images = validation.images.copy()
    for index, kind in enumerate(corruptions.KINDS):
        chosen = slice(2 * index, None, 2 * len(corruptions.KINDS))
        images[chosen] = corruptions.corrupted(images[chosen], kind, seed=1)
    chunks = torch.from_numpy(Digits(images, validation.labels).rows()).split(250)
    with torch.inference_mode():
        answers = torch.cat([reader(chunk, torch.full((len(chunk),), SIDE)) for chunk in chunks])
    return round(float(answers.exp().amax(-1).quantile(UNLIKELY_SHARE)), 3)


def anywhere(digits: Digits) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(N, 64, 28): the digits at random heights of a tall canvas and scaled at random, the same on every call."""
    torch.manual_seed(20_260_301)
    return np.concatenate(
        [warp(chunk, NO_WARP, MAX_ROWS, free=True)[0].numpy() for chunk in torch.from_numpy(digits.rows()).split(500)]
    )


def metrics(folder: Path, data: Mnist) -> dict[str, float]:
    """Scores of the exported file: those of every digit reader, and those of the functions below."""
    model = load(folder, warm=False)
    trace = evaluate.digit_traces(model, data.test)
    result = evaluate.digit_metrics(trace, data.test.labels) | reading_metrics(trace, data.test.labels)
    result["validation_accuracy"] = scores.accuracy(
        data.validation.labels, evaluate.digit_traces(model, data.validation)[:, -1]
    )
    tall = Digits(np.round(anywhere(data.test) * 255).astype(np.uint8), data.test.labels)
    result["anywhere_accuracy"] = scores.accuracy(tall.labels, evaluate.digit_traces(model, tall)[:, -1])
    result |= corrupted_metrics(model, data.validation) | unseen_metrics(model)
    return result | doubt_metrics(model, trace)


def corrupted_metrics(model: LoadedModel, validation: Digits) -> dict[str, float]:
    """Accuracy over all kinds of corruption of validation digits, and under the kind that costs the most."""
    labels, accuracies = validation.labels[:CORRUPTED], []
    for kind in corruptions.KINDS:
        digits = Digits(corruptions.corrupted(validation.images[:CORRUPTED], kind), labels)
        accuracies.append(scores.accuracy(labels, evaluate.digit_traces(model, digits)[:, -1]))
    return {"damaged_accuracy": float(np.mean(accuracies)), "damaged_accuracy_worst": min(accuracies)}


def reading_metrics(trace: Floats, labels: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, float]:
    """How well the score is calibrated over all rows, and what stopping at a score of 0.99 costs and saves.

    trace (N, T, 10). A digit with a score below 0.99 at every row is read to the end; `stop_99_reached` is the share
    that reaches it, and `stop_99_accuracy` is the accuracy of those.
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


def unseen_metrics(model: LoadedModel) -> dict[str, float]:
    """Accuracy on digits drawn by the project, and on those typed in fonts that training did not have."""
    drawn_set = Digits(*drawn_digits.digit_images(UNSEEN_IMAGES, UNSEEN))
    typed_set = Digits(*typeset_digits.typed_digits(UNSEEN_IMAGES, UNSEEN, typeset_digits.HELD_OUT_FONTS))
    return {
        "drawn_accuracy": scores.accuracy(drawn_set.labels, evaluate.digit_traces(model, drawn_set)[:, -1]),
        "typed_accuracy": scores.accuracy(typed_set.labels, evaluate.digit_traces(model, typed_set)[:, -1]),
    }


def doubt_metrics(model: LoadedModel, trace: Floats) -> dict[str, float]:
    """Shares with a score below a half, and below what the contract calls unlikely: of digits, and of other images.

    trace (N, T, 10) is that of test digits. Of the other images half are drawn, half typed in fonts that training did
    not have.
    """
    no_digits = (
        Digits(*drawn_digits.other_images(UNSEEN_IMAGES, UNSEEN)),
        Digits(*typeset_digits.typed_others(UNSEEN_IMAGES, UNSEEN, typeset_digits.HELD_OUT_FONTS)),
    )
    no_digit_answers = np.concatenate([evaluate.digit_traces(model, images)[:, -1] for images in no_digits])
    unlikely = model.manifest.output.unlikely_below or 0.0
    shares = {}
    for name, probabilities in {"digits": trace[:, -1], "others": no_digit_answers}.items():
        shares[f"{name}_doubted"] = float((probabilities.max(axis=1) < DOUBT).mean())
        shares[f"{name}_unlikely"] = float((probabilities.max(axis=1) < unlikely).mean())
    return shares


def golden_sample() -> Arrays:
    """Drawn digits and a scribble, read whole, taller than usual, in part, and by their first row alone."""
    images = np.concatenate([drawn_digits.digit_images(7, 7)[0], drawn_digits.other_images(4, 7)[0][3:]])
    rows = np.zeros((len(images), MAX_ROWS, SIDE), np.float32)
    rows[:, :SIDE] = images / np.float32(255)
    rows[1, 30 : 30 + SIDE] = rows[1, :SIDE]
    rows[1, :SIDE] = 0
    lengths = np.array([28, 64, 28, 21, 14, 7, 1, 28])
    rows[np.arange(MAX_ROWS) >= lengths[:, None]] = 0
    return {"rows": rows, "lengths": lengths}
