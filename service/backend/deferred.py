"""What a registry calls of this package, without importing torch until the first call: that takes two seconds.

A server listens and answers `/livez` meanwhile, so the first call is made in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from service.contract.model_signatures import TrustedKeys

if TYPE_CHECKING:
    from service.backend.model import LoadedModel
    from service.backend.sharding import ComputeThreads


def resolve_device(name: str) -> str:
    """See `service.backend.device`; all that a model needs is imported afterwards."""
    from service.backend import device, model  # noqa: F401

    return str(device.resolve_device(name))


def set_threads(threads: int | None, processes: int) -> int:
    """See `service.backend.device`; of the calling thread, too."""
    from service.backend import device

    return device.set_threads(threads, processes)


def load(
    folder: Path,
    device: str,
    *,
    warm: bool = True,
    threads: ComputeThreads | None = None,
    trusted: TrustedKeys | None = None,
) -> LoadedModel:
    """See `service.backend.model`."""
    from service.backend import model

    return model.load(folder, device, warm=warm, threads=threads, trusted=trusted)


def load_served(
    folder: Path, device: str, *, threads: ComputeThreads | None = None, trusted: TrustedKeys | None = None
) -> LoadedModel:
    """See `service.backend.model`."""
    from service.backend import model

    return model.load_served(folder, device, threads=threads, trusted=trusted)


def warm_up_served(loaded: LoadedModel, folder: Path, should_continue: Callable[[], bool]) -> None:
    """See `service.backend.model`."""
    from service.backend import model

    model.warm_up_served(loaded, folder, should_continue)
