"""Promise: the market page writes numbers as traders do, has words for every status that metrics can have, leads
where its address says, and draws figures that Plotly accepts."""

import datetime as dt
import re

import plotly.graph_objects as go
import polars as pl
import pytest

from kapman_market import charts, numbers, reading, words
from kapman_market.address import Address
from kapman_market.tables import COLUMNS, filtered_watchlist, sorted_watchlist
from kapman_metrics.catalogue import Metric
from kapman_metrics.dealer import DEALER_METRICS
from kapman_metrics.volatility import VOLATILITY_METRICS

SESSION = dt.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.dollars(415_348_897.865, sign=True), "+$415.3M"),
        (numbers.dollars(-1_300_466_585.35), "−$1.30B"),
        (numbers.dollars(999_999), "$1.00M"),
        (numbers.dollars(950.4), "$950"),
        (numbers.dollars(0.0, sign=True), "$0"),
        (numbers.dollars(None), "–"),
        (numbers.dollars(float("nan")), "–"),
        (numbers.amount(12_345_678), "12.3M"),
        (numbers.price(1007.479), "1,007.48"),
        (numbers.price(0.08123), "0.0812"),
        (numbers.strike(310.0), "310"),
        (numbers.strike(312.5), "312.5"),
        (numbers.strike(1000.0), "1,000"),
        (numbers.strike(0.5), "0.5"),
        (numbers.percent(1.234), "+1.23%"),
        (numbers.percent(-0.001), "0.00%"),
        (numbers.volatility(0.2345), "23.4%"),
        (numbers.points(-0.04), "0.0"),
        (numbers.points(2.13), "+2.1"),
        (numbers.index(-83.44), "−83.4"),
        (numbers.count(5213), "5,213"),
        (numbers.day(SESSION), "Fri 2026-11-20"),
        (numbers.moment(dt.datetime(2026, 11, 20, 21, tzinfo=dt.UTC)), "2026-11-20 16:00 New York"),
        (numbers.moment(dt.datetime(2026, 7, 10, 20, tzinfo=dt.UTC)), "2026-07-10 16:00 New York"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_traders_write_them(shown: str, expected: str) -> None:
    """Notionals in millions and billions, strikes as listed, no negative zero, sessions in New York."""
    assert shown == expected


def test_an_address_and_its_page_say_the_same() -> None:
    """What a link says is read back; what it leaves out has its default; nonsense does no harm."""
    said = Address("BRK.B", SESSION, "volatility", "large_caps", "-dgpi", "bank & co")
    assert Address.parse(said.search) == said.to(said_date="2026-11-20")
    assert Address.parse("").tab == "watchlist"
    assert Address.parse("?symbol=AAPL").tab == "symbol"
    odd = Address.parse("?date=2026-02-30&tab=nothing&symbol=%00';--&sort=%F0&x=1")
    assert (odd.session, odd.said_date, odd.tab) == (None, "2026-02-30", "symbol")


def _named(metrics: tuple[Metric, ...], path: str) -> str:
    return next(metric.formula for metric in metrics if ".".join(metric.path) == path)


def test_every_reason_has_its_words() -> None:
    """A reason, flag or filter that is added to the metrics fails here until the page can say it."""
    dealer, volatility = DEALER_METRICS, VOLATILITY_METRICS
    reasons = set(re.findall(r"[a-z]+_[a-z0-9_]+", _named(volatility, "status_reason")))
    reasons |= set(re.findall(r"\b(no_\w+|all_\w+|zero_\w+)", _named(dealer, "status_reason")))
    assert reasons == set(words.REASONS)
    assert set(re.findall(r"\b[a-z]+_[a-z]+\b", _named(dealer, "gamma_flip_status"))) == set(words.FLIPS)
    assert set(re.findall(r"(\w+): ", _named(dealer, "quality.flags[]"))) <= set(words.FLAGS)
    filters = {metric.path[1] for metric in (*dealer, *volatility) if metric.path[0] == "filters"}
    assert filters == set(words.FILTERS)


def test_a_status_says_how_far_it_can_be_trusted() -> None:
    """One sentence with the reason, the numbers behind it, and what to beware of."""
    row = {
        "status": "INVALID",
        "status_reason": "no_options",
        "quality_flags": ["thin_chain"],
        "filters_expired": 3,
    }
    counts = {"eligible_options_count": 0, "total_options_count": 3}
    assert words.dealer_status(row | counts) == (
        "Dealer metrics can't be computed: the snapshot has no contract of the symbol. 0 of 3 contracts count; left out:"
        " 3 expired. Beware: the chain has fewer than 25 live contracts."
    )


def _watchlist() -> pl.DataFrame:
    known = {
        "symbol": ["A", "B", "C", "D"],
        "name": ["Alpha Bank", None, "Gamma", "Delta"],
        "watchlists": ["large, funds", "large", "largest", "funds"],
        "dgpi": [1.0, None, -5.0, 3.0],
        "distance_to_flip_pct": [-9.0, 2.0, None, -0.5],
    }
    return pl.DataFrame(known).select(
        known[name] and pl.col(name) if name in known else pl.lit(None, dtype=kind).alias(name)
        for name, kind in reading.WATCHLIST.items()
    )


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("", "ABCD"), ("-symbol", "DCBA"), ("-dgpi", "DACB"), ("dgpi", "CADB"), ("distance_to_flip_pct", "DBAC"), ("no such", "ABCD")],
)  # fmt: skip
def test_the_watchlist_sorts_with_missing_values_last(sort: str, expected: str) -> None:
    """In either direction; the distance to the flip by its size."""
    assert "".join(sorted_watchlist(_watchlist(), sort)["symbol"]) == expected


def test_the_watchlist_filters_by_whole_list_and_by_text() -> None:
    """`large` is not `largest`; text looks into symbol and name, letters and signs as they are."""
    assert filtered_watchlist(_watchlist(), Address(watchlist="large"))["symbol"].to_list() == ["A", "B"]
    assert filtered_watchlist(_watchlist(), Address(text="BANK"))["symbol"].to_list() == ["A"]
    assert filtered_watchlist(_watchlist(), Address(text=".*"))["symbol"].to_list() == []


def test_columns_are_those_that_are_read() -> None:
    """No column of the table is without its value."""
    assert {column.name for column in COLUMNS} <= set(reading.WATCHLIST)


def _rows(columns: dict[str, pl.DataType], days: list[dt.date]) -> pl.DataFrame:
    return pl.DataFrame(
        {name: days if name == "session" else [1.0 + i if kind == pl.Float64 else None for i in range(len(days))] for name, kind in columns.items()},
        schema=columns,
    )  # fmt: skip


def test_figures_are_valid_and_keep_missing_sessions_as_gaps() -> None:
    """Plotly's own validation; a Tuesday without a row is a gap, a weekend is not."""
    days = [dt.date(2026, 11, 13), dt.date(2026, 11, 16), dt.date(2026, 11, 18)]
    gex = pl.DataFrame(
        {
            "strike": [95.0, 100.0, 102.5],
            "call_gex": [1e6, 2e8, 3e6],
            "put_gex": [-1e6, -3e8, 0.0],
            "net_gex": [0.0, -1e8, 3e6],
        }
    )
    levels = {"spot": 100.2, "gamma_flip": None, "call_wall_strike": 100.0, "put_wall_strike": 100.0}
    metrics = {"spot": 100.0, "atm_iv_30d": 0.2, "atm_iv_90d": None}
    term = pl.DataFrame({"expiration": [SESSION], "days": [7], "atm_iv": [0.2]})
    smile = pl.DataFrame(
        {
            "expiration": [SESSION] * 2,
            "days": [7, 7],
            "strike": [95.0, 105.0],
            "option_type": ["P", "C"],
            "implied_volatility": [0.3, 0.2],
            "delta": [-0.2, 0.2],
        }
    )
    figures = [
        charts.price(_rows(reading.PRICE, days), SESSION),
        charts.gamma_profile(gex, levels),
        charts.term_structure(term, metrics),
        charts.skew(smile, metrics),
        charts.volatility_history(_rows(reading.VOLATILITY_HISTORY, days), SESSION),
        charts.dealer_history(_rows(reading.DEALER_HISTORY, days), SESSION),
    ]  # fmt: skip
    for figure in figures:
        go.Figure(figure)
        assert all(color.startswith("#") for _, color, _ in charts.key(figure))
    flip = figures[5]["data"][0]
    assert flip["x"] == ["2026-11-13", "2026-11-16", "2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20"]
    assert flip["y"] == [1.0, 2.0, None, 3.0, None, None]
    assert [name for name, _, _ in charts.key(figures[1])] == [
        "Calls",
        "Puts",
        "Net",
        "Spot 100.20",
        "Call and put wall 100",
    ]
