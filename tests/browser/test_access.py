"""Keys, cross-site WebSockets and DNS rebinding in a real browser: see tests/browser/test_page.py for what it needs."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.runtime.key_file import add_key
from tests.integration.servers import Server, running
from tests.models import RunningMean, write_model

if TYPE_CHECKING:
    from playwright.async_api import Page
else:
    Page = Any

playwright = pytest.importorskip("playwright.async_api", reason="needs Playwright: the extra browser")
CHROMIUM = shutil.which("chromium")

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")]

WAIT = 60_000  # milliseconds, a guard
# What a page learns of a WebSocket: whether it opened.
OPEN = """address => new Promise(resolve => {
    const socket = new WebSocket(address);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})"""
FETCH = """address => fetch(address).then(answer => answer.status, () => "unreadable")"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "forecaster", RunningMean())
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with running(models) as server:
        yield server.settled()


@asynccontextmanager
async def opened(*arguments: str) -> AsyncIterator[Page]:
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
        page = await browser.new_page()
        page.set_default_timeout(WAIT)
        yield page
        await browser.close()


async def test_a_page_of_another_site_opens_no_live_connection(server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}/forecast/stream"
    async with opened() as page:
        await page.route(
            "http://attacker.example/**", lambda route: route.fulfill(body="<html></html>", content_type="text/html")
        )
        await page.goto("http://attacker.example/")
        assert await page.evaluate(OPEN, address) == "refused"
        assert await page.evaluate(FETCH, f"{server.url}/models") == "unreadable"
        await page.goto(server.url)
        assert await page.evaluate(OPEN, address) == "open"


async def test_a_name_that_is_made_to_mean_this_machine_gets_nothing(server: Server) -> None:
    """The page of attacker.example is the same origin to the browser, since the name leads to the service."""
    async with opened("--host-resolver-rules=MAP attacker.example 127.0.0.1") as page:
        answer = await page.goto(f"http://attacker.example:{server.port}/models")
        assert answer is not None
        assert answer.status == 403
        assert (await answer.json())["code"] == "host_not_allowed"
        assert await page.evaluate(FETCH, "/models") == 403
        assert await page.evaluate(OPEN, f"ws://attacker.example:{server.port}/forecast/stream") == "refused"


async def test_the_page_asks_for_a_key_and_goes_on_with_it(models: Path, tmp_path: Path) -> None:
    key, _ = add_key(tmp_path / "keys.json", ["infer"])
    with running(models, api_keys=tmp_path / "keys.json") as keyed:
        keyed.ready()
        async with opened() as page:
            await page.goto(keyed.url)
            await page.wait_for_selector("html[data-ready]")
            assert await page.locator("#key").is_hidden()
            await page.fill("#text", "1 2 3 4 5 6 7 8 9 10")
            await page.wait_for_selector("#key:visible")
            await page.fill("#key", key)
            await page.keyboard.press("Tab")
            await page.fill("#text", "1 2 3 4 5 6 7 8 9 11")
            await page.wait_for_selector("#chart canvas")
            await page.reload()
            await page.wait_for_selector("html[data-ready]")
            assert await page.input_value("#key") == key
            address = f"ws://127.0.0.1:{keyed.port}/forecast/stream"
            assert await page.evaluate(OPEN, address) == "refused"
            keyed_open = OPEN.replace("new WebSocket(address)", f'new WebSocket(address, ["ritmo", "ritmo.key.{key}"])')
            assert await page.evaluate(keyed_open, address) == "open"
