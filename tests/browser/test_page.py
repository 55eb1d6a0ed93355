"""The page at `/` in a real browser: Debian's Chromium driven by Playwright, with the committed models.

Skipped where either is absent: `make install-all` and `apt-get install chromium`; run by `make test-slow`.
"""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.servers import ROOT, Server, running
from tests.workbooks import archive, inline, row

if TYPE_CHECKING:
    from playwright.async_api import Page
else:
    Page = Any

playwright = pytest.importorskip("playwright.async_api", reason="needs Playwright: the extra browser")
playwright.expect.set_options(timeout=60_000)
CHROMIUM = shutil.which("chromium")

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")]

WAIT = 60_000  # milliseconds, a guard
SALES = "Datum;Filiale;Umsatz\n" + "".join(
    f"{day:02}.01.2024;{shop};{value + day % 7},5\n"
    for shop, value in (("Köln", 90), ("Bonn", 20))
    for day in range(1, 29)
)


def workbook_of(table: str) -> bytes:
    """A table as the first sheet of a workbook."""
    rows = ""
    for number, line in enumerate(table.splitlines(), start=1):
        rows += row(
            number, *(inline(f"{letter}{number}", cell) for letter, cell in zip("ABC", line.split(";"), strict=True))
        )
    return archive([("Sales", rows)])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(ROOT / "models") as server:
        yield server.settled()


@pytest.fixture
async def page(server: Server) -> AsyncIterator[Page]:
    """A page that fails the test for anything that the console or the content security policy complains about."""
    complaints: list[str] = []
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(
            locale="en-GB", reduced_motion="reduce", viewport={"width": 1100, "height": 900}
        )
        page = await context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda line: complaints.append(line.text) if line.type == "error" and "422" not in line.text else None,
        )
        page.on("request", lambda request: complaints.append(request.url) if not is_own(request.url, server) else None)
        await page.goto(server.url)
        await page.wait_for_selector("html[data-ready]")
        yield page
        await browser.close()
    assert complaints == []


def is_own(url: str, server: Server) -> bool:
    return url.startswith((server.url, "blob:", "data:"))


def expect(page: Page, selector: str) -> Any:
    """An assertion about elements that is tried until it holds; it asks from outside, as the page's policy wants."""
    return playwright.expect(page.locator(selector))


async def read(page: Page, text: str) -> str:
    """The sentence about the forecast of `text`."""
    await page.fill("#text", text)
    await page.wait_for_selector("#chart canvas")
    await expect(page, "#status").to_contain_text("%")
    return str(await page.text_content("#status"))


async def test_a_table_that_is_pasted_is_forecast(page: Page) -> None:
    sentence = await read(page, SALES)
    assert "Köln: 28 values, season of 7" in sentence
    assert await page.get_attribute("#chart", "aria-label") == sentence
    assert await page.locator("#which option").all_text_contents() == ["Köln", "Bonn"]
    await page.select_option("#which", "1")
    assert "Bonn" in str(await page.text_content("#status"))
    assert "29" in str(await page.locator("#values tbody tr").first.text_content())


async def test_sliders_ask_again(page: Page) -> None:
    await read(page, "1,2,3,4,5,6,7,8")
    await page.locator("#horizon").fill("5")
    await expect(page, "#values tbody tr").to_have_count(5)
    await page.locator("#level").fill("90")
    await expect(page, "#status").to_contain_text("90 %")


async def test_a_file_that_is_opened(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    file.write_text(SALES, encoding="utf-8")
    await page.set_input_files("#file", str(file))
    await page.wait_for_selector("#chart canvas")
    await page.click("#understood summary")
    assert "time: Datum" in str(await page.text_content("#understood"))


async def test_a_fault_shows_line_column_and_cell(page: Page) -> None:
    await page.fill("#text", SALES.replace("02.01.2024;Bonn", "01.01.2024;Bonn"))
    await page.wait_for_selector("#series-error:not([hidden])")
    assert "line 31, column 1 (Datum), '01.01.2024'" in str(await page.text_content("#series-error"))


async def test_a_backtest_shows_scores_and_forecasts(page: Page) -> None:
    await page.click("#starts button >> nth=0")
    await page.wait_for_selector("#chart canvas")
    await page.click("#backtest")
    await page.wait_for_selector("#tested canvas")
    assert "3 forecasts of 12 steps" in str(await page.get_attribute("#tested", "aria-label"))
    assert await page.locator("#scores tbody tr").count() == 5
    await page.fill("#text", "")
    await expect(page, "#welcome").to_be_visible()
    assert await page.locator("#tested").is_hidden()


async def test_download_and_copies(page: Page) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await read(page, SALES)
    async with page.expect_download() as download:
        await page.click("#download")
    path = await (await download.value).path()
    assert Path(path).read_text(encoding="utf-8").startswith("item_id,timestamp,mean,")  # noqa: ASYNC240
    for button, word in (("#curl", "curl 'http://127.0.0.1"), ("#python", "urllib.request")):
        await page.click(button)
        await expect(page, "#copied").to_have_text("Copied")
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert word in copied
        command = ["sh", "-c", copied] if button == "#curl" else [sys.executable, "-c", copied]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        output, _ = await process.communicate()
        assert output.decode().splitlines()[1].startswith("Köln,2024-01-29,")


@pytest.mark.parametrize("digit", ["0", "3", "7"])
async def test_an_example_is_read(page: Page, digit: str) -> None:
    await page.click("#tab-digit")
    await page.click(f"#strokes button:has-text('{digit}')")
    await expect(page, "#verdict").to_contain_text("%")
    assert str(await page.text_content("#verdict")).startswith(f"{digit}, with a probability")
    assert await page.locator("#bars li.best span").first.text_content() == digit


async def test_a_digit_is_drawn_with_the_mouse_and_with_keys(page: Page) -> None:
    await page.click("#tab-digit")
    box = await page.locator("#pad").bounding_box()
    assert box
    await page.mouse.move(box["x"] + 140, box["y"] + 50)
    await page.mouse.down()
    for y in range(50, 235, 15):
        await page.mouse.move(box["x"] + 140, box["y"] + y)
    await page.mouse.up()
    await expect(page, "#verdict").to_contain_text("1, with")
    await page.click("#clear")
    await page.focus("#pad")
    await page.keyboard.press("Space")
    for _ in range(20):
        await page.keyboard.press("ArrowDown")
    await expect(page, "#verdict").to_contain_text("1, with")


async def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus, which is to be seen."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        found = await page.evaluate(
            """selector => {
                const focused = document.activeElement;
                const shown = focused.type === "file" ? focused.parentElement : focused;
                const width = shown.getBoundingClientRect().width;
                const is_seen = getComputedStyle(shown).outlineStyle !== "none" && width > 1;
                const is_outside = focused === document.body;
                return [focused.matches(selector), is_seen || is_outside, focused.outerHTML.slice(0, 80)];
            }""",
            selector,
        )
        assert found[1], f"the focus is not to be seen: {found[2]}"
        if found[0]:
            return
    raise AssertionError(f"Tab never comes to {selector}")


async def test_series_with_the_keyboard_alone(page: Page) -> None:
    await tab_to(page, ".skip")
    await tab_to(page, "#tab-series")
    await tab_to(page, "#language")
    await tab_to(page, "#text")
    await page.keyboard.type("1,2,3,4,5,6,7,8,9,10")
    await expect(page, "#status").to_contain_text("10 values")
    await tab_to(page, "#file")
    await tab_to(page, "#example")
    await page.keyboard.press("ArrowDown")
    await expect(page, "#status").to_contain_text("season of 12")
    await tab_to(page, "#horizon")
    await page.keyboard.press("Home")
    await expect(page, "#values tbody tr").to_have_count(1)
    await page.keyboard.press("ArrowRight")
    await expect(page, "#values tbody tr").to_have_count(2)
    await tab_to(page, "#level")
    await page.keyboard.press("ArrowRight")
    await expect(page, "#status").to_contain_text("82 %")
    await tab_to(page, "#download")
    async with page.expect_download():
        await page.keyboard.press("Enter")
    await tab_to(page, "#backtest")
    await page.keyboard.press("Space")
    await expect(page, "#scores tbody tr").to_have_count(5)
    await tab_to(page, "#values summary")
    await page.keyboard.press("Enter")
    await expect(page, "#values table").to_be_visible()


async def test_digits_with_the_keyboard_alone(page: Page) -> None:
    await tab_to(page, "#tab-series")
    await page.keyboard.press("ArrowRight")
    await expect(page, "#digit").to_be_visible()
    await tab_to(page, "#pad")
    await expect(page, "#nib").to_be_visible()
    await page.keyboard.press("Space")
    for _ in range(20):
        await page.keyboard.press("ArrowDown")
    await expect(page, "#verdict").to_contain_text("1, with")
    await tab_to(page, "#clear")
    await expect(page, "#nib").to_be_hidden()
    await page.keyboard.press("Enter")
    await expect(page, "#verdict").not_to_contain_text("1, with")
    await tab_to(page, "#picture")
    await tab_to(page, "#strokes button:nth-child(4)")
    await page.keyboard.press("Enter")
    await expect(page, "#verdict").to_contain_text("3, with")


async def drop(page: Page, selector: str, name: str, kind: str, content: bytes) -> None:
    """Drop a file on an element."""
    await page.evaluate(
        """([selector, name, type, content]) => {
            const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type }));
            const drop = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.querySelector(selector).dispatchEvent(drop);
        }""",
        [selector, name, kind, base64.b64encode(content).decode()],
    )


@pytest.mark.parametrize("selector", ["#digit", "#series", "header"])
async def test_a_picture_that_is_dropped_is_read(page: Page, selector: str) -> None:
    if selector == "#digit":
        await page.click("#tab-digit")
    await drop(page, selector, "seven.png", "image/png", (ROOT / "docs/seven.png").read_bytes())
    await expect(page, "#verdict").to_contain_text("7, with")
    await expect(page, "#verdict").to_be_visible()


@pytest.mark.parametrize(
    ("name", "content", "selector"),
    [
        ("sales.csv", SALES.encode("cp1252"), "#series"),
        ("sales.csv", SALES.encode("utf-16"), "#digit"),
        ("sales.xlsx", workbook_of(SALES), "header"),
    ],
)
async def test_files_that_are_dropped_are_forecast(page: Page, name: str, content: bytes, selector: str) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if selector != "#series":
        await page.click("#tab-digit")
    await drop(page, selector, name, "", content)
    await expect(page, "#status").to_contain_text("Köln: 28 values")
    await page.click("#curl")
    await expect(page, "#copied").to_have_text("Copied")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert ("@'sales.xlsx'" if name.endswith("xlsx") else "Köln") in copied
    await page.fill("#text", "1 2 3 4 5 6")
    await expect(page, "#status").to_contain_text("6 values")


async def test_what_cannot_be_read_says_so(page: Page) -> None:
    await drop(page, "#series", "sales.xls", "", b"\xd0\xcf\x11\xe0 and more")
    await expect(page, "#series-error").to_contain_text("an old Excel workbook: save it as CSV")
    await drop(page, "#series", "sales.csv.gz", "", b"\x1f\x8b\x08")
    await expect(page, "#series-error").to_contain_text("unpack it first")


async def test_it_speaks_spanish(page: Page) -> None:
    await page.select_option("#language", "es")
    assert await page.text_content("#tab-digit") == "Dígitos"
    assert await page.get_attribute("html", "lang") == "es"
    await page.reload()
    await page.wait_for_selector("html[data-ready]")
    assert await page.text_content("#status") == "Pega una serie o elige un ejemplo."


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_it_fits_and_everybody_can_use_it(page: Page, width: int, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="needs axe: the extra browser")
    await page.set_viewport_size({"width": width, "height": 800})
    await page.select_option("#theme", theme)
    await page.select_option("#example", "visits")
    await page.wait_for_selector("#chart canvas")
    await page.click("#backtest")
    await page.wait_for_selector("#tested canvas")
    for tab in ("#tab-series", "#tab-digit"):
        await page.click(tab)
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        results = await axe.Axe().run(page)
        assert results.violations_count == 0, results.generate_report()


async def test_a_live_series(page: Page) -> None:
    await page.click("#live")
    await expect(page, "#status").to_have_text(re.compile("Live: [2-9]"))
    await page.click("#live")
    assert await page.get_attribute("#live", "aria-pressed") == "false"


async def test_the_documentation_works_without_the_internet(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/docs")
    await expect(page, "#operations-forecast-forecast").to_be_visible()
    await page.locator("#operations-health-livez_livez_get").click()
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_role("button", name="Execute").click()
    await expect(page, "tr.response_current td.response-col_status").to_contain_text("200")
