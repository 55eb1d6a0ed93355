from __future__ import annotations

from service.api.request_metrics import RequestMetrics
from service.metrics.page import Metrics


def test_answers_are_counted_by_route_model_and_status() -> None:
    metrics = Metrics()
    requests = RequestMetrics(metrics)
    for _ in range(2):
        requests.record("/forecast", "naive", 200, 0.003)
    requests.record("/forecast", "", 404, 0.5)
    requests.record("/models", "", 200, 0.1)
    lines = metrics.render().decode().splitlines()
    assert 'ritmo_requests_total{code="200",model="naive",route="/forecast"} 2.0' in lines
    assert 'ritmo_requests_total{code="404",model="",route="/forecast"} 1.0' in lines
    assert 'ritmo_request_seconds_count{route="/forecast"} 3.0' in lines
    assert 'ritmo_request_seconds_bucket{le="0.005",route="/forecast"} 2.0' in lines
    assert 'ritmo_request_seconds_count{route="/models"} 1.0' in lines
