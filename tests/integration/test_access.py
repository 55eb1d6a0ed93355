"""Keys, names, origins and TLS of a real service, of one process and of two."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from service.runtime.key_file import KeyLimits, add_key, revoke_key
from tests.integration.servers import TIMEOUT, Server, new_client, running, until

CERTIFICATES = Path(__file__).resolve().parents[1] / "certificates"
BODY = {"inputs": [{"target": [1.0, 2.0, 3.0]}]}


async def ask(server: Server, key: str = "", body: Any = BODY, **headers: str) -> httpx.Response:
    """A forecast, or GET /models without a body, over a connection of its own: any process may take it."""
    fields = headers | ({"X-API-Key": key} if key else {})
    async with new_client(server.url, trust_env=False) as client:
        if body is None:
            return await client.get("/models", headers=fields)
        return await client.post("/forecast", json=body, headers=fields)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_limits_are_exact_in_all_processes_together(one_model: Path, tmp_path: Path, workers: int) -> None:
    path = tmp_path / "keys.json"
    key, _ = add_key(path, ["infer"], limits=KeyLimits(requests="40/d", observations="90/d"))
    with running(one_model, api_keys=path, workers=workers) as server:
        server.ready()
        answers = await asyncio.gather(*(ask(server, key) for _ in range(39)))
        assert Counter(answer.status_code for answer in answers) == {200: 30, 429: 9}  # 30 x 3 values
        answers = await asyncio.gather(*(ask(server, key, None) for _ in range(20)))
        assert Counter(answer.status_code for answer in answers) == {200: 1, 429: 19}
        assert all("ratelimit" in answer.headers for answer in answers)


async def test_live_connections_are_counted_in_all_processes_and_forgotten_with_them(
    one_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    key, _ = add_key(path, ["infer"], limits=KeyLimits(live_connections=6))
    with running(one_model, api_keys=path, workers=2) as server:
        address = f"ws://127.0.0.1:{server.listening().port}/forecast/stream"

        async def is_open() -> Any:
            try:
                return await connect(address, additional_headers={"X-API-Key": key}, open_timeout=TIMEOUT)
            except InvalidStatus:
                return None

        sockets = [await is_open() for _ in range(9)]
        assert [bool(each) for each in sockets] == [True] * 6 + [False] * 3
        # All connections of one process are lost with it, and there is room for as many again.
        victim = next(
            int(line.split("[")[1].split("]")[0]) for line in server.lines if "Started server process" in line
        )
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(TIMEOUT):
            done: set[int] = set()
            lost = [each for each in sockets if each is not None]
            while not done:
                done = {id(each) for each in lost if each.close_code is not None}
                await asyncio.sleep(0.02)
            room = 0

            async def has_room() -> bool:
                nonlocal room
                if (more := await is_open()) is not None:
                    sockets.append(more)
                    room += 1
                return room >= 1

            await until(has_room)
        for each in sockets:
            if each is not None:
                await each.close()


async def test_the_file_of_keys_is_read_again_and_a_broken_one_is_not(one_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, entry = add_key(path, ["infer"])
    with running(one_model, api_keys=path) as server:
        server.ready()
        assert (await ask(server, key)).status_code == 200
        other, _ = add_key(path, ["infer"])
        await until(lambda: has_status(server, other, 200))
        good = path.read_bytes()
        for broken in (good[: len(good) // 2], b"", b"{}\n"):
            path.write_bytes(broken)
            await until(lambda: logged(server, "the last good state stays in use"))
            server.lines.clear()
            assert (await ask(server, key)).status_code == 200
            assert (await ask(server, "ritmo_0123456789ab_x")).status_code == 401
        path.write_bytes(good)
        await until(lambda: logged(server, "API keys: read again"))
        revoke_key(path, entry.id)
        await until(lambda: has_status(server, key, 401))
        assert (await ask(server, other)).status_code == 200


@pytest.mark.slow
async def test_a_key_expires_while_the_service_runs(one_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, ["infer"])
    with running(one_model, api_keys=path) as server:
        address = f"ws://127.0.0.1:{server.ready().port}/forecast/stream"
        key, _ = add_key(path, ["infer"], expires=datetime.now(UTC) + timedelta(seconds=10))
        await until(lambda: has_status(server, key, 200))
        async with connect(address, additional_headers={"X-API-Key": key}, open_timeout=TIMEOUT) as live:
            await live.send(json.dumps({}))
            await until(lambda: has_status(server, key, 401))
            await live.send(json.dumps({"target": [1]}))
            assert json.loads(await live.recv())["code"] == "unauthenticated"
            with pytest.raises(ConnectionClosed):
                await live.recv()
            assert live.close_code == 1008


async def has_status(server: Server, key: str, status: int) -> bool:
    return (await ask(server, key)).status_code == status


async def logged(server: Server, text: str) -> bool:
    return any(text in line for line in list(server.lines))


# --- where it starts ------------------------------------------------------------------------------------------------


def test_a_service_for_everybody_starts_only_where_that_is_said(one_model: Path, tmp_path: Path) -> None:
    with running(one_model, host="0.0.0.0") as server:
        assert server.wait() == 3
        assert "RITMO_AUTHENTICATION=none" in "".join(server.lines)
    with running(one_model, host="0.0.0.0", authentication="none") as server:
        server.listening()
    with running(one_model, host="0.0.0.0", published_host="127.0.0.1") as server:
        server.listening()
    path = tmp_path / "keys.json"
    add_key(path, ["infer"])
    with running(one_model, host="0.0.0.0", api_keys=path) as server:
        server.listening()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_without_its_keys_does_not_start(one_model: Path, tmp_path: Path, workers: int) -> None:
    path = tmp_path / "keys.json"
    for content in (None, "{"):
        if content is not None:
            path.write_text(content)
        with running(one_model, api_keys=path, workers=workers) as server:
            assert server.wait() == 3
            assert str(path) in "".join(server.lines)
            assert "Traceback" not in "".join(server.lines)


# --- browsers, as raw clients -----------------------------------------------------------------------------------------


async def test_rebinding_and_foreign_pages(one_model: Path) -> None:
    with running(one_model) as server:
        server.settled()
        refused = await ask(server, Host="attacker.example")
        assert (refused.status_code, refused.json()["code"]) == (403, "host_not_allowed")
        assert refused.headers["x-content-type-options"] == "nosniff"
        for host in (f"localhost:{server.port}", f"127.0.0.1:{server.port}"):
            assert (await ask(server, Host=host)).status_code == 200
        address = f"ws://127.0.0.1:{server.port}/forecast/stream"
        with pytest.raises(InvalidStatus) as caught:
            async with connect(address, origin="https://attacker.example"):  # type: ignore[arg-type]
                pass
        assert caught.value.response.status_code == 403
        async with connect(address, origin=server.url):  # type: ignore[arg-type]
            pass


# --- TLS --------------------------------------------------------------------------------------------------------------


def put(folder: Path, name: str) -> dict[str, Any]:
    """Put the certificate of that name and its key in place; the settings that name them."""
    for source, place in ((f"{name}.pem", "tls.pem"), (f"{name}-key.pem", "tls-key.pem")):
        shutil.copy(CERTIFICATES / source, folder / "next")
        (folder / "next").replace(folder / place)
    return {"tls_certificate": folder / "tls.pem", "tls_key": folder / "tls-key.pem"}


def trust(*names: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for name in names:
        context.load_verify_locations(CERTIFICATES / f"{name}.pem")
    return context


async def shown(server: Server, *names: str) -> str:
    """The status of a forecast over TLS from a client that trusts `names`, and the name in the certificate."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trust(*names), server_hostname="localhost")
    certificate: Any = writer.get_extra_info("peercert")
    writer.close()
    async with httpx.AsyncClient(verify=trust(*names), base_url=server.url, timeout=TIMEOUT) as client:
        assert (await client.post("/forecast", json=BODY)).status_code == 200
    return str(dict(part[0] for part in certificate["subject"])["commonName"])


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_tls_with_a_certificate_that_is_renewed(one_model: Path, tmp_path: Path, workers: int) -> None:
    with running(one_model, workers=workers, **put(tmp_path, "first")) as server:
        server.listening()
        assert server.scheme == "https"
        async with httpx.AsyncClient(verify=trust("first"), base_url=server.url, timeout=TIMEOUT) as client:

            async def ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await until(ready)
            assert await shown(server, "first") == "first.example"
            address = f"wss://127.0.0.1:{server.port}/forecast/stream"
            async with connect(address, ssl=trust("first"), open_timeout=TIMEOUT, origin=server.url) as live:  # type: ignore[arg-type]
                await live.send(json.dumps({}))
                await live.send(json.dumps({"target": [5]}))
                assert json.loads(await live.recv())["context"]["observations"] == 1
                plain = await new_client(f"http://127.0.0.1:{server.port}").get("/readyz")  # no TLS
                assert plain.status_code == 400
                assert "https://" in plain.json()["detail"]
                put(tmp_path, "second")
                await until(lambda: is_shown(server, "second.example"))
                await live.send(json.dumps({"target": [6]}))  # what is open goes on
                assert json.loads(await live.recv())["context"]["observations"] == 2
        body = {"inputs": [{"target": list(range(60_000))}], "parameters": {"include": ["history"]}}
        async with httpx.AsyncClient(verify=trust("second"), base_url=server.url, timeout=TIMEOUT) as client:
            large = await client.post("/forecast", json=body)
            assert (large.status_code, len(large.content) > 1_000_000) == (200, True)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in "".join(server.lines)


async def is_shown(server: Server, name: str) -> bool:
    names = [await shown(server, "first", "second") for _ in range(4)]  # of every process
    return set(names) == {name}


async def test_an_expired_certificate_is_the_clients_to_refuse(one_model: Path, tmp_path: Path) -> None:
    with running(one_model, **put(tmp_path, "expired")) as server:
        server.listening()
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=trust("expired"), server_hostname="localhost")
        await until(lambda: logged(server, "has expired"))


# --- keys of state tokens ---------------------------------------------------------------------------------------------


async def test_keys_of_state_tokens_are_rotated_with_an_overlap(one_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "state-keys"
    path.write_text("the first key of all\n")
    asked = BODY | {"parameters": {"return_state": True}}

    async def go_on(server: Server, token: str) -> httpx.Response:
        return await ask(server, body={"inputs": [{"target": [4], "state": token}]})

    with running(one_model, state_keys_file=path) as server:
        server.settled()
        old = (await ask(server, body=asked)).json()["predictions"][0]["state"]
        path.write_text("the second key of all\nthe first key of all\n")
        await until(lambda: logged(server, "read again"))
        new = (await ask(server, body=asked)).json()["predictions"][0]["state"]
        assert [(await go_on(server, token)).status_code for token in (old, new)] == [200, 200]
        server.lines.clear()
        path.write_text("the second key of all\n")
        await until(lambda: logged(server, "read again"))
        assert [(await go_on(server, token)).status_code for token in (old, new)] == [422, 200]
