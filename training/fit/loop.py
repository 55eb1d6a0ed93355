"""One seeded, resumable fit for every network of the project: rate schedule, clipping, averaged weights, curves.

The loop is independent of the data: `loss_at(step)` returns the loss of one step. A recipe with batches that are a
function of the seed and the step number (and not of how many batches were drawn earlier) resumes to the same run after
an interruption. Only torch and the standard library are imported, so that a fit runs wherever torch does.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

Evaluate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """The schedule of a fit. Rates are fractions of the optimiser's own (peak) rate."""

    steps: int
    warmup: int = 0  # steps of linear rise from 0
    hold: float = 1.0  # fraction of the run at the peak rate; a cosine falls to `floor` after it
    floor: float = 0.02
    clip: float | None = 1.0  # bound of the gradient's norm
    ema: float | None = None  # decay of the averaged weights, which are then evaluated and kept
    evaluate_every: int = 0  # steps; 0: only at the end
    checkpoint_every: int = 0  # steps; 0: no checkpoints

    def rate(self, step: int) -> float:
        """Rate of `step` (0-based) relative to the peak."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        start = max(self.warmup, round(self.hold * self.steps))
        if step < start or start >= self.steps:
            return 1.0
        progress = (step - start) / (self.steps - start)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class Curves:
    """What a fit leaves behind: one row per evaluation, with `step`, `seconds`, `loss` (mean since the last row)."""

    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, float]:
        """The row of the finished fit."""
        return self.rows[-1]


class AveragedWeights:
    """Exponential moving average of a module's parameters; the average starts fast and slows down to `decay`."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.tensors = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.tensors, [p.detach() for p in module.parameters()], weight)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the module's weights with the averaged ones; twice is the identity."""
        for average, parameter in zip(self.tensors, module.parameters(), strict=True):
            trained = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(trained)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The averaged weights inside the block, the trained ones again after it."""
        self.swap(module)
        try:
            yield
        finally:
            self.swap(module)


def fit(
    module: nn.Module,
    loss_at: Callable[[int], Tensor],
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    *,
    evaluate: Evaluate | None = None,
    after_step: Callable[[], None] | None = None,
    folder: Path | None = None,
    progress: bool = True,
    label: str = "fit",
    deadline: float | None = None,
) -> Curves:
    """Train `module` in place and return its curves; at the end it holds the averaged weights where `plan.ema` is set.

    `after_step` runs after every update (to restore weights that must not move). With `folder` and
    `plan.checkpoint_every`, the run continues from `folder/checkpoint.pt` when that exists. `deadline` (seconds of wall
    clock for this call) shortens nothing silently: a run that meets it raises `TimeoutError` after a last checkpoint.
    """
    run = _Run(module, optimizer, plan, folder)
    started = time.monotonic() - run.seconds
    peak = [group["lr"] for group in optimizer.param_groups]
    bar = _Progress(label, plan.steps, enabled=progress)
    while run.step < plan.steps:
        module.train()
        for group, rate in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = rate * plan.rate(run.step)
        loss = loss_at(run.step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if plan.clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), plan.clip)
        optimizer.step()
        if after_step is not None:
            after_step()
        if run.average is not None:
            run.average.update(module)
        run.observe(loss)
        run.seconds = time.monotonic() - started
        finished = run.step == plan.steps
        if finished or (plan.evaluate_every and run.step % plan.evaluate_every == 0):
            bar.show(run.row(evaluate))
        out_of_time = deadline is not None and run.seconds > deadline and not finished
        if out_of_time or (plan.checkpoint_every and run.step % plan.checkpoint_every == 0):
            for group, rate in zip(optimizer.param_groups, peak, strict=True):
                group["lr"] = rate  # a resumed run reads its peak rates from here
            run.save()
        if out_of_time:
            raise TimeoutError(f"{label}: {run.step} of {plan.steps} steps after {run.seconds:.0f} s")
    if run.average is not None:
        run.average.swap(module)
    module.eval()
    return run.curves


class _Run:
    """Everything of a fit that a checkpoint must hold."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, folder: Path | None) -> None:
        self.module, self.optimizer = module, optimizer
        self.average = AveragedWeights(module, plan.ema) if plan.ema else None
        self.curves = Curves()
        self.step, self.seconds = 0, 0.0
        self.losses: list[Tensor] = []
        self.path = None if folder is None else folder / "checkpoint.pt"
        if self.path is not None and self.path.exists():
            self._load(self.path)

    def observe(self, loss: Tensor) -> None:
        self.step += 1
        self.losses.append(loss.detach())

    def row(self, evaluate: Evaluate | None) -> dict[str, float]:
        """Evaluate the averaged weights, append the row and return it."""
        loss = float(torch.stack(self.losses).mean()) if self.losses else math.nan
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} after {self.step} steps")
        row: dict[str, float] = {"step": self.step, "seconds": round(self.seconds, 1), "loss": loss}
        if evaluate is not None:
            self.module.eval()
            with torch.no_grad():
                if self.average is None:
                    row |= evaluate(self.module)
                else:
                    with self.average.applied(self.module):
                        row |= evaluate(self.module)
        self.losses = []
        self.curves.rows.append(row)
        return row

    def save(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        average = self.average
        content = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if average is None else average.tensors,
            "updates": 0 if average is None else average.updates,
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
            "curves": json.dumps(self.curves.rows),
        }
        partial = self.path.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(self.path)  # an interrupted write never costs the last good checkpoint

    def _load(self, path: Path) -> None:
        content = torch.load(path, weights_only=True)
        self.module.load_state_dict(content["module"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.average is not None:
            for mine, saved in zip(self.average.tensors, content["average"], strict=True):
                mine.copy_(saved)
            self.average.updates = content["updates"]
        self.step, self.seconds = content["step"], content["seconds"]
        self.losses = content["losses"]
        self.curves.rows = json.loads(content["curves"])


class _Progress:
    """One line per evaluation: where the run is, how long it will take, how good it is."""

    def __init__(self, label: str, steps: int, *, enabled: bool) -> None:
        self.label, self.steps, self.enabled = label, steps, enabled

    def show(self, row: dict[str, float]) -> None:
        if not self.enabled:
            return
        share = row["step"] / self.steps
        remaining = row["seconds"] * (1 - share) / max(share, 1e-9)
        filled = round(20 * share)
        values = "  ".join(f"{k} {v:.5g}" for k, v in row.items() if k not in ("step", "seconds"))
        bar = "#" * filled + "." * (20 - filled)
        print(f"{self.label} [{bar}] {row['step']:.0f}/{self.steps}, {remaining:.0f} s left  {values}", flush=True)
