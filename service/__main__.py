"""`python -m service serve`, `forecast FILE`, `classify FILE …`: the service, or one answer of it without a port.

Every setting is also a flag (`--port 9000` beats `RITMO_PORT`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from pydantic import ValidationError

from service.api.inprocess import Application, ask
from service.codec import digit_types as digits
from service.codec import forecast_types as series
from service.runtime import logs
from service.server.supervisor import serve
from service.settings import Settings, unknown_variables

_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Question:
    """One request."""

    path: str
    media_type: str
    body: bytes
    model: str


def _application(settings: Settings, model: str) -> Application:
    """The service for one question to one model."""
    from service.api.app import create_one_shot_app  # only here: the parent of several processes needs no torch

    return create_one_shot_app(settings, model)


def main(
    arguments: Sequence[str] | None = None, application: Callable[[Settings, str], Application] = _application
) -> int:
    """Run one command; the exit status: 0, 1 for an answer that is a problem, 2 for a wrong command line or setting.

    `application` makes what answers a one-shot command, from the settings and the name of the model that is asked.
    """
    options = _parser().parse_args(arguments)
    flags = {name: getattr(options, name) for name in Settings.model_fields if getattr(options, name) is not None}
    try:
        settings = Settings(**flags)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            print(f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level if options.command == "serve" else "warning")
    for name, near in unknown_variables(os.environ).items():
        logger.warning("%s is no setting%s", name, f"; did you mean {near}?" if near else "")
    if options.command == "serve":
        return serve(settings)
    try:
        question = _forecast(options) if options.command == "forecast" else _classify(options)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    app = application(settings, question.model.partition("@")[0])
    status, answer = asyncio.run(ask(app, question.path, question.media_type, question.body))
    print(json.dumps(json.loads(answer), indent=2, ensure_ascii=False))
    return 0 if status < 400 else 1


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    group = shared.add_argument_group("settings (each also RITMO_<NAME> in the environment)")
    for name, field in Settings.model_fields.items():
        text = f"{field.description} [{field.default}]".replace("%", "%%")
        group.add_argument("--" + name.replace("_", "-"), dest=name, metavar="VALUE", help=text)
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__.splitlines()[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", parents=[shared], help="serve over HTTP until SIGTERM or Ctrl-C")
    forecast = commands.add_parser("forecast", parents=[shared], help="forecast the series in a file")
    forecast.add_argument("file", help="a request as JSON, or numbers (commas, spaces or lines between); - reads stdin")
    forecast.add_argument("--model", help="name or name@version")
    forecast.add_argument("--prediction-length", type=int, help="steps ahead")
    forecast.add_argument("--season-length", type=int, help="observations per season")
    classify = commands.add_parser("classify", parents=[shared], help="read the digit in an image or a JSON request")
    classify.add_argument("file", help="an image, or a request as .json")
    classify.add_argument("--model", help="name or name@version")
    return parser


def _forecast(options: argparse.Namespace) -> _Question:
    text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
    if text.lstrip().startswith("{"):
        return _Question("/forecast", "application/json", text.encode(), _model_in(text, series.DEFAULT_MODEL))
    missing = {"na", "nan", "null", "none"}
    words = text.replace(",", " ").split()
    target = [None if word.lower() in missing else float(word) for word in words]
    given = {"prediction_length": options.prediction_length, "season_length": options.season_length}
    parameters = {name: value for name, value in given.items() if value is not None}
    model = options.model or series.DEFAULT_MODEL
    body = json.dumps({"model": model, "inputs": [{"target": target}], "parameters": parameters}).encode()
    return _Question("/forecast", "application/json", body, model)


def _classify(options: argparse.Namespace) -> _Question:
    file = Path(options.file)
    body = file.read_bytes()
    media_type = _MEDIA_TYPES.get(file.suffix.lower())
    if media_type is None:
        model = _model_in(body.decode("utf-8", "replace"), digits.DEFAULT_MODEL)
        return _Question("/classify-digit", "application/json", body, model)
    model = options.model or digits.DEFAULT_MODEL
    return _Question("/classify-digit?" + urlencode({"model": model}), media_type, body, model)


def _model_in(text: str, default: str) -> str:
    """The model that a request names; what is wrong with it is for the service to say."""
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(text)
        if isinstance(request, dict) and isinstance(request.get("model"), str):
            return str(request["model"])
    return default


if __name__ == "__main__":
    raise SystemExit(main())
