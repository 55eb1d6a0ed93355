"""Command line of the service: `ritmo serve`, `ritmo forecast FILE`, `ritmo classify FILE`, `ritmo --version`.

`python -m service` is the same command. Heavy packages are imported only by the command that uses them, so that
`ritmo --help` answers at once and the parent of several serving processes stays small.
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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSettingsSource,
    CliSubCommand,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.runtime import logs
from service.runtime.version import version
from service.settings import EngineSettings, Settings, unknown_variables

if TYPE_CHECKING:
    from service.api.inprocess import Application

_JSON = "application/json"
_IMAGE = "image/png"  # stands for every image: the service recognises the format by the content
_MISSING = frozenset({"na", "nan", "null", "none"})  # spellings of a missing value, in any case

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Request:
    """One POST: path with query, media type, body, and the model it names (`name` or `name@version`)."""

    path: str
    media_type: str
    body: bytes
    model: str


class _OneShotCommand(EngineSettings):
    """A command that answers one request without opening a port."""

    model: str | None = Field(default=None, description="name or name@version of the model; unset: the default model")

    def settings(self) -> Settings:
        """All settings: the options of this command, then the environment, then the defaults."""
        return Settings(**self.model_dump(include=set(EngineSettings.model_fields), exclude_unset=True))

    def request(self) -> _Request:
        """The request to answer; raises `OSError` and `ValueError` for a file that cannot be used."""
        raise NotImplementedError

    def _json_request(self, path: str, body: bytes, default_model: str) -> _Request:
        """A file that is already a request; raises `ValueError` for an option that the request itself would state."""
        names = sorted(self.model_fields_set - EngineSettings.model_fields.keys() - {"file"})
        if names:
            options = ", ".join("--" + name.replace("_", "-") for name in names)
            raise ValueError(f"{options} cannot be used with a JSON request: write the value into the request")
        return _Request(path, _JSON, body, _model_of(body) or default_model)


class Forecast(_OneShotCommand):
    """Forecast the series in a file, and print the answer as JSON.

    The exit status is 0, 1 when the answer is a problem document, 2 when the command line or the file cannot be used.
    Other settings come from the environment (RITMO_<NAME>), as for `ritmo serve`.
    """

    file: CliPositionalArg[str] = Field(
        description="numbers separated by commas, spaces or lines (nan: a missing value), or a request as JSON; "
        "- reads standard input"
    )
    prediction_length: int | None = Field(default=None, description="steps to forecast; unset: 1")
    season_length: int | None = Field(default=None, description="observations per season; unset: detected")

    def request(self) -> _Request:
        """A request for one series, or the JSON request in the file."""
        from service.codec.forecast_types import DEFAULT_MODEL

        body = _read(self.file)
        if _is_json(body):
            return self._json_request("/forecast", body, DEFAULT_MODEL)
        words = body.decode("utf-8").replace(",", " ").split()
        target = [None if word.lower() in _MISSING else float(word) for word in words]
        options = {"prediction_length": self.prediction_length, "season_length": self.season_length}
        parameters = {name: value for name, value in options.items() if value is not None}
        model = self.model or DEFAULT_MODEL
        document = {"model": model, "inputs": [{"target": target}], "parameters": parameters}
        return _Request("/forecast", _JSON, json.dumps(document).encode(), model)


class Classify(_OneShotCommand):
    """Read the digit in an image, and print the answer as JSON.

    The exit status is 0, 1 when the answer is a problem document, 2 when the command line or the file cannot be used.
    Other settings come from the environment (RITMO_<NAME>), as for `ritmo serve`.
    """

    file: CliPositionalArg[str] = Field(
        description="an image (PNG, JPEG, WebP or BMP), or a request as JSON; - reads standard input"
    )

    def request(self) -> _Request:
        """A request for one image, or the JSON request in the file."""
        from service.codec.digit_types import DEFAULT_MODEL

        body = _read(self.file)
        if _is_json(body):
            return self._json_request("/classify-digit", body, DEFAULT_MODEL)
        model = self.model or DEFAULT_MODEL
        return _Request("/classify-digit?" + urlencode({"model": model}), _IMAGE, body, model)


class Ritmo(BaseSettings):
    """Recurrent networks, served: forecasts of time series and readings of handwritten digits."""

    model_config = SettingsConfigDict(
        cli_prog_name="ritmo",
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_hide_none_type=True,
        cli_parse_none_str="unset",
    )

    serve: CliSubCommand[Settings] = Field(description="serve over HTTP until SIGTERM or Ctrl-C")
    forecast: CliSubCommand[Forecast] = Field(description="forecast the series in a file")
    classify: CliSubCommand[Classify] = Field(description="read the digit in an image")
    version: bool = Field(default=False, description="print the version")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line alone chooses the command; the environment sets only what the command's settings name."""
        return (init_settings,)


def _application(settings: Settings, model: str) -> Application:
    """The service for one request to one model."""
    from service.api.app import create_one_shot_app

    return create_one_shot_app(settings, model)


def main(
    arguments: Sequence[str] | None = None, application: Callable[[Settings, str], Application] = _application
) -> int:
    """Run one command; the exit status: 0, 1 for an answer that is a problem, 2 for a wrong command line or setting.

    `application` makes the service that answers a one-shot command, from the settings and the model's name.
    """
    source = CliSettingsSource[Any](Ritmo, formatter_class=argparse.HelpFormatter)
    try:
        command_line = CliApp.run(Ritmo, list(sys.argv[1:] if arguments is None else arguments), source)
        if command_line.version:
            print(f"ritmo {version()}")
            return 0
        command = command_line.serve or command_line.forecast or command_line.classify
        if command is None:
            source.root_parser.print_help(sys.stderr)
            return 2
        settings = command if isinstance(command, Settings) else command.settings()
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            print(f"{_field(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level if command is settings else "warning")
    for name, near in unknown_variables(os.environ).items():
        logger.warning("%s is no setting%s", name, f"; did you mean {near}?" if near else "")
    return _serve(settings) if isinstance(command, Settings) else _answer(command, settings, application)


def _serve(settings: Settings) -> int:
    from service.server.supervisor import serve

    return serve(settings)


def _answer(command: _OneShotCommand, settings: Settings, application: Callable[[Settings, str], Application]) -> int:
    """Print the answer to the command's request; the exit status."""
    from service.api.inprocess import ask

    try:
        request = command.request()
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    app = application(settings, request.model.partition("@")[0])
    status, body = asyncio.run(ask(app, request.path, request.media_type, request.body))
    try:
        print(json.dumps(json.loads(body), indent=2, ensure_ascii=False), flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough: not an error, nor one at interpreter exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if status < 400 else 1


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _is_json(body: bytes) -> bool:
    """Whether a file holds a request: neither an image nor a list of numbers begins with a brace."""
    return body.lstrip().startswith(b"{")


def _model_of(body: bytes) -> str | None:
    """The model that a JSON request names; a request that is not valid is the service's to refuse."""
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(body)
        if isinstance(request, dict) and isinstance(request.get("model"), str):
            return str(request["model"])
    return None


def _field(location: tuple[int | str, ...]) -> str:
    """The field that an error is about, without the name of the command."""
    names = [str(part) for part in location if part not in Ritmo.model_fields]
    return ".".join(names) or "settings"


if __name__ == "__main__":
    raise SystemExit(main())
