"""The order in which a data set is seen: every epoch is one shuffled pass, a function of seed and epoch alone."""

from __future__ import annotations

import torch
from torch import Tensor


class BatchOrder:
    """Step number -> indices of the batch of that step, so that an interrupted fit resumes with the same batches."""

    def __init__(self, count: int, batch: int, *, first_seed: int, keep_last: bool) -> None:
        """`count` samples in batches of `batch`; epoch e is shuffled with seed `first_seed` + e.

        `keep_last`: an epoch ends with a smaller batch of what remains; otherwise the remainder is left out.
        """
        self.count, self.batch, self.first_seed = count, batch, first_seed
        self.per_epoch = -(-count // batch) if keep_last else count // batch
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> Tensor:
        """Indices (<= batch,) int64, on the CPU."""
        epoch, index = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.first_seed + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return self._order[index * self.batch : (index + 1) * self.batch]
