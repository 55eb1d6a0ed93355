"""The part that all peers share: the TorchScript file, run on one thread."""

from __future__ import annotations

import os
import warnings

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence


class Forecaster:
    """Answers one float per series."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._model = torch.jit.load(os.environ["BENCH_MODEL"], map_location="cpu").eval()

    def predict(self, series: list[list[float]]) -> list[float]:
        """For series of any lengths."""
        with torch.inference_mode():
            values = pad_sequence([torch.tensor(row, dtype=torch.float32) for row in series], batch_first=True)
            lengths = torch.tensor([len(row) for row in series])
            return self._model(values, lengths).tolist()

    def predict_padded(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """For float32 rows (B, T) padded on the right, and lengths (B, 1); answers (B, 1)."""
        with torch.inference_mode():
            return self._model(torch.from_numpy(values), torch.from_numpy(lengths[:, 0])).numpy()[:, None]


def workers() -> int:
    """Number of processes that compute."""
    return int(os.environ["BENCH_PROCESSES"])


def port() -> int:
    return int(os.environ["BENCH_PORT"])
