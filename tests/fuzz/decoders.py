"""Every decoder as a function of bytes: it returns, or raises an error of the domain; anything else is a fault."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from service.api.problems import KINDS
from service.codec.common import Body
from service.codec.digits import FORM, DigitCodec
from service.codec.forecast import ForecastCodec
from service.codec.query import parse_query
from service.codec.state_tokens import StateTokens
from service.codec.tables.codec import TableCodec
from service.contract.errors import RitmoError
from service.contract.manifest import Manifest
from service.imaging.decode import decode
from service.settings import Settings
from tests.fakes import manifest

CORPUS = Path(__file__).parent / "corpus"
BOUNDARY = b"multipart/form-data; boundary=b"
_SETTINGS = Settings(max_items=8, max_observations=500, max_pixels=40_000, max_answer_numbers=5_000)
_TOKENS = StateTokens([b"a key of a test, long enough"])
FORECASTS, DIGITS = ForecastCodec(_SETTINGS, _TOKENS), DigitCodec(_SETTINGS, _TOKENS)
TABLES, _TABLE = TableCodec(FORECASTS, _SETTINGS), "date,shop,sales\n2024-01-01,ä,1\n2024-01-02,ä,2\n".encode()
SERIES_MODEL, DIGIT_MODEL = manifest("forecaster"), manifest("digits", "classify-digit")


def _deadline() -> float:
    return time.monotonic() + 20


def forecast(content: bytes) -> None:
    """A body of `/forecast`; what is read is finite or missing."""
    call = FORECASTS.to_items(FORECASTS.decode(Body(content)), SERIES_MODEL, _deadline())
    for item in call.items:
        assert not np.isinf(item.values).any()


def live_forecast(content: bytes) -> None:
    """An opening of a live series, and a message of one."""
    opening = FORECASTS.decode_opening(b"{}")
    FORECASTS.message_to_items(content, opening, SERIES_MODEL, None)


def live_opening(content: bytes) -> None:
    """The opening of a live series."""
    FORECASTS.resume(FORECASTS.decode_opening(content), SERIES_MODEL)


def digit(content: bytes) -> None:
    """A body of `/classify-digit`."""
    DIGITS.to_items(DIGITS.decode(Body(content)), DIGIT_MODEL, _deadline())


def live_digit(content: bytes) -> None:
    """A message of a live digit."""
    DIGITS.message_to_items(content, DIGITS.decode_opening(b"{}"), DIGIT_MODEL, None)


def form(content: bytes) -> None:
    """A form with images."""
    DIGITS.to_items(DIGITS.decode(Body(content, FORM, BOUNDARY)), DIGIT_MODEL, _deadline())


def form_type(content: bytes) -> None:
    """The Content-Type of a form."""
    DIGITS.decode(Body(b"--b--\r\n", FORM, content))


def image(content: bytes) -> None:
    """An image as the body."""
    DIGITS.to_items(DIGITS.decode(Body(content, "image/png", b"image/png")), DIGIT_MODEL, _deadline())


def picture(content: bytes) -> None:
    """An image, decoded only."""
    decode(content, 40_000)


def query(content: bytes) -> None:
    """A query string, alone and with an image."""
    parse_query(content)
    DIGITS.decode(Body(b"", "image/png", b"image/png", content))


def table(content: bytes) -> None:
    """A table as text."""
    TABLES.read(Body(content, "text/csv", b"text/csv", b""))


def table_query(content: bytes) -> None:
    """The query string of a table."""
    TABLES.read(Body(_TABLE, "text/csv", b"text/csv", content))


def table_type(content: bytes) -> None:
    """The parameters of the content type of a table."""
    TABLES.read(Body(_TABLE, "text/csv", b"text/csv; " + content, b""))


def token(content: bytes) -> None:
    """A state token."""
    state = _TOKENS.open(content.decode("latin-1"), SERIES_MODEL)
    assert all(map(math.isfinite, state.state.tolist()))


def model_manifest(content: bytes) -> None:
    """The manifest of a model: `msgspec` says what is wrong with it."""
    try:
        msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, ValueError):
        return


DECODERS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        *(forecast, live_forecast, live_opening, digit, live_digit, form, form_type),
        *(image, picture, query, token, model_manifest),
        *(table, table_query, table_type),
    )
}


def run(name: str, content: bytes) -> None:
    """Decode; an error of the domain has a documented code that is no fault of the service."""
    refusal: RitmoError | None = None
    try:
        DECODERS[name](content)
    except RitmoError as error:
        refusal = error
    if refusal is not None:
        assert KINDS[refusal.code].status < 500 or refusal.code == "deadline_exceeded", refusal.code
        assert len(refusal.errors) <= 10
        assert sum(len(error.pointer) + len(error.detail) for error in refusal.errors) < 100_000
