"""Types of the arrays that data sets consist of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]  # (N, 28, 28), 0 = paper, 255 = ink
Labels = NDArray[np.int64]  # (N,)
