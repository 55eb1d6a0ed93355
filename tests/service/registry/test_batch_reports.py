from __future__ import annotations

from service.batching.queue import BatchReport
from service.contract.errors import ModelFault
from service.contract.types import BatchResult, PaddingStats
from service.metrics.page import Metrics
from service.registry.batch_reports import BatchReports


def report(*faults: ModelFault, answered: int = 0) -> BatchReport:
    return BatchReport(1, 1, 0.0, PaddingStats(), [BatchResult([], 0.0, 0.0)] * answered, faults)


def test_faults_are_counted_until_an_answer_is_sound() -> None:
    rows: list[int] = []
    reports = BatchReports(Metrics().for_model("a"), lambda _fault, row: rows.append(row))
    fault = ModelFault("a", 1, "not finite")
    reports.record(report(fault))
    reports.record(report(fault, fault))
    reports.record(report(answered=1))
    reports.record(report(fault, answered=1))
    assert rows == [1, 2, 3, 1]
