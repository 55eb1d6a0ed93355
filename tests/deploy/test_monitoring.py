"""Alerts and dashboard ask for metrics that the service shows, in expressions that Prometheus reads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.metrics.page import Metrics

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboards/ritmo.json"
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=str(ROOT / "build/debian/usr/bin"))
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
TARGET_LABELS = {"instance", "namespace", "pod"}  # which Prometheus adds to every sample

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: Debian's package prometheus")


def rules() -> list[dict[str, str]]:
    [group] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, str]] = group["rules"]
    return found


def panels() -> list[dict[str, str]]:
    """Expression, unit and legend of all that the dashboard draws."""
    return [
        {**target, "title": panel["title"]}
        for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
    ]


def adapter_queries() -> list[str]:
    adapter = yaml.safe_load((ROOT / "deploy/kubernetes/prometheus-adapter-values.yaml").read_text(encoding="utf-8"))
    return [rule["metricsQuery"] for rule in adapter["rules"]["custom"]]


def labels_by_sample() -> dict[str, set[str]]:
    """Every sample that the service's page may show, and its labels."""
    metrics = Metrics()
    shown = {"ritmo_process_restarts_total": {"instance"}}
    for family in metrics._families:
        for suffix in SUFFIXES[family.kind]:
            shown[family.name.removesuffix("_total") + suffix] = {*family._label_names, *TARGET_LABELS, "le"}
    page = metrics.render(0).decode()
    families = {family.name for family in text_string_to_metric_families(page)}
    assert {family.name.removesuffix("_total") for family in metrics._families} <= families
    return shown


SHOWN = labels_by_sample()
EXPRESSIONS = [rule["expr"] for rule in rules()] + [panel["expr"] for panel in panels()]


@pytest.mark.parametrize("expression", [*EXPRESSIONS, *adapter_queries()])
def test_every_metric_and_label_is_on_the_page(expression: str) -> None:
    names = set(re.findall(r"\britmo_[a-z_]+", expression))
    assert names - SHOWN.keys() == set()
    for name, selector in re.findall(r"\b(ritmo_[a-z_]+)\{([^}<]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) - SHOWN[name] == set()


def test_every_metric_is_watched_by_somebody() -> None:
    watched = {name for expression in EXPRESSIONS for name in re.findall(r"\britmo_[a-z_]+", expression)}
    unseen = {re.sub("_(bucket|sum|count|total)$", "", name) for name in SHOWN} - {
        re.sub("_(bucket|sum|count|total)$", "", name) for name in watched
    }
    assert unseen == {"ritmo_queue_observations"}  # says what ritmo_queue_items says


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
        assert set(rule["annotations"]) == {"summary", "action"}
    documented = set(re.findall(r"^\| `(Ritmo\w+)`", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE))
    assert documented == {rule["alert"] for rule in rules()}


def test_the_dashboard_asks_the_provisioned_source() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    [uid] = [entry["uid"] for entry in source["datasources"]]
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    used = {panel["datasource"]["uid"] for panel in dashboard["panels"]}
    used |= {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert used == {uid}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@needs_promtool
def test_alerts_fire_on_their_faults_and_on_nothing_else() -> None:
    for action in (["check", "rules", str(ALERTS)], ["test", "rules", str(ALERTS.with_suffix(".test.yml"))]):
        result = subprocess.run([str(PROMTOOL), *action], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    tested = yaml.safe_load(ALERTS.with_suffix(".test.yml").read_text())["tests"][0]["alert_rule_test"]
    assert {test["alertname"] for test in tested} == {rule["alert"] for rule in rules()}


@needs_promtool
def test_prometheus_reads_every_expression_of_dashboard_and_autoscaler(tmp_path: Path) -> None:
    readable = [panel["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*") for panel in panels()]
    readable += [
        query.replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod="a"') for query in adapter_queries()
    ]
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(readable)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    command = [str(PROMTOOL), "check", "rules", str(tmp_path / "rules.yml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(recorded)} rules found" in result.stdout
