"""Take the README's pictures: the market page and a check in Dagster's web interface, as they are on the demo after `make repave`.

Starts `kapman market` and `kapman ui` on free ports, drives Debian's chromium (headless), and writes docs/images/*.png.
The run needs what `make` has built, and the development dependencies: `source .venv/bin/activate`, then
`python scripts/screenshots.py`. Look at the pictures before committing them.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PROJECT = Path(__file__).resolve().parents[1]
IMAGES = PROJECT / "docs" / "images"
SIZE = {"width": 1280, "height": 880}
LARGEST_KB = 200
"""A README is loaded by many."""
START_SECONDS = 180
SYMBOL = "AAPL"
MARKET, CHECK = "market.png", "check.png"


def main() -> None:
    """Both pictures."""
    chromium = shutil.which("chromium") or sys.exit("There is no chromium; sudo apt-get install -y chromium.")
    IMAGES.mkdir(exist_ok=True)
    with (
        serving("market") as market,
        serving("ui") as ui,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(60_000)
        take_market(page, market)
        take_check(page, ui)
    for name in (MARKET, CHECK):
        size = (IMAGES / name).stat().st_size / 1000
        print(f"docs/images/{name}: {size:.0f} KB")
        if size > LARGEST_KB:
            sys.exit(f"{name} is larger than {LARGEST_KB} KB: show less of the page.")


def take_market(page: Page, url: str) -> None:
    """Price and gamma of one symbol."""
    page.goto(f"{url}/?symbol={SYMBOL}&tab=symbol")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / MARKET, animations="disabled")


def take_check(page: Page, url: str) -> None:
    """A check of the bars with its verdict, numbers and query."""
    page.goto(f"{url}/assets/ohlcv?view=checks")
    page.get_by_text("Hide navigation", exact=True).click()
    page.get_by_text("ohlcv_rows_are_accounted_for", exact=True).first.click()
    page.get_by_text("Passed", exact=True).first.wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / CHECK, animations="disabled")


@contextmanager
def serving(command: str) -> Iterator[str]:
    """The address of `kapman COMMAND`, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [Path(sys.executable).with_name("kapman"), command, "--port", str(port)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
    )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
        while not answers(url):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"`kapman {command}` doesn't answer at {url}.")
            time.sleep(0.2)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  (an address of ours)
            return True
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


if __name__ == "__main__":
    main()
