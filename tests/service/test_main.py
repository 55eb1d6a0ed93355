"""The commands, run in this process; `serve` itself is driven by the integration tests."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.__main__ import main
from service.api.app import create_app
from service.runtime.version import version
from service.settings import PREFIX, Settings
from tests.fakes import FakeModel, FakeRegistry, as_registry, manifest
from tests.pictures import drawn, encoded
from tests.workbooks import archive, inline, row

ROOT = Path(__file__).resolve().parents[2]
MODELS: list[str] = []  # name of the model of each request that reached `application`


def application(settings: Settings, model: str) -> FastAPI:
    """The service with models that answer at once."""
    MODELS.append(model)
    names = [
        FakeModel(manifest("forecaster")),
        FakeModel(manifest("other")),
        FakeModel(manifest("digits", "classify-digit")),
    ]
    return create_app(settings, registry=as_registry(FakeRegistry(*names)))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_unchanged() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command."""
    try:
        status = main([str(argument) for argument in arguments], application)
    except SystemExit as stop:  # the parser's own way to end
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def set_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_forecast_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "series.csv"
    file.write_text("1, 2\n3 nan\n4\n", encoding="utf-8")
    flags = ["--model", "other", "--prediction-length", 3]
    status, out, _ = run(capsys, "forecast", file, *flags)
    document = json.loads(out)
    assert status == 0
    assert document["model"] == MODELS[-1] == "other"
    assert document["predictions"][0]["mean"] == [4.0] * 3
    assert document["predictions"][0]["context"]["missing"] == 1


SALES = "Datum;Filiale;Umsatz\n01.01.2024;Köln;1,5\n02.01.2024;Köln;2,5\n01.01.2024;Bonn;4\n02.01.2024;Bonn;5\n"


def test_forecast_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, plot = tmp_path / "sales.csv", tmp_path / "out.html"
    file.write_text(SALES, encoding="utf-8")
    status, out, err = run(capsys, "forecast", file, "--horizon", 2, "--output", "table", "--plot", plot)
    assert status == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["Köln", "2024-01-03", "2.5"],
        ["Köln", "2024-01-04", "2.5"],
        ["Bonn", "2024-01-03", "5"],
        ["Bonn", "2024-01-04", "5"],
    ]
    assert err.startswith("sales.csv: long table; 4 rows; 2 series; id: Filiale; time: Datum; value: Umsatz; step: D")
    assert plot.read_text(encoding="utf-8").count("<svg") == 2


def test_forecast_a_table_to_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sales.csv"
    file.write_text(SALES, encoding="utf-8")
    status, out, _ = run(capsys, "forecast", file, "--output", "csv", "--quantile-levels", "0.5", "--no-header")
    assert (status, out) == (2, "")
    status, out, _ = run(capsys, "forecast", file, "--output", "csv", "--quantile-levels", "0.5", "--header")
    assert (status, out.splitlines()[0]) == (0, "item_id,timestamp,mean,0.5")


def test_files_of_other_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split(";") for line in SALES.splitlines()]
    rows = [
        row(number, *(inline(f"{letter}{number}", cell) for letter, cell in zip("ABC", cells, strict=True)))
        for number, cells in enumerate(lines, start=1)
    ]
    files = {"sales.xlsx": archive([("Sales", "".join(rows))]), "sales.csv.gz": gzip.compress(SALES.encode("utf-16"))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        status, out, _ = run(capsys, "forecast", tmp_path / name, "--output", "csv", "--quantile-levels", "0.5")
        assert (status, out.splitlines()[1]) == (0, "Köln,2024-01-03,2.5,2.5")
    (tmp_path / "cut.gz").write_bytes(files["sales.csv.gz"][:-9])
    assert "no whole gzip file" in run(capsys, "forecast", tmp_path / "cut.gz")[2]


def test_a_parquet_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"date": ["2024-01-01", "2024-01-02", "2024-01-03"], "sales": [1.0, 2.0, 2.0]})
    pq.write_table(table, tmp_path / "sales.parquet")
    status, out, _ = run(capsys, "forecast", tmp_path / "sales.parquet", "--output", "csv", "--missing", "1.0")
    assert (status, out.splitlines()[1][:18]) == (0, "sales,2024-01-04,2")


def test_faults_of_a_table_name_the_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sales.csv"
    file.write_text(SALES.replace("02.01.2024;Bonn", "01.01.2024;Bonn"), encoding="utf-8")
    status, out, err = run(capsys, "forecast", file)
    assert (status, out) == (2, "")
    assert "line 5, column 1 (Datum), '01.01.2024' line 5 has the time of line 4 once more" in err


def test_backtest_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sales.csv"
    file.write_text("date,y\n" + "".join(f"2024-01-{day:02},{day % 7}\n" for day in range(1, 31)), encoding="utf-8")
    flags = ["--horizon", 7, "--windows", 2, "--output", "table"]
    status, out, err = run(capsys, "backtest", file, *flags)
    lines = out.splitlines()
    assert (status, lines[0].split()[:3]) == (0, ["method", "MASE", "WQL"])
    assert lines[1].split()[:2] == ["seasonal_naive", "0.000"]
    assert lines[-1].startswith("2 forecasts of 7 steps, of 1 of 1 series; the least error has")
    assert err.startswith("sales.csv: wide table")
    status, out, _ = run(capsys, "backtest", file, "--windows", 2)
    assert json.loads(out)["prediction_length"] == 12


def test_plots_as_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, plot = tmp_path / "sales.csv", tmp_path / "out.png"
    file.write_text("date,y\n" + "".join(f"2024-01-{day:02},{day % 7}\n" for day in range(1, 31)), encoding="utf-8")
    for command in ("forecast", "backtest"):
        plot.unlink(missing_ok=True)
        assert run(capsys, command, file, "--horizon", 3, "--plot", plot)[0] == 0
        assert plot.read_bytes().startswith(b"\x89PNG")
    assert run(capsys, "backtest", file, "--horizon", 3, "--plot", tmp_path / "out.html")[0] == 0
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.count('class="ahead"') == 3
    assert "seasonal_naive" in page
    status, _, err = run(capsys, "forecast", file, "--plot", tmp_path / "out.pdf")
    assert (status, "ends in .html or .png" in err) == (2, True)
    request = tmp_path / "request.json"
    request.write_text('{"inputs": [{"target": [1, 2]}]}', encoding="utf-8")
    assert run(capsys, "forecast", request, "--plot", plot)[0] == 2


def test_a_plot_and_a_table_as_text_are_one_too_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sales.csv"
    file.write_text(SALES, encoding="utf-8")
    assert run(capsys, "forecast", file, "--output", "csv", "--plot", "x.html")[0] == 2


def test_progress_is_shown_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "many.csv"
    rows = [f"s{series},2024-01-0{day},{series}" for series in range(1500) for day in (1, 2)]
    file.write_text("\n".join(["id,date,y", *rows]), encoding="utf-8")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    assert main(["forecast", str(file)], application) == 0
    assert "1024 of 1500 series" in terminal.getvalue()
    assert "] 1500 of 1500 series\n" in terminal.getvalue()


def test_forecast_a_request_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    set_stdin(monkeypatch, b'{"inputs": [{"target": [5]}]}')
    status, out, _ = run(capsys, "forecast", "-")
    assert (status, json.loads(out)["predictions"][0]["mean"]) == (0, [5.0])


def test_a_request_names_its_model_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"model": "other@1", "inputs": [{"target": [5]}]}', encoding="utf-8")
    status, out, _ = run(capsys, "forecast", file)
    assert (status, json.loads(out)["model"], MODELS[-1]) == (0, "other", "other")


@pytest.mark.parametrize("body", ["{", '{"model": 3}', '{"inputs": [{"rows": []}]}'])
def test_a_broken_request_is_answered_by_the_service(
    body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "request.json"
    file.write_text(body, encoding="utf-8")
    for command in ("forecast", "classify"):
        status, out, _ = run(capsys, command, file)
        assert (status, json.loads(out)["type"][:10]) == (1, "urn:ritmo:")


def test_classify_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn().save(tmp_path / "seven.png")
    status, out, _ = run(capsys, "classify", tmp_path / "seven.png")
    assert status == 0
    assert json.loads(out)["predictions"][0]["preprocessing"]["inverted"] is True


def test_classify_several_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        drawn().save(file)
    status, out, _ = run(capsys, "classify", *files)
    assert status == 0
    assert [entry["item_id"] for entry in json.loads(out)["predictions"]] == ["a.png", "b.png"]
    request = tmp_path / "request.json"
    request.write_text("{}", encoding="utf-8")
    assert run(capsys, "classify", files[0], request)[0] == 2


def test_classify_all_digits_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "seven.png"
    drawn().save(file)
    status, out, _ = run(capsys, "classify", file, "--all", "--output", "table")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["file", "seven.png"]
    assert "number" in json.loads(run(capsys, "classify", file, "--all")[1])["predictions"][0]


def test_classify_an_image_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    set_stdin(monkeypatch, encoded(drawn(), "webp"))
    status, out, _ = run(capsys, "classify", "-", "--model", "digits@1")
    assert (status, json.loads(out)["model"], MODELS[-1]) == (0, "digits", "digits")


def test_classify_a_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is a request by its content, not by its name."""
    file = tmp_path / "request.png"
    file.write_text(json.dumps({"model": "digits@1", "inputs": [{"rows": [[0] * 28]}]}), encoding="utf-8")
    status, out, _ = run(capsys, "classify", file)
    assert (status, json.loads(out)["predictions"][0]["rows_used"]) == (0, 1)


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("forecast", "--model", "no-such-model"),
        ("forecast", "--prediction-length", 99_999_999),
        ("forecast", "--season-length", 7),
        ("classify", "--model", "digits"),
    ],
)
def test_an_option_beside_a_json_request_is_refused(
    command: str, option: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"inputs": [{"target": [5]}]}', encoding="utf-8")
    requests = len(MODELS)
    status, out, err = run(capsys, command, file, option, value)
    assert (status, out, len(MODELS)) == (2, "", requests)
    assert err.startswith(f"{option} cannot be used with a JSON request")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("forecast", "--port=9000"),
        ("forecast", "--max-items=3"),
        ("classify", "--prediction-length=3"),
        ("classify", "--workers=2"),
        ("serve", "--model=forecaster"),
        ("serve", "--prot=9000"),
    ],
)
def test_an_option_of_another_command_is_refused(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [command, option] if command == "serve" else [command, "file", option]
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert f"unrecognized arguments: {option}" in err


def test_options_of_a_request_do_not_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("RITMO_MODEL", "RITMO_PREDICTION_LENGTH", "RITMO_FILE", "version", "serve", "forecast"):
        monkeypatch.setenv(name, "7")
    file = tmp_path / "series.txt"
    file.write_text("4", encoding="utf-8")
    status, out, _ = run(capsys, "forecast", file)
    assert (status, json.loads(out)["model"], len(json.loads(out)["predictions"][0]["mean"])) == (0, "forecaster", 1)


def test_settings_of_a_one_shot_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options beat the environment; limits come from the environment alone."""
    applied: list[Settings] = []

    def remember(settings: Settings, model: str) -> FastAPI:
        applied.append(settings)
        return application(settings, model)

    monkeypatch.setenv("RITMO_DEVICE", "cuda")
    monkeypatch.setenv("RITMO_THREADS", "3")
    monkeypatch.setenv("RITMO_MAX_OBSERVATIONS", "5")
    file = tmp_path / "series.txt"
    file.write_text("4", encoding="utf-8")
    assert main(["forecast", str(file), "--device", "cpu", "--models", "elsewhere"], remember) == 0
    [settings] = applied
    assert (settings.device, settings.models, settings.threads) == ("cpu", Path("elsewhere"), 3)
    assert settings.max_observations == 5


def test_a_problem_is_printed_and_the_status_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "series.txt"
    file.write_text("1", encoding="utf-8")
    status, out, _ = run(capsys, "forecast", file, "--model", "othre")
    assert (status, json.loads(out)["code"]) == (1, "model_not_found")


def test_a_wrong_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "serve", "--port", "abc")
    assert status == 2
    assert err.startswith("port: ")


@pytest.mark.parametrize("command", ["serve", "forecast"])
def test_an_empty_value_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RITMO_HOST", "")
    status, _, err = run(capsys, command, *(["file"] if command == "forecast" else []))
    assert (status, err) == (2, "host: must not be empty\n")


@pytest.mark.parametrize("text", ["1, two", None])
def test_a_file_that_cannot_be_read(text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "series.txt"
    if text:
        file.write_text(text, encoding="utf-8")
    status, _, err = run(capsys, "forecast", file)
    assert status == 2
    assert err


def test_a_misspelt_variable_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RITMO_PROT", "1")
    _, _, err = run(capsys, "forecast", tmp_path / "none")
    assert "did you mean RITMO_PORT?" in err


def options_in(text: str) -> set[str]:
    """Long options that a help text explains."""
    return {word.strip(",") for line in text.splitlines() for word in line.split()[:1] if word.startswith("--")}


def test_help_of_serve_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "serve", "--help")
    assert status == 0
    assert options_in(out) == {"--" + name.replace("_", "-") for name in Settings.model_fields}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "forecast",
            {
                *("--model", "--prediction-length", "--season-length", "--quantile-levels", "--freq", "--id", "--time"),
                *(
                    "--value",
                    "--delimiter",
                    "--decimal",
                    "--header",
                    "--date-order",
                    "--output",
                    "--plot",
                    "--encoding",
                    "--missing",
                ),
            },
        ),
        (
            "backtest",
            {
                *("--model", "--prediction-length", "--season-length", "--freq", "--id", "--time", "--value"),
                *(
                    "--delimiter",
                    "--decimal",
                    "--header",
                    "--date-order",
                    "--output",
                    "--windows",
                    "--plot",
                    "--encoding",
                    "--missing",
                ),
            },
        ),
        ("classify", {"--model", "--all", "--output"}),
    ],
)
def test_help_lists_only_options_of_the_command(
    command: str, options: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, command, "--help")
    assert (status, options_in(out)) == (0, options | {"--models", "--device", "--threads"})


def test_without_a_command_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys)
    assert (status, out) == (2, "")
    assert all(command in err for command in ("serve", "forecast", "classify"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--version")
    assert (status, out) == (0, f"ritmo {version()}\n")


def test_the_command_ritmo_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["ritmo"].partition(":")
    assert getattr(import_module(module), function) is main


def test_help_imports_nothing_heavy() -> None:
    code = """
import contextlib, sys
from service.__main__ import main
with contextlib.suppress(SystemExit):
    main(["--help"])
print(sorted({"torch", "numpy", "fastapi", "uvicorn", "PIL"} & sys.modules.keys()))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    series = tmp_path / "series.csv"
    series.write_text("1,2,3")
    command = [sys.executable, "-m", "service", "forecast", str(series), "--model", "naive"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
