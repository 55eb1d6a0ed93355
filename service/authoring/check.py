"""`ritmo model check`: every rule of the contract tried on the model in a folder, and what to mend named by line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from service.backend import checks
from service.backend.model import LoadedModel, load, open_model
from service.contract.errors import BrokenModel, ModelFault
from service.contract.manifest import Manifest, read_manifest

CONTRACT = "docs/models.md"
TIMED_STEPS = 64


def check(folder: Path) -> tuple[list[str], bool]:
    """A line for each rule, how the model in `folder` stands to it, and whether it keeps them all."""
    try:
        manifest = read_manifest(folder)
        model = open_model(folder)
    except BrokenModel as error:
        return [f"BROKEN  {error.detail}"], False
    findings = checks.examine(model.network, manifest)
    lines, sound = [], True
    for finding in findings:
        if finding.fault is None:
            lines.append(f"ok      {finding.rule.name}: {finding.rule.sentence}")
            continue
        sound = False
        location = model.network.source(finding.rule.method)
        lines += [
            f"BROKEN  {finding.rule.name}: {finding.fault}",
            f"        contract: {CONTRACT}, “{finding.rule.sentence}”",
            f"        code:     {finding.rule.method}(){f' at {location}' if location else ''}",
        ]
    untried = checks.rules_of(manifest)[len(findings) :]
    lines += [f"BROKEN  {rule.name}: not tried, the time did not suffice" for rule in untried]
    loading = _loading(folder)
    if loading is not None:
        lines.append(f"BROKEN  load: {loading}")
    lines += [f"note    {note}" for note in _notes(model, manifest)]
    return lines, sound and loading is None and not untried


def _loading(folder: Path) -> str | None:
    """Why the service would not serve the model, or None where it would."""
    try:
        load(folder)
    except (BrokenModel, ModelFault) as error:
        return error.detail
    return None


def _notes(model: LoadedModel, manifest: Manifest) -> Iterator[str]:
    """What is no breach, but worth a look: the cost of a step, and what the manifest could promise."""
    subject = checks.Subject(model.network, manifest)
    steps = min(TIMED_STEPS, manifest.input.max_length or TIMED_STEPS)
    values = np.resize(np.nan_to_num(subject.values), (1, steps, *subject.values.shape[2:]))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        model.network.step(values, np.array([steps]), subject.fresh[:1])
        seconds.append((time.perf_counter() - started) / steps)
    yield f"a step of one row takes {1e6 * min(seconds):.0f} us"
    if subject.forecasts and not manifest.input.missing:
        values = np.where(np.arange(subject.values.shape[1]) % 3 == 1, np.nan, subject.values)
        state = model.network.step(values, subject.lengths, subject.fresh)
        if np.isfinite(subject.answer(state)).all():
            yield "it answers series with missing values: the manifest could say input.missing"
