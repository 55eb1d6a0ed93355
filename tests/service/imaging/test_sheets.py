"""service.imaging.sheets: which marks are sheets of paper."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from service.imaging.sheets import is_rectangle


@pytest.mark.parametrize("degrees", [0, 1, 2.5, 3, 7.5, 12, 44, -2.5])
def test_a_wide_plate_is_a_rectangle_at_any_turn(degrees: float) -> None:
    plate = Image.new("L", (300, 300), 0)
    plate.paste(255, (25, 115, 275, 185))
    assert is_rectangle(np.asarray(plate.rotate(degrees, Image.Resampling.BICUBIC)) > 127)


def test_a_disc_is_no_rectangle() -> None:
    y, x = np.mgrid[-50:51, -50:51]
    assert not is_rectangle(x**2 + y**2 < 2500)
