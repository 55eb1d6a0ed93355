"""training.reports.gallery: one small picture for each prior, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from training.__main__ import main
from training.data.priors import PRIORS
from training.evaluation import plots


def test_every_prior_has_a_picture(tmp_path: Path) -> None:
    for folder in ("once", "twice"):
        main(["gallery", "--output", str(tmp_path / folder)])
    names = sorted(path.name for path in (tmp_path / "once").iterdir())
    assert names == sorted(f"prior-{name}.png" for name in PRIORS)
    for name in names:
        content = (tmp_path / "once" / name).read_bytes()
        assert content == (tmp_path / "twice" / name).read_bytes()
        assert len(content) <= 60_000
        with Image.open(tmp_path / "once" / name) as picture:
            assert len(picture.getcolors(1 << 20) or []) > 5  # something is drawn


def test_the_committed_pictures_are_of_todays_priors() -> None:
    assert {path.stem for path in plots.FIGURES.glob("prior-*.png")} == {f"prior-{name}" for name in PRIORS}
