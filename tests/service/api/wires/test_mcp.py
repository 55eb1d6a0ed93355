"""The Model Context Protocol as documents."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.pictures import drawn, encoded
from tests.service.api.harness import Harness


async def ask(harness: Harness, method: str, status: int = 200, version: str = "2026-07-28", **parameters: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": parameters}
    response = await harness.client.post("/mcp", json=body, headers={"MCP-Protocol-Version": version})
    assert response.status_code == status, response.text
    document = response.json()
    assert document["id"] == 7
    return document["error" if status >= 400 else "result"]


async def call(harness: Harness, name: str, **arguments: Any) -> Any:
    return await ask(harness, "tools/call", name=name, arguments=arguments)


async def test_it_is_discovered_and_initialized(harness: Harness) -> None:
    found = await ask(harness, "server/discover")
    assert (found["supportedVersions"], found["capabilities"], found["resultType"]) == (
        ["2026-07-28"],
        {"tools": {}},
        "complete",
    )
    assert (await ask(harness, "initialize", protocolVersion="2025-06-18"))["protocolVersion"] == "2025-06-18"
    assert await ask(harness, "ping") == {}
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await harness.client.post("/mcp", json=notification)).status_code == 202


async def test_tools(harness: Harness) -> None:
    tools = (await ask(harness, "tools/list"))["tools"]
    assert [tool["name"] for tool in tools] == ["forecast", "backtest", "classify_digit"]
    result = await call(harness, "forecast", target=[1, None, 3], prediction_length=2, start="2024-01-01", freq="D")
    assert (result["isError"], result["structuredContent"]["mean"]) == (False, [3, 3])
    assert result["structuredContent"]["timestamps"] == ["2024-01-04", "2024-01-05"]
    scores = await call(harness, "backtest", target=[1, 2, 4, 3, 5, 6, 7, 8], prediction_length=2, windows=2)
    assert "forecaster" in scores["structuredContent"]["methods"]
    picture = base64.b64encode(encoded(drawn(), "png")).decode()
    assert (await call(harness, "classify_digit", image=picture))["structuredContent"]["label"] == 8


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("forecast", {}, "'target' is required"),
        ("forecast", {"target": ["x"]}, "must be a number"),
        ("forecast", {"target": [1], "horizon": 3}, "there is no argument 'horizon'"),
        ("backtest", {"target": [1, 2]}, "long enough"),
        ("backtest", {"target": "x"}, "Expected"),
        ("classify_digit", {"image": "bm9uZQ=="}, "image"),
    ],
)
async def test_an_assistant_sees_what_is_wrong(harness: Harness, name: str, arguments: Any, words: str) -> None:
    result = await call(harness, name, **arguments)
    assert result["isError"] is True
    assert words in result["content"][0]["text"]


async def test_errors_of_the_protocol(harness: Harness) -> None:
    assert (await ask(harness, "prompts/list", 404))["code"] == -32601
    assert (await ask(harness, "tools/call", 400, name="nothing"))["code"] == -32602
    unsupported = await ask(harness, "tools/list", 400, version="1999-01-01")
    assert (unsupported["code"], "2026-07-28" in unsupported["data"]["supported"]) == (-32022, True)
    for content, code in ((b"{", -32700), (b"[]", -32600), (b'{"id": 1}', -32600)):
        response = await harness.client.post("/mcp", content=content)
        assert (response.status_code, response.json()["error"]["code"]) == (400, code)


async def test_errors_are_no_end_of_a_session_to_clients_of_earlier_revisions(harness: Harness) -> None:
    body = {"jsonrpc": "2.0", "id": 7, "method": "prompts/list"}
    for headers in ({}, {"MCP-Protocol-Version": "2025-06-18"}):
        response = await harness.client.post("/mcp", json=body, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (200, -32601)


async def test_a_batch_is_answered_in_its_order(harness: Harness) -> None:
    ping, unknown = ({"jsonrpc": "2.0", "id": name, "method": name} for name in ("ping", "nothing"))
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    response = await harness.client.post("/mcp", json=[ping, notification, unknown, 5])
    assert response.status_code == 200
    assert [(one["id"], one.get("error", {}).get("code")) for one in response.json()] == [
        ("ping", None),
        ("nothing", -32601),
        (None, -32600),
    ]
    assert (await harness.client.post("/mcp", json=[notification, notification])).status_code == 202
    refused = await harness.client.post("/mcp", json=[ping] * 21)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32600)
