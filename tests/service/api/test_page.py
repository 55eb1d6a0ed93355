from __future__ import annotations

import gzip
import re

import numpy as np
import pytest

from service.api.page import DOCUMENTATION, FOLDER, web_files
from tests.pictures import drawn, encoded
from tests.service.api.harness import Harness, problem


async def test_the_page_and_its_files(harness: Harness) -> None:
    response = await harness.client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    names = re.findall(r'(?:href|src)="(web/[^"]+)"', response.text)
    assert len(names) >= 5
    for name in names:
        found = await harness.client.get(f"/{name}")
        assert (found.status_code, found.headers["x-content-type-options"]) == (200, "nosniff")


async def test_the_documentation_asks_this_server_only(harness: Harness) -> None:
    response = await harness.client.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    names = re.findall(r'(?:href|src)="(docs/[^"]+)"', response.text)
    assert len(names) == 3
    for name in names:
        found = await harness.client.get(f"/{name}")
        assert (found.status_code, found.headers["x-content-type-options"]) == (200, "nosniff")
    assert "//" not in response.text
    problem(await harness.client.get("/docs/none.js"), 404, "route_not_found")
    assert (await harness.client.get("/redoc")).status_code == 404  # FastAPI's, whose script comes from elsewhere


async def test_the_licence_of_what_others_wrote_is_beside_it() -> None:
    for folder in (*FOLDER.glob("vendor/*"), *DOCUMENTATION.glob("*/")):
        assert (folder / "LICENSE").is_file(), folder


async def test_a_file_that_the_browser_has_is_not_sent_again(harness: Harness) -> None:
    first = await harness.client.get("/")
    again = await harness.client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_files_are_compressed(harness: Harness) -> None:
    async with harness.client.stream("GET", "/web/app.css", headers={"Accept-Encoding": "gzip"}) as response:
        raw = b"".join([part async for part in response.aiter_raw()])
    assert gzip.decompress(raw) == (FOLDER / "app.css").read_bytes()
    plain = await harness.client.get("/web/app.css", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("path", ["/web/none.js", "/web/", "/web/../settings.py", "/web/%2e%2e/settings.py"])
async def test_nothing_else_is_sent(harness: Harness, path: str) -> None:
    problem(await harness.client.get(path), 404, "route_not_found")


async def test_it_can_be_switched_off() -> None:
    harness = Harness(page="off")
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        problem(await harness.client.get("/"), 404, "route_not_found")


def test_the_page_asks_nobody_else() -> None:
    """No address of another server in any file of ours, and the vendored one has its licence beside it."""
    files = web_files()
    own = {name: file for name, file in files.items() if not name.startswith("vendor/")}
    foreign = [name for name, file in own.items() if re.search(rb"https?://(?!www\.w3\.org/2000/svg)", file.content)]
    assert foreign == []
    assert b"MIT" in files["vendor/uplot-1.6.32/LICENSE"].content


async def test_what_the_network_sees_of_a_picture(harness: Harness) -> None:
    picture = encoded(drawn(), "png")
    response = await harness.client.post("/prepare-digit", content=picture, headers={"Content-Type": "image/png"})
    document = response.json()
    rows = np.array(document["rows"])
    assert rows.shape == (28, 28)
    assert rows.max() <= 255
    assert document["preprocessing"]["inverted"] is True
    answer = await harness.client.post("/classify-digit", content=picture, headers={"Content-Type": "image/png"})
    assert document["preprocessing"] == answer.json()["predictions"][0]["preprocessing"]


async def test_a_picture_without_a_digit_is_refused(harness: Harness) -> None:
    headers = {"Content-Type": "image/png"}
    problem(await harness.client.post("/prepare-digit", content=b"none", headers=headers), 422, "bad_image")
    json_body = {"inputs": [{"rows": [[0] * 28]}]}
    problem(await harness.client.post("/prepare-digit", json=json_body), 415, "unsupported_media_type")
