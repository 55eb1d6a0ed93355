"""What the batches of a model were: counted in the metrics, and answers in a row that were not sound."""

from __future__ import annotations

from collections.abc import Callable

from service.batching.queue import BatchReport
from service.contract.errors import ModelFault
from service.metrics.page import ModelMetrics


class BatchReports:
    """Counts what a model's batches were, and the answers in a row that were not sound."""

    def __init__(self, metrics: ModelMetrics, on_fault: Callable[[ModelFault, int], None]) -> None:
        self._metrics = metrics
        self._on_fault = on_fault
        self._faults_in_a_row = 0

    def record(self, report: BatchReport) -> None:
        """Count a finished batch; called by the holder of the scheduler's compute lock."""
        self._metrics.batch(report)
        if report.requests:
            self._faults_in_a_row = 0
        for fault in report.faults:
            self._faults_in_a_row += 1
            self._on_fault(fault, self._faults_in_a_row)
