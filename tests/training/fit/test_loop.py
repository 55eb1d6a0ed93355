"""training.fit.loop: schedule, averaged weights, and interrupted runs that end where uninterrupted ones do."""

from __future__ import annotations

import csv
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.fit.errors import OtherRun
from training.fit.loop import AveragedWeights, Curves, Plan, fit


def _run(
    plan: Plan, folder: Path | None = None, deadline: float | None = None, **options: Any
) -> tuple[nn.Module, Curves]:
    """Fit y = 3x + 1 with batches that depend on the step alone."""
    torch.manual_seed(1)
    module = nn.Linear(1, 1)

    def loss_at(step: int) -> Tensor:
        x = torch.randn(32, 1, generator=torch.Generator().manual_seed(step))
        return (module(x) - 3 * x - 1).square().mean()

    def evaluate(m: nn.Module) -> dict[str, float]:
        weight = float(next(m.parameters()))
        return {"weight": weight, "distance": abs(weight - 2.0)}

    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    curves = fit(
        module,
        loss_at,
        optimizer,
        plan,
        evaluate=evaluate,
        folder=folder,
        progress=False,
        deadline=deadline,
        **options,
    )
    return module, curves


def _weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_a_fit_finds_the_line() -> None:
    module, curves = _run(Plan(steps=300, hold=0.3, evaluate_every=100))
    assert torch.allclose(_weights(module), torch.tensor([3.0, 1.0]), atol=1e-2)
    assert [row["step"] for row in curves.rows] == [100, 200, 300]
    assert curves.last["loss"] < 1e-2 < curves.rows[0]["loss"]


def test_rates_rise_hold_and_fall() -> None:
    plan = Plan(steps=100, warmup=10, hold=0.5, floor=0.1)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:50]) == {1.0}
    assert all(a > b for a, b in pairwise(rates[50:]))
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)


def test_a_plan_without_decay_keeps_its_rate() -> None:
    assert {Plan(steps=10).rate(step) for step in range(10)} == {1.0}


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    plan = Plan(steps=60, warmup=5, hold=0.4, ema=0.9, evaluate_every=20, checkpoint_every=20)
    module, curves = _run(plan)
    with pytest.raises(TimeoutError, match="of 60 steps"):
        _run(plan, tmp_path, deadline=0.0)
    resumed, resumed_curves = _run(plan, tmp_path)
    assert torch.equal(_weights(module), _weights(resumed))
    assert [row["weight"] for row in curves.rows] == [row["weight"] for row in resumed_curves.rows]


def test_averaged_weights_are_evaluated_and_kept() -> None:
    module, curves = _run(Plan(steps=50, ema=0.95))
    assert curves.last["weight"] == float(_weights(module)[0])
    trained, _ = _run(Plan(steps=50))
    assert not torch.equal(_weights(module), _weights(trained))


def test_the_average_moves_between_its_past_and_the_weights() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = AveragedWeights(module, decay=0.5)
    nn.init.ones_(module.weight)
    average.update(module)
    with average.applied(module):
        assert 0 < float(module.weight.detach()) < 1
    assert float(module.weight.detach()) == 1


def test_a_loss_that_is_not_a_number_stops_the_run() -> None:
    module = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match="after 5 steps"):
        fit(module, lambda _: module(torch.full((1, 1), torch.nan)).sum(), optimizer, Plan(steps=5), progress=False)


def test_a_step_whose_gradient_is_not_a_number_leaves_the_weights_alone() -> None:
    module = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)

    def loss_at(step: int) -> Tensor:
        return (module(torch.ones(1, 1)) - 2).square().sum() * (torch.nan if step == 70 else 1.0)

    curves = fit(module, loss_at, optimizer, Plan(steps=100), progress=False)
    assert 0 < curves.last["loss"] < 10
    assert float(module(torch.ones(1, 1)).detach()) == pytest.approx(2.0, abs=0.2)


def test_fixed_weights_are_restored_after_every_step() -> None:
    module = nn.Linear(1, 1)
    biases: list[float] = []

    def restore() -> None:
        biases.append(float(module.bias.detach()))
        nn.init.zeros_(module.bias)

    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    fit(module, lambda _: module(torch.ones(1, 1)).sum(), optimizer, Plan(steps=3), after_step=restore, progress=False)
    assert float(module.bias.detach()) == 0
    assert len(biases) == 3


def test_progress_shows_where_the_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    module = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    fit(
        module, lambda _: module(torch.ones(1, 1)).square().sum(), optimizer, Plan(steps=4, evaluate_every=2), label="x"
    )
    assert "x [##########..........] 2/4" in capsys.readouterr().out


def test_the_best_weights_are_kept_and_patience_ends_the_fit() -> None:
    module, curves = _run(Plan(steps=400, evaluate_every=5, best="distance", patience=3))
    distances = [row["distance"] for row in curves.rows]
    assert curves.rows[0]["step"] == 0
    assert abs(float(_weights(module)[0]) - 2.0) == min(distances)
    assert distances.index(min(distances)) == len(distances) - 1 - 3


def test_the_best_weights_outlive_an_interruption(tmp_path: Path) -> None:
    plan = Plan(steps=100, evaluate_every=5, checkpoint_every=5, best="distance")
    module, curves = _run(plan)
    with pytest.raises(KeyboardInterrupt):
        _run(plan, tmp_path, report=lambda step: signal.raise_signal(signal.SIGINT) if step == 73 else None)
    resumed, resumed_curves = _run(plan, tmp_path)
    assert resumed_curves.last["step"] == 100
    assert torch.equal(_weights(module), _weights(resumed))
    assert [row["weight"] for row in curves.rows] == [row["weight"] for row in resumed_curves.rows]


def test_a_caller_that_stops_the_fit_gets_its_result() -> None:
    _, curves = _run(Plan(steps=100, evaluate_every=5, best="distance"), stop=lambda: True)
    assert [row["step"] for row in curves.rows] == [0]


def test_a_checkpoint_of_another_run_is_refused_unless_told(tmp_path: Path) -> None:
    plan = Plan(steps=10, checkpoint_every=5)
    mine = {"configuration": {"seed": 1, "rate": 0.1}, "data": {"mnist": "a"}}
    _run(plan, tmp_path, identity=mine)
    _run(plan, tmp_path, identity=mine)
    other = {"configuration": {"seed": 2, "rate": 0.1}, "data": {"mnist": "b"}}
    with pytest.raises(OtherRun, match="other configuration seed, data mnist"):
        _run(plan, tmp_path, identity=other)
    _run(plan, tmp_path, identity=other, accept_other=True)


def test_curves_are_written_as_a_table_while_the_fit_runs(tmp_path: Path) -> None:
    _run(Plan(steps=10, evaluate_every=5), tmp_path)
    with (tmp_path / "curves.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["5", "10"]
    assert set(rows[0]) == {"step", "seconds", "loss", "weight", "distance"}
