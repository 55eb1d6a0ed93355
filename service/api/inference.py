"""The two hot routes, on bare ASGI inside the application: bytes in, engine, bytes out.

A FastAPI route costs 120 us a request before any work, these about a tenth (no routing, no dependency graph, no
`Request`, no second validation). `service.api.dispatch` sends what they return, `service.api.openapi` declares them.
Small bodies are read where they arrive; large ones, large answers and images go to a thread of the pool.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import lru_cache
from typing import Any, ParamSpec, Protocol, TypeVar

from service.api.problems import Answer, Header
from service.api.request import RawRequest
from service.codec import digits
from service.codec import forecast as series
from service.codec.digits import DigitRequest, PackedDigits
from service.codec.forecast import ForecastRequest, PackedSeries
from service.codec.multipart import read_form
from service.codec.state_tokens import SequenceState, StateTokens
from service.contract.errors import DeadlineExceeded, InvalidRequest, UnknownModel
from service.contract.manifest import Manifest, Task
from service.contract.types import Item
from service.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

JSON = "application/json"
_JSON_BYTES = JSON.encode()
IMAGES = ("image/png", "image/jpeg", "image/webp", "image/bmp")
FORM = "multipart/form-data"
LARGE_BODY = 64 << 10  # bytes; reading one takes half a millisecond
_LARGE_WORK = 20_000  # numbers; converting them takes a millisecond


class BatchResult(Protocol):
    """What the engine answers."""

    @property
    def results(self) -> Sequence[Any]: ...
    @property
    def queue_seconds(self) -> float: ...
    @property
    def compute_seconds(self) -> float: ...


class Served(Protocol):
    """One loaded model version."""

    @property
    def manifest(self) -> Manifest: ...
    def submit(self, items: Sequence[Item], deadline: float | None) -> Awaitable[BatchResult]:
        """Queue, compute, answer; see `service.registry.served`."""


class Models(Protocol):
    """Where loaded models are found: the registry."""

    def get(self, reference: str) -> Served:
        """The model that serves `name` or `name@version`; raises `UnknownModel`, `Unavailable`."""


class InferenceEndpoint:
    """What every route to a model needs: the models, the limits, the tokens, and threads for large work."""

    task: Task

    def __init__(self, models: Models, settings: Settings, tokens: StateTokens, pool: Executor) -> None:
        self._models = models
        self._settings = settings
        self._tokens = tokens
        self._pool = pool

    async def _aside(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function`, large work, in a thread of the pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def _find(self, reference: str) -> Served:
        """The model that `reference` means, if it has this route's task."""
        served = self._models.get(reference)
        if served.manifest.task != self.task:
            detail = f"'{served.manifest.name}' serves /{served.manifest.task}, not /{self.task}"
            raise UnknownModel(detail, code="model_not_found")
        return served


class Route(InferenceEndpoint):
    """What both hot routes share."""

    async def __call__(self, exchange: RawRequest) -> Answer:
        """The answer; raises the domain's errors and `Disconnected`."""
        raise NotImplementedError

    def _model(self, exchange: RawRequest, reference: str) -> Served:
        served = self._find(reference)
        exchange.model = served.manifest.name
        return served

    def _before(self, tokens: list[str | None], manifest: Manifest) -> list[SequenceState | None] | None:
        """What the tokens of the inputs hold; None where there is none, as in most requests."""
        return None if tokens.count(None) == len(tokens) else self._tokens.open_all(tokens, manifest)

    def _deadline(self, exchange: RawRequest, timeout_ms: int | None) -> float:
        deadline = exchange.deadline(timeout_ms, self._settings.timeout_ms)
        if time.monotonic() >= deadline:
            raise DeadlineExceeded("the deadline passed before the computation began")
        return deadline


class ForecastEndpoint(Route):
    """`POST /forecast`."""

    task = "forecast"

    async def __call__(self, exchange: RawRequest) -> Answer:
        """JSON in, JSON out."""
        _require_json(exchange, "")
        body = await exchange.body(self._settings.timeout_ms)
        return await exchange.while_there(self._answer(exchange, body))

    async def _answer(self, exchange: RawRequest, body: bytes) -> Answer:
        large = len(body) > LARGE_BODY
        prepared = await self._aside(self._prepare, exchange, body) if large else self._prepare(exchange, body)
        request, served, packed = prepared
        manifest = served.manifest
        deadline = self._deadline(exchange, request.parameters.timeout_ms)
        outcome = await served.submit(packed.items, deadline)
        told = request, manifest, packed, outcome.results, self._tokens.seal
        answer = await self._aside(series.unpack, *told) if is_large(request, manifest) else series.unpack(*told)
        return _success(answer, manifest, outcome)

    def _prepare(self, exchange: RawRequest, body: bytes) -> tuple[ForecastRequest, Served, PackedSeries]:
        """What is asked, of which model, and the engine's items."""
        request = series.read(body, self._settings)
        served = self._model(exchange, request.model)
        before = self._before([item.state for item in request.inputs], served.manifest)
        return request, served, series.pack(request, served.manifest, before)


class ClassifyDigitEndpoint(Route):
    """`POST /classify-digit`."""

    task = "classify-digit"

    async def __call__(self, exchange: RawRequest) -> Answer:
        """JSON, an image or a form in, JSON out."""
        media_type = exchange.media_type
        if media_type not in IMAGES and media_type != FORM:
            _require_json(exchange, f", {', '.join(IMAGES)} or {FORM}")
        body = await exchange.body(self._settings.timeout_ms)
        return await exchange.while_there(self._answer(exchange, body, media_type))

    async def _answer(self, exchange: RawRequest, body: bytes, media_type: str) -> Answer:
        sent, many = (exchange, body, media_type), len(body) > LARGE_BODY
        request, images = await self._aside(self._read, *sent) if many else self._read(*sent)
        served = self._model(exchange, request.model)
        manifest = served.manifest
        deadline = self._deadline(exchange, request.parameters.timeout_ms)
        large = many or images is not None or digits.holds_images(request)
        given = request, manifest, images, deadline
        packed = await self._aside(self._pack, *given) if large else self._pack(*given)
        outcome = await served.submit(packed.items, deadline)
        told = request, manifest, packed, outcome.results, self._tokens.seal
        answer = await self._aside(digits.unpack, *told) if large else digits.unpack(*told)
        return _success(answer, manifest, outcome)

    def _pack(
        self, request: DigitRequest, manifest: Manifest, images: list[bytes] | None, deadline: float
    ) -> PackedDigits:
        before = self._before([item.state for item in request.inputs], manifest)
        return digits.pack(request, manifest, self._settings, images, deadline, before=before)

    def _read(self, exchange: RawRequest, body: bytes, media_type: str) -> tuple[DigitRequest, list[bytes] | None]:
        if media_type == FORM:
            form = read_form(body, exchange.headers[b"content-type"])
            if not form.files:
                raise InvalidRequest("the form has no field 'file'", code="missing_field")
            options = digits.read_options(exchange.query | form.fields)
            return digits.from_files(form.files, options, self._settings)
        if media_type in IMAGES:
            return digits.from_files([digits.File(body)], digits.read_options(exchange.query), self._settings)
        return digits.read(body, self._settings), None


def _require_json(exchange: RawRequest, alternatives: str) -> None:
    """Raise `unsupported_media_type` for what is not JSON; a missing type is refused with a hint, not guessed."""
    if exchange.headers.get(b"content-type") == _JSON_BYTES:  # nearly always; no need to look closer
        return
    media_type = exchange.media_type
    if media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json")):
        return
    sent = "the request has no Content-Type" if not media_type else "this Content-Type is not read here"
    detail = f"{sent}: send 'Content-Type: {JSON}'{alternatives}"
    raise InvalidRequest(detail, code="unsupported_media_type")


def is_large(request: ForecastRequest, manifest: Manifest) -> bool:
    """Whether packing and unpacking `request` would hold up the event loop."""
    tokens = len(request.inputs) * request.parameters.return_state * manifest.state.width  # large bodies are counted so
    return series.cost(request) + tokens // 4 > _LARGE_WORK


def _success(body: bytes, manifest: Manifest, outcome: BatchResult) -> Answer:
    timing = f"queue;dur={outcome.queue_seconds * 1e3:.3f}, compute;dur={outcome.compute_seconds * 1e3:.3f}"
    headers = [(b"content-type", _JSON_BYTES), _digest(manifest.sha256), (b"server-timing", timing.encode())]
    return Answer(200, headers, body)


@lru_cache(maxsize=256)
def _digest(sha256: str) -> Header:
    return (b"x-model-digest", f"sha256:{sha256}".encode())
