"""How a digit reader is trained: a loss after every row, against labels and against teachers' answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.mnist import Digits, Mnist
from training.digits.augment import SIDE, pen, photograph, warp
from training.digits.batches import BatchSampler
from training.digits.config import Config
from training.digits.levels import densely_fogged, reframed, relevelled
from training.fit import distributed
from training.fit.loop import Curves, Plan, fit
from training.fit.optimizer import adamw
from training.networks.convolutional import Committee, ImageReader, StridedReader
from training.networks.digits import CLASSES, RowReader
from training.networks.paper_level import levelled

CANVASES = (32, 40, 48, 56, 64)  # rows of the free canvases: few heights, so that kernels are planned once
COMPLETE = 24.5 / SIDE  # share of the canvas above which nothing of a digit follows: MNIST has no ink below row 24

TEACHERS: dict[str, Callable[[], nn.Module]] = {"image": ImageReader, "strided": StridedReader}


class ModelGroup(nn.Module):
    """Readers trained on the same batches, independent of one another."""

    def __init__(self, config: Config, classes: int = CLASSES) -> None:
        super().__init__()
        self.names = list(config.sizes)
        self.classes = classes
        self.members = nn.ModuleList(build(name, config.dropout, classes) for name in config.sizes)

    def forward(self, rows: Tensor) -> list[Tensor]:
        """(B, T, 28) -> each member's logits (B, T, 11), or (B, T, 10) of one without a class for no digit."""
        return [member(rows) for member in self.members]


def build(size: str, dropout: float, classes: int = CLASSES) -> nn.Module:
    """A reader by its size: `256x1` is an LSTM of one layer of 256; the convolutional ones, of digits, have names."""
    if size in TEACHERS:
        return TEACHERS[size]()
    hidden, layers = (int(number) for number in size.split("x"))
    return RowReader(hidden, layers, dropout, classes)


@torch.no_grad()
def begin_from(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give `network` the weights of a smaller one: its inputs and outputs come first, the new ones begin at zero."""
    state = network.state_dict()
    for name, smaller in weights.items():
        state[name].zero_()
        state[name][tuple(slice(size) for size in smaller.shape)] = smaller


class DistillationLoss:
    """The loss of one step: draw a batch, distort it, ask the teachers, compare after every row."""

    def __init__(self, group: ModelGroup, sampler: BatchSampler, config: Config, teachers: Committee | None) -> None:
        self.group, self.sampler, self.config, self.teachers = group, sampler, config, teachers
        self.device = sampler.images.device

    def __call__(self, step: int) -> Tensor:
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        batch = distorted_batch(self.sampler, step, self.config)
        canvas, pictures, labels = batch.canvas, batch.pictures, batch.labels
        from_mnist, share_read = batch.from_mnist, batch.share_read
        mine = distributed.rows_of_rank(len(labels))
        canvas, labels, from_mnist, share_read = canvas[mine], labels[mine], from_mnist[mine], share_read[mine]
        # The teachers read the digit without the defects of a photograph.
        target = self._target(canvas, labels, from_mnist, share_read)
        with half_precision(self.device, enabled=self.config.bfloat16):
            logits = self.group(pictures[mine])
        weight = row_weights(share_read, self.config)
        losses = [-(weight * (target[..., : x.shape[-1]] * x.float().log_softmax(-1)).sum(-1)).sum(1) for x in logits]
        return torch.stack(losses).mean(1).sum()

    def _target(self, canvas: Tensor, labels: Tensor, from_mnist: Tensor, share_read: Tensor) -> Tensor:
        """(B, T, 11): smoothed labels, mixed with the teachers' answers after the rows that complete a digit.

        Teachers were trained on MNIST's digits only, so only these have their answers: some digits of other hands are
        sevens to them.
        """
        count = self.group.classes
        classes = torch.where(labels < 0, count, labels)
        hard = functional.one_hot(classes, count + 1) * (1 - self.config.smoothing)
        hard[:, :count] += self.config.smoothing / count
        target = hard[:, None].expand(-1, canvas.shape[1], -1)
        if self.teachers is None or canvas.shape[1] != SIDE:
            return target
        with half_precision(self.device, enabled=self.config.bfloat16):
            answers = functional.pad(self.teachers.probabilities(canvas[from_mnist]), (0, 1))
        distilled = share_read[from_mnist] > (0 if self.config.every_row else COMPLETE)
        mixed = torch.lerp(target[from_mnist], answers, self.config.distilled * distilled.float()[:, :, None])
        return target.clone().masked_scatter(from_mnist[:, None, None], mixed)


class DistortedBatch(NamedTuple):
    """One batch of training: `canvas` as teachers read it, `pictures` with a photograph's defects (B, T, 28) each.

    With labels (B,), -1 for no digit, which are MNIST's (B,), and the share of the digit above each row (B, T).
    """

    canvas: Tensor
    pictures: Tensor
    labels: Tensor
    from_mnist: Tensor
    share_read: Tensor


def distorted_batch(sampler: BatchSampler, step: int, config: Config) -> DistortedBatch:
    """The batch of a step, distorted as `config` says."""
    images, labels, from_mnist = sampler.batch(step)
    free = float(torch.rand(())) < config.free
    rows = CANVASES[int(torch.randint(len(CANVASES), ()))] if free else SIDE
    images = pen(images, config.distortion.pen)
    if config.reframed and not free:
        images = reframed(images, config.reframed)
        # Teachers were trained on MNIST's frame only; the last ones of a batch have another.
        from_mnist[len(images) - round(config.reframed * len(images)) :] = False
    canvas, share_read = warp(images, config.distortion, rows, free=free)
    pictures = photograph(canvas, config.distortion)
    if config.levels:
        pictures = relevelled(pictures, config.levels)
        pictures = levelled(densely_fogged(pictures, config.fogged))
    return DistortedBatch(canvas, pictures, labels, from_mnist, share_read)


def row_weights(share_read: Tensor, config: Config) -> Tensor:
    """(B, T), the weight of the loss after each row; sums to 1 over the rows."""
    weight = 0.02 + share_read.pow(config.emphasis)
    weight[:, -1] += config.final
    return weight / weight.sum(1, keepdim=True)


def half_precision(device: torch.device, *, enabled: bool = True) -> torch.autocast:
    """bfloat16 for matrix products, float32 for weights, sums and losses."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def train(
    mnist: Mnist,
    config: Config,
    device: torch.device,
    teachers: Committee | None = None,
    *,
    start: dict[str, Tensor] | None = None,
    folder: Path | None = None,
    best: str | None = None,
    classes: int = CLASSES,
    **options: Any,
) -> tuple[ModelGroup, Curves]:
    """Train a group of readers; `start` holds the weights that every member begins from, see `begin_from`.

    `classes` is the number of labels, where they are not the digits.

    With `folder` an interrupted run resumes from its checkpoint there. `best` names a measure of the evaluations: the
    weights with its least value are kept. `options` are those of `training.fit.loop.fit`.
    """
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    group = _group(config, start, classes).to(device)
    sampler = BatchSampler(mnist.train, config, device)
    teachers = None if teachers is None else teachers.to(device)
    plan = plan_of(
        config,
        sampler,
        evaluations=20,
        clip=float(len(config.sizes)),
        # Batch statistics belong to the weights that made them.
        ema=None if TEACHERS.keys() & set(config.sizes) else config.ema,
        checkpoint_every=0 if folder is None else max(sampler.per_epoch, 1),
        best=best,
    )
    curves = fit(
        group,
        DistillationLoss(group, sampler, config, teachers),
        adamw(group, config.peak, config.weight_decay, (0.9, 0.99)),
        plan,
        evaluate=_evaluation(mnist.validation, device, classes),
        folder=folder,
        label="digits",
        **options,
    )
    return group, curves


def plan_of(config: Config, sampler: BatchSampler, *, evaluations: int, **options: Any) -> Plan:
    """The plan of a fit over the epochs of `config`, which is printed; `options` are other fields of `Plan`."""
    steps = max(round(config.epochs * sampler.per_epoch), 1)
    print(f"{config.epochs:g} epochs, {steps} steps of {config.batch}", flush=True)
    warmup, every = round(config.warmup * steps), max(steps // evaluations, 1)
    return Plan(steps, warmup=warmup, hold=0.0, floor=0.005, evaluate_every=every, **options)


def _group(config: Config, start: dict[str, Tensor] | None, classes: int) -> ModelGroup:
    torch.manual_seed(config.seed)
    group = ModelGroup(config, classes)
    if start is not None:
        for member in group.members:
            begin_from(member, start)
    return group


def _evaluation(digits: Digits, device: torch.device, classes: int) -> Callable[[nn.Module], dict[str, float]]:
    """Accuracy after 14, 21 and 28 rows and the last cross-entropy, for each member of a group."""
    rows, labels = torch.from_numpy(digits.rows()).to(device), torch.from_numpy(digits.labels).to(device)

    def evaluate(module: nn.Module) -> dict[str, float]:
        row: dict[str, float] = {}
        for name, logits in logits_of(module, rows).items():
            right = (logits[..., :classes].argmax(-1) == labels[:, None]).float().mean(0)
            row |= {f"{name} row {n}": float(right[n - 1]) for n in (14, 21, 28)}
            row[f"{name} nll"] = float(functional.cross_entropy(logits[:, -1], labels))
        return row

    return evaluate


@torch.no_grad()
def logits_of(module: Any, rows: Tensor, batch: int = 500) -> dict[str, Tensor]:
    """Member -> logits after each row (N, T, 11 or 10) float32."""
    chunks: list[list[Tensor]] = []
    for chunk in rows.split(batch):
        with half_precision(rows.device, enabled=rows.is_cuda):
            chunks.append([x.float() for x in module(chunk)])
    return {name: torch.cat([chunk[i] for chunk in chunks]) for i, name in enumerate(module.names)}
