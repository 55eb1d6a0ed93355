"""The commands, run in this process; `serve` itself is driven by the integration tests."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.__main__ import main
from service.api.app import create_app
from service.settings import Settings
from tests.fakes import FakeModel, FakeRegistry, as_registry, manifest
from tests.pictures import drawn

ASKED: list[str] = []


def application(settings: Settings, model: str) -> FastAPI:
    """The service with models that answer at once."""
    ASKED.append(model)
    names = [
        FakeModel(manifest("forecaster")),
        FakeModel(manifest("other")),
        FakeModel(manifest("digits", "classify-digit")),
    ]
    return create_app(settings, registry=as_registry(FakeRegistry(*names)))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments], application)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_forecast_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "series.csv"
    file.write_text("1, 2\n3 nan\n4\n", encoding="utf-8")
    flags = ["--model", "other", "--prediction-length", 3]
    status, out, _ = run(capsys, "forecast", file, *flags)
    document = json.loads(out)
    assert status == 0
    assert document["model"] == ASKED[-1] == "other"
    assert document["predictions"][0]["mean"] == [4.0] * 3
    assert document["predictions"][0]["context"]["missing"] == 1


def test_forecast_a_request_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"inputs": [{"target": [5]}]}'))
    status, out, _ = run(capsys, "forecast", "-")
    assert (status, json.loads(out)["predictions"][0]["mean"]) == (0, [5.0])


def test_a_request_names_its_model_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"model": "other@1", "inputs": [{"target": [5]}]}', encoding="utf-8")
    status, out, _ = run(capsys, "forecast", file)
    assert (status, json.loads(out)["model"], ASKED[-1]) == (0, "other", "other")


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


def test_a_problem_is_printed_and_the_status_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "series.txt"
    file.write_text("1", encoding="utf-8")
    status, out, _ = run(capsys, "forecast", file, "--model", "othre")
    assert (status, json.loads(out)["code"]) == (1, "model_not_found")


def test_a_wrong_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "serve", "--port", "abc")
    assert status == 2
    assert err.startswith("port: ")


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


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["serve", "--help"])
    assert stop.value.code == 0
    assert "--drain-delay-seconds" in capsys.readouterr().out
