"""All figures of the readers: on MNIST, damaged digits, pictures from other sources, images that are no digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.digits import metrics, picture_sets
from benchmarks.digits.handwriting import Drawing
from benchmarks.digits.preparation import prepare
from benchmarks.digits.readers import Planes, Reader, microseconds
from benchmarks.digits.rows import Row
from benchmarks.digits.scenes import SCENES, Scene, file, photograph, screen
from service.contract.errors import InvalidRequest
from training.data import drawn_digits as glyphs
from training.data import typeset_digits as typeset
from training.data.mnist import Digits
from training.evaluation import corruptions, scores

Images = NDArray[np.uint8]
Damage = Callable[[Images], Images]

DAMAGE: dict[str, Damage] = {kind: partial(corruptions.corrupted, kind=kind) for kind in corruptions.KINDS}
BATCHES = (1, 32)
HALF = 0.5
SEED = 20_261_121
# Letters are prepared as pictures in these scenes.
LETTER_SCENES = ("screen", "photograph", "ruled")


def of_mnist(reader: Reader, digits: Digits, split: str) -> Iterator[Row]:
    """Accuracy, calibration and stopping on clean digits, after every row where the reader answers then."""
    trace = reader.trace(digits.rows())
    row = partial(Row, reader.name, count=len(digits), split=split)
    right, errors = metrics.by_row(trace, digits.labels), metrics.calibration_by_row(trace, digits.labels)
    numbers = range(1, len(right) + 1) if len(right) > 1 else (28,)
    for number, accuracy, error in zip(numbers, right.tolist(), errors.tolist(), strict=True):
        yield row("rows", str(number), accuracy)
        yield row("calibration", str(number), error)
    if len(right) > 1:
        yield row("calibration", "mean", float(errors.mean()))
        for level in metrics.LEVELS:
            for name, value in metrics.stopping(trace, digits.labels, level).items():
                yield row("stop", f"{level} {name}", value)
    every_row = trace.reshape(-1, trace.shape[2])
    for score, hit, count in metrics.reliability(every_row, np.repeat(digits.labels, trace.shape[1])):
        yield Row(reader.name, "reliability", f"{score:.6f}", hit, count, split)
    yield row("doubt", "digits", metrics.doubted(trace[:, -1], HALF))
    if reader.unlikely_below is not None:
        yield row("unlikely", "digits", metrics.doubted(trace[:, -1], reader.unlikely_below))


def of_damage(reader: Reader, digits: Digits, split: str, kinds: Mapping[str, Damage] = DAMAGE) -> Iterator[Row]:
    """Accuracy of whole digits under each kind of damage."""
    for kind, hurt in kinds.items():
        answers = reader.trace(Digits(hurt(digits.images), digits.labels).rows())[:, -1]
        yield Row(reader.name, "damage", kind, scores.accuracy(digits.labels, answers), len(digits), split)


def scene_pictures(
    sources: Mapping[str, Sequence[Drawing]], screen_count: int, scene_count: int, scenes: Mapping[str, Scene] = SCENES
) -> dict[str, picture_sets.Prepared]:
    """`source/scene` -> prepared pictures, `screen_count` a source in the scene `screen`, `scene_count` in others."""
    return {
        f"{source}/{scene}": picture_sets.prepared(
            drawings, source, scene, screen_count if scene == "screen" else scene_count, scenes
        )
        for source, drawings in sources.items()
        for scene in scenes
    }


def of_pictures(reader: Reader, cases: Mapping[str, picture_sets.Prepared]) -> Iterator[Row]:
    """Accuracy of whole digits that were pictures; a refused one is a wrong answer."""
    for case, prepared in cases.items():
        right = 0.0
        if prepared.rows:
            right = scores.accuracy(prepared.labels, reader.trace(np.stack(prepared.rows))[:, -1]) * len(prepared.rows)
        yield Row(reader.name, "elsewhere", case, right / max(prepared.count, 1), prepared.count)


def no_digits(count: int) -> dict[str, picture_sets.Prepared]:
    """Images that are no digits: as rows (signs, scribbles, noise, blots …; typed letters), and as pictures."""
    cases = {}
    for name, images in {
        "signs, scribbles, noise": glyphs.other_images(count, SEED)[0],
        "typed letters, several": typeset.typed_others(count, SEED, typeset.HELD_OUT_FONTS)[0],
    }.items():
        cases[name] = picture_sets.Prepared(list(images.astype(np.float32) / np.float32(255)), [-1] * count)
    letters = [
        Drawing(typeset.glyph(font, letter, 200).astype(np.float32) / np.float32(255), -1, font)
        for font in typeset.HELD_OUT_FONTS
        for letter in typeset.LETTERS
    ]
    blank = [Drawing(np.zeros((200, width), np.float32), -1, "blank") for width in range(60, 200, 10)]
    for scene in LETTER_SCENES:
        cases[f"letters, {scene}"] = picture_sets.prepared(letters, "letters", scene, count // 4)
        cases[f"blank, {scene}"] = picture_sets.prepared(blank, "blank", scene, count // 4)
    return cases


def of_no_digits(reader: Reader, cases: Mapping[str, picture_sets.Prepared]) -> Iterator[Row]:
    """The share that is refused, or answered with a score below a half (or below the reader's `unlikely_below`)."""
    for case, prepared in cases.items():
        answers = reader.trace(np.stack(prepared.rows))[:, -1] if prepared.rows else np.zeros((0, 10))
        levels = {"doubt": HALF, "unlikely": reader.unlikely_below}
        for section, level in levels.items():
            if level is not None:
                doubted = metrics.doubted(answers, level) * len(answers) if len(answers) else 0.0
                yield Row(
                    reader.name, section, case, (prepared.refused + doubted) / max(prepared.count, 1), prepared.count
                )


def of_time(reader: Reader, digits: Digits, seconds: float) -> Iterator[Row]:
    """Processor time an image in microseconds at each size of batch, and the file's size in KiB."""
    for batch in BATCHES:
        value = microseconds(reader.call(digits.rows()[:batch]), batch, seconds)
        yield Row(reader.name, "time", str(batch), value, batch)
    yield Row(reader.name, "size", "KiB", reader.kilobytes)


def of_preparation(ink: Planes, seconds: float) -> Iterator[Row]:
    """Processor time of preparing one image, in microseconds."""
    generator = np.random.default_rng(SEED)
    small = np.pad(ink[:: max(1, len(ink) // 100), :: max(1, len(ink) // 100)], 20)
    files = {
        f"PNG of {small.shape[1]} x {small.shape[0]}": file(1 - small),
        "PNG of a drawing": screen(ink, generator),
        "photograph": photograph(ink, generator),
        "grain of 5,000 x 5,000": file(generator.random((5000, 5000), np.float32)),
    }
    for name, data in files.items():
        yield Row("preparation", "time", name, microseconds(partial(_prepared, data), 1, seconds), 1)


def _prepared(data: bytes) -> None:
    try:
        prepare(data, picture_sets.PIXELS)
    except InvalidRequest:
        return
