"""Requests that change what is served: a body that cannot be read changes nothing, and is no fault of the service."""

from __future__ import annotations

import pytest

from service.api.repository import MAX_BODY
from tests.service.api.harness import JSON, Harness, problem

ROUTES = [f"/models/linear/{action}" for action in ("load", "unload", "default")]
OIP_ROUTES = [f"/v2/repository/models/linear/{action}" for action in ("load", "unload")]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"\xff\xfe", 400, "bad_encoding"),
        (b"{", 400, "malformed_json"),
        (b"[" * MAX_BODY, 400, "malformed_json"),
        (b"[null]", 422, "wrong_type"),
        (b'{"version": "1"}', 422, "wrong_type"),
        (b'{"version": NaN}', 422, "not_finite"),
        (b'{"version": 0}', 422, "out_of_range"),
        (b'{"version": 1000000000}', 422, "out_of_range"),
        (b'{"versions": 1}', 422, "unknown_field"),
        (b" " * (MAX_BODY + 1), 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_none(path: str, body: bytes, status: int, code: str) -> None:
    harness = Harness(model_management="on")
    async with harness.client:
        problem(await harness.client.post(path, content=body, headers=JSON), status, code)


@pytest.mark.parametrize("path", OIP_ROUTES)
@pytest.mark.parametrize(("body", "status"), [(b"\xff", 400), (b"[1]", 400), (b" " * (MAX_BODY + 1), 413)])
async def test_a_repository_request_that_is_none(path: str, body: bytes, status: int) -> None:
    harness = Harness(model_management="on")
    async with harness.client:
        assert (await harness.client.post(path, content=body, headers=JSON)).status_code == status


@pytest.mark.parametrize("path", [*ROUTES, *OIP_ROUTES])
async def test_a_query_is_refused_and_changes_nothing(path: str) -> None:
    """A version in the query would be taken for none: every version would be unloaded."""
    harness = Harness(model_management="on")
    async with harness.client:
        response = await harness.client.post(f"{path}?version=1")
    assert response.status_code == 422
    assert "#/version: this route takes no query fields" in response.text


async def test_every_status_is_documented() -> None:
    harness = Harness(model_management="on")
    async with harness.client:
        paths = (await harness.client.get("/openapi.json")).json()["paths"]
    for action in ("load", "unload", "default"):
        assert set(paths[f"/models/{{name}}/{action}"]["post"]["responses"]) == {
            "200",
            *("400", "401", "403", "404", "413", "422", "429"),
            "503",
        }
