"""A real Prometheus beside a real service, without containers: every rule and every panel is computed.

Needs Debian's package `prometheus`, installed or unpacked into build/debian (`apt-get download prometheus`, `dpkg -x`).
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.test_monitoring import ALERTS, EXPRESSIONS
from tests.integration.servers import ROOT, TIMEOUT, running

PROMETHEUS = shutil.which("prometheus") or shutil.which("prometheus", path=str(ROOT / "build/debian/usr/bin"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="needs Prometheus: Debian's package prometheus"),
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a Prometheus that has scraped a service which has answered requests and refused one."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(ROOT / "models/naive", folder / "models/naive")
    with running(folder / "models") as server:
        server.settled()
        for model in ("naive", "naive", "nobody"):
            body = {"model": model, "inputs": [{"target": [1, 2, 3]}]}
            httpx.post(f"{server.url}/forecast", json=body, timeout=TIMEOUT)
        scrape = {"job_name": "ritmo", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]}
        times = {"scrape_interval": "5s", "evaluation_interval": "1s"}
        config = {"global": times, "rule_files": [str(ALERTS)], "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        log = (folder / "log").open("w+")
        address = "127.0.0.1:0"
        options = ["--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "data"]
        command = [str(PROMETHEUS), *map(str, options), "--web.listen-address", address]
        process = subprocess.Popen(command, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{_address(process, folder / 'log')}", timeout=TIMEOUT) as client:
                _wait(lambda: bool(_query(client, 'ritmo_requests_total{code="200", route="/forecast"} >= 2')))
                yield client
        finally:
            process.terminate()
            process.wait(TIMEOUT)
            log.close()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where Prometheus says that it listens."""
    found: list[str] = []

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        found[:] = [
            word.removeprefix("address=")
            for line in log.read_text().splitlines()
            if "Listening on" in line
            for word in line.split()
            if word.startswith("address=")
        ]
        return bool(found)

    _wait(listens)
    return found[0]


def _wait(condition: Any) -> None:
    end = time.monotonic() + TIMEOUT  # a guard
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _query(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    """The result of an expression, none while Prometheus starts."""
    response = client.get("/api/v1/query", params={"query": expression})
    if response.status_code == 503:
        return []
    answer = response.json()
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def test_every_rule_is_healthy_and_no_alert_fires(prometheus: httpx.Client) -> None:
    def groups() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = prometheus.get("/api/v1/rules").json()["data"]["groups"]
        return found

    _wait(lambda: groups() and all(rule["health"] != "unknown" for rule in groups()[0]["rules"]))
    [group] = groups()
    assert [(rule["name"], rule.get("lastError")) for rule in group["rules"] if rule["health"] != "ok"] == []
    assert _query(prometheus, 'ALERTS{alertstate="firing"}') == []


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_is_computed(prometheus: httpx.Client, expression: str) -> None:
    _query(prometheus, expression.replace("$__rate_interval", "1m").replace("$instance", ".*"))


def test_what_was_answered_is_counted(prometheus: httpx.Client) -> None:
    _wait(lambda: bool(_query(prometheus, "up == 1")))
    codes = {row["metric"]["code"] for row in _query(prometheus, 'ritmo_requests_total{route="/forecast"} > 0')}
    assert codes == {"200", "404"}
