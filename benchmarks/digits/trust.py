"""`python -m benchmarks.digits.trust`: fit the weights of `service.imaging.trust`, and print them.

Drawings with seeds of their own, in easy scenes of the benchmark and in harder ones, are prepared and read with the
newest `digits`; so are some without any ink. The weights are those that make the lowered scores likeliest, given which
answers were right. What is printed besides: how many of the answers with a score of 0.99 are right in each scene,
before and after.
"""

from __future__ import annotations

import argparse
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.digits import handwriting
from benchmarks.digits.scenes import SCENES, Scene, blurred, file, placed, resized, smooth
from service.backend.model import LoadedModel, load
from service.codec.digit_calls import picture_items
from service.codec.digit_choice import chosen
from service.codec.images import PreparedImage
from service.contract.errors import InvalidRequest
from service.contract.manifest import DIGIT_CLASSES
from service.contract.types import DigitResult
from service.imaging.decode import decode
from service.imaging.filters import Plane
from service.imaging.hypotheses import hypotheses
from service.imaging.trust import WEIGHTS
from training.evaluation.evaluate import folders
from training.folders import MODELS

SEED = 40_000  # of drawings and scenes that nothing else uses
PIXELS = 25_000_000
SURE = 0.99


@dataclass(frozen=True)
class Answer:
    """The score of a picture before it is lowered by the preparation, whether it is right, and the features."""

    scene: str
    score: float
    is_right: bool
    features: tuple[float, ...]
    tempered: float = 0.0  # the score as it is answered


def cell(ink: Plane, generator: Generator) -> bytes:
    """A cell of a printed grid, photographed, with parts of its lines."""
    side = int(generator.integers(24, 60))
    plane = np.full((side, side), generator.uniform(0.6, 0.95), np.float32)
    for turn in range(4):
        if generator.random() < 0.5:
            near, thick = int(generator.integers(0, 4)), int(generator.integers(1, 4))
            np.rot90(plane, turn)[near : near + thick, int(generator.integers(0, side // 3)) :] = 0.25
    small = resized(ink, side * float(generator.uniform(0.45, 0.65)))
    top, left = ((side - np.array(small.shape)) * generator.uniform(0.35, 0.65, 2)).astype(int)
    plane[top : top + small.shape[0], left : left + small.shape[1]] *= (1 - 0.8 * small)[: side - top, : side - left]
    return file(blurred(plane, 0.7) + generator.normal(0, 0.015, plane.shape), "JPEG", quality=80)


def corner_shadow(ink: Plane, generator: Generator) -> bytes:
    """A shadow with corners falls over a part of the digit."""
    plane = 1 - generator.uniform(0.5, 0.85) * placed(resized(ink, 130), generator)
    high, wide = plane.shape
    shade = Image.new("L", (wide, high), 255)
    corners = [(float(generator.uniform(0, wide)), float(generator.uniform(0, high))) for _ in range(4)]
    shade.paste(round(255 * generator.uniform(0.4, 0.7)), (0, 0), _polygon(corners, (wide, high)))
    soft = np.asarray(shade.filter(ImageFilter.GaussianBlur(float(generator.uniform(1, 8)))), np.float32) / 255
    light = 1 + 0.15 * smooth(generator, plane.shape, 3)
    return file(0.85 * plane * soft * light + generator.normal(0, 0.015, plane.shape), "JPEG", quality=80)


def _polygon(corners: list[tuple[float, float]], size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return mask


def squared_photograph(ink: Plane, generator: Generator) -> bytes:
    """Squared paper under a lamp, with a digit two squares high."""
    side = int(generator.integers(300, 700))
    gap = side // int(generator.integers(6, 12))
    plane = np.full((side, side), 0.93, np.float32)
    plane[::gap] = plane[:, ::gap] = generator.uniform(0.55, 0.75)
    small = resized(ink, 2 * gap)
    top, left = ((side - np.array(small.shape)) * generator.uniform(0.2, 0.8, 2)).astype(int)
    part = plane[top : top + small.shape[0], left : left + small.shape[1]]
    part[:] = part * (1 - small[: part.shape[0], : part.shape[1]] * 0.75)
    light = 1 + 0.15 * smooth(generator, plane.shape, 3)
    image = Image.fromarray(np.uint8(255 * np.clip(0.85 * plane * light, 0, 1)))
    image = image.rotate(float(generator.normal(0, 3)), Image.Resampling.BICUBIC, fillcolor=200)
    return file(np.asarray(image, np.float32) / 255 + generator.normal(0, 0.012, plane.shape), "JPEG", quality=80)


def tight_photograph(ink: Plane, generator: Generator) -> bytes:
    """Cut to the digit out of a photograph."""
    small = resized(ink, float(generator.integers(12, 60)))
    plane = (0.9 - 0.7 * small) * (1 + 0.1 * smooth(generator, small.shape, 2))
    return file(blurred(plane, 0.6) + generator.normal(0, 0.015, plane.shape), "JPEG", quality=75)


def clouded(ink: Plane, generator: Generator) -> bytes:
    """On a wall or cloth: patches of light and dark, coarse and fine."""
    plane = 1 - generator.uniform(0.35, 0.8) * placed(resized(ink, 110), generator)
    for cells in (3, 6, 12, 24):
        plane = plane * (1 + generator.uniform(0.02, 0.14) * smooth(generator, plane.shape, cells))
    return file(0.7 * plane + generator.normal(0, 0.02, plane.shape), "JPEG", quality=75)


def crossed(ink: Plane, generator: Generator) -> bytes:
    """Struck through, underlined or circled by the same pen."""
    plane = placed(resized(ink, 120), generator)
    image = Image.fromarray(np.uint8(255 * plane))
    pencil = ImageDraw.Draw(image)
    for _ in range(int(generator.integers(1, 3))):
        ends = generator.uniform(0, 1, 4) * (image.width, image.height, image.width, image.height)
        pencil.line([float(end) for end in ends], fill=255, width=int(generator.integers(2, 7)))
    return file(1 - 0.85 * np.asarray(image, np.float32) / 255)


# Scenes that are shown without any ink, too: anything read then is wrong.
EMPTY = ("cell", "corner shadow", "squared photograph", "clouded", "shadow", "desk", "form", "ruled")
_NO_INK = np.zeros((20, 14), np.float32)
EASY = ("screen", "photograph", "shadow", "ruled", "desk", "form", "tight", "dirty")
HARD: dict[str, Scene] = {
    "cell": cell,
    "corner shadow": corner_shadow,
    "squared photograph": squared_photograph,
    "tight photograph": tight_photograph,
    "clouded": clouded,
    "crossed": crossed,
}


def answers(model: LoadedModel, count: int) -> list[Answer]:
    """The answers to `count` pictures of each tool in each scene, and without ink; those that are blank left out."""
    found = []
    scenes = {name: SCENES[name] for name in EASY} | HARD
    for tool in ("mouse", "pen", "marker"):
        drawings = handwriting.drawings(count, tool, SEED)
        for name, scene in scenes.items():
            generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
            for drawing in drawings:
                answer = answer_to(model, name, scene(drawing.ink, generator), drawing.label)
                found += [] if answer is None else [answer]
    for name in EMPTY:
        generator = np.random.default_rng([SEED, zlib.crc32(f"empty {name}".encode())])
        for _ in range(count):
            answer = answer_to(model, f"empty {name}", scenes[name](_NO_INK, generator), -1)
            found += [] if answer is None else [answer]
    return found


def answer_to(model: LoadedModel, scene: str, data: bytes, label: int) -> Answer | None:
    """The answer to one picture; None: it is blank."""
    try:
        found, refusal = hypotheses(decode(data, PIXELS))
    except InvalidRequest:
        return None
    picture, items = picture_items(PreparedImage(found, refusal), 0, trace=False, stop=None)
    results = [result for result in model.run(items) if isinstance(result, DigitResult)]
    choice = chosen(picture, results)
    if choice is None:
        return None
    probabilities, features = results[choice.index].probabilities, found[choice.index].features
    agreement = choice.agreement / math.exp(found[choice.index].log_trust)
    score = agreement * float(probabilities.max()) + (1 - agreement) / DIGIT_CLASSES
    tempered = choice.agreement * float(probabilities.max()) + (1 - choice.agreement) / DIGIT_CLASSES
    return Answer(scene, score, int(probabilities.argmax()) == label, features, tempered)


def fitted(found: list[Answer], steps: int = 3000) -> torch.Tensor:
    """The weight of each feature, none below zero."""
    features = torch.tensor([answer.features for answer in found])
    scores = torch.tensor([answer.score for answer in found]).clamp(max=0.9999)
    right = torch.tensor([float(answer.is_right) for answer in found])
    raw = torch.full((features.shape[1],), -4.0, requires_grad=True)
    optimizer = torch.optim.Adam([raw], 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy(_lowered(scores, features, raw.exp()), right)
        (loss + 1e-3 * raw.exp().sum() / len(found)).backward()
        optimizer.step()
    return raw.detach().exp()


def _lowered(scores: torch.Tensor, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    trust = torch.exp(-(features * weights).sum(1))
    return trust * scores + (1 - trust) / DIGIT_CLASSES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits.trust", description=__doc__)
    parser.add_argument("--count", type=int, default=40, help="pictures of each tool in each scene [40]")
    parser.add_argument("--folder", type=Path, default=MODELS, help="where the models are [models/]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = answers(load(folders(options.folder, ["digits"])[0], warm=False), options.count)
    weights = fitted(found)
    for name, weight in zip(WEIGHTS, weights.tolist(), strict=True):
        print(f'    "{name}": {weight:.4f},  # now {WEIGHTS[name]}')
    features = torch.tensor([answer.features for answer in found])
    after = _lowered(torch.tensor([answer.score for answer in found]), features, weights).tolist()
    for scene in dict.fromkeys(answer.scene for answer in found):
        pairs = [(a.score, s, a.is_right) for a, s in zip(found, after, strict=True) if a.scene == scene]
        sure = [[right for *scores, right in pairs if scores[i] >= SURE] for i in (0, 1)]
        shares = "  ".join(f"{len(s):4d} sure, {100 * np.mean(s or [True]):5.1f} % right" for s in sure)
        print(f"{scene:20s} {len(pairs)} read, {100 * np.mean([p[2] for p in pairs]):.1f} % right   {shares}")


if __name__ == "__main__":
    main()
