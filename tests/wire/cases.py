"""Requests whose answers are kept in `answers.json`: data only, the same at every run and on every machine.

A case is one or several exchanges with one of two servers: `wide` serves the committed models with default limits,
`narrow` a few with limits so small that requests of some bytes exceed them. Later exchanges of a case may use the
state tokens of earlier ones: `<token 0>` stands for the first token that the case was given, `<old token 0>` for the
same one issued eight days ago, `<altered token 0>` for one with another character inside, and `<strange token 0>` for
one of a layout that no server knows.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from PIL import Image, ImageDraw

KEY = "the key of the recorded answers"
NARROW = {
    "max_body_bytes": 12_000,
    "max_held_bytes": 4_000,
    "max_items": 4,
    "max_observations": 60,
    "max_answer_numbers": 300,
    "max_pixels": 10_000,
    "max_queue_observations": 100,
    "max_live_connections": 1,
    "max_message_bytes": 1_000,
    "drain_delay_seconds": 5,
}

JSON = (("content-type", "application/json"),)
FORECAST, DIGIT = "/forecast", "/classify-digit"
LIVE_FORECAST, LIVE_DIGIT = "/forecast/stream", "/classify-digit/stream"

Headers = tuple[tuple[str, str], ...]
Number = float | None


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; a `content-length` among the headers may promise more than `body` holds."""

    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a live connection, and whether it has an answer."""

    content: str | bytes
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Conversation:
    """One live connection, closed by the client after `messages`, or, with `ended`, by the server."""

    path: str
    messages: tuple[Message, ...] = ()
    ended: bool = False
    beside: str | None = None  # path of another connection that is open meanwhile


@dataclass(frozen=True, slots=True)
class Case:
    """Exchanges in their order; `drained`: the server is told to stop before them."""

    name: str
    exchanges: tuple[Request | Conversation, ...]
    server: Literal["wide", "narrow"] = "wide"
    drained: bool = False


# --- values and pictures ----------------------------------------------------------------------------------------------


def noise(count: int, seed: int) -> list[float]:
    """Numbers from 0 to 1 with three decimals, by a generator of integers."""
    numbers = []
    for _ in range(count):
        seed = (seed * 1_103_515_245 + 12_345) % 2**31
        numbers.append(seed // 2_147_484 / 1000)
    return numbers


def wave(count: int, period: float = 12, level: float = 20, seed: int = 1) -> list[float]:
    """A season of `period`, a slow trend and some noise, with three decimals."""
    rough = noise(count, seed)
    season = (5 * math.sin(2 * math.pi * step / period) for step in range(count))
    return [round(level + 0.02 * step + value + rough[step], 3) for step, value in enumerate(season)]


def mixture(count: int, seed: int = 1) -> list[float]:
    """Two sines and noise between -1 and 1, what the small models were trained on."""
    rough = noise(count, seed)
    first = (0.5 * math.sin(0.21 * step + 1) for step in range(count))
    return [
        round(value + 0.2 * math.sin(0.37 * step) + 0.1 * (rough[step] - 0.5), 4) for step, value in enumerate(first)
    ]


def holes(values: Sequence[float], places: Sequence[int]) -> list[Number]:
    """`values` with missing ones at `places`."""
    return [None if place in places else value for place, value in enumerate(values)]


def picture(
    strokes: Sequence[Sequence[tuple[int, int]]], side: int = 96, *, mode: str = "L", dark: bool = True, width: int = 9
) -> Image.Image:
    """Strokes over a square of 96 points, as a picture of `side` pixels."""
    paper, ink = (250, 25) if dark else (10, 240)
    image = Image.new("L", (side, side), paper)
    draw = ImageDraw.Draw(image)
    scale = side / 96
    for stroke in strokes:
        points = [(round(x * scale), round(y * scale)) for x, y in stroke]
        draw.line(points, fill=ink, width=max(1, round(width * scale)), joint="curve")
    return image.convert(mode)


ONE = [[(38, 30), (50, 18), (50, 78)]]
FOUR = [[(56, 78), (56, 18), (26, 58), (72, 58)]]
SEVEN = [[(26, 20), (70, 20), (44, 78)]]
THREE = [[(28, 22), (52, 18), (66, 30), (48, 46), (68, 60), (54, 78), (28, 74)]]


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


PNG = encoded(picture(SEVEN), "PNG")
SMALL_PNG = encoded(picture(SEVEN, 80), "PNG")
BLANK = encoded(picture([]), "PNG")
TURNED = Image.Exif()
TURNED[0x0112] = 6

ROW = [0] * 11 + [84, 185, 254, 254, 185, 84] + [0] * 11
EMPTY_ROW = [0] * 28


def rows(strokes: Sequence[Sequence[tuple[int, int]]], count: int = 28) -> list[list[int]]:
    """The first rows of a digit on 28 by 28 pixels, ink bright."""
    image = picture(strokes, 28, dark=False, width=8).point([0 if grey < 20 else grey for grey in range(256)])
    pixels = list(image.tobytes())
    return [pixels[28 * row : 28 * row + 28] for row in range(count)]


def unit(ink: Sequence[Sequence[int]]) -> list[list[float]]:
    """Rows from 0 to 1."""
    return [[round(value / 255, 3) for value in row] for row in ink]


# --- requests ---------------------------------------------------------------------------------------------------------


def post(path: str, document: object, headers: Headers = ()) -> Request:
    """A JSON document, posted."""
    return Request("POST", path, JSON + headers, json.dumps(document).encode())


def text(path: str, body: str | bytes, headers: Headers = JSON) -> Request:
    """A body as it is, posted."""
    return Request("POST", path, headers, body.encode() if isinstance(body, str) else body)


def forecast(model: str | None, *targets: Sequence[Number] | dict[str, Any], **parameters: Any) -> Request:
    """A request of series, each its values or a whole input."""
    inputs = [target if isinstance(target, dict) else {"target": target} for target in targets]
    document: dict[str, Any] = {"model": model} if model else {}
    document["inputs"] = inputs
    if parameters:
        document["parameters"] = parameters
    return post(FORECAST, document)


def classify(*inputs: dict[str, Any], model: str | None = None, **parameters: Any) -> Request:
    """A request of digits in JSON."""
    document: dict[str, Any] = {"model": model} if model else {}
    document["inputs"] = list(inputs)
    if parameters:
        document["parameters"] = parameters
    return post(DIGIT, document)


def image(data: bytes, kind: str = "png", query: str = "") -> Request:
    """A picture as it is."""
    return Request("POST", DIGIT + query, (("content-type", f"image/{kind}"),), data)


def form(*parts: tuple[str, bytes], query: str = "", end: bytes = b"--edge--\r\n") -> Request:
    """A form of parts, each what its disposition says beside `form-data` and its content."""
    body = b"".join(
        b"--edge\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return Request("POST", DIGIT + query, (("content-type", "multipart/form-data; boundary=edge"),), body + end)


def talk(path: str, opening: object, *messages: object) -> Conversation:
    """A connection with an opening that is as it should be, and messages that are all answered."""
    said = [message if isinstance(message, (str, bytes)) else json.dumps(message) for message in messages]
    return Conversation(path, (Message(json.dumps(opening), False), *(Message(each) for each in said)))


def base64_of(data: bytes) -> str:
    """`data` as text."""
    return base64.b64encode(data).decode()


def case(name: str, *exchanges: Request | Conversation) -> Case:
    """A case for the wide server."""
    return Case(name, exchanges)


def narrow(name: str, *exchanges: Request | Conversation, drained: bool = False) -> Case:
    """A case for the narrow server."""
    return Case(name, exchanges, "narrow", drained)


def get(path: str, headers: Headers = ()) -> Request:
    """A request without a body."""
    return Request("GET", path, headers)


# --- the cases --------------------------------------------------------------------------------------------------------

FRESH = [  # of a server that has answered nothing else
    case("livez", get("/livez")),
    case("readyz", get("/readyz")),
    case("models", get("/models")),
    case("metrics: names and kinds", get("/metrics")),
    *(
        case(f"models: {name}", get(f"/models/{name}"))
        for name in ("digits", "digits-rnn-10", "forecaster", "linear", "naive", "rnn-1", "rnn-20", "sines")
    ),
    case("models: a name that is nearly one", get("/models/forcaster")),
    case("models: a name that is none", get("/models/%C3%A9t%C3%A9")),
    case("models: a slash too many", get("/models/")),
    case("openapi", get("/openapi.json")),
    case("docs", get("/docs")),
    case("head of livez", Request("HEAD", "/livez")),
    case("a query that is not read", get("/livez?verbose=1")),
]

_ANY_LENGTH: dict[str, Callable[..., list[float]]] = {
    "forecaster": wave,
    "sines": mixture,
    "naive": wave,
    "rnn-1": mixture,
    "rnn-20": mixture,
}
_EXACT = "linear"

FORECASTS = [
    *(case(f"{model}: short", forecast(model, [1, 2.5, -3])) for model in (*_ANY_LENGTH, _EXACT)),
    *(case(f"{model}: long", forecast(model, made(400), prediction_length=24)) for model, made in _ANY_LENGTH.items()),
    *(
        case(
            f"{model}: ragged",
            forecast(
                model,
                *({"item_id": f"no. {n}", "target": made(n, seed=n)} for n in (1, 2, 7, 40, 129)),
                prediction_length=3,
            ),
        )
        for model, made in _ANY_LENGTH.items()
    ),
    *(
        case(
            f"{model}: missing values",
            forecast(
                model,
                holes(made(40), (0, 1, 17, 18, 30)),
                holes(made(30), (28, 29)),
                [None, 4, None],
                prediction_length=4,
            ),
        )
        for model, made in (*_ANY_LENGTH.items(), (_EXACT, mixture))
    ),
    *(
        case(f"{model}: history", forecast(model, made(40), include=["history"], quantile_levels=[0.25, 0.75]))
        for model, made in _ANY_LENGTH.items()
    ),
    *(
        case(
            f"{model}: continued twice",
            forecast(model, made(60)[:50], return_state=True),
            forecast(model, {"target": made(60)[50:], "state": "<token 0>"}, return_state=True, prediction_length=2),
            forecast(model, {"target": [], "state": "<token 1>", "item_id": "again"}, prediction_length=5),
        )
        for model, made in _ANY_LENGTH.items()
    ),
    case("linear: 50 values", forecast("linear", mixture(50), mixture(50, 2), prediction_length=8)),
    case("linear: 50 values, one of them missing", forecast("linear", holes(mixture(50), (7,)))),
    case("linear: 49 values", forecast("linear", mixture(49))),
    case(
        "linear: continued",
        forecast("linear", mixture(50), return_state=True),
        forecast("linear", {"target": [], "state": "<token 0>"}, prediction_length=2),
        forecast("linear", {"target": [0.5], "state": "<token 0>"}),
    ),
    case("the default model", forecast(None, wave(30))),
    case("model@version", forecast("forecaster@5", wave(30)), forecast("sines@2", mixture(30))),
    case("no levels", forecast(None, wave(30), quantile_levels=[])),
    case("no levels, with history", forecast(None, wave(8), quantile_levels=[], include=["history"])),
    case("one level", forecast(None, wave(30), quantile_levels=[0.5], prediction_length=2)),
    case(
        "99 levels",
        forecast(None, wave(30), quantile_levels=[n / 100 for n in range(1, 100)], prediction_length=2),
        forecast("naive", wave(30), quantile_levels=[n / 100 for n in range(1, 100)]),
    ),
    case("levels in disorder and twice", forecast(None, wave(30), quantile_levels=[0.9, 0.1, 0.9, 0.333])),
    case("levels near the ends", forecast("naive", wave(30), quantile_levels=[0.00001, 0.000123, 0.99999])),
    case("levels beyond the ends", *(forecast(name, wave(30), quantile_levels=[1e-300]) for name in ("naive", None))),
    case("the farthest horizon", forecast(None, wave(60), prediction_length=256, quantile_levels=[0.9])),
    case("season stated", forecast(None, wave(96, 24), season_length=24, prediction_length=24)),
    case("season of one", forecast(None, wave(96, 24), season_length=1, prediction_length=4)),
    case("season found", forecast(None, wave(144, 24), prediction_length=24)),
    case(
        "season ignored", forecast("naive", wave(20), season_length=7), forecast("sines", mixture(20), season_length=7)
    ),
    case(
        "season and state",
        forecast(None, wave(60), season_length=12, return_state=True),
        forecast(None, {"target": wave(3), "state": "<token 0>"}, season_length=12),
        forecast(None, {"target": wave(3), "state": "<token 0>"}, season_length=7),
        forecast(None, {"target": wave(3), "state": "<token 0>"}, return_state=True),
    ),
    case("longer than the context", forecast(None, wave(4200)), forecast("sines", mixture(4200))),
    case(
        "history with a missing beginning", forecast(None, holes(wave(20), (0, 1, 9)), include=["history", "history"])
    ),
    case("constant series", forecast(None, [7] * 30, [0] * 30, prediction_length=3)),
    case("large and small numbers", forecast(None, [1e12, 2e12, 1.5e12] * 8, [1e-9, 3e-9, 2e-9] * 8)),
    case(
        "numbers too extreme",
        forecast("naive", [1.7e308, -1.7e308] * 4, prediction_length=64),
        forecast("naive", [1.7e308, -1.7e308] * 4, quantile_levels=[1e-300]),
    ),
    case(
        "integers, exponents and minus zero",
        text(FORECAST, '{"inputs":[{"target":[1,2e0,-0.0,12345678901234567890]}]}'),
    ),
    case("names beyond ASCII", forecast(None, {"item_id": "Zürich – 東京 \U0001f600 \"'\\\n", "target": [1, 2]})),
    case("fields that are null", post(FORECAST, {"inputs": [{"target": [1], "item_id": None, "state": None}]})),
    case("a deadline in the body", forecast(None, [1, 2], timeout_ms=60_000)),
    case(
        "a deadline in the header", post(FORECAST, {"inputs": [{"target": [1]}]}, (("x-request-timeout-ms", "60000"),))
    ),
    case(
        "request ids of the caller",
        *(post(FORECAST, {"inputs": []}, (("x-request-id", name),)) for name in ("own-id:7/x", "a b\tcé<>", "i" * 300)),
    ),
    case(
        "JSON by other names",
        *(
            text(FORECAST, '{"inputs":[{"target":[1]}]}', (("Content-Type", kind),))
            for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.ritmo+json")
        ),
    ),
    case("a batch of the smallest", forecast("naive", *([n] for n in range(40)))),
]

_SEVEN = rows(SEVEN)

DIGITS = [
    *(
        case(f"image: {kind}", image(encoded(picture(strokes, mode=mode), kind, **options), kind))
        for kind, strokes, mode, options in (
            ("png", SEVEN, "L", {}),
            ("jpeg", THREE, "RGB", {"quality": 85}),
            ("bmp", FOUR, "RGB", {}),
            ("webp", ONE, "RGB", {"lossless": True}),
        )
    ),
    case("image: bright on dark", image(encoded(picture(THREE, dark=False), "PNG"))),
    case("image: transparent", image(encoded(picture(FOUR, mode="RGBA"), "PNG"))),
    case("image: two colours", image(encoded(picture(FOUR, mode="1"), "PNG"))),
    case("image: turned", image(encoded(picture(SEVEN, 200, mode="RGB"), "JPEG", exif=TURNED), "jpeg")),
    case("image: larger", image(encoded(picture(FOUR, 700), "PNG"))),
    case("image: thin strokes", image(encoded(picture(THREE, 200, width=2), "PNG"))),
    case("image: two digits", image(encoded(picture([[(20, 25), (20, 75)], [(70, 25), (70, 75)]]), "PNG"))),
    case("image: no digit", image(encoded(picture([[(20, 20), (76, 76)], [(76, 20), (20, 76)]]), "PNG"))),
    case("image: options", image(PNG, query="?model=digits%403&trace=true&item_id=12&stop_at_confidence=0.9")),
    case("image: other models", *(image(PNG, query=f"?model=digits-rnn-{n}") for n in ("10", "16-8-4"))),
    case("image: in JSON", classify({"image": base64_of(PNG), "item_id": "a"})),
    case("image: as a data URL", classify({"image": "data:image/png;base64," + base64_of(PNG)})),
    case("image: beside rows", classify({"image": base64_of(PNG)}, {"rows": _SEVEN}, model="digits@4")),
    case(
        "form: several files",
        form(
            ('name="file"; filename="seven.png"', PNG),
            ('name="file"', encoded(picture(ONE), "PNG")),
            ('name="file"; filename="drei \u00e9.bmp"', encoded(picture(THREE), "BMP")),
        ),
    ),
    case(
        "form: fields",
        form(('name="trace"', b"true"), ('name="model"', b"digits-rnn-10"), ('name="file"', PNG), query="?model=x"),
    ),
    case("rows: whole", classify({"rows": _SEVEN, "item_id": "seven"}, {"rows": rows(FOUR)}, {"rows": rows(ONE)})),
    case("rows: from 0 to 1", classify({"rows": unit(_SEVEN)})),
    case("rows: ragged", classify(*({"rows": (_SEVEN * 3)[:n]} for n in (1, 5, 28, 64)))),
    case("rows: other models", *(classify({"rows": _SEVEN}, model=f"digits-rnn-{n}") for n in ("10", "16-8-4"))),
    case("rows: trace", classify({"rows": _SEVEN}, {"rows": _SEVEN[:9]}, trace=True)),
    case("rows: stopped", classify({"rows": _SEVEN}, {"rows": rows(ONE)}, stop_at_confidence=0.5)),
    case("rows: stopped, with a trace", classify({"rows": _SEVEN}, trace=True, stop_at_confidence=0.3)),
    case("rows: no ink", classify({"rows": [EMPTY_ROW] * 3})),
    *(
        case(
            f"rows: continued, {model}",
            classify({"rows": _SEVEN[:12]}, model=model, return_state=True),
            classify({"rows": _SEVEN[12:20], "state": "<token 0>"}, model=model, return_state=True, trace=True),
            classify({"rows": [], "state": "<token 1>"}, model=model),
        )
        for model in ("digits", "digits-rnn-10", "digits-rnn-16-8-4")
    ),
    case(
        "rows: continued on another scale",
        classify({"rows": unit(_SEVEN[:12])}, return_state=True),
        classify({"rows": _SEVEN[12:], "state": "<token 0>"}),
    ),
]


def faulty(name: str, body: str | bytes, path: str = FORECAST) -> Case:
    """A document with something wrong about it."""
    return case("fault: " + name, text(path, body))


def target(values: str) -> str:
    """A document of one series."""
    return '{"inputs":[{"target":[' + values + "]}]}"


def asked(parameters: str) -> str:
    """A document of one series with parameters."""
    return '{"inputs":[{"target":[1,2]}],"parameters":' + parameters + "}"


FAULTS = [
    faulty("empty body", b""),
    faulty("truncated", '{"inputs": [{"target": [1'),
    faulty("two documents", '{"inputs": []}\n{}'),
    faulty("a comma too many", '{"inputs": [\n {"target": [1,]}]}'),
    faulty("deep nesting", '{"inputs": ' + "[" * 50_000),
    faulty("Latin-1", '{"model": "\u00e9"}'.encode("latin-1")),
    faulty("a byte order mark", b"\xef\xbb\xbf" + target("1").encode()),
    faulty("half a surrogate pair", '{"model": "\\ud800", "inputs": []}'),
    faulty("NaN", target("1, NaN")),
    faulty("infinity", target("-Infinity")),
    faulty("beyond floats", target("1e400, 1")),
    faulty("a number of 500 digits", target("9" * 500)),
    faulty("a string for a number", target('1, "1.5"')),
    faulty("a boolean for a number", target("true")),
    faulty("more than ten faults", target(",".join(['"x"'] * 13))),
    faulty(
        "faults of several kinds", '{"inputs": [{"target": [NaN, "1"], "id": 1}, {}], "parametres": {}, "model": 4}'
    ),
    faulty("an array for the document", "[]"),
    faulty("null for the document", "null"),
    faulty("no inputs", "{}"),
    faulty("inputs of the wrong type", '{"inputs": {"target": [1]}}'),
    faulty("no series", '{"inputs": []}'),
    faulty("empty series", '{"inputs": [{"target": []}, {"target": [1]}, {"target": []}]}'),
    faulty("nothing but missing values", target("null, null")),
    faulty("an unknown field, nearly known", '{"inputs": [{"target": [1], "itemid": "a"}]}'),
    faulty("an unknown field, far from any", '{"inputs": [{"target": [1]}], "zzz": 1}'),
    faulty("a field with a strange name", '{"inputs": [{"target": [1], "a/b~c\\u0007' + "n" * 90 + '": 1}]}'),
    *(
        faulty("parameters " + parameters, asked(parameters))
        for parameters in (
            '{"prediction_length": 0}',
            '{"prediction_length": 1.5}',
            '{"prediction_length": 1.0}',
            '{"prediction_length": true}',
            '{"prediction_length": 257}',
            '{"quantile_levels": [0, 0.5, 1]}',
            '{"quantile_levels": 0.5}',
            '{"season_length": -1, "timeout_ms": 0}',
            '{"include": ["histroy"]}',
            '{"include": [1]}',
            '{"return_state": "yes"}',
            "[]",
        )
    ),
    faulty("too many levels", asked(json.dumps({"quantile_levels": [0.5] * 100}))),
    faulty("a long item_id", json.dumps({"inputs": [{"target": [1], "item_id": "x" * 257}]})),
    faulty("a series too long", target(",".join(["1"] * 100_001))),
    faulty("too many series", '{"inputs":[' + ",".join(['{"target":[1]}'] * 1025) + "]}"),
    case("fault: too large an answer", forecast(None, *[[1]] * 40, prediction_length=256, quantile_levels=[0.1] * 99)),
    case("fault: a body too large", Request("POST", FORECAST, (*JSON, ("content-length", "4194305")))),
    case("fault: an absurd length", Request("POST", DIGIT, (*JSON, ("content-length", "9" * 18)))),
    case("fault: an unknown model", forecast("forcaster", [1]), forecast("x" * 80, [1])),
    case("fault: an unknown version", forecast("forecaster@9", [1]), forecast("forecaster@", [1])),
    case("fault: a model of the other route", forecast("digits", [1]), classify({"rows": [ROW]}, model="sines")),
    case("fault: no Content-Type", text(FORECAST, target("1"), ()), text(DIGIT, "{}", ())),
    case(
        "fault: another Content-Type",
        text(FORECAST, target("1"), (("content-type", "text/plain"),)),
        text(DIGIT, target("1"), (("content-type", "image/gif"),)),
    ),
    case("fault: a compressed body", text(FORECAST, b"\x1f\x8b", (*JSON, ("content-encoding", "gzip")))),
    case(
        "fault: the header of the deadline",
        *(
            post(FORECAST, {"inputs": [{"target": [1]}]}, (("x-request-timeout-ms", word),))
            for word in ("0", "soon", "3600001")
        ),
    ),
    case(
        "fault: a body that does not come",
        Request("POST", FORECAST, (*JSON, ("content-length", "100"), ("x-request-timeout-ms", "100")), b"{"),
    ),
    case(
        "fault: tokens",
        forecast("naive", wave(9), return_state=True),
        *(
            forecast("naive", {"target": [1], "state": state})
            for state in (
                "",
                "nothing of ours" * 9,
                "\u00e9" * 80,
                "<altered token 0>",
                "<old token 0>",
                "<strange token 0>",
            )
        ),
        forecast("forecaster", {"target": [1], "state": "<token 0>"}, {"target": [2]}, {"target": [3], "state": "x"}),
        classify({"rows": [ROW], "state": "<token 0>"}),
    ),
    case(
        "fault: rows or image", classify({}, {"rows": [ROW], "image": "x"}, {"image": "x", "state": "y"}, {"rows": []})
    ),
    case("fault: no digits", classify()),
    case("fault: width of rows", classify({"rows": [ROW, ROW[1:], [*ROW, 0], []]})),
    case("fault: ink out of range", classify({"rows": [[256, *ROW[1:]]]}, {"rows": [[-1, *ROW[1:]]]})),
    case("fault: too many rows", classify({"rows": [ROW] * 65})),
    case(
        "fault: parameters of digits", classify({"rows": [ROW]}, stop_at_confidence=1.5, trace=1, include=["history"])
    ),
    case(
        "fault: images in JSON",
        classify({"image": "no base64!"}, {"image": base64_of(b"hello")}, {"image": base64_of(BLANK)}),
    ),
    case("fault: no image", image(b"hello"), image(b"")),
    case("fault: a damaged image", image(PNG[: len(PNG) // 2]), image(PNG[:60] + b"\0\0\0\0" + PNG[64:])),
    case("fault: a blank image", image(BLANK)),
    case("fault: specks", image(encoded(picture([[(0, 40), (95, 40)]], width=1), "PNG"))),
    case("fault: too many pixels", image(encoded(Image.new("1", (8001, 8000)), "PNG"))),
    case(
        "fault: query",
        *(
            image(PNG, query=query)
            for query in (
                "?trace=maybe",
                "?colour=1",
                "?stop_at_confidence=2&timeout_ms=x",
                "?model=nothing",
                "?model=%ff",
                "?trace=no&trace=true&model=digits-rnn-10",
                "?item_id=" + "x" * 257,
                "?model=sines",
            )
        ),
    ),
    case(
        "fault: forms",
        Request("POST", DIGIT, (("content-type", "multipart/form-data"),), b"--edge--\r\n"),
        Request("POST", DIGIT, (("content-type", "multipart/form-data; boundary=other"),), form(("name=x", b"1")).body),
        form(('name="file"', PNG), end=b""),
        form(('name="picture"; filename="a.png"', PNG)),
        form(('name="file"', PNG), ('name="item_id"', b"\xff")),
        form(('name="file"', PNG), ('name="trase"', b"true")),
        form(('name="file"', PNG), ('name="file"', b"hello"), ('name="file"', BLANK)),
        form(),
    ),
    case("fault: unknown routes", get("/"), get("/forecasts"), text("/models/naive/1", "{}"), get(LIVE_FORECAST)),
    case(
        "fault: methods",
        get(FORECAST),
        Request("OPTIONS", FORECAST),
        Request("PUT", DIGIT, JSON, b"{}"),
        Request("POST", "/livez"),
        Request("DELETE", "/models"),
        Request("PATCH", "/models/naive"),
    ),
]

STREAMS = [
    *(
        case(
            f"live series: {model}",
            talk(
                LIVE_FORECAST,
                {"model": model, "item_id": "live", "parameters": {"prediction_length": 2}},
                *({"target": [value]} for value in made(8)),
                {"target": made(30)},
                {"target": []},
            ),
        )
        for model, made in _ANY_LENGTH.items()
    ),
    case(
        "live series: length of a model",
        talk(LIVE_FORECAST, {"model": "linear"}, {"target": [1]}, {"target": mixture(50)}, {"target": [1]}),
    ),
    case(
        "live series: history, missing values and state",
        talk(
            LIVE_FORECAST,
            {
                "parameters": {
                    "include": ["history"],
                    "return_state": True,
                    "season_length": 4,
                    "quantile_levels": [0.2],
                }
            },
            {"target": [1, None, 3]},
            {"target": [None]},
        ),
        talk(LIVE_FORECAST, {"state": "<token 1>"}, {"target": [5, 6]}),
        forecast(None, {"target": [5, 6], "state": "<token 1>"}),
    ),
    case(
        "live series: faulty messages",
        talk(
            LIVE_FORECAST,
            {},
            {"target": []},
            {"target": [None]},
            {"target": [1.5]},
            "{",
            b'{"target": [1]}',
            {"target": [1, "2"]},
            '{"target": [1e999]}',
            {"targets": [1]},
            "[]",
            {"target": [1] * 100_001},
            {"target": [2.5, None]},
        ),
    ),
    *(
        case(
            f"live series: opening {opening}",
            Conversation(LIVE_FORECAST, (Message(opening), Message("{}", False), Message('{"target": [3]}'))),
        )
        for opening in (
            "",
            '{"model": "nobody"}',
            '{"model": "digits"}',
            '{"model": "linear", "parameters": {"prediction_length": 65}}',
            '{"parameters": {"prediction_length": 0, "x": 1}}',
            '{"state": "nothing of ours"}',
            '{"target": [1]}',
        )
    ),
    case(
        "live series: a message too large",
        Conversation(LIVE_FORECAST, (Message("{}", False), Message(" " * (1 << 20) + "x", False)), ended=True),
    ),
    case("live series: nothing said", Conversation(LIVE_FORECAST)),
    *(
        case(
            f"live digit: {model}",
            talk(LIVE_DIGIT, {"model": model, "item_id": "7"}, *({"rows": _SEVEN[n : n + 4]} for n in range(0, 28, 4))),
        )
        for model in ("digits", "digits-rnn-10", "digits-rnn-16-8-4")
    ),
    case(
        "live digit: trace and state",
        talk(
            LIVE_DIGIT,
            {"parameters": {"trace": True, "return_state": True}},
            {"rows": [EMPTY_ROW, EMPTY_ROW]},
            {"rows": [ROW]},
            {"rows": []},
        ),
        talk(LIVE_DIGIT, {"state": "<token 2>", "parameters": {"stop_at_confidence": 0.1}}, {"rows": [ROW, ROW]}),
        classify({"rows": [ROW, ROW], "state": "<token 2>"}),
    ),
    case(
        "live digit: faulty messages",
        talk(
            LIVE_DIGIT,
            {},
            {"rows": []},
            {"rows": [ROW[1:]]},
            {"rows": unit([ROW])},
            {"rows": [ROW]},
            {"target": [1]},
            {"image": base64_of(PNG)},
            {"rows": [EMPTY_ROW] * 64},
            {"rows": [[0.5] * 28]},
        ),
    ),
    case(
        "live digit: faulty openings",
        Conversation(
            LIVE_DIGIT,
            (Message('{"model": "sines"}'), Message('{"parameters": {"trace": 1}}'), Message('{"state": "x"}')),
        ),
    ),
    case("live: no such route", Conversation("/forecast/live")),
]

LIMITS = [
    narrow("limits: readyz", get("/readyz")),
    narrow("limits: models", get("/models")),
    narrow("limits: no default model", forecast(None, [1]), classify({"rows": [ROW]})),
    narrow("limits: a model that failed", forecast("broken", [1]), forecast("broken@1", [1]), get("/models/broken")),
    narrow("limits: a manifest that cannot be read", forecast("unreadable", [1]), get("/models/unreadable")),
    narrow("limits: two versions", forecast("naive", [1]), forecast("naive@1", [1]), get("/models/naive")),
    narrow(
        "limits: a message",
        Conversation(
            LIVE_FORECAST,
            (Message('{"model": "naive"}', False), Message('{"target": [1]}'), Message(" " * 1001, False)),
            True,
        ),
    ),
    narrow("limits: items", forecast("naive", *[[1]] * 5), classify(*[{"rows": [ROW]}] * 5)),
    narrow("limits: files", form(*[('name="file"', b"hello")] * 5)),
    narrow("limits: observations", forecast("naive", [1] * 61, [1], [1] * 62)),
    narrow("limits: observations together", forecast("naive", [1] * 60, [1] * 41)),
    narrow(
        "limits: the answer", forecast("naive", [1], prediction_length=76), forecast("naive", [1], prediction_length=75)
    ),
    narrow("limits: pixels", image(encoded(picture(SEVEN, 101), "PNG"), query="?model=digits-rnn-10")),
    narrow("limits: pixels together", form(*[('name="file"', SMALL_PNG)] * 2, query="?model=digits-rnn-10")),
    narrow(
        "limits: the body",
        text(FORECAST, b" " * 12_001),
        Request(
            "POST", FORECAST, (*JSON, ("transfer-encoding", "chunked")), b"3000\r\n" + b" " * 0x3000 + b"\r\n0\r\n\r\n"
        ),
    ),
    narrow("limits: bodies held", Request("POST", FORECAST, (*JSON, ("content-length", "10000")), b" " * 5_000)),
    narrow("limits: another connection", Conversation(LIVE_DIGIT, beside=LIVE_FORECAST)),
    narrow("limits: draining", get("/readyz"), get("/livez"), forecast("naive", [1]), drained=True),
]

CASES = [*FRESH, *FORECASTS, *DIGITS, *FAULTS, *STREAMS, *LIMITS]
