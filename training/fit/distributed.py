"""A fit by several processes: `torchrun --nproc-per-node 2 -m training …` gives one process' weights, to rounding.

All processes make the same batch, each computes the loss of its own rows, and the mean of the gradients is the gradient
of the whole batch, because every loss here is a mean over rows. Gloo connects processes on CPUs, NCCL those on GPUs.
Only the first process writes checkpoints, curves and models. Dropout draws for the rows of a process, and so otherwise
than in one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn


def is_launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def processes() -> Iterator[None]:
    """Connects the processes that torchrun started; does nothing where there is one only."""
    if not is_launched():
        yield
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def size() -> int:
    """How many processes share the fit."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def local_device(name: str) -> str:
    """The GPU of this process where `name` is any GPU and there are several processes; else `name`."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" and size() > 1 else name


def rows_of_rank(count: int) -> slice:
    """The rows of a batch of `count` that this process computes.

    Raises `ValueError` where they cannot be shared evenly: uneven shares would weigh rows differently from one process.
    """
    if count % size():
        raise ValueError(f"a batch of {count} rows cannot be shared evenly between {size()} processes: choose another")
    share = count // size()
    return slice(rank() * share, (rank() + 1) * share)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """A ratio of sums over the rows of all processes, as this process's part of their mean."""
    if size() == 1:
        return numerator / denominator.clamp(min=1)
    total = denominator.detach().clone()
    distributed.all_reduce(total)
    return numerator * size() / total.clamp(min=1)


def wait() -> None:
    """Wait until all processes are here."""
    if size() > 1:
        distributed.barrier()


def any_of(condition: bool) -> bool:
    """Whether the condition holds in one of the processes."""
    if size() == 1:
        return condition
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    count = torch.tensor(int(condition), device=device)
    distributed.all_reduce(count)
    return bool(count > 0)


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Replace every gradient by its mean over the processes."""
    if size() == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= size()
