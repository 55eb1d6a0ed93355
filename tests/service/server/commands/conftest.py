from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import PREFIX, Settings
from tests.models import LastValue, write_model


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, as the settings of an installation name it."""
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    folder = tmp_path / "models"
    write_model(folder, "forecaster", LastValue())
    monkeypatch.setenv("RITMO_MODELS", str(folder))
    monkeypatch.setenv("RITMO_PORT", "0")
    return folder
