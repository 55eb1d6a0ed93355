"""Every route of the application has the scope that it is meant to have; one that nobody thought of needs `admin`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.api.route_scopes import ADMIN, ANYBODY, INFER, OBSERVE, READ, ROUTES, needed
from tests.service.api.harness import Harness

# Routes that are meant for the operator alone.
OPERATORS = {
    *(("POST", f"/models/name/{action}") for action in ("load", "unload", "default")),
    *(("POST", f"/v2/repository/models/name/{action}") for action in ("load", "unload")),
}


def routes(harness: Harness) -> Iterator[tuple[str, str]]:
    """Method and an example of the path of every route."""
    yield from (("POST", path) for path in harness.app.endpoints)
    yield from (("LIVE", path) for path in harness.app.live_endpoints)
    yield from _routes(harness.app.router.routes)


def _routes(all_routes: Any) -> Iterator[tuple[str, str]]:
    for route in all_routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and not hasattr(route, "methods"):
            yield from _routes(inner.routes)
            continue
        for method in route.methods or ():
            yield method, re.sub(r"\{[^}]+\}", "name", route.path)


def test_every_route_is_in_the_table_or_meant_for_operators() -> None:
    found = set(routes(Harness()))
    assert {("POST", "/forecast"), ("GET", "/models/name"), ("POST", "/v2/models/name/infer")} <= found
    assert {route for route in found if needed(*route) is ADMIN} == OPERATORS


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("GET", "/livez", ANYBODY),
        ("HEAD", "/readyz", ANYBODY),
        ("GET", "/", ANYBODY),
        ("GET", "/web/app.js", ANYBODY),
        ("POST", "/forecast", INFER),
        ("LIVE", "/forecast/stream", INFER),
        ("GET", "/models", READ),
        ("GET", "/models/forecaster", READ),
        ("GET", "/metrics", OBSERVE),
        ("POST", "/v2/models/forecaster/infer", INFER),
        ("POST", "/v2/models/forecaster/versions/3/infer", INFER),
        ("GET", "/v2/models/forecaster/versions/3/ready", READ),
        ("POST", "/mcp", INFER),
        ("POST", "/models/forecaster/load", ADMIN),
        ("DELETE", "/models/forecaster", ADMIN),
        ("GET", "/forecast", ADMIN),
        ("GET", "/models/a/b", ADMIN),
        ("GET", "/livez/", ADMIN),
        ("GET", "//livez", ADMIN),
        ("GET", "/livez\n", ADMIN),
        ("GET", "/LIVEZ", ADMIN),
        ("POST", "/web/app.js", ADMIN),
        ("GET", "/" + "x" * 100_000, ADMIN),
    ],
)
def test_scopes(method: str, path: str, scopes: frozenset[str]) -> None:
    assert needed(method, path) == scopes


def test_the_table_has_no_line_in_vain() -> None:
    found = set(routes(Harness()))
    unused = [
        (method, pattern)
        for method, pattern, _ in ROUTES
        if not any(route[0] == method and re.fullmatch(pattern, route[1]) for route in found)
    ]
    assert unused == []
