"""What the metrics page shows, read back with the client library's own parser."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from service.metrics.page import INTERVAL_OUTCOMES, EngineState, Metrics, ModelState, QueueState
from service.metrics.store import mark_process_dead

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Request:
    queue_seconds: float
    compute_seconds: float


@dataclass(frozen=True)
class Padding:
    real: int
    computed: int


@dataclass(frozen=True)
class Report:
    items: int
    observations: int
    seconds: float
    padding: Padding
    requests: Sequence[Request]


def page(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    metrics.refresh()
    return samples(metrics.render().decode())


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_a_model_counts_requests_batches_padding_and_interval_outcomes() -> None:
    metrics = Metrics()
    counters = metrics.for_model("forecaster")
    counters.batch(Report(2, 150, 0.02, Padding(150, 200), [Request(0.003, 0.02), Request(0.0, 0.02)]))
    counters.interval_outcome("above")
    values, model = page(metrics), ("model", "forecaster")
    assert values["ritmo_queue_seconds_count", (model,)] == 2
    assert values["ritmo_queue_seconds_bucket", (("le", "0.002"), model)] == 1
    assert values["ritmo_compute_seconds_sum", (model,)] == 0.04
    assert values["ritmo_batch_items_sum", (model,)] == 2
    assert values["ritmo_batch_observations_sum", (model,)] == 150
    assert values["ritmo_batch_seconds_count", (model,)] == 1
    assert values["ritmo_steps_total", (("kind", "real"), model)] == 150
    assert values["ritmo_steps_total", (("kind", "padding"), model)] == 50
    outcomes = [values["ritmo_interval_outcomes_total", (model, ("outcome", outcome))] for outcome in INTERVAL_OUTCOMES]
    assert outcomes == [0, 0, 1]


def test_the_engine_is_read_at_each_scrape() -> None:
    metrics = Metrics()
    state = EngineState([QueueState("a", 3, 40)], [ModelState("a", 1, "ready"), ModelState("b", 2, "failed")], 0, 1.5)
    metrics.watch(lambda: state)
    assert page(metrics)["ritmo_queue_items", (("model", "a"),)] == 3
    assert page(metrics)["ritmo_queued_work_seconds", ()] == 1.5
    state = EngineState([QueueState("a", 0, 0)], [ModelState("a", 1, "ready")], 2, 0.5)
    values = page(metrics)
    assert values["ritmo_queue_items", (("model", "a"),)] == 0
    assert values["ritmo_queue_observations", (("model", "a"),)] == 0
    assert values["ritmo_inference_thread_restarts_total", ()] == 2
    assert values["ritmo_model_state", (("model", "a"), ("state", "ready"), ("version", "1"))] == 1
    assert not any(dict(labels).get("model") == "b" for _, labels in values)


def test_each_service_has_its_own_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.requests.labels("/forecast", "a", "200").inc()
    first.request_seconds.labels("/forecast").observe(0.01)
    labels = (("code", "200"), ("model", "a"), ("route", "/forecast"))
    assert page(first)["ritmo_requests_total", labels] == 1
    assert ("ritmo_requests_total", labels) not in page(second)


PROCESS = """
import os, sys
from pathlib import Path
from service.metrics.page import EngineState, Metrics, ModelState, QueueState
metrics = Metrics(Path(sys.argv[1]))
state = EngineState([QueueState("a", 3, 40)], [ModelState("a", 1, "loading")], 2, 1.5)
metrics.watch(lambda: state)
metrics.refresh()
state = EngineState([QueueState("a", 2, 10)], [ModelState("a", 1, "ready")], 2, 0.5)
metrics.requests.labels("/forecast", "a", "200").inc(5)
metrics.for_model("a").interval_outcome("inside")
metrics.refresh()
page = metrics.render(7)
if sys.argv[2:]:
    sys.stdout.buffer.write(page)
print(os.getpid(), file=sys.stderr)
"""


def test_several_processes_are_added_up_and_what_the_dead_counted_stays(tmp_path: Path) -> None:
    def process(*arguments: str) -> tuple[str, int]:
        command = [sys.executable, "-c", PROCESS, str(tmp_path), *arguments]
        completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return completed.stdout, int(completed.stderr.split()[-1])

    _, first = process()
    text, second = process("show")
    values = samples(text)
    labels = (("code", "200"), ("model", "a"), ("route", "/forecast"))
    loading, ready = ((("model", "a"), ("state", state), ("version", "1")) for state in ("loading", "ready"))
    assert values["ritmo_requests_total", labels] == 10
    assert values["ritmo_interval_outcomes_total", (("model", "a"), ("outcome", "inside"))] == 2
    assert values["ritmo_inference_thread_restarts_total", ()] == 4
    assert values["ritmo_process_restarts_total", ()] == 7
    assert values["ritmo_queue_items", (("model", "a"),)] == 4
    assert values["ritmo_model_state", ready] == 2
    assert ("ritmo_model_state", loading) not in values

    mark_process_dead(tmp_path, first)
    mark_process_dead(tmp_path, second)
    values = samples(process("show")[0])
    assert values["ritmo_requests_total", labels] == 15
    assert values["ritmo_queue_items", (("model", "a"),)] == 2
    assert values["ritmo_model_state", ready] == 1
