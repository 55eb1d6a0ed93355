from __future__ import annotations

import numpy as np
import pytest

from service.imaging.marks import is_frame
from tests.service.imaging.test_cell_lines import frame


@pytest.mark.parametrize("sides", ["l", "tr", "ltrb"])
@pytest.mark.parametrize("margin", [0, 10])
def test_lines_along_the_sides_alone_are_a_frame(sides: str, margin: int) -> None:
    assert is_frame(np.pad(frame(sides=sides), margin), margin)


def test_a_digit_is_no_frame() -> None:
    y, x = np.mgrid[-1:1:60j, -1:1:60j]
    assert not is_frame(np.abs(np.hypot(x, y) - 0.85) < 0.1)
    one = np.zeros((60, 60), np.bool_)
    one[8:52, 28:33] = True
    assert not is_frame(one)
    assert not is_frame(one | frame(sides="l"))
    assert not is_frame(np.zeros((60, 60), np.bool_))
