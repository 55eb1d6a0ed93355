"""The command line: `ritmo serve`, `ritmo forecast`, `ritmo backtest`, `ritmo classify` and others.

`python -m service` is the same command. Heavy packages are imported only by the command that uses them, so that
`ritmo --help` answers at once and the parent of several serving processes stays small.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import logging
import os
import secrets
import signal
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from pydantic import AliasChoices, BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSettingsSource,
    CliSubCommand,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.authoring.commands import ModelCommand
from service.runtime import logs, training_program
from service.runtime.version import version
from service.server.commands.doctor import Doctor
from service.server.commands.keys import Keys
from service.server.signals import handle_early_signals
from service.settings import EngineSettings, Settings, unknown_variables

if TYPE_CHECKING:
    from service.api.inprocess import Application
    from service.codec.tables.plots import Plot
    from service.codec.tables.types import Table

_JSON = "application/json"
_IMAGE = "image/png"  # stands for every image: the service recognises the format by the content
_CSV = "text/csv"
_PARQUET = "application/vnd.apache.parquet"
_GZIP_MAGIC = b"\x1f\x8b"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Request:
    """One POST: path with query, media type, body, the model it names (`name` or `name@version`), and its table."""

    path: str
    media_type: str
    body: bytes
    model: str
    table: Table | None = None


class _OneShotCommand(EngineSettings):
    """A command that answers one request without opening a port."""

    model: str | None = Field(default=None, description="name or name@version of the model; unset: the default model")

    def settings(self) -> Settings:
        """All settings: the options of this command, then the environment, then the defaults."""
        return Settings(**self.model_dump(include=set(EngineSettings.model_fields), exclude_unset=True))

    def request(self) -> _Request:
        """The request to answer; raises `OSError` and `ValueError` for a file that cannot be used."""
        raise NotImplementedError

    @property
    def accept(self) -> str:
        """The type of the answer to ask for."""
        return _JSON

    def print_answer(self, request: _Request, body: bytes) -> None:  # noqa: ARG002 (`forecast` looks at its table)
        """Print the answer `body` to `request`."""
        _print_json(json.loads(body))

    def _json_request(self, path: str, body: bytes, default_model: str) -> _Request:
        """A file that is already a request; raises `ValueError` for an option that the request itself would state."""
        names = sorted(self.model_fields_set - EngineSettings.model_fields.keys() - {"file", "output"})
        if names:
            options = ", ".join("--" + name.replace("_", "-") for name in names)
            raise ValueError(f"{options} cannot be used with a JSON request: write the value into the request")
        return _Request(path, _JSON, body, _model_of(body) or default_model)


class _TableCommand(_OneShotCommand):
    """A command about the series in a file: a table, numbers, or a request as JSON."""

    file: CliPositionalArg[str] = Field(
        description="CSV, numbers separated by commas, spaces or lines (nan: a missing value), or a request as JSON; "
        "- reads standard input"
    )
    prediction_length: int | None = Field(
        default=None,
        validation_alias=AliasChoices("prediction_length", "horizon"),
        description="steps ahead; unset: 1, of a backtest 12",
    )
    season_length: int | None = Field(default=None, description="observations per season; unset: detected")
    freq: str | None = Field(default=None, description="step between values (h, D, MS …); unset: found in the times")
    id: str | None = Field(default=None, description="column that says which series a row belongs to")
    time: str | None = Field(default=None, description="column of times")
    value: str | None = Field(default=None, description="column of values; commas between several")
    delimiter: str | None = Field(default=None, description="between cells: a character, or tab, semicolon …")
    decimal: str | None = Field(default=None, description="decimal mark: . or ,")
    header: bool | None = Field(default=None, description="whether the first row has names: true or false")
    missing: str | None = Field(default=None, description="further words for missing values; empty: -999 is a number")
    date_order: str | None = Field(default=None, description="of dates such as 03/04/2024: dmy, mdy or ymd")
    encoding: str | None = Field(default=None, description="of the text, such as windows-1251; unset: found by looking")
    plot: Path | None = Field(default=None, description="also draw a plot, into this file: .html, or .png")

    def settings(self) -> Settings:
        """All settings; a file on this machine is not bound by what a server takes from others."""
        settings = super().settings()
        large = {"max_body_bytes": 1 << 30, "max_held_bytes": 1 << 31, "max_answer_numbers": 1 << 30}
        large["timeout_ms"] = 3_600_000
        raised = {name: value for name, value in large.items() if name not in settings.model_fields_set}
        return settings.model_copy(update=raised)

    def _table_request(self, path: str, **more: str) -> _Request:
        """The table of the file with `more` options, or the JSON request in it; raises `ValueError`."""
        if self.plot is not None and self.plot.suffix.lower() not in {".html", ".htm", ".png"}:
            raise ValueError(f"--plot {self.plot}: name a file that ends in .html or .png")
        from service.codec.forecast_types import DEFAULT_MODEL
        from service.codec.tables.codec import read_file

        body = _unpacked(_read(self.file))
        if _is_json(body):
            if self.plot is not None:
                raise ValueError("--plot needs a table or numbers, not a JSON request")
            return self._json_request(path, body, DEFAULT_MODEL)
        names = self.model_fields_set - EngineSettings.model_fields.keys() - {"file", "output", "plot"}
        options = {name: getattr(self, name) for name in sorted(names)}
        table = read_file(body, _query({name: value for name, value in options.items() if name != "windows"}))
        media_type = _PARQUET if table.reading.format == "parquet" else _CSV
        return _Request(f"{path}?{_query(options | more)}", media_type, body, self.model or DEFAULT_MODEL, table)

    def _draw(self, plots: list[Plot], title: str, notes: Sequence[str], table: str = "") -> None:
        """Write the plots to the file that was named."""
        from service.codec.tables.plots import plot_page, plot_picture

        if self.plot is None or not plots:
            return
        if self.plot.suffix.lower() == ".png":
            self.plot.write_bytes(plot_picture(plots))
        else:
            self.plot.write_text(plot_page(plots, title, notes, table), encoding="utf-8")

    def _print_summary(self, table: Table | None) -> str:
        """Print what was understood of a table, on standard error; the name of the file."""
        from service.codec.tables.report import summary

        name = "standard input" if self.file == "-" else Path(self.file).name
        if table is not None and (table.reading.layout != "list" or table.reading.notes):
            print(summary(table.reading, name), file=sys.stderr)
        return name


class Forecast(_TableCommand):
    """Forecast the series in a file, and print the answer.

    A file is a table (CSV: long or wide, in any usual writing), numbers, or a request as JSON. What was understood of
    a table is printed on standard error. The exit status is 0, 1 when the answer is a problem document, 2 when the
    command line or the file cannot be used. Other settings come from the environment (RITMO_<NAME>), as for
    `ritmo serve`.
    """

    quantile_levels: str | None = Field(default=None, description="such as 0.1,0.5,0.9")
    output: Literal["auto", "table", "json", "csv"] = Field(
        default="auto", description="what to print; auto: a table on a terminal, JSON elsewhere"
    )

    def request(self) -> _Request:
        """The table of the file, or the JSON request in it."""
        if self.plot is not None and self.output == "csv":
            raise ValueError("--plot and --output csv: one at a time")
        return self._table_request("/forecast")

    @property
    def accept(self) -> str:
        """The type of the answer to ask for."""
        return _CSV if self.output == "csv" else _JSON

    def print_answer(self, request: _Request, body: bytes) -> None:
        """The answer in the chosen form; the plot, and what was understood of a table, next to it."""
        name = self._print_summary(request.table)
        if self.accept == _CSV:
            print(body.decode(), end="", flush=True)
            return
        document = json.loads(body)
        if self.plot is not None and request.table is not None:
            from service.codec.tables.plots import forecast_plots

            plots = forecast_plots(request.table, document["predictions"])
            self._draw(plots, f"Forecast of {name}", request.table.reading.notes)
        if _wants_table(self.output):
            from service.codec.tables.report import text_table

            print(text_table(document["predictions"]), flush=True)
        else:
            _print_json(document)


class Backtest(_TableCommand):
    """Test a model and simple methods on the past of the series in a file, and print the scores.

    The file is read as `ritmo forecast` reads it. MASE and WQL are errors, less is better; coverage is the share of
    values in the 80 % interval. The exit status is that of `ritmo forecast`.
    """

    windows: int | None = Field(default=None, description="origins to forecast from; unset: 3")
    output: Literal["auto", "table", "json"] = Field(
        default="auto", description="what to print; auto: a table on a terminal, JSON elsewhere"
    )

    def request(self) -> _Request:
        """The table of the file, or the JSON request in it."""
        more = {"include": "forecasts"} if self.plot is not None else {}
        return self._table_request("/backtest", **more)

    def print_answer(self, request: _Request, body: bytes) -> None:
        """The scores as a table or as JSON; the plot, and what was understood of a table, next to it."""
        from service.codec.tables.report import score_table

        name = self._print_summary(request.table)
        document = json.loads(body)
        if self.plot is not None and request.table is not None:
            from service.codec.tables.plots import backtest_plots

            plots = backtest_plots(request.table, document["series"])
            self._draw(plots, f"Backtest on {name}", request.table.reading.notes, score_table(document))
        if _wants_table(self.output):
            print(score_table(document), flush=True)
        else:
            _print_json(document)


class Classify(_OneShotCommand):
    """Read the digit in each image, or with --all every digit, and print what was read.

    The exit status is 0, 1 when the answer is a problem document, 2 when the command line or the file cannot be used.
    Other settings come from the environment (RITMO_<NAME>), as for `ritmo serve`.
    """

    file: CliPositionalArg[list[str]] = Field(
        min_length=1, description="images (PNG, JPEG, WebP or BMP), or one request as JSON; - reads standard input"
    )
    all: bool = Field(default=False, description="read all digits of a picture, as a number; else the likeliest one")
    output: Literal["auto", "table", "json"] = Field(
        default="auto", description="what to print; auto: a table on a terminal, JSON elsewhere"
    )

    def request(self) -> _Request:
        """A request for the images, or the JSON request in the file."""
        from service.codec.digit_types import DEFAULT_MODEL

        bodies = [_read(file) for file in self.file]
        if any(map(_is_json, bodies)):
            if len(bodies) > 1:
                raise ValueError("a JSON request comes alone, without other files")
            return self._json_request("/classify-digit", bodies[0], DEFAULT_MODEL)
        model = self.model or DEFAULT_MODEL
        path = "/classify-digit?" + urlencode({"model": model, "digits": "all" if self.all else "one"})
        if len(bodies) == 1:
            path += "&" + urlencode({"item_id": Path(self.file[0]).name[:256]})
            return _Request(path, _IMAGE, bodies[0], model)
        media_type, body = _form(self.file, bodies)
        return _Request(path, media_type, body, model)

    def print_answer(self, request: _Request, body: bytes) -> None:  # noqa: ARG002 (`forecast` looks at its table)
        """What was read in each image, as a table or as JSON."""
        if _wants_table(self.output):
            from service.codec.tables.report import digit_table

            print(digit_table(json.loads(body)["predictions"]), flush=True)
        else:
            _print_json(json.loads(body))


class Train(BaseModel):
    """Train a model on your own data, where `ritmo[train]` is installed: `ritmo train forecaster --help`."""


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
    backtest: CliSubCommand[Backtest] = Field(description="test a model on the past of the series in a file")
    classify: CliSubCommand[Classify] = Field(description="read the digit in an image")
    keys: CliSubCommand[Keys] = Field(description="keys of callers: add, list, revoke, rotate")
    model: CliSubCommand[ModelCommand] = Field(description="models of your own: begin, check, sign, verify")
    train: CliSubCommand[Train] = Field(description="train a model on your own series or digits")
    doctor: CliSubCommand[Doctor] = Field(description="check this installation, and say what to change")
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
    logs.open_standard_files()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["train"]:
        return training_program.run("training.finetuning", words[1:])
    if words[:2] in (["model", "summary"], ["model", "export-onnx"]):
        return training_program.run("training", words[1:])
    source = CliSettingsSource[Any](Ritmo, formatter_class=argparse.HelpFormatter)
    try:
        command_line = CliApp.run(Ritmo, words, source)
        if command_line.version:
            print(f"ritmo {version()}")
            return 0
        operation = command_line.keys or command_line.model or command_line.doctor
        if operation is not None:
            return operation.run()
        command = command_line.serve or command_line.forecast or command_line.backtest or command_line.classify
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
    if isinstance(command, Settings):
        return _serve(settings)
    try:
        return _answer(command, settings, application)
    except KeyboardInterrupt:
        _end_by_interrupt()
        raise


def _end_by_interrupt() -> None:
    """End as programs do that do not handle Ctrl-C: at once, without a traceback.

    A thread may be in a call of torch, which aborts a process whose interpreter ends meanwhile.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _serve(settings: Settings) -> int:
    handle_early_signals()
    from service.server.supervisor import serve

    try:
        return serve(settings)
    finally:
        logging.shutdown()  # the last lines are written, however the process ends


def _answer(command: _OneShotCommand, settings: Settings, application: Callable[[Settings, str], Application]) -> int:
    """Print the answer to the command's request; the exit status."""
    from service.api.inprocess import ask

    try:
        request = command.request()
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    app = application(settings, request.model.partition("@")[0])
    report = _show_progress if sys.stderr.isatty() else None
    status, body = asyncio.run(ask(app, request.path, request.media_type, request.body, command.accept, report))
    try:
        if status >= 400:
            _print_json(json.loads(body))
        else:
            command.print_answer(request, body)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough: not an error, nor one at interpreter exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if status < 400 else 1


def _wants_table(output: str) -> bool:
    return output == "table" or (output == "auto" and sys.stdout.isatty())


def _query(options: Mapping[str, object]) -> str:
    """Options as a query; true and false as JSON has them."""
    return urlencode(
        {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    )


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)


def _show_progress(answered: int, total: int) -> None:
    """A bar on a terminal, where there is more than one part to wait for."""
    if answered < total or total > 1024:
        width = 30 * answered // total
        end = "\n" if answered == total else ""
        print(
            f"\r[{'#' * width}{'.' * (30 - width)}] {answered} of {total} series", end=end, file=sys.stderr, flush=True
        )


def _form(files: Sequence[str], bodies: Sequence[bytes]) -> tuple[str, bytes]:
    """Images as multipart/form-data: media type and body."""
    boundary = secrets.token_hex(16)
    parts = []
    for file, body in zip(files, bodies, strict=True):
        name = Path(file).name.replace('"', "%22")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + body + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _unpacked(body: bytes) -> bytes:
    """What is in a file that gzip has packed; other files as they are; raises `ValueError`."""
    if not body.startswith(_GZIP_MAGIC):
        return body
    try:
        return gzip.decompress(body)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"the file is no whole gzip file: {error}") from error


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
