"""Traces: a span of every request, sent to a collector as OTLP over HTTP; without one, nothing of it is imported.

The routes to models get their span here, when they are answered; FastAPI makes those of the other routes, with the same
provider. A span goes on with the trace that the request's `traceparent` names (W3C Trace Context).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.api.problems import Answer
from service.api.request import RawRequest
from service.runtime.version import version

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

_DURATIONS = {"queue;dur": "ritmo.queue_ms", "compute;dur": "ritmo.compute_ms"}  # of Server-Timing


class Tracing:
    """Makes the spans, and sends them from a thread of its own; what cannot be sent is dropped and logged."""

    def __init__(self, endpoint: str, processor: SpanProcessor | None = None) -> None:
        """`endpoint`: of the collector, such as http://collector:4318/v1/traces; `processor`: of the spans instead.

        Raises `ImportError` without the extra `tracing`.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": "ritmo", "service.version": version()})
        self.provider: TracerProvider = TracerProvider(resource=resource)
        self.provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self.provider.get_tracer("ritmo")
        self._context_of = TraceContextTextMapPropagator().extract
        self._kind = SpanKind.SERVER

    def record(self, request: RawRequest, route: str, answer: Answer | None, status: int, seconds: float) -> None:
        """A request to a model was answered after `seconds`; the span has what the headers of the answer tell."""
        end = time.time_ns()
        parent = {
            name.decode(): value.decode("latin-1")
            for name, value in request.scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        attributes: dict[str, str | int | float] = {
            "http.request.method": request.scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "ritmo.request_id": request.request_id,
            "ritmo.model": request.model,
            **(_timing(answer) if answer is not None else {}),
        }
        span = self._tracer.start_span(
            f"{request.scope['method']} {route}",
            context=self._context_of(parent),
            kind=self._kind,
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        )
        span.end(end)

    def telemetry(self) -> TelemetryConfig:
        """How FastAPI traces its own routes."""
        return {**NO_TELEMETRY, "tracing": True, "tracer_provider": self.provider}

    def close(self) -> None:
        """Send what is left; blocks for as long as that takes, ten seconds at most."""
        self.provider.force_flush(10_000)
        self.provider.shutdown()


# FastAPI would look for exporters and providers of its own.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def _timing(answer: Answer) -> dict[str, float]:
    """Milliseconds queued and computed, from the header Server-Timing."""
    header = dict(answer.headers).get(b"server-timing", b"").decode()
    parts = (part.strip().partition("=") for part in header.split(","))
    return {_DURATIONS[name]: float(value) for name, _, value in parts if name in _DURATIONS}
