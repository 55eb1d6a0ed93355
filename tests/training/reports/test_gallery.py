"""training.reports.gallery: one small picture for each prior, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from training.__main__ import main
from training.data import priors
from training.data.priors import PRIORS
from training.folders import FIGURES


@pytest.mark.slow
def test_every_prior_has_a_picture(tmp_path: Path) -> None:
    main(["gallery", "--output", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"prior-{name}.png" for name in PRIORS)
    for path in tmp_path.iterdir():
        assert path.stat().st_size <= 60_000
        with Image.open(path) as picture:
            assert len(picture.getcolors(1 << 20) or []) > 5  # something is drawn


def test_a_picture_has_the_same_bytes_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "PRIORS", {"rough": PRIORS["rough"]})
    for folder in ("first", "second"):
        main(["gallery", "--output", str(tmp_path / folder)])
    first, second = ((tmp_path / folder / "prior-rough.png").read_bytes() for folder in ("first", "second"))
    assert first == second


def test_every_prior_has_a_committed_picture_and_no_other_is_there() -> None:
    assert {path.stem for path in FIGURES.glob("prior-*.png")} == {f"prior-{name}" for name in PRIORS}
