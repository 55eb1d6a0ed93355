"""service.imaging.search: a clean picture goes straight through the stages, and needs no more than one paper."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import imaging
from service.imaging import binarize
from service.imaging.decode import decode
from service.imaging.hypotheses import hypotheses
from tests.pictures import drawn, encoded

FOLDER = str(Path(imaging.__file__).parent)


def stays(call: Callable[[], object]) -> list[str]:
    """The modules of the package in the order in which their functions are called, each stay once."""
    files: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(FOLDER):
            files.append(Path(name).stem)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return [name for name, _ in groupby(files)]


def test_a_clean_picture_goes_straight_through_the_stages() -> None:
    data = encoded(drawn())
    way = stays(lambda: hypotheses(decode(data, 1_000_000)))
    assert way[:2] == ["decode", "hypotheses"]
    assert len(way) - len(set(way)) <= 10


@pytest.mark.parametrize(("light", "papers"), [(1.0, ["even"]), (0.3, ["even", "smooth"])])
def test_further_papers_are_tried_only_where_the_first_does_not_explain_the_picture(
    monkeypatch: pytest.MonkeyPatch, light: float, papers: list[str]
) -> None:
    tried: list[str] = []
    ink_on = binarize._ink_on

    def counted(plane: Any, paper: Any, kind: str, is_dark: bool | None) -> Any:
        tried.append(kind)
        return ink_on(plane, paper, kind, is_dark)

    monkeypatch.setattr(binarize, "_ink_on", counted)
    shaded = np.asarray(drawn(), np.float32) * np.linspace(light, 1, 280)
    found, refusal = hypotheses(decode(encoded(Image.fromarray(shaded.astype(np.uint8))), 1_000_000))
    assert found
    assert refusal is None
    assert tried[: len(papers)] == papers
    assert (len(tried) == 1) is (light == 1)
