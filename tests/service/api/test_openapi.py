"""The document is valid, complete, and what the service really sends agrees with it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

from service.api.app import create_app
from service.api.openapi import DIGIT_CODES, FORECAST_CODES
from service.api.problems import KINDS
from service.codec.forecast_types import ForecastParameters
from service.runtime.key_file import KeyLimits, add_key
from service.settings import Settings
from tests.fakes import FakeModel, FakeRegistry, as_registry, manifest
from tests.pictures import drawn, encoded

ROW = [0] * 27 + [1]


def registry() -> FakeRegistry:
    return FakeRegistry(FakeModel(manifest("forecaster")), FakeModel(manifest("digits", "classify-digit")))


def app(**changes: Any) -> Any:
    return create_app(Settings(**changes), registry=as_registry(registry()))


DOCUMENT: dict[str, Any] = app().openapi()
KEY_CODES = ("unauthenticated", "forbidden", "rate_limited", "host_not_allowed")
HOT = {"/forecast": (*FORECAST_CODES, *KEY_CODES), "/classify-digit": (*DIGIT_CODES, *KEY_CODES)}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    house = app(max_body_bytes=100_000)
    transport = httpx.ASGITransport(house)
    async with (
        house.router.lifespan_context(house),
        httpx.AsyncClient(transport=transport, base_url="http://t") as client,
    ):
        yield client


def check(value: Any, schema: dict[str, Any]) -> None:
    """`value` is what `schema` of the document says."""
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def declared(path: str, method: str, response: httpx.Response) -> None:
    """The document has this answer: its status, its media type, its body and its headers."""
    entry = DOCUMENT["paths"][path][method]["responses"][str(response.status_code)]
    media_type = response.headers["content-type"].partition(";")[0]
    check(response.json(), entry["content"][media_type]["schema"])
    assert set(map(str.lower, entry.get("headers", {}))) <= set(response.headers)


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_linters_find_what_they_ask_for() -> None:
    """Redocly's recommended rules: a licence, servers, security, and a refusal of every operation."""
    assert DOCUMENT["info"]["license"]["identifier"] == "Apache-2.0"
    assert DOCUMENT["servers"] == [{"url": "."}], "under any prefix"
    assert DOCUMENT["security"] == [{}, {"key": []}], "a key is needed only where the service has some"
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            assert operation["operationId"]
            assert any(status.startswith("4") for status in operation["responses"])


async def test_the_document_is_served(client: httpx.AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json() == json.loads(json.dumps(DOCUMENT))
    assert "openapi.json" in (await client.get("/docs")).text


def test_every_route_is_there() -> None:
    assert set(DOCUMENT["paths"]) == {
        *(
            "/forecast",
            "/backtest",
            "/anomalies",
            "/classify-digit",
            "/livez",
            "/readyz",
            "/metrics",
            "/models",
            "/models/{name}",
            "/models/{name}/load",
            "/models/{name}/unload",
            "/models/{name}/default",
        )
    }


@pytest.mark.parametrize("path", HOT)
def test_every_status_is_there_with_an_example_per_code(path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    assert set(responses) == {"200"} | {str(KINDS[code].status) for code in HOT[path]}
    examples = {}
    for status, response in responses.items():
        if status != "200":
            content = response["content"]["application/problem+json"]
            for code, example in content["examples"].items():
                check(example["value"], content["schema"])
                assert example["value"]["status"] == int(status)
                examples[code] = example
    assert set(examples) == set(HOT[path])


@pytest.mark.parametrize("path", HOT)
def test_examples_are_what_the_schemas_say(path: str) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        check(example["value"], content["schema"])
    success = operation["responses"]["200"]["content"]["application/json"]
    check(success["example"], success["schema"])


@pytest.mark.parametrize("path", HOT)
async def test_examples_are_answered(client: httpx.AsyncClient, path: str) -> None:
    for example in DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"].values():
        response = await client.post(path, json=example["value"])
        assert response.status_code == 200, response.text
        declared(path, "post", response)


def test_the_request_schema_is_the_one_that_is_enforced() -> None:
    schema = DOCUMENT["components"]["schemas"]["ForecastParameters"]
    assert set(schema["properties"]) == set(ForecastParameters.__struct_fields__)
    assert schema["additionalProperties"] is False
    for name in ("ForecastRequest", "DigitRequest"):
        with pytest.raises(jsonschema.ValidationError):
            check({"inputs": []}, DOCUMENT["components"]["schemas"][name])
    with pytest.raises(jsonschema.ValidationError):
        check({"prediction_length": 0}, schema)


@pytest.mark.parametrize(
    ("path", "content", "media_type"),
    [
        (
            "/forecast",
            b'{"inputs": [{"target": [1, null, 2]}], "parameters": {"include": ["history"]}}',
            "application/json",
        ),
        ("/forecast", b'{"inputs": [{"target": ["a", NaN]}]}', "application/json"),
        ("/forecast", b'{"model": "x", "inputs": [{"target": [1]}]}', "application/json"),
        ("/forecast", b"", "application/json"),
        ("/forecast", b"{}", "text/plain"),
        ("/forecast", b" " * 100_001, "application/json"),
        ("/classify-digit", encoded(drawn()), "image/png"),
        ("/classify-digit", encoded(drawn(" ")), "image/png"),
        (
            "/classify-digit",
            json.dumps(
                {
                    "inputs": [{"rows": [ROW]}, {"image": base64.b64encode(encoded(drawn())).decode()}],
                    "parameters": {"trace": True},
                }
            ).encode(),
            "application/json",
        ),
    ],
)
async def test_real_answers_are_declared(client: httpx.AsyncClient, path: str, content: bytes, media_type: str) -> None:
    declared(path, "post", await client.post(path, content=content, headers={"Content-Type": media_type}))


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/models", "/models/{name}"])
async def test_ordinary_answers_are_declared(client: httpx.AsyncClient, path: str) -> None:
    declared(path, "get", await client.get(path.replace("{name}", "digits")))


async def test_ordinary_refusals_are_declared(client: httpx.AsyncClient) -> None:
    declared("/models/{name}", "get", await client.get("/models/none"))
    house = registry()
    house.drain()
    draining = create_app(Settings(), registry=as_registry(house))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(draining), base_url="http://t") as client_of_draining:
        declared("/readyz", "get", await client_of_draining.get("/readyz"))


async def test_refusals_of_access_are_declared_for_every_operation(tmp_path: Path) -> None:
    """Without a key, with one of another scope, with one that is used up, and under another name."""
    keys = {scope: add_key(tmp_path / "keys.json", [scope])[0] for scope in ("infer", "observe")}
    used_up, _ = add_key(tmp_path / "keys.json", ["admin"], limits=KeyLimits(requests="1/h"))
    house = app(api_keys=tmp_path / "keys.json", allowed_hosts="t")
    statuses = set()
    async with (
        house.router.lifespan_context(house),
        httpx.AsyncClient(transport=httpx.ASGITransport(house), base_url="http://t") as client,
    ):
        await client.get("/models", headers={"Authorization": f"Bearer {used_up}"})
        for path, operations in DOCUMENT["paths"].items():
            for method in operations:
                for headers in ({}, *({"Authorization": f"Bearer {key}"} for key in (*keys.values(), used_up))):
                    response = await client.request(method, path.replace("{name}", "digits"), headers=headers)
                    statuses.add(response.status_code)
                    assert str(response.status_code) in operations[method]["responses"], (method, path, response.text)
                response = await client.request(method, path, headers={"Host": "elsewhere.example"})
                assert response.status_code == 403
                declared(path, method, response)
    assert {401, 403, 429} <= statuses
