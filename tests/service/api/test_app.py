"""The application through its public door, ASGI: any request is answered."""

from __future__ import annotations

import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.api.harness import JSON, Harness, problem


async def test_the_lifespan_starts_and_closes_the_registry() -> None:
    harness = Harness()
    assert not harness.registry.started
    async with harness.app.router.lifespan_context(harness.app):
        assert harness.registry.started
        assert not harness.registry.closed
    assert harness.registry.closed


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("inputs", "target", "model", "parameters", "item_id", "state", "rows", "image", "trace"),
                    *("prediction_length", "quantile_levels", "include", "season_length", "timeout_ms"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


numbers = st.none() | st.integers() | st.floats()


near_requests = st.fixed_dictionaries(
    {"inputs": st.lists(st.fixed_dictionaries({"target": st.lists(numbers, max_size=6)}), max_size=3)},
    optional={
        "model": st.sampled_from(["forecaster", "linear", "digits", "", "forecaster@1", "forecaster@x"]),
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "prediction_length": st.integers(-1, 400),
                "quantile_levels": st.lists(st.floats(), max_size=5),
                "season_length": st.none() | st.integers(-1, 50),
                "include": st.lists(st.sampled_from(["history", "more"]), max_size=2),
                "timeout_ms": st.none() | st.integers(-1, 10_000_000),
            },
        ),
    },
)


bounded = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def answered(response: httpx.Response) -> None:
    """A valid answer or a problem, and never a failure of the service."""
    assert response.status_code < 500, response.text
    if response.status_code == 200:
        assert response.json()["predictions"]
    else:
        problem(response, response.status_code, response.json()["code"])


@bounded
@given(documents | near_requests)
async def test_any_json_is_answered(harness: Harness, document: Any) -> None:
    answered(await harness.forecast(document))
    answered(await harness.client.post("/classify-digit", content=json.dumps(document).encode(), headers=JSON))


@bounded
@given(
    st.binary(max_size=200),
    st.sampled_from(["application/json", "image/png", "image/webp", "multipart/form-data; boundary=x", "text/plain"]),
)
async def test_any_bytes_are_answered(harness: Harness, body: bytes, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    answered(await harness.client.post("/forecast", content=body, headers=headers))
    answered(await harness.client.post("/classify-digit", content=body, headers=headers))
