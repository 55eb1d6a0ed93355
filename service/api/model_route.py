"""What the routes to models have in common: finding a model, the deadline of an answer, threads for large work."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, ParamSpec, TypeVar

from service.api.problems import Header
from service.api.request import RawRequest, deadline_of
from service.codec.common import CallT, Codec, OpeningT, RequestT
from service.contract.errors import DeadlineExceeded, UnknownModel
from service.contract.manifest import Manifest, Task
from service.contract.types import Item
from service.registry.registry import Registry
from service.registry.served import Served
from service.runtime.fair_pool import FairPool
from service.runtime.fair_share import Client
from service.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class ModelRoute(Generic[RequestT, CallT, OpeningT]):
    """What every route to a model needs: its codec, the models, the limits, and threads for large work."""

    def __init__(
        self,
        codec: Codec[RequestT, CallT, OpeningT],
        registry: Registry,
        settings: Settings,
        texts: FairPool,
        inputs: FairPool,
    ) -> None:
        """`texts` decodes and encodes, `inputs` makes items of what was decoded."""
        self.media_types = codec.media_types  # of the bodies that are read
        self._codec = codec
        self._registry = registry
        self._texts = texts
        self._inputs = inputs
        self.default_timeout_ms = settings.timeout_ms
        self.max_body_bytes = codec.max_body_bytes
        self.max_file_bytes = 0

    def _find(self, request: RawRequest, reference: str, asked_ms: int | None) -> tuple[Served, float]:
        """The model that `reference` means, and the deadline of a request that asks for an answer in `asked_ms`."""
        deadline = self._deadline_of(request, asked_ms)
        model = self._registry.get(reference)
        if model.manifest.task != self._codec.task:
            raise wrong_task(model.manifest, self._codec.task)
        request.model = model.manifest.name
        if time.monotonic() >= deadline:
            raise DeadlineExceeded("the deadline passed before the computation began")
        return model, deadline

    def _deadline_of(self, request: RawRequest, asked_ms: int | None = None) -> float:
        """When the answer is due (`time.monotonic()`)."""
        return deadline_of(request.started, request.timeout_ms, asked_ms, self.default_timeout_ms)

    def _in_thread(
        self,
        kind: str,
        size: int,
        client: Client,
        deadline: float,
        function: Callable[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[R]:
        """`function` in a thread, since its work of `size` bytes or numbers would hold up the event loop.

        Raises `Unavailable` (`queue_full`) where too much such work waits, `DeadlineExceeded`, or what it raises.
        """
        pool = self._inputs if kind == "prepare" else self._texts
        return pool.run(f"{self._codec.task} {kind}", size, client, deadline, function, *args, **kwargs)


async def compute_in_parts(
    model: Served, items: Sequence[Item], settings: Settings, client: Client, deadline: float
) -> list[Any]:
    """The results of `items`, computed in parts, each within the limits of a request and half the queue's values."""
    lengths = [item.length for item in items]
    model.check_time(items, sum(lengths), deadline)
    client = model.charge(client, len(items), sum(lengths))
    results: list[Any] = []
    for part in parts(lengths, settings.max_items, settings.max_queue_observations // 2):
        results += (await model.submit(items[part], deadline, client)).results
    return results


def parts(lengths: Sequence[int], max_items: int, max_values: int) -> list[slice]:
    """What of items with `lengths` is computed at once: at most `max_items`, and `max_values` unless one has more."""
    slices: list[slice] = []
    first, values = 0, 0
    for index, length in enumerate(lengths):
        if index > first and (values + length > max_values or index - first == max_items):
            slices.append(slice(first, index))
            first, values = index, 0
        values += length
    return [*slices, slice(first, len(lengths))] if lengths else []


def wrong_task(manifest: Manifest, task: Task) -> UnknownModel:
    """The error of a request to a model that has another task."""
    return UnknownModel(f"'{manifest.name}' serves /{manifest.task}, not /{task}", code="model_not_found")


@lru_cache(maxsize=256)
def digest_header(sha256: str) -> Header:
    """The header with the digest of the model that answers."""
    return (b"x-model-digest", f"sha256:{sha256}".encode())
