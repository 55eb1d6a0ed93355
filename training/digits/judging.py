"""How the judge of a reader is trained: digits of every kind against what is no digit, the reader held fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data import display_digits, drawn_digits, pen_digits, sign_images, typeset_digits
from training.data.mnist import Digits, Mnist
from training.digits.batches import BatchSampler
from training.digits.config import Config
from training.digits.train import distorted_batch, half_precision, plan_of, row_weights
from training.fit.loop import Curves, fit
from training.fit.optimizer import adamw
from training.networks.digits import DigitJudge, RowReader

UNSEEN = 77  # seed of the images on which a judge is looked at while it is trained
DOUBT = 0.0  # log-odds


class JudgeLoss:
    """The loss of one step: a batch distorted as for readers, and the cross-entropy of the judge after every row."""

    def __init__(self, judge: DigitJudge, reader: RowReader, sampler: BatchSampler, config: Config) -> None:
        self.judge, self.reader, self.sampler, self.config = judge, reader, sampler, config
        self.device = sampler.images.device

    def __call__(self, step: int) -> Tensor:
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        batch = distorted_batch(self.sampler, step, self.config)
        with half_precision(self.device, enabled=self.config.bfloat16):
            log_odds = judged(self.judge, self.reader, batch.pictures)
        wrong = (batch.labels < 0).float()[:, None].expand_as(log_odds)
        losses = functional.binary_cross_entropy_with_logits(log_odds.float(), wrong, reduction="none")
        return (row_weights(batch.share_read, self.config) * losses).sum(1).mean()


def judged(judge: DigitJudge, reader: RowReader, rows: Tensor) -> Tensor:
    """(B, T, 28) -> log-odds of no digit after each row (B, T); no gradient reaches the reader."""
    with torch.no_grad():
        seen = reader.seen(rows)
        hidden = reader.hidden_after(seen)
    log_odds: Tensor = judge(hidden, seen)
    return log_odds


def train_judge(
    reader: RowReader, mnist: Mnist, config: Config, device: torch.device, *, folder: Path | None = None, **options: Any
) -> tuple[DigitJudge, Curves]:
    """Train a judge for `reader`; `options` are those of `training.fit.loop.fit`."""
    torch.manual_seed(config.seed)
    reader = reader.to(device).eval().requires_grad_(requires_grad=False)
    judge = DigitJudge(reader.hidden).to(device)
    sampler = BatchSampler(mnist.train, config, device)
    plan = plan_of(config, sampler, evaluations=12, ema=config.ema)
    curves = fit(
        judge,
        JudgeLoss(judge, reader, sampler, config),
        adamw(judge, config.peak, config.weight_decay, (0.9, 0.99)),
        plan if folder is None else replace(plan, checkpoint_every=plan.evaluate_every),
        evaluate=_evaluation(reader, mnist.validation, device),
        folder=folder,
        label="judge",
        **options,
    )
    return judge.eval(), curves


def unseen_digits(validation: Digits) -> Digits:
    """Digits that training did not have: MNIST's, drawn, typed in other fonts, of displays and of unusual pens."""
    generated = [drawn_digits.digit_images(300, UNSEEN), pen_digits.pen_digits(600, UNSEEN)]
    generated += [typeset_digits.typed_digits(300, UNSEEN, typeset_digits.HELD_OUT_FONTS)]
    generated += [display_digits.display_digits(300, UNSEEN)]
    images = np.concatenate([validation.images, *(images for images, _ in generated)])
    return Digits(images, np.concatenate([validation.labels, *(labels for _, labels in generated)]))


def unseen_others() -> Digits:
    """Images of no digit that training did not have: signs and doodles, drawn others, letters in other fonts."""
    generated = [sign_images.sign_images(1200, UNSEEN), drawn_digits.other_images(300, UNSEEN)]
    generated += [typeset_digits.typed_others(300, UNSEEN, typeset_digits.HELD_OUT_FONTS)]
    images = np.concatenate([images for images, _ in generated])
    return Digits(images, np.full(len(images), -1))


def _evaluation(reader: RowReader, validation: Digits, device: torch.device) -> Callable[[nn.Module], dict[str, float]]:
    """Shares with more than even odds against a digit after the last row: of unseen digits, and of no digits."""
    sets = {"digits": unseen_digits(validation), "others": unseen_others()}
    rows = {name: torch.from_numpy(images.rows()).to(device) for name, images in sets.items()}

    def evaluate(module: nn.Module) -> dict[str, float]:
        judge = cast("DigitJudge", module)
        shares = {}
        for name, pictures in rows.items():
            with torch.no_grad():
                last = torch.cat([judged(judge, reader, chunk)[:, -1] for chunk in pictures.split(500)])
            shares[f"{name} doubted"] = float((last > DOUBT).float().mean())
        return shares

    return evaluate
