from __future__ import annotations

import json

from service.api.inprocess import ask
from tests.pictures import drawn, encoded
from tests.service.api.harness import BODY, Harness


async def test_one_request_without_a_port() -> None:
    harness = Harness()
    status, content = await ask(harness.app, "/forecast", "application/json", json.dumps(BODY).encode())
    assert (status, json.loads(content)["predictions"][0]["mean"]) == (200, [3.0])
    assert harness.registry.closed


async def test_a_query_and_a_problem() -> None:
    status, content = await ask(Harness().app, "/classify-digit?trace=true", "image/png", encoded(drawn()))
    assert status == 200
    assert json.loads(content)["predictions"][0]["trace"]
    status, content = await ask(Harness().app, "/classify-digit?x=1", "image/png", encoded(drawn()))
    assert (status, json.loads(content)["code"]) == (422, "unknown_field")
