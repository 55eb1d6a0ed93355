"""training.networks.level_candidates: what the classical methods say of series that they are exact for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.networks.level_candidates import DAMPING, fixed_phases, level_candidates, weights_by_age, without_glitches
from training.networks.past import summed

LEVELS, SHORT_AR, LONG_AR, SCALED = slice(0, 4), 4, 5, 8
WIDTH, HORIZON = 64, 9


def said(
    series: np.ndarray, season: int = 1, slope: float = 0.0, height: float = 0.0, gap: float = 0.0
) -> tuple[np.ndarray, ...]:
    """Candidates (H, C), features, the exact continuation and the doubt about it, for values above the last one."""
    values = np.full(WIDTH, np.nan)
    values[-len(series) :] = series
    past = summed(torch.from_numpy(values)[None])
    of_row = torch.tensor([[slope, height, gap]], dtype=torch.float64)
    ahead = torch.arange(1, HORIZON + 1)[None]
    damping = torch.tensor([DAMPING], dtype=torch.float64)
    answer = level_candidates(past, torch.tensor([season]), of_row, ahead, weights_by_age(WIDTH), damping)
    return tuple(part[0].numpy() for part in answer)


def test_a_pattern_is_continued_by_its_profile_whatever_the_level() -> None:
    pattern = np.array([3.0, -1.0, -2.0, 5.0])
    series = np.tile(pattern, 10) - pattern[-1]
    candidates, _, exact, agreement = said(series, season=4)
    truth = np.resize(pattern, HORIZON) - pattern[-1]
    np.testing.assert_allclose(candidates[:, : LONG_AR + 1], np.repeat(truth[:, None], LONG_AR + 1, 1), atol=1e-9)
    np.testing.assert_allclose(exact, truth, atol=1e-9)
    assert agreement[0] < 1e-3


def test_a_pattern_on_a_line_is_exact_where_the_slope_is_known() -> None:
    time = np.arange(40.0)
    series = 2 * time + np.tile([0.0, 5.0, 1.0, -2.0], 10)
    candidates, _, exact, agreement = said(series - series[-1], season=4, slope=2.0)
    ahead = np.arange(40.0, 40 + HORIZON)
    truth = 2 * ahead + np.resize([0.0, 5.0, 1.0, -2.0], HORIZON) - series[-1]
    np.testing.assert_allclose(exact, truth, atol=1e-6)
    np.testing.assert_allclose(candidates[:, LONG_AR], truth, atol=1e-3)
    assert agreement[0] < 1e-3


@pytest.mark.parametrize("length", [3, 5, 40])
@pytest.mark.parametrize("gap", [0, 4])
def test_a_line_goes_on_exactly(length: int, gap: int) -> None:
    line = np.arange(length) - length + 1.0
    series = np.concatenate([line, np.full(gap, np.nan)])
    _, _, exact, (doubt, pairs) = said(series, gap=gap)
    np.testing.assert_allclose(exact, gap + np.arange(1, HORIZON + 1), atol=1e-6)
    assert doubt < 1e-3
    assert pairs == pytest.approx(length - 1, abs=0.01)


@pytest.mark.parametrize("factor", [0.5, 0.9, 2.0])
def test_a_decay_or_growth_goes_on_exactly(factor: float) -> None:
    series = 10 * factor ** np.arange(8.0)
    series = series / np.abs(np.diff(series)).mean()
    _, _, exact, (doubt, _) = said(series - series[-1])
    truth = series[-1] * (factor ** np.arange(1, HORIZON + 1) - 1)
    np.testing.assert_allclose(exact, truth, rtol=0.05)
    assert doubt < 0.5


@pytest.mark.parametrize("series", [[0.0], [1.0, 0.0], [1.0, 2.0, 0.0], [4.0, 1.0, 3.0, 0.0, 2.0, 0.0]])
def test_what_no_rule_made_is_in_doubt(series: list[float]) -> None:
    candidates, features, exact, (doubt, _) = said(np.array(series))
    assert doubt == 1
    assert all(np.isfinite(part).all() for part in (candidates, features, exact))


def test_a_season_in_proportion_grows_with_the_level() -> None:
    level = np.repeat(np.linspace(10, 40, 15), 4)
    series = level * np.tile([1.5, 1.0, 0.5, 1.0], 15)
    candidates, _, _, _ = said(series - series[-1], season=4, slope=0.5, height=series[-1])
    plain, scaled = np.ptp(candidates[:4, 1]), np.ptp(candidates[:4, SCALED])
    assert scaled > 1.2 * plain


def test_a_glitch_is_left_out_and_an_event_is_not() -> None:
    calm = torch.zeros(1, 300, dtype=torch.float64)
    glitch = calm.clone()
    glitch[0, 150] = 1000.0
    assert without_glitches(glitch)[0].isnan().nonzero().flatten().tolist() == [150]
    events = calm.clone()
    events[0, ::20] = 1000.0
    step = calm.clone()
    step[0, 150:] = 1000.0
    for kept in (calm, events, step):
        assert torch.equal(without_glitches(kept), kept)


def fixed(series: list[float], season: int) -> tuple[np.ndarray, ...]:
    """Which of the next steps are fixed, and the values that they have then."""
    values = np.full(WIDTH, np.nan)
    values[-len(series) :] = np.array(series) - series[-1]
    ahead = torch.arange(1, season + 1)[None]
    is_fixed, value, _ = fixed_phases(summed(torch.from_numpy(values)[None]), torch.tensor([season]), ahead)
    return is_fixed[0].numpy(), value[0].numpy() + series[-1]


def test_days_that_were_always_closed_are_fixed_and_no_others() -> None:
    week = [5.0, 7.0, 6.0, 8.0, 9.0, 0.0, 0.0]
    series = [value + 0.3 * (turn % 3) * (value > 0) for turn in range(5) for value in week]
    is_fixed, value = fixed(series, 7)
    assert is_fixed.tolist() == [False] * 5 + [True] * 2
    np.testing.assert_allclose(value[5:], 0.0, atol=1e-12)


def test_zeros_of_rare_demand_fix_nothing() -> None:
    is_fixed, _ = fixed([0, 0, 3, 0, 0, 0, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0], 4)
    assert not is_fixed.any()


def test_two_turns_and_no_season_fix_nothing() -> None:
    assert not fixed([1.0, 0.0, 2.0, 0.0], 2)[0].any()
    assert not fixed([4.0] * 20, 1)[0].any()
