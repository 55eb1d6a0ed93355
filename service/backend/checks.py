"""The contract of docs/models.md as checks of a network: one rule for each of its sentences that can be tried.

Those `at_load` are cheap and are tried before a model is served; `ritmo model check` tries all. A rule compares the
network with itself, so it needs no recorded answers, and what differs by rounding only is no breach.

Shapes: R rows, T steps, S state width, H steps ahead, Q quantile levels.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.backend.buckets import CHUNK, Ints, ShapeBuckets
from service.backend.chunks import pack
from service.backend.forecasting import CROSSING
from service.backend.network import Array, Network
from service.backend.probabilities import SUM_TOLERANCE
from service.contract.errors import BrokenModel, ModelFault
from service.contract.manifest import DIGIT_FEATURES, Manifest
from service.contract.types import Floats

LOAD_SECONDS = 0.5  # that the rules may take together before a model is served; the rest of them is left out then
TOLERANCE = 1e-2  # of the size of what is compared: far above rounding in float32, far below a mistake
ROWS, LOAD_ROWS = 8, 4  # of a call; like its steps, a shape that the service uses, too
COMPANY = 32  # rows of a large batch
LENGTHS, LOAD_LENGTHS = (50, 1, 17, 2, 33), (20, 1, 12, 7)
DIGIT_LENGTHS, DIGIT_LOAD_LENGTHS = (28, 1, 17, 2, 7), (12, 1, 9, 5)
LEVELS = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
HORIZON = 6
LONG_HORIZON = 24
SEASONS = (0, 0, 12, 0, 7)
EXTREMES = (0.0, 1.0, -1.0, 1e-300, 5e-324, 1e300, -1e300, 1.7e308, -1.7e308, 0.1, 1e6, 1e6 + 1)


class Breach(Exception):
    """A rule is broken; the message says how."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence of the contract, the method that most likely breaks it, and a check that raises `Breach`."""

    name: str
    sentence: str  # as docs/models.md has it
    method: str
    check: Callable[[Subject], None]
    at_load: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """How a model stands to a rule: `fault` is None where it keeps it."""

    rule: Rule
    fault: str | None


class Subject:
    """A network with its manifest, and rows of different lengths to try it on."""

    def __init__(self, network: Network, manifest: Manifest, *, at_load: bool = False) -> None:
        self.network = network
        self.manifest = manifest
        self.forecasts = manifest.task == "forecast"
        lengths = _lengths(manifest, at_load=at_load)
        self.at_load = at_load
        self.n_rows = LOAD_ROWS if at_load else ROWS
        self.rows = _series(lengths, missing=manifest.input.missing) if self.forecasts else _digits(lengths)
        self.values, self.lengths = pack(self.rows, self.n_rows, int(ShapeBuckets().steps_for[max(lengths)]))
        self.levels = np.repeat(LEVELS[None], self.n_rows, axis=0)
        fresh = [network.initial(season if manifest.input.season else 0) for season in SEASONS[: len(lengths)]]
        self.fresh = np.stack(fresh + fresh[-1:] * (self.n_rows - len(fresh)))

    def horizon(self, steps: int) -> int:
        """`steps`, or as many of them as the model forecasts."""
        return min(steps, self.network.max_horizon or steps)

    @functools.cached_property
    def state(self) -> Floats:
        """The states (R, S) after all rows."""
        return self.network.step(self.values, self.lengths, self.fresh)

    @functools.cached_property
    def full(self) -> tuple[Floats, Array]:
        """The states (R, S) after all rows by `history` or `trace`, and an answer at each step (R, T, …)."""
        return self.stepwise(self.values, self.lengths, self.fresh)

    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats:
        """`step`, state (R, S)."""
        return self.network.step(values, lengths, state)

    def answer(self, state: Floats) -> Array:
        """What is answered from `state`: forecasts (R, H, 1 + Q), or log-probabilities (R, 1, classes)."""
        if self.forecasts:
            return self.network.forecast(state, self.horizon(HORIZON), self.levels[: len(state)])[0]
        return self.network.read(state)[:, None]

    def stepwise(self, values: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        """`history` or `trace`: state (R, S), and an answer at each step (R, T, …)."""
        if self.forecasts:
            return self.network.history(values, lengths, state, self.levels[: len(state)])
        return self.network.trace(values, lengths, state)

    def observed(self, row: int) -> int:
        """From which step on `history` must be finite: where a value has been observed."""
        observed = np.isfinite(self.rows[row])
        return 1 + int(observed.argmax()) if self.forecasts else 0


def examine(network: Network, manifest: Manifest, *, at_load: bool = False, seconds: float = 60.0) -> list[Finding]:
    """How the model stands to the rules of its task, those `at_load` only if asked; ends after `seconds`.

    Rules that the time does not suffice for are not in the result.
    """
    deadline = time.monotonic() + seconds
    try:
        subject = Subject(network, manifest, at_load=at_load)
    except ModelFault as error:
        return [Finding(RULES["initial"], error.fault)]
    findings: list[Finding] = []
    for rule in rules_of(manifest):
        if time.monotonic() > deadline:
            break
        if rule.at_load or not at_load:
            findings.append(Finding(rule, _fault(rule, subject)))
    return findings


def refuse_breaches(network: Network, manifest: Manifest, seconds: float = LOAD_SECONDS, because: str = "") -> None:
    """Raise `BrokenModel` where one of the cheap rules is broken, as far as `seconds` suffice.

    `because` begins its message: what has been seen already.
    """
    for finding in examine(network, manifest, at_load=True, seconds=seconds):
        if finding.fault is not None:
            raise BrokenModel(
                f"{because}it breaks the contract of docs/models.md ({finding.rule.sentence}): {finding.fault}; "
                f"see {finding.rule.method}() of the module"
            )


def rules_of(manifest: Manifest) -> Sequence[Rule]:
    """The rules of the task of a model, in the order in which they are tried."""
    names = _FORECAST_RULES if manifest.task == "forecast" else _DIGIT_RULES
    return [RULES[name] for name in names]


def _fault(rule: Rule, subject: Subject) -> str | None:
    try:
        rule.check(subject)
    except Breach as breach:
        return str(breach)
    except ModelFault as error:
        return error.fault
    return None


# What the rules are tried on


def _lengths(manifest: Manifest, *, at_load: bool) -> list[int]:
    if manifest.task == "forecast":
        lengths = LOAD_LENGTHS if at_load else LENGTHS
    else:
        lengths = DIGIT_LOAD_LENGTHS if at_load else DIGIT_LENGTHS
    shortest, longest = min(manifest.input.min_length, LENGTHS[0]), manifest.input.max_length or LENGTHS[0]
    return [min(max(length, shortest), longest) for length in lengths]


def _series(lengths: Sequence[int], *, missing: bool) -> list[Array]:
    rng = np.random.default_rng(0)
    sizes, offsets = (1.0, 10.0, 2.0, 1.0, 50.0), (0.0, 50.0, 0.0, -3.0, 200.0)
    rows: list[Array] = []
    for length, size, offset in zip(lengths, sizes, offsets, strict=False):
        row = offset + size * (np.sin(np.arange(length) * 2 * np.pi / 12) + 0.1 * rng.normal(size=length))
        holes = rng.random(length) < 0.15
        holes[:2] = False
        holes[:1] = not rows and length > 1  # one row begins with a gap
        rows.append(np.where(holes & missing, np.nan, row))
    return rows


def _digits(lengths: Sequence[int]) -> list[Array]:
    """Strokes of ink with blurred edges."""
    rng = np.random.default_rng(0)
    columns = np.arange(DIGIT_FEATURES)
    middles = 14.0 + 6.0 * np.sin(np.arange(DIGIT_FEATURES)[None] / rng.uniform(2, 8, (len(lengths), 1)))
    ink = np.exp(-(((columns - middles[..., None]) / 2.0) ** 2)).astype(np.float32)
    return [image[:length] for image, length in zip(ink, lengths, strict=True)]


# The rules


def _check_types(subject: Subject) -> None:
    state = subject.state
    exact = subject.manifest.state.exact
    with np.errstate(over="ignore"):
        rounded = state[:, exact:].astype(np.float32).astype(np.float64)
    changed = ~((rounded == state[:, exact:]) | np.isnan(state[:, exact:]))
    if changed.any():
        column = exact + int(changed.any(axis=0).argmax())
        raise Breach(
            f"column {column} of the state needs 64 bits, but state.exact says that only the first {exact} do: "
            "a resumed series would lose them"
        )
    subject.answer(state)


def _check_sound(subject: Subject) -> None:
    state, outputs = subject.full
    for row, length in enumerate(map(len, subject.rows)):
        _assert_sound(subject, subject.answer(state)[row], "")
        _assert_sound(subject, outputs[row, subject.observed(row) : length], " at a step of history() or trace()")


def _check_levels(subject: Subject) -> None:
    state = subject.state
    five = subject.answer(state)
    for chosen in ([2], [1, 3, 4], [0, 1, 2, 3, 3, 4, 4, 4, 4]):
        levels = np.repeat(LEVELS[chosen][None], subject.n_rows, axis=0)
        forecasts, seasons = subject.network.forecast(state, five.shape[1], levels)
        if (seasons < 1).any():
            raise Breach(f"season() answers {int(seasons.min())}; no season is 1")
        expected = five[:, :, [0, *(1 + np.array(chosen))]]
        _assert_near(forecasts, expected, f"asked for {len(chosen)} levels, or for 5, a quantile differs")


def _check_horizon(subject: Subject) -> None:
    state = subject.state
    limit = subject.horizon(LONG_HORIZON)
    longest, _ = subject.network.forecast(state, limit, subject.levels)
    for row in range(len(subject.rows)):
        _assert_sound(subject, longest[row], f" of {limit} steps")
    for steps in {1, 2, subject.horizon(12)}:
        if steps <= limit:
            forecasts, _ = subject.network.forecast(state, steps, subject.levels)
            _assert_near(forecasts, longest[:, :steps], f"asked for {steps} steps, or for {limit}, a step differs")


def _check_padding(subject: Subject) -> None:
    beyond = np.arange(subject.values.shape[1]) >= subject.lengths[:, None]
    state, outputs = subject.full
    for filling in (3.0,) if subject.at_load else (3.0, np.nan):
        filled = subject.values.copy()
        filled[beyond] = filling
        if not _equal_bits(subject.step(filled, subject.lengths, subject.fresh), subject.state):
            raise Breach(f"step() gives another state where {filling:g} stands beyond the end of a row")
        end, filled_outputs = subject.stepwise(filled, subject.lengths, subject.fresh)
        equal = [
            _equal_bits(filled_outputs[row, :n], outputs[row, :n]) for row, n in enumerate(subject.lengths.tolist())
        ]
        if not _equal_bits(end, state) or not all(equal):
            raise Breach(f"history() or trace() answers otherwise where {filling:g} stands beyond the end of a row")


def _check_zero_length(subject: Subject) -> None:
    for state in (subject.fresh, subject.state):
        lengths = np.where(np.arange(subject.n_rows) % 2, subject.lengths, 0)
        empty = lengths == 0
        for name, end in (
            ("step()", subject.step(subject.values, lengths, state)),
            ("history() or trace()", subject.stepwise(subject.values, lengths, state)[0]),
        ):
            if not _equal_bits(end[empty], state[empty]):
                raise Breach(f"{name} changes the state of a row of length 0")


def _check_alone(subject: Subject) -> None:
    state, outputs = subject.full
    answers = subject.answer(state)
    _assert_same_state(subject.state, state, "history() or trace() and step() end in another state")
    for row, length in enumerate(map(len, subject.rows)):
        single_row = slice(row, row + 1)
        values, lengths, fresh = subject.values[single_row], subject.lengths[single_row], subject.fresh[single_row]
        single, single_outputs = subject.stepwise(values, lengths, fresh)
        prefix = f"a row of {length} steps alone, and among {subject.n_rows} rows,"
        _assert_same_state(single, state[single_row], f"{prefix} ends in another state")
        start = subject.observed(row)
        _assert_near(single_outputs[0, start:length], outputs[row, start:length], f"{prefix} has other steps")
        _assert_near(subject.answer(single), answers[single_row], f"{prefix} is answered otherwise")


def _check_company(subject: Subject) -> None:
    """A batch is as large as the service makes it, and the other rows are unlike these."""
    answers, others = subject.answer(subject.state), COMPANY - subject.n_rows
    scales = np.linspace(0.0, 1.0 if not subject.forecasts else 9.0, others)
    filling = subject.values[np.arange(others) % subject.n_rows]
    filling = filling * scales.reshape(-1, *[1] * (filling.ndim - 1)).astype(filling.dtype)
    values = np.concatenate([subject.values, filling])
    lengths = np.concatenate([subject.lengths, subject.lengths[np.arange(others) % subject.n_rows]])
    fresh = subject.fresh[np.arange(COMPANY) % subject.n_rows]
    state = subject.step(values, lengths, fresh)
    levels = np.repeat(LEVELS[None], COMPANY, axis=0)
    if subject.forecasts:
        among, _ = subject.network.forecast(state, answers.shape[1], levels)
    else:
        among = subject.network.read(state)[:, None]
    message = f"among {COMPANY} rows, not {subject.n_rows}, a row"
    _assert_same_state(state[: subject.n_rows], subject.state, f"{message} ends in another state")
    _assert_near(among[: subject.n_rows], answers, f"{message} is answered otherwise")


def _check_resumed(subject: Subject) -> None:
    full_state, outputs = subject.full
    for cut in (1, 8, 12):
        first, remaining = np.minimum(subject.lengths, cut), np.maximum(subject.lengths - cut, 0)
        second_part = np.zeros_like(subject.values)
        second_part[:, :-cut] = subject.values[:, cut:]
        state = subject.step(subject.values, first, subject.fresh)
        end, later_outputs = subject.stepwise(second_part, remaining, state)
        prefix = f"read in two parts, the first of {cut}, a row"
        _assert_same_state(subject.step(second_part, remaining, state), full_state, f"{prefix} ends in another state")
        _assert_same_state(end, full_state, f"{prefix} ends in another state by history() or trace()")
        for row, length in enumerate(map(len, subject.rows)):
            start = max(subject.observed(row), cut)
            expected = outputs[row, start:length]
            _assert_near(
                later_outputs[row, start - cut : max(length, start) - cut], expected, f"{prefix} has other steps"
            )


def _check_history(subject: Subject) -> None:
    _, outputs = subject.full
    shift = 0 if subject.forecasts else 1  # history is what was forecast before a value, trace what is read after it
    for t in (1, 2, 16):
        state = subject.step(subject.values, np.minimum(subject.lengths, t), subject.fresh)
        answers = subject.answer(state)[:, 0]
        for row, length in enumerate(map(len, subject.rows)):
            if subject.observed(row) <= t < length + shift:
                at = f"at step {t + 1 - shift} of a row of {length}"
                expected = answers[row]
                _assert_near(outputs[row, t - shift], expected, f"history() or trace() is not what is answered {at}")


def _check_leading_gap(subject: Subject) -> None:
    _, outputs = subject.full
    for row in range(len(subject.rows)):
        if not np.isnan(outputs[row, : subject.observed(row)]).all():
            raise Breach("history() has a number before the first observed value")
    if subject.manifest.input.missing:
        gap = np.full((subject.n_rows, 4), np.nan)
        after_gap = subject.step(gap, np.full(subject.n_rows, 4), subject.fresh)
        answers = subject.answer(subject.step(subject.values, subject.lengths, after_gap))
        _assert_near(answers, subject.answer(subject.state), "after four missing values in front the answer differs")


def _check_missing(subject: Subject) -> None:
    if not subject.manifest.input.missing:
        return
    values = subject.values.copy()
    values[:, 1::2] = np.nan
    values[:, 0] = np.where(np.isnan(values[:, 0]), 1.0, values[:, 0])
    state, outputs = subject.stepwise(values, subject.lengths, subject.fresh)
    for row, length in enumerate(map(len, subject.rows)):
        _assert_sound(subject, subject.answer(state)[row], " of a series with gaps")
        _assert_sound(subject, outputs[row, 1:length], " at a step of a series with gaps")


def _check_extremes(subject: Subject) -> None:
    rng = np.random.default_rng(1)
    longest = min(8, subject.manifest.input.max_length or 8)
    for trial in range(32):
        values = rng.choice(EXTREMES, (ROWS, longest))
        values[0] = EXTREMES[trial % len(EXTREMES)]
        lengths = np.full(ROWS, longest)
        state, outputs = subject.stepwise(values, lengths, subject.fresh)
        forecasts, _ = subject.network.forecast(state, subject.horizon(20), subject.levels)
        for row in range(ROWS):
            series = ", ".join(f"{value:g}" for value in values[row])
            _assert_sound(subject, forecasts[row], f" of the series {series}")
            _assert_sound(subject, outputs[row, 1:], f" at a step of the series {series}")


def _check_any_ink(subject: Subject) -> None:
    rng = np.random.default_rng(1)
    inks = [np.zeros(DIGIT_FEATURES), np.ones(DIGIT_FEATURES), *rng.random((ROWS - 2, DIGIT_FEATURES))]
    steps = min(DIGIT_FEATURES, subject.manifest.input.max_length or DIGIT_FEATURES)
    rows = np.repeat(np.array(inks, np.float32)[:, None], steps, axis=1)
    state, outputs = subject.stepwise(rows, np.full(ROWS, steps), subject.fresh)
    _assert_sound(subject, subject.answer(state), " of rows that are blank, full or noise")
    _assert_sound(subject, outputs, " after a row that is blank, full or noise")
    _assert_sound(subject, subject.answer(subject.fresh), " before the first row")


def _check_limits(subject: Subject) -> None:
    contract = subject.manifest.input
    if subject.forecasts and contract.max_horizon is not None:
        state = subject.state[:1]
        longest, _ = subject.network.forecast(state, contract.max_horizon, subject.levels[:1])
        _assert_sound(subject, longest[0], f" of {contract.max_horizon} steps")
        few = subject.horizon(LONG_HORIZON)
        fewer, _ = subject.network.forecast(state, few, subject.levels[:1])
        _assert_near(longest[:, :few], fewer, f"asked for {contract.max_horizon} steps, or for {few}, a step differs")
    limit = min(contract.max_length or CHUNK, CHUNK)
    values = np.resize(subject.values[:, : len(subject.rows[0])], (1, limit, *subject.values.shape[2:]))
    state = subject.step(np.nan_to_num(values), np.array([limit]), subject.fresh[:1])
    _assert_sound(subject, subject.answer(state), f" after {limit} steps")


def _equal_bits(a: Array, b: Array) -> bool:
    """Whether the numbers are the same bits, NaN being NaN."""
    return np.array_equal(a, b, equal_nan=True)


def _assert_sound(subject: Subject, answers: Array, of: str) -> None:
    """Forecasts (…, 1 + Q) are finite and ordered, probabilities sum to 1."""
    if not np.isfinite(answers).all() and (subject.forecasts or np.isnan(answers).any()):
        raise Breach(f"the answer{of} is not finite")
    if subject.forecasts:
        lower, upper = answers[..., 1:-1], answers[..., 2:]
        crossing = lower - upper > CROSSING * np.abs(answers).max(axis=-1, keepdims=True)
        if crossing.any():
            position = tuple(np.argwhere(crossing)[0])
            level = position[-1]
            raise Breach(
                f"the quantiles{of} cross: {lower[position]:.6g} for {LEVELS[level]:g} is above {upper[position]:.6g} "
                f"for {LEVELS[level + 1]:g}"
            )
        return
    with np.errstate(over="ignore"):
        sums = np.exp(answers.astype(np.float64)).sum(axis=-1)
    worst = sums.ravel()[np.abs(sums - 1.0).argmax()]
    if abs(worst - 1.0) > SUM_TOLERANCE:
        raise Breach(f"the probabilities{of} sum to {worst:.4g}, not to 1 (they are logarithms)")


def _assert_near(actual: Array, expected: Array, message: str) -> None:
    """The numbers are equal but for rounding, relative to the largest of a row."""
    if not actual.size:
        return
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(expected)
        size = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
        close = np.isclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE * size, equal_nan=True)
        if not close.all():
            worst = np.nanmax(np.where(close, 0.0, np.abs(actual - expected)), initial=0.0)
            raise Breach(f"{message}, by up to {worst:.3g}")


def _assert_same_state(actual: Floats, expected: Floats, message: str) -> None:
    with np.errstate(invalid="ignore"):
        close = np.isclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not close.all():
        raise Breach(f"{message} (column {int((~close).any(axis=0).argmax())})")


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("initial", "the state is one float64 tensor (B, S)", "initial", lambda _: None),
        Rule("types", "all columns of the state after the first `exact` hold float32 numbers", "step", _check_types),
        Rule("sound", "forecasts are finite, and their quantiles never cross", "forecast", _check_sound),
        Rule("probabilities", "calibrated log-probabilities", "read", _check_sound),
        Rule("levels", "a quantile does not depend on the other levels", "forecast", _check_levels),
        Rule("horizon", "step k does not depend on how many steps are asked for", "forecast", _check_horizon),
        Rule("padding", "what stands in the padding never matters", "step", _check_padding),
        Rule("zero length", "a row of length 0 leaves its state as it was, bit for bit", "step", _check_zero_length),
        Rule("alone", "a row's result depends on that row alone", "step", _check_alone),
        Rule("company", "a row's result depends on that row alone", "step", _check_company),
        Rule("resumed", "resuming is a first request that starts from another state", "step", _check_resumed),
        Rule("history", "entry t is what forecast answered before values[:, t]", "history", _check_history),
        Rule("trace", "log-probabilities after each row", "trace", _check_history),
        Rule("missing", "NaN is a missing value where input.missing says so", "step", _check_missing),
        Rule("gap", "a gap in front of the first value says nothing", "step", _check_leading_gap, at_load=False),
        Rule("extremes", "forecasts are finite for any finite input", "forecast", _check_extremes, at_load=False),
        Rule("any ink", "ink 0..1", "read", _check_any_ink, at_load=False),
        Rule("limits", "the lengths and horizons of the manifest", "forecast", _check_limits, at_load=False),
    )
}
_COMMON_RULES = ("zero length", "padding", "alone", "resumed")
_FORECAST_RULES = (
    "types",
    "sound",
    "levels",
    "horizon",
    *_COMMON_RULES,
    "history",
    "missing",
    "company",
    "gap",
    "extremes",
    "limits",
)
_DIGIT_RULES = ("types", "probabilities", *_COMMON_RULES, "trace", "company", "any ink", "limits")
