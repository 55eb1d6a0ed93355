"""training.reports.tables: the report's text, from scores alone."""

from __future__ import annotations

import numpy as np

from service.contract.manifest import Manifest, read_manifest
from training.evaluation import evaluate
from training.folders import MODELS
from training.reports import tables
from training.reports.tables import Scored


def _manifest(name: str) -> Manifest:
    [folder] = evaluate.folders(MODELS, [name])
    return read_manifest(folder)


def test_digit_readers_have_their_table_and_their_curve() -> None:
    manifest = _manifest("digits-rnn-10")
    speeds = {"microseconds_alone": 200.0, "microseconds_in_64": 20.0}
    scored = Scored(manifest, 21.0, {**manifest.metrics, **speeds}, np.linspace(0.1, 0.7, 28), ["confusion-x.png"])
    text = tables.document([scored], [], "a machine", "figures")
    assert f"{100 * manifest.metrics['test_accuracy']:.2f} |" in text
    assert "(figures/accuracy-by-row.png)" in text
    assert "(figures/confusion-x.png)" in text
    assert "## Forecasters" not in text


def test_scores_of_the_manifest_alone_are_shown_too() -> None:
    manifest = _manifest("naive")
    extended = manifest.model_copy(update={"metrics": {**manifest.metrics, "m4_weekly_mase": 2.25}})
    scored = Scored(extended, 8.0, {**manifest.metrics, "microseconds_alone": 1.0, "microseconds_in_64": 1.0})
    assert f"| naive@{manifest.version} | m4_weekly_mase | 2.25 |" in tables.document(
        [scored], [], "a machine", "figures"
    )
