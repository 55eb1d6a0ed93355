"""What can go wrong, in the words of the domain; `service.api.problems` maps each code to its HTTP status.

RitmoError
├── InvalidRequest     the request cannot be understood or served as it is (malformed, out of range, too large)
├── UnknownModel       no such model, or no such version
├── Unavailable        not possible at the moment, but later (queue full, draining, model not ready)
├── AccessDenied       no valid key, or one that may not do this; or a host or origin that is not served
├── RateLimited        the key has used up what it may use for the moment
├── DeadlineExceeded   the time of the request ran out before its answer was there
├── ModelFault         a model gave an answer that is not sound (not finite, of the wrong shape, unordered)
└── BrokenModel        a folder under models/ is not what its manifest says
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault at one point of the request; `pointer` is a JSON pointer fragment such as `#/inputs/0/target/17`."""

    pointer: str
    code: str
    detail: str


def readable(text: str) -> str:
    """`text` as UTF-8 can hold it: Python has half a surrogate for each byte of a file's name that is no UTF-8."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


class RitmoError(Exception):
    """Root of all errors that have a documented answer. `code` is stable; `detail` says what to do about it.

    `retry_after` is in seconds; `log_fields` belong to its message in the log and are never sent.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        errors: Sequence[FieldError] = (),
        errors_total: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        detail = readable(detail)
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.errors = tuple(errors)
        self.errors_total = len(self.errors) if errors_total is None else errors_total
        self.retry_after = retry_after
        self.log_fields: dict[str, object] = {}


class InvalidRequest(RitmoError):
    """The request as it stands can never succeed; `code` names the fault (`not_finite`, `body_too_large` …)."""


class UnknownModel(RitmoError):
    """`model_not_found` or `version_not_found`."""


class Unavailable(RitmoError):
    """`queue_full`, `draining` or `model_not_ready`: the same request may succeed in `retry_after` seconds."""


def out_of_memory() -> Unavailable:
    """The error of a request that the machine has no memory for at the moment."""
    detail = "there is no memory left for this request: send less at once, or try again later"
    return Unavailable(detail, code="queue_full", retry_after=1.0)


class AccessDenied(RitmoError):
    """`unauthenticated`, `forbidden`, `host_not_allowed` or `origin_not_allowed`."""


class RateLimited(RitmoError):
    """`rate_limited`: the key may go on in `retry_after` seconds."""

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail, code="rate_limited", retry_after=retry_after)


class DeadlineExceeded(RitmoError):
    """The deadline of the request passed; work that had not begun was not begun."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="deadline_exceeded")


class ModelFault(RitmoError):
    """`model_fault`: the answer of a model is not sound, so nothing of it is sent; the same request fails again."""

    def __init__(self, name: str, version: int, fault: str) -> None:
        super().__init__(f"model {name}@{version} gave no sound answer: {fault}", code="model_fault")
        self.fault = fault
        self.log_fields = {"model": name, "version": version}


class BrokenModel(RitmoError):
    """Digest, schema, golden sample or module of a model folder do not agree: it is not loaded, and never asked."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="internal_error")
