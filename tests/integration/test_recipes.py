"""The recipes of docs/recipes.md, run as they stand there against a service with the committed models.

What a recipe runs in (a spreadsheet, Grafana, Home Assistant) is played by a few lines that give it what it asks for.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jinja2
import pytest
import yaml

from tests.integration.servers import ROOT, TIMEOUT, Server

ADDRESS = "http://127.0.0.1:8000"  # as the recipes write it
PAGE = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
SALES = "date,sales\n" + "".join(f"2024-01-{day:02},{10 + day % 7}\n" for day in range(1, 29))
MODULES = ROOT / "build/clients/node_modules"
CELLS = json.dumps([line.split(",") for line in SALES.splitlines()])

EXCEL = """
const sheet = {};
const workbook = {
  getSelectedRange: () => ({ getTexts: () => CELLS }),
  addWorksheet: () => ({
    getRangeByIndexes: (...place) => ({ setValues: (rows) => { sheet.place = place; sheet.rows = rows; } }),
  }),
};
main(workbook).then(() => console.log(JSON.stringify(sheet)));
"""
SHEETS = """
const { execFileSync } = require("node:child_process");
const UrlFetchApp = { fetch: (url, options) => {
  const head = ["-X", options.method.toUpperCase(), "-H", `Content-Type: ${options.contentType}`];
  const text = execFileSync("curl", ["--silent", url, ...head, "--data-binary", options.payload]).toString();
  return { getContentText: () => text };
} };
const Utilities = {
  formatDate: (date) => date.toISOString().slice(0, 10),
  parseCsv: (text) => text.trim().split(/\\r?\\n/).map((line) => line.split(",")),
};
const cells = CELLS.map((row, number) => number ? [new Date(row[0]), Number(row[1])] : row);
console.log(JSON.stringify(FORECAST_AHEAD(cells, 7)));
""".replace("\\\\", "\\")


def blocks(heading: str, language: str, server: Server) -> list[str]:
    """The blocks of code in `language` below a heading, with the address of the server."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found, heading
    return [block.replace(ADDRESS, server.url) for block in found]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


def output(*command: str, folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that recipes name."""
    (tmp_path / "sales.csv").write_text(SALES, encoding="utf-8")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/seven.png", tmp_path / "docs")
    return tmp_path


def check_week(rows: list[list[str]]) -> None:
    """The rows are those of a forecast of the week after SALES."""
    assert rows[0][:3] == ["item_id", "timestamp", "mean"]
    assert [row[1] for row in rows[1:]] == [f"2024-01-{day}" for day in (29, 30, 31)] + [
        f"2024-02-0{day}" for day in (1, 2, 3, 4)
    ]


@needs("curl")
def test_a_csv_file(committed: Server, folder: Path) -> None:
    [command] = blocks("A CSV file", "sh", committed)
    output(*shlex.split(command), folder=folder)
    check_week(list(csv.reader(io.StringIO((folder / "forecast.csv").read_text()))))


@needs("node")
def test_excel(committed: Server, folder: Path) -> None:
    [script] = blocks("Excel", "typescript", committed)
    plain = script.replace(": ExcelScript.Workbook", "")  # what a compiler would take away
    sheet = json.loads(output("node", "-e", f"const CELLS = {CELLS};\n{plain}{EXCEL}", folder=folder))
    check_week(sheet["rows"])
    assert sheet["place"] == [0, 0, 8, len(sheet["rows"][0])]


@needs("node")
@needs("curl")
def test_google_sheets(committed: Server, folder: Path) -> None:
    [script] = blocks("Google Sheets", "javascript", committed)
    check_week(json.loads(output("node", "-e", f"const CELLS = {CELLS};\n{script}{SHEETS}", folder=folder)))


@needs("Rscript")
def test_r(committed: Server, folder: Path) -> None:
    [script] = blocks("R", "r", committed)
    assert "2024-01-29" in output("Rscript", "-e", script, folder=folder)


@needs("node")
def test_javascript(committed: Server, folder: Path) -> None:
    [script] = blocks("JavaScript", "javascript", committed)
    (folder / "recipe.mjs").write_text(script, encoding="utf-8")
    lines = output("node", "recipe.mjs", folder=folder).splitlines()
    assert [line.split()[0] for line in lines] == ["2024-07-01", "2024-08-01", "2024-09-01"]


@pytest.mark.slow
@needs("npx")
@pytest.mark.skipif(not MODULES.exists(), reason="the generator of clients is not installed: make clients")
def test_typescript(committed: Server, folder: Path) -> None:
    (folder / "node_modules").symlink_to(MODULES)
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    [command] = blocks("TypeScript", "sh", committed)
    [program] = blocks("TypeScript", "typescript", committed)
    (folder / "recipe.ts").write_text(program, encoding="utf-8")
    output(*shlex.split(command), folder=folder)
    output(
        "npx",
        "tsc",
        "--strict",
        *["--target", "es2022", "--module", "nodenext", "--skipLibCheck", "recipe.ts"],
        folder=folder,
    )
    assert len(json.loads(output("node", "recipe.js", folder=folder))) == 3


def test_a_live_series(committed: Server, folder: Path) -> None:
    [script] = blocks("A live series that keeps its state", "python", committed)
    (folder / "recipe.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{script}", encoding="utf-8")
    lines = output(sys.executable, "recipe.py", folder=folder).splitlines()
    assert [line.split()[0] for line in lines] == ["20.1", "20.4", "20.9", "21.0"]


@needs("curl")
def test_numbers_from_photographs(committed: Server, folder: Path) -> None:
    [command] = blocks("Numbers from photographs", "sh", committed)
    [prediction] = json.loads(output(*shlex.split(command), "--silent", folder=folder))["predictions"]
    assert prediction["number"] == "7"


def test_grafana(committed: Server) -> None:
    query = json.loads(blocks("Grafana", "json", committed)[0])
    headers = {header["key"]: header["value"] for header in query["url_options"]["headers"]}
    answer = httpx.post(query["url"], content=query["url_options"]["data"], headers=headers, timeout=TIMEOUT)
    [prediction] = answer.json()["predictions"]
    assert "predictions[0].timestamps, predictions[0].mean" in query["root_selector"]
    assert prediction["timestamps"][0] == "2024-01-01T03:00:00Z"
    assert len(prediction["timestamps"]) == len(prediction["mean"]) == 7


def test_home_assistant(committed: Server) -> None:
    document = yaml.safe_load(blocks("Home Assistant", "yaml", committed)[0])
    command = document["rest_command"]["forecast_load"]
    environment = jinja2.Environment(autoescape=False)
    environment.filters["tojson"] = json.dumps
    body = environment.from_string(command["payload"]).render(values=[1.5, 2, 3], start="2024-01-01T00:00:00+01:00")
    headers = {"Content-Type": command["content_type"]}
    response = httpx.request(command["method"], command["url"], content=body, headers=headers, timeout=TIMEOUT)
    answer = {"content": response.json()}
    [sensor] = document["template"][0]["sensor"]
    state = environment.from_string(sensor["state"]).render(answer=answer)
    assert float(state) >= 0
    times = environment.from_string(sensor["attributes"]["times"]).render(answer=answer)
    assert "2024-01-01T03:00:00+01:00" in times
    assert environment.from_string(sensor["attributes"]["high"]).render(answer=answer).startswith("[")


@needs("curl")
def test_assistants(committed: Server, folder: Path) -> None:
    address = json.loads(blocks("Assistants", "json", committed)[0])["mcpServers"]["ritmo"]["url"]
    [command] = blocks("Assistants", "sh", committed)
    assert address in command
    answer: Any = json.loads(output(*shlex.split(command), "--silent", folder=folder))
    assert len(answer["result"]["structuredContent"]["mean"]) == 3
