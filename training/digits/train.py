"""How a digit reader is trained: data on the device, batches by step number, the loss after every row, distillation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data import drawn_digits as glyphs
from training.data import typeset_digits as typeset
from training.data.mnist import Digits, Mnist
from training.digits.augment import SIDE, Distortion, pen, photograph, warp
from training.fit.loop import Curves, Plan, fit
from training.networks.convolutional import Committee, ImageReader, StridedReader
from training.networks.digits import CLASSES, RowReader

CANVASES = (32, 40, 48, 56, 64)  # rows of the free canvases: few heights, so that kernels are planned once
WHOLE = 24.5 / SIDE  # MNIST has nothing below row 24


@dataclass(frozen=True)
class Knobs:
    """Everything that shapes a run besides the data."""

    sizes: tuple[str, ...] = ("256x1",)  # readers trained side by side on the same batches, see `build`
    epochs: float = 44.0
    batch: int = 128
    peak: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    dropout: float = 0.2
    smoothing: float = 0.03
    ema: float = 0.999
    free: float = 0.2  # share of the batches on free canvases
    emphasis: float = 2.0  # the weight of a row grows with this power of the share of the digit that has been seen
    final: float = 2.0  # extra weight of the last row
    distilled: float = 0.7  # share of the teachers' answer in the target once a digit has been seen
    own: bool = False  # the reader that a round begins from is one of its teachers
    drawn: int = 1500  # drawn digits beside MNIST's, and as many typed ones
    ones: int = 300  # typed ones without a foot
    others: int = 3000  # drawn images of what is no digit, and as many typed ones
    bfloat16: bool = True  # matrix products of training in bfloat16; slower on a CPU that has none
    seed: int = 0
    distortion: Distortion = field(default_factory=Distortion)


TEACHERS: dict[str, Callable[[], nn.Module]] = {"image": ImageReader, "strided": StridedReader}


class Cohort(nn.Module):
    """Readers that see the same batches and nothing of each other."""

    def __init__(self, knobs: Knobs) -> None:
        super().__init__()
        self.names = list(knobs.sizes)
        self.members = nn.ModuleList(build(name, knobs.dropout) for name in knobs.sizes)

    def forward(self, rows: Tensor) -> list[Tensor]:
        """(B, T, 28) -> each member's logits (B, T, 11), or (B, T, 10) from one that knows digits only."""
        return [member(rows) for member in self.members]


def build(size: str, dropout: float) -> nn.Module:
    """A reader by its size: `256x1` is an LSTM of one layer of 256; the convolutional ones have names."""
    if size in TEACHERS:
        return TEACHERS[size]()
    hidden, layers = (int(part) for part in size.split("x"))
    return RowReader(hidden, layers, dropout)


@torch.no_grad()
def begin_from(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give `network` the weights of a smaller one: its inputs and answers come first, the new ones begin at zero."""
    own = network.state_dict()
    for name, given in weights.items():
        own[name].zero_()
        own[name][tuple(slice(size) for size in given.shape)] = given


class Deck:
    """The training images on the device, shuffled anew for every pass; a step's cards depend on seed and step only."""

    def __init__(self, digits: Digits, knobs: Knobs, device: torch.device) -> None:
        made = [glyphs.digit_images(knobs.drawn, 1), typeset.typed_digits(knobs.drawn, 3)]
        made += [typeset.footless_ones(knobs.ones, 6)]
        made += [glyphs.other_images(knobs.others, 2), typeset.typed_others(knobs.others, 4)]
        images = np.concatenate([digits.images, *(part[0] for part in made)])
        labels = np.concatenate([digits.labels, *(part[1] for part in made)])
        self.images, self.labels = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
        self.collected = len(digits.labels)  # these come first
        self.batch, self.seed = knobs.batch, knobs.seed
        self.per_epoch = len(labels) // knobs.batch
        self._epoch, self._order = -1, self.labels

    def deal(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 28, 28), ink 0..1, labels (B,) of one step, -1 is no digit, and which are MNIST's (B,)."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
            self._order = torch.randperm(len(self.labels), generator=generator).to(self.labels.device)
            self._epoch = epoch
        chosen = self._order[place * self.batch : (place + 1) * self.batch]
        return self.images[chosen].float() / 255, self.labels[chosen], chosen < self.collected


class Lesson:
    """The loss of one step: deal, distort, ask the teachers, compare after every row."""

    def __init__(self, cohort: Cohort, deck: Deck, knobs: Knobs, teachers: Committee | None) -> None:
        self.cohort, self.deck, self.knobs, self.teachers = cohort, deck, knobs, teachers
        self.device = deck.images.device

    def __call__(self, step: int) -> Tensor:
        torch.manual_seed(self.knobs.seed * 1_000_003 + step)
        images, labels, known = self.deck.deal(step)
        free = float(torch.rand(())) < self.knobs.free
        rows = CANVASES[int(torch.randint(len(CANVASES), ()))] if free else SIDE
        canvas, seen = warp(pen(images, self.knobs.distortion.pen), self.knobs.distortion, rows, free=free)
        target = self._target(canvas, labels, known, seen)  # teachers see the digit before it is damaged
        with half_precision(self.device, enabled=self.knobs.bfloat16):
            logits = self.cohort(photograph(canvas, self.knobs.distortion))
        weight = self._weight(seen)
        losses = [-(weight * (target[..., : x.shape[-1]] * x.float().log_softmax(-1)).sum(-1)).sum(1) for x in logits]
        return torch.stack(losses).mean(1).sum()

    def _target(self, canvas: Tensor, labels: Tensor, known: Tensor, seen: Tensor) -> Tensor:
        """(B, T, 11): smoothed labels, mixed with what the teachers say of digits that have been seen whole.

        They speak of MNIST's digits only, which is what they know: of other hands' ones some are sevens to them.
        """
        classes = torch.where(labels < 0, CLASSES, labels)
        hard = functional.one_hot(classes, CLASSES + 1) * (1 - self.knobs.smoothing)
        hard[:, :CLASSES] += self.knobs.smoothing / CLASSES
        target = hard[:, None].expand(-1, canvas.shape[1], -1)
        if self.teachers is None or canvas.shape[1] != SIDE:
            return target
        with half_precision(self.device, enabled=self.knobs.bfloat16):
            said = functional.pad(self.teachers.probabilities(canvas), (0, 1))
        taught = (seen > WHOLE) & known[:, None]
        return torch.lerp(target, said, self.knobs.distilled * taught.float()[:, :, None])

    def _weight(self, seen: Tensor) -> Tensor:
        """(B, T), sums to 1 over the rows."""
        weight = 0.02 + seen.pow(self.knobs.emphasis)
        weight[:, -1] += self.knobs.final
        return weight / weight.sum(1, keepdim=True)


def half_precision(device: torch.device, *, enabled: bool = True) -> torch.autocast:
    """bfloat16 for matrix products, float32 for weights, sums and losses."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def train(
    mnist: Mnist,
    knobs: Knobs,
    device: torch.device,
    teachers: Committee | None = None,
    *,
    start: dict[str, Tensor] | None = None,
    folder: Path | None = None,
) -> tuple[Cohort, Curves]:
    """Train a cohort; `start` holds the weights that every member begins from, see `begin_from`.

    With `folder` an interrupted run goes on where it was.
    """
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    cohort = _cohort(knobs, start).to(device)
    deck = Deck(mnist.train, knobs, device)
    teachers = None if teachers is None else teachers.to(device)
    lesson = Lesson(cohort, deck, knobs, teachers)
    steps = max(round(knobs.epochs * deck.per_epoch), 1)
    print(f"{knobs.epochs} epochs, {steps} steps of {knobs.batch}", flush=True)
    plan = Plan(
        steps,
        warmup=round(knobs.warmup * steps),
        hold=0.0,
        floor=0.005,
        clip=float(len(knobs.sizes)),
        # Batch statistics belong to the weights that made them.
        ema=None if TEACHERS.keys() & set(knobs.sizes) else knobs.ema,
        evaluate_every=max(steps // 20, 1),
        checkpoint_every=0 if folder is None else max(deck.per_epoch, 1),
    )
    optimizer = _optimizer(cohort, knobs)
    curves = fit(
        cohort, lesson, optimizer, plan, evaluate=_evaluation(mnist.validation, device), folder=folder, label="digits"
    )
    return cohort, curves


def _cohort(knobs: Knobs, start: dict[str, Tensor] | None) -> Cohort:
    torch.manual_seed(knobs.seed)
    cohort = Cohort(knobs)
    if start is not None:
        for member in cohort.members:
            begin_from(member, start)
    return cohort


def _optimizer(cohort: Cohort, knobs: Knobs) -> torch.optim.Optimizer:
    matrices = [p for p in cohort.parameters() if p.ndim > 1]
    vectors = [p for p in cohort.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": knobs.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    fused = next(cohort.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=knobs.peak, betas=(0.9, 0.99), fused=fused)


def _evaluation(digits: Digits, device: torch.device) -> Callable[[nn.Module], dict[str, float]]:
    """Accuracy after 14, 21 and 28 rows and the last cross-entropy, for each member of a cohort."""
    rows, labels = torch.from_numpy(digits.rows()).to(device), torch.from_numpy(digits.labels).to(device)

    def evaluate(module: nn.Module) -> dict[str, float]:
        row: dict[str, float] = {}
        for name, logits in logits_of(module, rows).items():
            right = (logits[..., :CLASSES].argmax(-1) == labels[:, None]).float().mean(0)
            row |= {f"{name} row {n}": float(right[n - 1]) for n in (14, 21, 28)}
            row[f"{name} nll"] = float(functional.cross_entropy(logits[:, -1], labels))
        return row

    return evaluate


@torch.no_grad()
def logits_of(module: Any, rows: Tensor, batch: int = 500) -> dict[str, Tensor]:
    """Member -> logits after each row (N, T, 11 or 10) float32."""
    parts: list[list[Tensor]] = []
    for chunk in rows.split(batch):
        with half_precision(rows.device, enabled=rows.is_cuda):
            parts.append([x.float() for x in module(chunk)])
    return {name: torch.cat([part[i] for part in parts]) for i, name in enumerate(module.names)}
