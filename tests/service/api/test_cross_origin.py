from __future__ import annotations

import httpx
import pytest

from tests.service.api.harness import BODY, Harness

PAGE = "http://localhost:3000"


async def preflight(harness: Harness, origin: str = PAGE, path: str = "/forecast") -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "content-type,x-request-id"
    return await harness.client.options(path, headers=headers)


@pytest.mark.parametrize("origins", ["*", f"https://a.example, {PAGE}"])
@pytest.mark.parametrize("path", ["/forecast", "/classify-digit", "/models", "/nowhere"])
async def test_a_page_of_another_origin_may_call(origins: str, path: str) -> None:
    harness = Harness(cors_origins=origins)
    permission = await preflight(harness, path=path)
    assert permission.status_code == 200
    assert permission.headers["access-control-allow-origin"] in ("*", PAGE)
    assert permission.headers["access-control-allow-headers"] == "content-type,x-request-id"
    assert "POST" in permission.headers["access-control-allow-methods"]
    response = await harness.client.post(path, json=BODY, headers={"Origin": PAGE})
    assert response.headers["access-control-allow-origin"] in ("*", PAGE)
    assert "X-Request-ID" in response.headers["access-control-expose-headers"]


async def test_other_origins_and_callers_without_one_see_no_difference() -> None:
    harness = Harness(cors_origins=PAGE)
    assert "access-control-allow-origin" not in (await preflight(harness, "https://b.example")).headers
    response = await harness.forecast(BODY, Origin="https://b.example")
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert "vary" not in (await harness.forecast(BODY)).headers


async def test_without_the_setting_there_is_no_permission() -> None:
    harness = Harness()
    assert (await preflight(harness)).status_code == 405
    assert "access-control-allow-origin" not in (await harness.forecast(BODY, Origin=PAGE)).headers


@pytest.mark.parametrize("origins", ["example.org", "https://example.org/path", "https://a.example;http://b.example"])
def test_what_is_no_origin_is_refused(origins: str) -> None:
    with pytest.raises(ValueError, match="origins such as"):
        Harness(cors_origins=origins)
