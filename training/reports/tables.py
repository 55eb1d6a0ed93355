"""`training/RESULTS.md` as text: the tables and where the figures stand. No file is read or written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from service.contract.manifest import Manifest
from service.contract.types import Floats
from training.data.sine_mixture import BAYES_ERRORS
from training.data.tutorial_series import WINDOW
from training.evaluation.evaluate import AHEAD, CONTEXTS, FRESH_SERIES, READ_ROWS
from training.tutorials import results as tutorial_runs
from training.tutorials.results import Run

BAYES_LIMIT = {
    "tutorial_mse": BAYES_ERRORS[WINDOW, 1],
    **{f"sines_mse_n{n}_h{ahead}": error for (n, ahead), error in BAYES_ERRORS.items()},
    "sines_coverage_80": 0.8,
}


@dataclass(frozen=True, eq=False)
class Scored:
    """One exported model with its row, curve and figures of the report."""

    manifest: Manifest
    kilobytes: float
    metrics: dict[str, float]
    accuracy_by_row: Floats | None = None  # (28,), digit readers
    figures: list[str] = field(default_factory=list)  # file names under the folder of figures


def document(
    scored: Sequence[Scored], runs: Sequence[Run], machine: str, figures: str, training: Sequence[str] = ()
) -> str:
    """The complete report; `figures` is the pictures' folder relative to it, `training` names those of the runs."""
    forecasters = [s for s in scored if s.manifest.task == "forecast"]
    readers = [s for s in scored if s.manifest.task == "classify-digit"]
    parts = [
        "# Results",
        "Written by `python -m training report` from the exported files under `models/`, run through the service's own "
        "backend; do not edit. Every score is of data that the model was not trained on.",
        "## All models",
        _overview(scored),
        f"Time is processor time (the quickest of some calls) for one series of 50 values (the next value with three "
        f"quantiles) or one digit of 28 rows, alone and in a batch of 64, without HTTP: {machine}.",
    ]
    if forecasters:
        parts += ["## Forecasters", _forecasters(forecasters), FORECAST_NOTE]
    if readers:
        parts += ["## Digit readers", _readers(readers), READER_NOTE, _image("accuracy-by-row.png", figures)]
    if runs:
        parts += ["## The tutorials, over several seeds", tutorial_runs.table(runs), RUNS_NOTE]
    manifest_scores = list(_manifest_scores(scored))
    if manifest_scores:
        parts += ["## Other scores in the manifests", _table(["model", "score", "value"], manifest_scores)]
    parts += ["## Figures", *(_image(name, figures) for s in scored for name in s.figures)]
    if training:
        parts += ["## Training", *(_image(name, figures) for name in training)]
    return "\n\n".join(parts) + "\n"


FORECAST_NOTE = (
    f"Mean squared errors on sine mixtures (lower is better). `tutorial`: the 51st value of the tutorial's 1,000 test "
    f"series. The others: the 1st and the {AHEAD}th value after n, on {FRESH_SERIES:,} further series (standard error "
    f"of each 1.4 %). Coverage: share of the {AHEAD} values after 50 between the 10 % and the 90 % quantile. WQL is "
    f"the weighted quantile loss there, at 10, 50 and 90 %. The Bayes limit is the error of the posterior mean under "
    f"the known prior; no forecaster can do better. `linear` accepts exactly 50 values."
)
READER_NOTE = (
    "Accuracy on the 10,000 test images of MNIST, after the given number of rows from the top; ECE is the expected "
    "calibration error of the last answer (15 ranges)."
)
RUNS_NOTE = (
    "Mean squared error of the 51st value, or accuracy on MNIST's test images, of models trained with seeds 0, 1, 2 …; "
    "the exported checkpoint is that of seed 0. The published figures are those of one run each."
)


def _overview(scored: Sequence[Scored]) -> str:
    head = ["model", "task", "parameters", "kB", "score", "µs alone", "µs in 64", "trained in", "what it is"]
    rows = []
    for s in scored:
        m, metrics = s.manifest, s.metrics
        if m.task == "forecast":
            headline = f"MSE {metrics['tutorial_mse']:.5f}" if "tutorial_mse" in metrics else ""
        else:
            headline = f"{100 * metrics['test_accuracy']:.2f} %"
        rows.append(
            [
                f"{m.name}@{m.version}",
                m.task,
                f"{m.training.parameters:,}",
                f"{s.kilobytes:.0f}",
                headline,
                f"{metrics['microseconds_alone']:.0f}",
                f"{metrics['microseconds_in_64']:.1f}",
                f"{m.training.seconds:,.0f} s",
                m.description,
            ]
        )
    return _table(head, rows)


def _forecasters(scored: Sequence[Scored]) -> str:
    columns: dict[str, tuple[str, Callable[[float], str]]] = {"tutorial_mse": ("tutorial", _error)}
    for n in CONTEXTS:
        columns |= {f"sines_mse_n{n}_h{h}": (f"n={n}, h={h}", _error) for h in (1, AHEAD)}
    columns |= {"sines_coverage_80": ("80 % coverage", "{:.3f}".format), "sines_wql": ("WQL", "{:.4f}".format)}
    limit = ["Bayes limit", *(show(BAYES_LIMIT[k]) if k in BAYES_LIMIT else "" for k, (_, show) in columns.items())]
    rows = [limit]
    for s in sorted(scored, key=lambda s: s.metrics.get("sines_mse_n50_h1", float("inf"))):
        cells = (show(s.metrics[k]) if k in s.metrics else "-" for k, (_, show) in columns.items())
        rows.append([f"{s.manifest.name}@{s.manifest.version}", *cells])
    return _table(["model", *(title for title, _ in columns.values())], rows)


def _readers(scored: Sequence[Scored]) -> str:
    rows = []
    for s in sorted(scored, key=lambda s: -s.metrics["test_accuracy"]):
        by_row = (f"{100 * s.metrics[f'test_accuracy_row_{row}']:.2f}" for row in READ_ROWS)
        error = f"{s.metrics['test_calibration_error']:.4f}"
        rows.append([f"{s.manifest.name}@{s.manifest.version}", *by_row, error])
    return _table(["model", *(f"{row} rows" for row in READ_ROWS), "ECE"], rows)


def _manifest_scores(scored: Sequence[Scored]) -> Iterator[list[str]]:
    for s in scored:
        for key, value in s.manifest.metrics.items():
            if key not in s.metrics:
                yield [f"{s.manifest.name}@{s.manifest.version}", key, f"{value:.5g}"]


def _error(value: float) -> str:
    return f"{value:.2e}"


def _image(name: str, figures: str) -> str:
    return f"![{name.removesuffix('.png')}]({figures}/{name})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
