"""The device that a setting names, and the threads of a process."""

from __future__ import annotations

import pytest
import torch

from service.backend.device import MAX_THREADS, resolve_device, set_threads
from service.runtime import cpu_quota


def test_auto_is_the_gpu_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "CUDA", "cuda:-1"])
def test_a_device_of_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not one of auto, cpu, cuda"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"was asked for, but .*; choose cpu or auto"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")


def test_threads_share_calls_and_torch_has_one() -> None:
    threads = torch.get_num_threads()
    try:
        assert set_threads(3) == 3
        assert set_threads() == min(MAX_THREADS, cpu_quota.available())
        assert set_threads(processes=2) == min(MAX_THREADS, max(1, cpu_quota.available() // 2))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
