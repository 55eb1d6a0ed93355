"""The recipes of docs/proxies.md, with the proxies themselves; skipped where these are not installed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from service.runtime.key_file import add_key
from tests.integration.servers import POLL_SECONDS, ROOT, TIMEOUT, Server, running

CERTIFICATES = ROOT / "tests" / "certificates"
BODY = {"inputs": [{"target": [1.0, 2.0, 3.0]}]}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[None]:
    """A proxy that listens on `port`. Its log is kept in a file: a pipe that nothing reads would hold it up."""
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            deadline = time.monotonic() + TIMEOUT
            while True:
                if process.poll() is not None:
                    log.seek(0)
                    raise AssertionError(log.read())
                assert time.monotonic() < deadline
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(POLL_SECONDS)
            yield
        finally:
            process.terminate()
            process.wait(TIMEOUT)


def nginx(server: Server, folder: Path) -> tuple[list[str], int]:
    """The recipe with the addresses of this test: the command, and the port."""
    port = free_port()
    recipe = (ROOT / "docs" / "proxies" / "nginx.conf").read_text()
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{server.port}"),
        ("listen 8443", f"listen 127.0.0.1:{port}"),
        ("/etc/ritmo/tls.pem", str(CERTIFICATES / "first.pem")),
        ("/etc/ritmo/tls-key.pem", str(CERTIFICATES / "first-key.pem")),
        ("/tmp/ritmo-nginx", str(folder / "nginx")),
    ):
        assert old in recipe
        recipe = recipe.replace(old, new)
    (folder / "nginx.conf").write_text(recipe)
    as_root = " user root;" if os.geteuid() == 0 else ""  # else its workers could not write to the test's folder
    return ["nginx", "-c", str(folder / "nginx.conf"), "-g", f"daemon off;{as_root}"], port


def caddy(server: Server, folder: Path) -> tuple[list[str], int]:
    """The recipe, with a certificate of this test instead of one that Caddy asks for."""
    port = free_port()
    recipe = (ROOT / "docs" / "proxies" / "Caddyfile").read_text()
    files = f"tls {CERTIFICATES / 'first.pem'} {CERTIFICATES / 'first-key.pem'}"
    recipe = recipe.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    recipe = recipe.replace("ritmo.example.org {", f"https://localhost:{port} {{\n\t{files}\n\tbind 127.0.0.1")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + recipe)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], port


@pytest.mark.parametrize("recipe", [nginx, caddy])
async def test_a_recipe(recipe: object, one_model: Path, tmp_path: Path) -> None:
    name = getattr(recipe, "__name__", "")
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    key, _ = add_key(tmp_path / "keys.json", ["infer", "observe"])
    audit = tmp_path / "audit"
    settings: dict[str, Any] = {"api_keys": tmp_path / "keys.json", "trusted_proxies": "127.0.0.1", "audit_log": audit}
    with running(one_model, published_host="0.0.0.0", **settings) as server:
        command, port = (nginx if name == "nginx" else caddy)(server.ready(), tmp_path)
        with started(command, port):
            await ask(port, key, tmp_path)
        server.close()
    assert server.port


def too_large(url: str, key: str, folder: Path) -> tuple[int, str]:
    """Status of the answer to 23 MiB and its code, by curl: over HTTP/2."""
    body = folder / "large"
    body.write_bytes(b"x" * (23 << 20))
    command = ["curl", "--silent", "--http2", "--cacert", str(CERTIFICATES / "first.pem"), f"{url}/classify-digit"]
    command += ["--header", "Content-Type: image/png", "--header", f"X-API-Key: {key}", "--data-binary", f"@{body}"]
    command += ["--write-out", "\n%{http_code}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    document, _, status = result.stdout.rpartition("\n")
    return int(status), json.loads(document)["code"] if document else ""


async def ask(port: int, key: str, folder: Path) -> None:
    """Everything that a caller does, through the proxy on `port`."""
    context = ssl.create_default_context(cafile=CERTIFICATES / "first.pem")
    headers = {"X-API-Key": key, "X-Forwarded-For": "203.0.113.9"}
    url = f"https://localhost:{port}"
    async with httpx.AsyncClient(verify=context, base_url=url, headers=headers, timeout=TIMEOUT) as client:
        assert (await client.post("/forecast", json=BODY)).status_code == 200
        assert (await client.post("/forecast", json=BODY, headers={"X-API-Key": "no"})).status_code == 401
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/")).status_code == 200
        offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
        assert (await client.post("/forecast", json=BODY, headers=offer)).status_code == 200
        # A refusal of what is still being sent arrives, over HTTP/2 and HTTP/1.1, in the service's own words.
        for key_sent, expected in ((key, (413, "body_too_large")), ("no", (401, "unauthenticated"))):
            assert too_large(url, key_sent, folder) == expected
            fields = {"X-API-Key": key_sent, "Content-Type": "image/png"}
            refused = await client.post("/classify-digit", content=bytes(23 << 20), headers=fields)
            assert (refused.status_code, refused.json()["code"]) == expected
    address = f"wss://localhost:{port}/forecast/stream"
    page: Any = url  # a page that the proxy has served
    async with connect(address, ssl=context, origin=page, additional_headers=headers, open_timeout=TIMEOUT) as live:
        await live.send(json.dumps({}))
        for count in (1, 2):
            await live.send(json.dumps({"target": [5]}))
            assert json.loads(await live.recv())["context"]["observations"] == count
