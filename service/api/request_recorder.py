"""What is kept of every request that was answered: counts, and by setting a line in the log, an entry in the
audit log, and a trace."""

from __future__ import annotations

import logging
import time

from starlette.types import Scope

from service.api.access import account_of
from service.api.audit import AuditLog
from service.api.clients import ClientFinder
from service.api.problems import Answer
from service.api.request import MODEL, SIZE, RawRequest
from service.api.request_metrics import RequestMetrics
from service.api.tracing import Tracing

CLIENT_CLOSED_REQUEST = 499  # counted and logged where the connection was lost before the answer, and never sent

logger = logging.getLogger("service.http")


class RequestRecorder:
    """Records requests; `audit` and `tracing` are None where they are not asked for."""

    def __init__(
        self,
        metrics: RequestMetrics,
        clients: ClientFinder,
        *,
        access_log: bool = False,
        audit: AuditLog | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._metrics = metrics
        self._clients = clients
        self._access_log = access_log
        self._audit = audit
        self._tracing = tracing

    def record(self, route: str, request: RawRequest, answer: Answer | None) -> None:
        """A request to a direct route; there is no answer where the connection was lost."""
        status = CLIENT_CLOSED_REQUEST if answer is None else answer.status
        seconds = time.monotonic() - request.started
        self._metrics.record(route, request.model, status, seconds)
        if self._access_log:
            self._log(request.scope, request.request_id, request.model, status, seconds)
        if self._audit is not None:
            request.scope[SIZE] = request.body_bytes
            self._add_to_audit(self._audit, request.scope, request.request_id, status, seconds, request.model)
        if self._tracing is not None:
            self._tracing.record(request, route, answer, status, seconds)

    def record_other(
        self, route: str, scope: Scope, name: str, status: int, seconds: float = 0.0, method: str = ""
    ) -> None:
        """A request with the id `name` to any other route, or one that was refused before its route; `method`: where
        the scope has another than the request."""
        self._metrics.record(route, "", status, seconds)
        if self._access_log:
            logged = {**scope, "method": method or scope["method"]}
            self._log(logged, name, str(scope.get(MODEL, "")), status, seconds)
        if self._audit is not None:
            self._add_to_audit(self._audit, scope, name, status, seconds)

    def _add_to_audit(
        self, audit: AuditLog, scope: Scope, name: str, status: int, seconds: float, model: str = ""
    ) -> None:
        headers = dict(scope["headers"])
        account = account_of(scope)
        length = headers.get(b"content-length", b"")
        audit.record(
            "request",
            request_id=name,
            key=account.id if account is not None else None,
            address=self._clients.address(scope, headers),
            method=scope["method"],
            path=scope["path"],
            status=status,
            size=scope.get(SIZE, int(length) if length.isdigit() else None),
            seconds=seconds,
            model=model or scope.get(MODEL, ""),
        )

    def _log(self, scope: Scope, name: str, model: str, status: int, seconds: float) -> None:
        account = account_of(scope)
        fields = {
            "request_id": name,
            "client": account.id if account is not None else self._clients.address(scope, dict(scope["headers"])),
            "method": scope["method"],
            "path": scope["path"],
            "model": model,
            "status": status,
            "duration_ms": round(seconds * 1e3, 3),
        }
        logger.info("request", extra=fields)
