"""The files on which a model's interval factors were fitted, from the model's record."""

from __future__ import annotations

import json
from pathlib import Path

from service.contract.manifest import Manifest

FIELD = "interval_factors_fitted_on"  # of training.json: names of the files


def interval_files(models: Path, manifest: Manifest) -> list[str]:
    """Names of these files; empty for a model without interval factors.

    Records of before 2026-11-29 have no such field: `held_out` lists the files that were scored, and the factors were
    fitted on the same.
    """
    record = json.loads((models / manifest.name / str(manifest.version) / "training.json").read_text(encoding="utf-8"))
    if FIELD in record:
        return list(record[FIELD])
    return [row["name"] for row in record.get("held_out", [])]
