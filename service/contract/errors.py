"""What can go wrong, in the words of the domain; `service.api.problems` alone knows the HTTP status of each.

RitmoError
├── InvalidRequest     the caller's request cannot be understood or served as it is (malformed, out of range, too large)
├── UnknownModel       no such model, or no such version
├── Unavailable        right now it cannot be served, later it can (queue full, draining, model not ready …)
├── DeadlineExceeded   the caller's time ran out before the answer was there
└── BrokenModel        a folder under models/ is not what its manifest says; never a caller's fault
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault at one place of the request; `pointer` is a JSON pointer fragment such as `#/inputs/0/target/17`."""

    pointer: str
    code: str
    detail: str


class RitmoError(Exception):
    """Root of all errors that have a documented answer. `code` is stable; `detail` tells the reader what to do."""

    code = "internal_error"
    retryable = False

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        errors_total: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.errors = tuple(errors)
        self.errors_total = len(self.errors) if errors_total is None else errors_total
        self.retry_after = retry_after


class InvalidRequest(RitmoError):
    """The request as it stands can never succeed; `code` names the fault (`not_finite`, `body_too_large` …)."""

    code = "wrong_type"


class UnknownModel(RitmoError):
    """`model_not_found` or `version_not_found`."""

    code = "model_not_found"


class Unavailable(RitmoError):
    """`queue_full`, `draining` or `model_not_ready`: the same request may succeed in `retry_after` seconds."""

    code = "model_not_ready"
    retryable = True


class DeadlineExceeded(RitmoError):
    """The request's own deadline passed; work that had not begun was not begun."""

    code = "deadline_exceeded"
    retryable = True


class BrokenModel(RitmoError):
    """Digest, schema, golden sample or module of a model folder do not agree."""

    code = "model_not_ready"
