from __future__ import annotations

import logging
from typing import Any

import pytest

from service.api.clients import ClientFinder
from service.api.request_metrics import RequestMetrics
from service.api.request_recorder import RequestRecorder
from service.metrics.page import Metrics

SCOPE: dict[str, Any] = {"method": "GET", "path": "/elsewhere", "headers": [(b"content-length", b"7")]}


class Audit:
    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def record(self, event: str, **fields: Any) -> None:
        self.entries.append({"event": event, **fields})


def test_a_request_is_counted_logged_and_audited(caplog: pytest.LogCaptureFixture) -> None:
    metrics, audit = Metrics(), Audit()
    recorder = RequestRecorder(RequestMetrics(metrics), ClientFinder(()), access_log=True, audit=audit)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "service.http"):
        recorder.record_other("other", SCOPE, "an-id", 404, 0.25, "HEAD")
    assert b'ritmo_requests_total{code="404",model="",route="other"} 1.0' in metrics.render()
    (line,) = caplog.records
    logged = vars(line)
    assert (logged["method"], logged["path"], logged["status"], logged["duration_ms"]) == (
        "HEAD",
        "/elsewhere",
        404,
        250,
    )
    (entry,) = audit.entries
    assert (entry["method"], entry["status"], entry["size"], entry["request_id"]) == ("GET", 404, 7, "an-id")


def test_nothing_but_counts_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO, "service.http"):
        RequestRecorder(RequestMetrics(metrics), ClientFinder(())).record_other("other", SCOPE, "an-id", 200)
    assert caplog.records == []
    assert b'ritmo_requests_total{code="200",model="",route="other"} 1.0' in metrics.render()
