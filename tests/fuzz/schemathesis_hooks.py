"""What schemathesis shall not send, loaded by it: unknown headers are no fault (RFC 9110 5.1: they are ignored)."""

from __future__ import annotations

from typing import Any

import schemathesis

UNKNOWN = "x-schemathesis-unknown-property"


@schemathesis.hook
def filter_case(_: Any, case: Any) -> bool:
    """Whether a case is sent."""
    return UNKNOWN not in {name.lower() for name in case.headers or {}}
