"""`docker compose --profile monitoring`: a real Prometheus scrapes the service and computes every rule and panel.

Needs an engine that has, or can fetch, the image of Prometheus; Grafana is not started.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.docker.test_container import ROOT, Container, free_port

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    """The address of Prometheus, which has scraped a service that has answered a request."""
    port = free_port()
    os.environ["PROMETHEUS_PORT"] = str(port)
    container = Container(f"ritmo-monitoring-{os.getpid()}", free_port())
    try:
        container.compose("--profile", "monitoring", "up", "--detach", "--wait", "ritmo", "prometheus")
        body = {"inputs": [{"target": [1, 2, 3]}]}
        assert httpx.post(f"{container.url}/forecast", json=body, timeout=60).status_code == 200
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 120  # a guard: two scrapes are 15 s apart
        while not query(url, 'ritmo_requests_total{code="200", route="/forecast"} > 0'):
            assert time.monotonic() < end, "Prometheus saw no request"
            time.sleep(1)
        yield url
    finally:
        del os.environ["PROMETHEUS_PORT"]
        container.compose("--profile", "monitoring", "down", "--volumes", "--timeout", "40", check=False)


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """The result of an expression; none while Prometheus starts."""
    try:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}).json()
    except httpx.TransportError:
        return []
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def test_the_management_port_is_scraped(prometheus: str) -> None:
    [target] = query(prometheus, "up")
    assert target["metric"]["instance"] == "ritmo:8001"
    assert target["value"][1] == "1"


def test_every_rule_is_healthy_and_no_alert_fires(prometheus: str) -> None:
    end = time.monotonic() + 120  # a guard: rules are evaluated every 15 s
    while True:
        [group] = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
        if all(rule["health"] != "unknown" for rule in group["rules"]):
            break
        assert time.monotonic() < end, "the rules were not evaluated"
        time.sleep(1)
    assert [(rule["name"], rule["lastError"]) for rule in group["rules"] if rule["health"] != "ok"] == []
    assert query(prometheus, 'ALERTS{alertstate="firing"}') == []


def test_every_panel_can_be_drawn(prometheus: str) -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/ritmo.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query(prometheus, target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*"))


def test_compose_without_the_profile_asks_for_no_other_image() -> None:
    result = subprocess.run(
        ["docker", "compose", "config", "--images"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["ritmo"]
