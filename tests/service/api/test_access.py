"""What is checked of every request: the name it was sent to, the page it comes from, its key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from service.api.access import HostList
from service.runtime.key_file import KeyLimits, add_key, revoke_key
from tests.service.api.harness import BODY, DIGIT, Harness, problem

TIMEOUT = 200.0


class Keyed(Harness):
    """An application with keys: one for each scope."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.path = folder / "keys.json"
        self.keys = {scope: add_key(self.path, [scope])[0] for scope in ("infer", "observe", "admin")}
        super().__init__(api_keys=self.path, **changes)

    def header(self, scope: str = "infer") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[scope]}"}


@pytest.fixture
def keyed(tmp_path: Path) -> Keyed:
    return Keyed(tmp_path)


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
async def test_a_key_opens_the_routes_of_its_scope(keyed: Keyed, name: str) -> None:
    key = keyed.keys["infer"]
    header = {name: f"Bearer {key}" if name == "Authorization" else key}
    assert (await keyed.forecast(BODY, **header)).status_code == 200
    assert (await keyed.client.post("/classify-digit", json=DIGIT, headers=header)).status_code == 200
    assert (await keyed.client.get("/models", headers=header)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer ritmo_0123456789ab_wrong"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": "x"},
        {"Authorization": "Bearer"},
    ],
)
@pytest.mark.parametrize("path", ["/forecast", "/models", "/metrics", "/nowhere", "/models/x/load"])
async def test_without_a_valid_key_there_is_nothing(keyed: Keyed, headers: dict[str, str], path: str) -> None:
    response = await keyed.client.request("POST" if path == "/forecast" else "GET", path, headers=headers)
    document = problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == 'Bearer realm="ritmo"'
    assert "ritmo_0123456789ab" not in json.dumps(document)
    assert keyed.forecaster.items == ()


async def test_two_keys_are_as_good_as_none(keyed: Keyed) -> None:
    both = {"X-API-Key": keyed.keys["infer"], **keyed.header()}
    problem(await keyed.forecast(BODY, **both), 401, "unauthenticated")
    doubled = [(name, keyed.header()["Authorization"]) for name in ("Authorization", "authorization")]
    response = await keyed.client.post("/forecast", json=BODY, headers=doubled)
    problem(response, 401, "unauthenticated")


@pytest.mark.parametrize(
    ("scope", "method", "path", "status"),
    [
        ("infer", "GET", "/metrics", 403),
        ("observe", "POST", "/forecast", 403),
        ("observe", "GET", "/metrics", 200),
        ("observe", "GET", "/models", 200),
        ("admin", "GET", "/metrics", 200),
        ("infer", "GET", "/forecast", 403),  # no route of a GET: what it would be is the operator's
        ("infer", "GET", "/nowhere", 404),
        ("admin", "GET", "/nowhere", 404),
        ("infer", "DELETE", "/models/forecaster", 403),
    ],
)
async def test_scopes(keyed: Keyed, scope: str, method: str, path: str, status: int) -> None:
    response = await keyed.client.request(method, path, headers=keyed.header(scope))
    assert response.status_code == status, response.text
    if status == 403:
        problem(response, 403, "forbidden")


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/", "/web/app.js", "/openapi.json", "/docs", "/ping", "/v2/health/live"]
)
async def test_probes_the_page_and_the_documentation_need_no_key(keyed: Keyed, path: str) -> None:
    assert (await keyed.client.get(path)).status_code == 200


async def test_a_revoked_key_is_refused_once_the_file_is_read(keyed: Keyed) -> None:
    revoke_key(keyed.path, keyed.keys["infer"].split("_")[1])
    keys = keyed.app._access.keys
    assert keys is not None
    keys.load()
    problem(await keyed.forecast(BODY, **keyed.header()), 401, "unauthenticated")


async def test_all_who_share_a_key_share_one_turn_in_the_queue(keyed: Keyed) -> None:
    await keyed.forecast(BODY, **keyed.header())
    assert keyed.forecaster.client.group == f"key {keyed.keys['infer'].split('_')[1]}"


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/v2/models/forecaster/infer", "error"),
        ("/v2", "error"),
        ("/invocations", "error"),
        ("/v2/forecast", "error"),
        ("/validate_api_key", "error"),
        ("/mcp", "rpc"),
    ],
)
async def test_foreign_clients_read_refusals_in_their_own_form(keyed: Keyed, path: str, form: str) -> None:
    method = "GET" if path in ("/v2", "/validate_api_key") else "POST"
    for headers, status in (({}, 401), (keyed.header("observe"), 403)):
        response = await keyed.client.request(method, path, headers=headers)
        if status == 403 and method == "GET":
            assert response.status_code == 200
            continue
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert ("www-authenticate" in response.headers) == (status == 401)
        document = response.json()
        if form == "rpc":
            assert (document["jsonrpc"], document["id"]) == ("2.0", None)
            assert document["error"]["data"]["code"] == {401: "unauthenticated", 403: "forbidden"}[status]
        else:
            assert isinstance(document["error"], str)
            assert document["error"] == document["detail"]


async def test_nixtlas_client_learns_that_its_key_is_good(keyed: Keyed) -> None:
    response = await keyed.client.get("/validate_api_key", headers=keyed.header())
    assert (response.status_code, response.json()) == (200, {"detail": "the key is valid"})


# --- limits ----------------------------------------------------------------------------------------------------------


class Limited(Harness):
    def __init__(self, folder: Path, settings: dict[str, Any] | None = None, **limits: Any) -> None:
        path = folder / "keys.json"
        self.key, self.entry = add_key(path, ["infer"], limits=KeyLimits(**limits))
        super().__init__(api_keys=path, **(settings or {}))
        self.header = {"X-API-Key": self.key}


async def test_requests_beyond_the_rate_are_told_when_to_come_again(tmp_path: Path) -> None:
    harness = Limited(tmp_path, requests="2/h")
    left = [(await harness.forecast(BODY, **harness.header)).headers["ratelimit"] for _ in range(2)]
    assert [text.partition(";t")[0] for text in left] == ['"requests";r=1', '"requests";r=0']
    response = await harness.forecast(BODY, **harness.header)
    document = problem(response, 429, "rate_limited")
    assert document["retryable"] is True
    assert 1790 < int(response.headers["retry-after"]) <= 1800
    assert response.headers["ratelimit-policy"] == '"requests";q=2;w=3600'
    assert (await harness.client.get("/models", headers=harness.header)).status_code == 429


async def test_values_and_pictures_have_rates_of_their_own(tmp_path: Path) -> None:
    harness = Limited(tmp_path, observations="5/h", pictures="1/h")
    assert (await harness.forecast(BODY, **harness.header)).status_code == 200
    problem(await harness.forecast(BODY, **harness.header), 429, "rate_limited")
    large = {"inputs": [{"target": [1] * 6}]}
    problem(await harness.forecast(large, **harness.header), 413, "too_many_items")
    digit = await harness.client.post("/classify-digit", json=DIGIT, headers=harness.header)
    assert (digit.status_code, digit.headers["ratelimit"][:16]) == (200, '"observations";r')
    problem(await harness.client.post("/classify-digit", json=DIGIT, headers=harness.header), 429, "rate_limited")


@pytest.mark.parametrize("path", ["/backtest", "/anomalies", "/invocations", "/v2/models/forecaster/infer"])
async def test_every_way_to_a_model_counts(tmp_path: Path, path: str) -> None:
    harness = Limited(tmp_path, observations="20/h")
    series = [float(value % 7) for value in range(30)]
    body: dict[str, Any] = {"inputs": [{"target": series}]}
    if path.startswith("/v2"):
        body = {"inputs": [{"name": "target", "shape": [1, 30], "datatype": "FP64", "data": series}]}
    response = await harness.client.post(path, json=body, headers=harness.header)
    assert (response.status_code, response.json()["code"]) == (413, "too_many_items"), response.text


@pytest.mark.parametrize("kind", ["table", "nixtla"])
async def test_what_is_computed_in_parts_is_paid_for_as_a_whole_or_not_at_all(tmp_path: Path, kind: str) -> None:
    harness = Limited(tmp_path, {"max_items": 2}, observations="8/h")
    table = "item_id,target\n" + "".join(f"s{series},{value}\n" for series in range(3) for value in range(2))
    series = {"series": {"y": [1.0] * 6, "sizes": [2, 2, 2]}, "model": "timegpt-1", "h": 1, "freq": "D"}
    for status, left in ((200, "2"), (429, "2")):  # six values fit; of the next six none is taken
        if kind == "table":
            fields = harness.header | {"Content-Type": "text/csv"}
            response = await harness.client.post("/forecast", content=table, headers=fields)
        else:
            response = await harness.client.post("/v2/forecast", json=series, headers=harness.header)
        assert response.status_code == status, response.text
        assert response.headers["ratelimit"].startswith(f'"observations";r={left};')


# --- live connections ------------------------------------------------------------------------------------------------


async def handshake(harness: Harness, *headers: tuple[str, str], subprotocols: tuple[str, ...] = ()) -> list[Any]:
    """What the application answers to a handshake and a series of two messages, until it closes or waits."""
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/forecast/stream",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "subprotocols": list(subprotocols),
        "client": ("127.0.0.1", 4000),
        "extensions": {"websocket.http.response": {}},
    }
    if subprotocols:
        scope["headers"].append((b"sec-websocket-protocol", ", ".join(subprotocols).encode()))
    messages: list[dict[str, Any]] = [{"type": "websocket.connect"}]
    messages += [{"type": "websocket.receive", "text": json.dumps({"target": [1]})} for _ in range(2)]
    messages += [{"type": "websocket.disconnect"}] * 2
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "websocket.http.response.body":
            messages[:] = [{"type": "websocket.disconnect"}] * 2

    async with asyncio.timeout(TIMEOUT):
        await harness.app(scope, receive, send)
    return sent


def outcome(sent: list[Any]) -> tuple[int, str]:
    """Status of a handshake, and the code of its problem or the chosen subprotocol."""
    if sent[0]["type"] == "websocket.accept":
        return 101, sent[0].get("subprotocol", "")
    return sent[0]["status"], json.loads(sent[1]["body"])["code"]


async def test_a_live_connection_needs_a_key(keyed: Keyed) -> None:
    assert outcome(await handshake(keyed)) == (401, "unauthenticated")
    assert outcome(await handshake(keyed, ("X-API-Key", keyed.keys["observe"]))) == (403, "forbidden")
    assert outcome(await handshake(keyed, ("X-API-Key", keyed.keys["infer"]))) == (101, "")
    assert len(keyed.app.state.streams) == 0


async def test_a_browser_sends_its_key_as_a_subprotocol(keyed: Keyed) -> None:
    offers = ("ritmo", f"ritmo.key.{keyed.keys['infer']}")
    assert outcome(await handshake(keyed, subprotocols=offers)) == (101, "ritmo")
    assert outcome(await handshake(keyed, subprotocols=("ritmo", "ritmo.key.x"))) == (401, "unauthenticated")


async def test_live_connections_and_their_messages_are_limited(tmp_path: Path) -> None:
    harness = Limited(tmp_path, requests="2/h", live_connections=1)
    sent = await handshake(harness, ("X-API-Key", harness.key))
    codes = [json.loads(message["text"]).get("code") for message in sent if message["type"] == "websocket.send"]
    assert codes == [None, "rate_limited"]
    none = Limited(tmp_path / "..", live_connections=0)
    assert outcome(await handshake(none, ("X-API-Key", none.key))) == (429, "rate_limited")


async def test_the_connection_of_a_revoked_key_ends(keyed: Keyed) -> None:
    keys = keyed.app._access.keys
    assert keys is not None
    keyed.forecaster.hold = asyncio.Event()
    task = asyncio.create_task(handshake(keyed, ("X-API-Key", keyed.keys["infer"])))
    async with asyncio.timeout(TIMEOUT):
        await keyed.forecaster.waiting.wait()
    revoke_key(keyed.path, keyed.keys["infer"].split("_")[1])
    keys.load()
    keyed.forecaster.hold.set()
    sent = await task
    assert [message["type"] for message in sent][-1] == "websocket.close"
    assert sent[-1]["code"] == 1008


# --- browsers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "host", "allowed"),
    [
        (["local"], "127.0.0.1:8000", True),
        (["local"], "[::1]:8000", True),
        (["local"], "::1", True),
        (["local"], "192.168.1.7", True),
        (["local"], "localhost", True),
        (["local"], "LocalHost:8000", True),
        (["local"], "ritmo:8000", True),
        (["local"], "app.localhost:8000", True),
        (["local"], "attacker.example", False),
        (["local"], "attacker.example:8000", False),
        (["local"], "127.0.0.1.attacker.example", False),
        (["local"], "localhost.attacker.example", False),
        (["local"], "1.2.3", False),
        (["local"], "", False),
        (["local"], "a.example.", False),
        (["a.example"], "a.example", True),
        (["a.example"], "a.example.:443", True),
        (["a.example"], "b.a.example", False),
        (["a.example"], "127.0.0.1", False),
        (["*.a.example"], "b.a.example", True),
        (["*.a.example"], "a.example", False),
        (["*.a.example"], "xa.example", False),
        (["a.example", "local"], "127.0.0.1", True),
    ],
)
def test_names(names: list[str], host: str, allowed: bool) -> None:
    assert HostList(names).allows(host.encode()) is allowed


@pytest.mark.parametrize("path", ["/forecast", "/models", "/livez", "/"])
async def test_a_name_that_a_stranger_points_here_is_refused(path: str) -> None:
    harness = Harness(allowed_hosts="local")
    for host in ("attacker.example", "attacker.example:8000", "x" * 10_000 + ".example"):
        response = await harness.client.request("POST" if path == "/forecast" else "GET", path, headers={"Host": host})
        document = problem(response, 403, "host_not_allowed")
        assert "attacker" not in json.dumps(document)
    assert (await harness.client.get("/models", headers={"Host": "localhost:8000"})).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", 101),
        ("https://ritmo.example", "ritmo.example", 101),
        ("https://RITMO.example", "ritmo.example", 101),
        (None, "127.0.0.1:8000", 101),
        ("https://attacker.example", "127.0.0.1:8000", 403),
        ("http://127.0.0.1:3000", "127.0.0.1:8000", 403),
        ("null", "127.0.0.1:8000", 403),
        ("https://page.example", "127.0.0.1:8000", 101),  # as the setting says
    ],
)
async def test_pages_of_other_origins_open_no_live_connection(origin: str | None, host: str, status: int) -> None:
    harness = Harness(cors_origins="https://page.example")
    headers = [("Host", host), *([("Origin", origin)] if origin else [])]
    assert outcome(await handshake(harness, *headers))[0] == status


async def test_pages_of_other_origins_change_nothing_in_a_service_without_keys() -> None:
    """A form of any page can send a POST without a body; only its answer is kept from that page."""
    harness = Harness()
    headers = {"Origin": "https://attacker.example"}
    problem(await harness.client.post("/models/forecaster/load", headers=headers), 403, "origin_not_allowed")
    same = await harness.client.post("/models/forecaster/nothing", headers={"Origin": "http://test"})
    assert same.status_code == 404
    assert (await harness.forecast(BODY, **headers)).status_code == 200


async def test_a_preflight_needs_no_key_and_a_refusal_can_be_read_by_the_page(tmp_path: Path) -> None:
    keyed = Keyed(tmp_path, cors_origins="https://page.example")
    headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "authorization"
    permission = await keyed.client.options("/forecast", headers=headers)
    assert permission.status_code == 200
    assert permission.headers["access-control-allow-headers"] == "authorization"
    refused = await keyed.forecast(BODY, Origin="https://page.example")
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example"
