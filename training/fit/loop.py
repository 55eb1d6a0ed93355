"""One seeded, resumable fit for every network of the project: rate schedule, clipping, averaged weights, curves.

The loop is independent of the data: `loss_at(step)` returns the loss of one step. A recipe with batches that are a
function of the seed and the step number (and not of how many batches were drawn earlier) resumes to the same run after
an interruption. Only torch and the standard library are imported, so that a fit runs wherever torch does. Where
several processes share a fit (`training.fit.distributed`), their gradients are averaged at every step.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.fit import distributed
from training.fit.errors import OtherRun
from training.fit.event_log import EventLog
from training.fit.interrupt import Interrupt

CHECKPOINT, CURVES = "checkpoint.pt", "curves.csv"  # what a fit with a folder leaves in it

LEAST_FINITE = 0.98  # share of the losses since the last evaluation; with fewer a fit has failed

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
    best: str | None = None  # measure of the evaluations, less is better: the weights with its least value are kept
    patience: int = 0  # evaluations without a better one after which the fit ends; 0: it goes on

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
    identity: Mapping[str, Any] | None = None,
    accept_other: bool = False,
    stop: Callable[[], bool] | None = None,
    report: Callable[[int], None] | None = None,
) -> Curves:
    """Train `module` in place and return its curves; at the end it holds the averaged weights where `plan.ema` is set.

    Where `plan.best` is set, it holds the weights of the best evaluation instead, the one before the first step
    included. `after_step` runs after every update (to restore weights that must not move); `report` then gets the
    number of steps so far. A fit ends early, as if it were finished, once `stop` says so.

    With `folder` the curves are written there as CSV and for TensorBoard, and with `plan.checkpoint_every` the run
    continues from `folder/checkpoint.pt` when that exists. `identity` (configuration, data, code) is kept in it: a
    checkpoint with another one raises `OtherRun`, unless `accept_other`. `deadline` (seconds, those before an
    interruption included) shortens nothing silently: a run that meets it raises `TimeoutError` after a last checkpoint.
    Ctrl-C waits for the end of a step, writes the checkpoint and raises `KeyboardInterrupt`; a caller whose own
    `Interrupt` surrounds the fit gets it in `stop` instead.
    """
    run = _Run(module, optimizer, plan, folder, identity, accept_other=accept_other)
    peak = [group["lr"] for group in optimizer.param_groups]
    bar = _Progress(label, plan.steps, enabled=progress and distributed.is_first())
    if plan.best is not None and run.step == 0:
        bar.show(run.row(evaluate))
    started = time.monotonic() - run.seconds
    with Interrupt(enabled=stop is None) as interrupt:
        while run.step < plan.steps and not run.has_lost_patience and not _is_to_stop(stop):
            module.train()
            for group, rate in zip(optimizer.param_groups, peak, strict=True):
                group["lr"] = rate * plan.rate(run.step)
            _update(module, loss := loss_at(run.step), optimizer, plan.clip)
            if after_step is not None:
                after_step()
            run.observe(loss)
            run.seconds = time.monotonic() - started
            if report is not None:
                report(run.step)
            finished = run.step == plan.steps
            if finished or (plan.evaluate_every and run.step % plan.evaluate_every == 0):
                bar.show(run.row(evaluate))
            is_late = deadline is not None and run.seconds > deadline
            ends_early = distributed.any_of(not finished and (interrupt.is_requested or is_late))
            if ends_early or (plan.checkpoint_every and run.step % plan.checkpoint_every == 0):
                run.save(peak)
            if ends_early and interrupt.is_requested:
                raise KeyboardInterrupt
            if ends_early:
                raise TimeoutError(f"{label}: {run.step} of {plan.steps} steps after {run.seconds:.0f} s")
    run.finish()
    module.eval()
    return run.curves


def _is_to_stop(stop: Callable[[], bool] | None) -> bool:
    return stop is not None and distributed.any_of(stop())


def _update(module: nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float | None) -> None:
    """One step down the gradient of `loss`; none where that gradient is not finite and would spoil all weights."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    distributed.average_gradients(module)
    if clip is not None and not bool(nn.utils.clip_grad_norm_(module.parameters(), clip).isfinite()):
        return
    optimizer.step()


class _Run:
    """Everything of a fit that a checkpoint must hold."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        folder: Path | None,
        identity: Mapping[str, Any] | None,
        *,
        accept_other: bool,
    ) -> None:
        self.module, self.optimizer, self.plan = module, optimizer, plan
        self.average = AveragedWeights(module, plan.ema) if plan.ema else None
        self.curves = Curves()
        self.step, self.seconds = 0, 0.0
        self.losses: list[Tensor] = []
        self.best: dict[str, Tensor] | None = None  # the weights of the best evaluation
        self.best_value = math.inf
        self.evaluations_since = 0  # the best one
        self.identity = json.dumps(identity or {}, sort_keys=True, default=list)
        self.folder = folder
        self.events: EventLog | None = None
        if folder is not None and (folder / CHECKPOINT).exists():
            self._load(folder / CHECKPOINT, accept_other=accept_other)

    @property
    def has_lost_patience(self) -> bool:
        """Whether the last evaluations were no better than an earlier one."""
        return 0 < self.plan.patience <= self.evaluations_since

    def observe(self, loss: Tensor) -> None:
        """Count a step and follow its weights."""
        if self.average is not None:
            self.average.update(self.module)
        self.step += 1
        self.losses.append(loss.detach())

    def row(self, evaluate: Evaluate | None) -> dict[str, float]:
        """Evaluate the averaged weights, append the row and return it."""
        losses = torch.stack(self.losses) if self.losses else torch.full((1,), math.nan)
        finite = losses.isfinite()
        if self.step > 0 and float(finite.sum()) < LEAST_FINITE * len(losses):
            raise FloatingPointError(f"the loss is {float(losses.mean())} after {self.step} steps")
        loss = float(losses[finite].mean())
        row: dict[str, float] = {"step": self.step, "seconds": round(self.seconds, 1)}
        if self.losses:
            row["loss"] = loss
        if evaluate is not None:
            self.module.eval()
            with torch.no_grad(), self._averaged():
                row |= evaluate(self.module)
                self._keep_if_best(row)
        self.losses = []
        self.curves.rows.append(row)
        self._write_curves()
        return row

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.applied(self.module)

    def _keep_if_best(self, row: dict[str, float]) -> None:
        if self.plan.best is None:
            return
        self.evaluations_since += 1
        if row[self.plan.best] < self.best_value:
            self.best_value, self.evaluations_since = row[self.plan.best], 0
            self.best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def finish(self) -> None:
        """Give the module the weights to keep: the best ones, else the averaged ones, else those it has."""
        if self.best is not None:
            self.module.load_state_dict(self.best)
        elif self.average is not None:
            self.average.swap(self.module)

    def _write_curves(self) -> None:
        """The curves so far as a table, in place of the last one, and their last row for TensorBoard."""
        if self.folder is None or not distributed.is_first():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.events is None:
            self.events = EventLog(self.folder)
        self.events.add(self.curves.rows[-1])
        columns = dict.fromkeys(name for row in self.curves.rows for name in row)
        partial = (self.folder / CURVES).with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(self.curves.rows)
        partial.replace(self.folder / CURVES)

    def save(self, peak: list[float]) -> None:
        """Write the checkpoint, with the peak rates of the optimiser, which a resumed run reads from there."""
        if self.folder is None or not distributed.is_first():
            return
        for group, rate in zip(self.optimizer.param_groups, peak, strict=True):
            group["lr"] = rate
        self.folder.mkdir(parents=True, exist_ok=True)
        average = self.average
        content = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if average is None else average.tensors,
            "updates": 0 if average is None else average.updates,
            "best": self.best,
            "best_value": self.best_value,
            "evaluations_since": self.evaluations_since,
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
            "curves": json.dumps(self.curves.rows),
            "identity": self.identity,
        }
        path = self.folder / CHECKPOINT
        partial = path.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(path)  # an interrupted write never costs the last good checkpoint

    def _load(self, path: Path, *, accept_other: bool) -> None:
        # A run that began on a GPU goes on wherever the module is now.
        device = next(self.module.parameters()).device
        content = torch.load(path, weights_only=True, map_location=device)
        differing = [] if accept_other else differences(content.get("identity", "{}"), self.identity)
        if differing:
            raise OtherRun(
                f"{path} is of a run with other {', '.join(differing)}: choose another --folder, delete it, or go on "
                "from it all the same with --accept-other"
            )
        self.module.load_state_dict(content["module"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.average is not None:
            for mine, saved in zip(self.average.tensors, content["average"], strict=True):
                mine.copy_(saved)
            self.average.updates = content["updates"]
        self.best, self.best_value = content["best"], content["best_value"]
        self.evaluations_since = content["evaluations_since"]
        self.step, self.seconds = content["step"], content["seconds"]
        self.losses = content["losses"]
        self.curves.rows = json.loads(content["curves"])


def differences(first: str, second: str) -> list[str]:
    """The members in which two identities (JSON objects) differ, those of a member that is an object one by one."""

    def members(text: str) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in json.loads(text).items():
            flat |= {f"{name} {key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        return flat

    old, new = members(first), members(second)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


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
