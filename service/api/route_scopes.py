"""Which scope a route needs where keys are in use: one table, and `admin` for every route that is not in it.

To open a new route to other keys, add a line to `ROUTES`; `needed(method, path)` is what the service asks for each
request. Any of the scopes of a line is enough, and a key with the scope `admin` may do everything.
"""

from __future__ import annotations

import re
from functools import lru_cache

ANYBODY: frozenset[str] = frozenset()  # not even a key is needed
INFER = frozenset(("infer",))
OBSERVE = frozenset(("observe",))
READ = frozenset(("infer", "observe"))
ADMIN = frozenset(("admin",))

_MAX_CACHED = 128  # characters: strangers' long paths are not kept
_NAME = r"[^/]+"
_OIP_MODEL = rf"/v2/models/{_NAME}(/versions/{_NAME})?"
# method (HEAD counts as GET, a WebSocket as LIVE), path as a regular expression, scopes
ROUTES: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("GET", r"/livez|/readyz|/health|/ping|/v2/health/(live|ready)", ANYBODY),
    ("GET", r"/|/web/.*|/docs|/docs/[^/]+|/redoc|/openapi\.json", ANYBODY),
    ("POST", r"/forecast|/backtest|/anomalies|/classify-digit|/prepare-digit", INFER),
    ("LIVE", r"/(forecast|classify-digit)/stream", INFER),
    ("GET", rf"/models|/models/{_NAME}", READ),
    ("GET", r"/metrics", OBSERVE),
    # SageMaker, Model Context Protocol
    ("POST", r"/invocations|/mcp", INFER),
    ("GET", r"/version", READ),
    # Open Inference Protocol
    ("GET", rf"/v2/?|{_OIP_MODEL}(/ready)?", READ),
    ("GET", rf"/v2/models/stats|{_OIP_MODEL}/stats", READ),
    ("POST", r"/v2/repository/index", READ),
    ("POST", rf"{_OIP_MODEL}/infer", INFER),
    # Nixtla
    ("GET", r"/validate_api_key|/model_params|/v2/models", READ),
    ("POST", r"/v2/(forecast|cross_validation|anomaly_detection)", INFER),
    ("POST", r"/v2/(online_anomaly_detection|finetune|simulate|explain)", INFER),
)

_compiled = tuple((method, re.compile(pattern), scopes) for method, pattern, scopes in ROUTES)


def needed(method: str, path: str) -> frozenset[str]:
    """The scopes of which a key needs one for `method` (`LIVE` for a WebSocket) on `path`; empty: no key is needed."""
    return _needed(method, path) if len(path) <= _MAX_CACHED else _needed.__wrapped__(method, path)


@lru_cache(maxsize=512)
def _needed(method: str, path: str) -> frozenset[str]:
    method = "GET" if method == "HEAD" else method
    for route_method, pattern, scopes in _compiled:
        if route_method == method and pattern.fullmatch(path):
            return scopes
    return ADMIN
