"""The market page against one second: `python benchmarks/market_page.py [--repeats 5] [--symbol AAPL]`.

Starts `kapman market` on the platform's database (DATABASE_URL, else the embedded server), drives it with headless
Chromium, and measures each interaction in the page's own clock: from the click until the page is that of the new
address, nothing is loading, its charts are drawn, and two frames have been painted. The first page of a browser,
which fetches the scripts, stands apart.

Prints a line per interaction, `<name> ratio <number>`: the median over `--repeats`, as a share of a second; the slowest
of all is the headline.
"""

import argparse
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

LIMIT_MS = 1000.0
MEASURE = """async ([selector, charts]) => {
    const frame = () => new Promise(requestAnimationFrame);
    const graphs = () => [...document.querySelectorAll("figure .graph")];
    const ready = () => document.querySelector("#content > [data-search]")?.dataset.search === location.search
        && graphs().length === charts && graphs().every((graph) => graph.querySelector(".cartesianlayer .subplot"));
    const began = performance.now();
    document.querySelector(selector).click();
    while (!ready()) {
        if (performance.now() - began > 30000) throw new Error(`${selector} doesn't get ready: ${document.title}`);
        await frame();
    }
    await frame();
    await frame();
    return performance.now() - began;
}"""


def interactions(symbol: str) -> list[tuple[str, str, int]]:
    """Name, what is clicked, and how many charts the page then has."""
    return [
        ("watchlist", "#tab-1", 0),
        ("sort_by_dgpi", "#watchlist-table th:nth-child(4) a", 0),
        ("sort_by_iv_rank", "#watchlist-table th:nth-child(6) a", 0),
        ("open_symbol", f"#watchlist-table tbody tr:has(a[href*='symbol={symbol}&']) td", 2),
        ("next_symbol", "#next-symbol a", 2),
        ("previous_session", "#previous-session a", 2),
        ("next_session", "#next-session a", 2),
        ("volatility", "#tab-3", 3),
        ("next_symbol_volatility", "#next-symbol a", 3),
        ("dealer_history", "#tab-4", 1),
        ("next_symbol_history", "#next-symbol a", 1),
        ("data_health", "#tab-5", 0),
    ]


def main() -> None:
    """Start, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--symbol", default="AAPL")
    options = parser.parse_args()
    server = subprocess.Popen(
        [Path(sys.executable).with_name("kapman"), "market", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        said = server.stdout.readline() if server.stdout else ""
        found = re.search(r"http://\S+", said)
        if found is None:
            sys.exit(f"`kapman market` said {said!r}")
        figures = _figures(found[0], options.symbol, options.repeats)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    for name, values in figures.items():
        print(f"{name}: {statistics.median(values):.0f} ms, slowest {max(values):.0f} ms")
    medians = {name: statistics.median(values) / LIMIT_MS for name, values in figures.items()}
    for name, share in medians.items():
        print(f"{name} ratio {share:.3f}")
    medians.pop("first_page")
    print(f"market_page_slowest ratio {max(medians.values()):.3f}")


def _figures(url: str, symbol: str, repeats: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(url)
        page.locator("#watchlist-table tbody tr").first.wait_for()
        first = page.evaluate("performance.now()")
        figures["first_page"] = [float(first)]
        for repeat in range(repeats + 1):
            for name, selector, charts in interactions(symbol):
                took = float(page.evaluate(MEASURE, [selector, charts]))
                if repeat:  # the first round fetches and compiles the chart library
                    figures.setdefault(name, []).append(took)
        browser.close()
    return figures


if __name__ == "__main__":
    main()
