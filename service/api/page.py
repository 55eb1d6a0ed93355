"""The page at `/` and the documentation at `/docs`: files, read once, sent with an ETag and a content security policy.

Both ask this server only: no script, style, font or picture comes from elsewhere, and the policy holds browsers to
that. `prepare-digit` shows what the network sees of a picture.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request, Response
from msgspec import Struct

from service.api.model_route import ModelRoute
from service.api.problems import Answer
from service.api.request import COMPLETE_RESPONSE, RawRequest
from service.codec.common import JSON, Body
from service.codec.digit_answers import first_reading
from service.codec.digit_calls import DigitCall
from service.codec.digit_items import DigitBatch
from service.codec.digit_types import DigitOpening
from service.codec.digits import FORM, IMAGES
from service.contract.errors import InvalidRequest
from service.registry.served import Served

FOLDER = Path(__file__).resolve().parents[1] / "web"
DOCUMENTATION = FOLDER.with_name("documentation")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    "": "text/plain; charset=utf-8",
}
_encoder = msgspec.json.Encoder()


class WebFile(Struct, frozen=True):
    """A file of the page, ready to be sent."""

    content: bytes
    compressed: bytes
    etag: str
    media_type: str


def web_files(folder: Path = FOLDER) -> dict[str, WebFile]:
    """The files below `folder` by their path; those of other types than a page has are left out."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(folder).as_posix()
            files[name] = WebFile(content, gzip.compress(content, mtime=0), etag, _TYPES[path.suffix])
    return files


def page_router() -> APIRouter:
    """`/` and the files that it names, which are read now."""
    router = APIRouter(include_in_schema=False)
    files = web_files()

    @router.get("/")
    async def page(request: Request) -> Response:
        return _answer(files, "index.html", request)

    @router.get("/web/{name:path}")
    async def web(name: str, request: Request) -> Response:
        return _answer(files, name, request)

    return router


def docs_router() -> APIRouter:
    """`/docs`, Swagger UI over `/openapi.json`, and its files under `/docs/`.

    They are two megabytes that few ask for, so a thread reads them at the first request.
    """
    router = APIRouter(include_in_schema=False)
    files = cache(lambda: web_files(DOCUMENTATION))

    @router.get("/docs")
    def docs(request: Request) -> Response:
        return _answer(files(), "index.html", request)

    @router.get("/docs/{name:path}")
    def file(name: str, request: Request) -> Response:
        return _answer(files(), name, request)

    return router


def _answer(files: dict[str, WebFile], name: str, request: Request) -> Response:
    """The file of that name, compressed where that is accepted; 304 where the caller has it already, 404 for none."""
    file = files.get(name)
    if file is None:
        raise HTTPException(404)
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
    }
    if COMPLETE_RESPONSE not in request.scope.get("extensions", ()):  # the service's own server sets it for all answers
        headers["X-Content-Type-Options"] = "nosniff"
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = file.compressed, "gzip"
    return Response(content, 200, headers, file.media_type)


class PrepareDigitEndpoint(ModelRoute[DigitBatch, DigitCall, DigitOpening]):
    """`POST /prepare-digit`: the rows that `POST /classify-digit` would read of an image, 0..255, and what was done."""

    async def __call__(self, request: RawRequest, body: Body) -> Answer:
        """The prepared rows of the first image; raises the errors of `POST /classify-digit`."""
        client, deadline = request.client, self._deadline_of(request)
        size = len(body.content)
        call, model = await self._in_thread("prepare", size, client, deadline, self._prepare, request, body, deadline)
        result = await model.submit(call.items, deadline, client)
        item, reading = first_reading(call, result.results)
        document: dict[str, Any] = {
            "rows": (item.rows * 255).round().astype(int).tolist(),
            "preprocessing": reading.preparation,
        }
        return Answer(200, [(b"content-type", JSON.encode())], _encoder.encode(document))

    def _prepare(self, request: RawRequest, body: Body, deadline: float) -> tuple[DigitCall, Served]:
        if body.media_type not in {*IMAGES, FORM}:
            raise InvalidRequest("send the image itself", code="unsupported_media_type")
        decoded = self._codec.decode(body)
        model = self._registry.get(decoded.model)
        request.model = model.manifest.name
        return self._codec.to_items(decoded, model.manifest, deadline), model
