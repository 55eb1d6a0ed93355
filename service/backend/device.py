"""Where torch computes: the device that a setting names, and the threads of this process."""

from __future__ import annotations

import os

import torch

from service.runtime import cpu_quota

MAX_THREADS = 4  # unless more are set


def resolve_device(name_or_device: str | torch.device) -> torch.device:
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:<n>`; raises `ValueError` for an absent or unknown one.

    Counting devices does not initialise CUDA, so a process may still fork afterwards.
    """
    if isinstance(name_or_device, torch.device):
        return name_or_device
    count = _cuda_devices()
    if name_or_device == "cpu" or (name_or_device == "auto" and not count):
        return torch.device("cpu")
    name, _, number = name_or_device.partition(":")
    if name_or_device not in {"auto", "cuda"} and (name != "cuda" or not number.isdecimal()):
        raise ValueError(f"device {name_or_device!r} is not one of auto, cpu, cuda, cuda:<number>")
    index = int(number or 0)
    if index >= count:
        build = "this build of torch has no CUDA" if torch.version.cuda is None else f"torch sees {count} CUDA devices"
        raise ValueError(f"device {name_or_device!r} was asked for, but {build}; choose cpu or auto")
    return torch.device("cuda", index)


def _cuda_devices() -> int:
    if torch.version.cuda is None:
        return 0
    # With this set torch asks the driver's management library instead of opening a context, which would end forking.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return torch.cuda.device_count()


def set_threads(threads: int | None = None, processes: int = 1) -> int:
    """Give torch one thread an operation; returns how many threads share the rows of a large call (`ComputeThreads`).

    None: one for each CPU that the container may use, at most `MAX_THREADS`, divided between several `processes`.
    Torch's own threads gain 5 % at 128 rows of a small network, and lose a third at few.
    """
    torch.set_num_threads(1)
    return threads or min(MAX_THREADS, max(1, cpu_quota.available() // processes))
