"""Draws page-series.png and page-digit.png: the page of a running service, in Chromium.

    make serve                                                       # in another shell
    .venv/bin/python docs/page.py [http://127.0.0.1:8000]            # from the repository's root

Needs the extra `browser` (Playwright), and chromium on the path.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).resolve().parent
WAIT = 120_000  # milliseconds, a guard
SETTLED = 500  # milliseconds after which a chart has its size


def draw(address: str) -> None:
    """Draw both pictures."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 760}, reduced_motion="reduce", locale="en-GB")
        page.set_default_timeout(WAIT)
        page.goto(address)
        page.select_option("#example", "shop")
        page.wait_for_selector("#chart canvas")
        page.wait_for_timeout(SETTLED)
        page.screenshot(path=FOLDER / "page-series.png")
        page.click("#tab-digit")
        page.click("#strokes button:has-text('3')")
        page.wait_for_selector("#bars li.best")
        page.wait_for_timeout(SETTLED)
        page.screenshot(path=FOLDER / "page-digit.png")
        browser.close()


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
