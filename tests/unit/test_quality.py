"""Promise: `quality` tells odd rows from ordinary ones: splits are seen, ordinary days are not taken for one, bars
without trades and greeks of another day are named, and a flag depends on the row's own window and chain alone.

Oracles: the definitions a second time in plain Python, bar by bar; real bars of two years; chains whose greeks are
Black–Scholes' own, of the session's spot or of another one.
"""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from kapman_metrics.black_scholes import gamma
from kapman_metrics.chain import Carry, read_snapshot
from kapman_metrics.quality import BAR_QUALITY, CHAIN_QUALITY, JUMP, bar_quality, chain_quality
from kapman_metrics.rendering import json_column
from kapman_metrics.windows import HISTORY_SESSIONS, BarWindows
from tests.conftest import dataset
from tests.unit.generated_bars import bars

Quality = dict[str, Any]
SPLITS = (1.5, 2, 3, 4, 5, 7, 8, 10, 20, 50, 1 / 2, 1 / 8, 1 / 10, 1 / 25, 1 / 100)
"""Shares after for one before: those of 27 large caps since 1987, and the usual consolidations of small ones."""


def quality_of(frame: pl.DataFrame, sessions: list[date] | None = None) -> list[Quality]:
    """The objects of the rows, by ticker and date."""
    windows = BarWindows.of(frame, frame["date"].to_list() if sessions is None else sessions)
    return [json.loads(row)["quality"] for row in json_column(bar_quality(windows))]


def expected(frame: pl.DataFrame) -> list[Quality]:
    """The definitions, for every bar of one ticker."""
    rows = list(frame.iter_rows(named=True))
    found = []
    for end in range(1, len(rows) + 1):
        window = rows[max(0, end - HISTORY_SESSIONS) : end]
        jumps = [
            (str(now["date"]), now["close"] / before["close"])
            for before, now in pairwise(window)
            if min(now["open"], now["close"]) >= JUMP * before["close"]
            or max(now["open"], now["close"]) <= before["close"] / JUMP
        ]
        idle = stale = 0
        while idle < len(window) and window[-1 - idle]["volume"] == 0:
            idle += 1
        prices = [[row[name] for name in ("open", "high", "low", "close")] for row in window]
        while stale < idle and stale + 1 < len(window) and prices[-1 - stale] == prices[-2 - stale]:
            stale += 1
        days = (window[-1]["date"] - window[-2]["date"]).days if len(window) > 1 else None
        flags = {
            "split_like_jump": jumps,
            "stale_bar": stale,
            "zero_volume": idle,
            "missing_bars": days is not None and days > 7,
        }
        found.append(
            {
                "flags": [name for name, set_ in flags.items() if set_],
                "bars_in_window": len(window),
                "split_like_jumps": len(jumps),
                "last_jump_date": jumps[-1][0] if jumps else None,
                "last_jump_ratio": jumps[-1][1] if jumps else None,
                "stale_bars": stale,
                "zero_volume_bars": idle,
                "days_since_bar_before": days,
            }
        )
    return found


@pytest.mark.parametrize("shape", ["walk", "halted", "gaps", "split", "quiet", "dead", "penny"])
def test_bars_by_the_definitions(shape: str) -> None:
    """Every bar of odd tickers, days without a bar among them: what a reader of the definitions would count."""
    frame = bars("a", 640, 5, shape)
    if shape == "halted":
        frame = frame.with_columns(volume=pl.when(pl.col("close") == 123.45).then(0.0).otherwise("volume"))
    frame = frame.filter(pl.int_range(pl.len()) % 97 > 9)
    assert quality_of(frame) == expected(frame)
    assert {metric.path[-1].removesuffix("[]") for metric in BAR_QUALITY} == expected(frame)[0].keys()


@pytest.mark.parametrize("ratio", SPLITS)
def test_a_split_is_seen_until_it_leaves_the_window(ratio: float) -> None:
    """Whatever else the day brought, up to 5 %: flagged on its day, with its date, and for 399 bars."""
    frame = bars("a", 900, 3)
    day = frame["date"][300]
    after = pl.when(pl.col("date") >= day).then(1 / ratio).otherwise(1.0)
    split = frame.with_columns(pl.col("open", "high", "low", "close") * after)
    rows = quality_of(split)
    assert [row["last_jump_date"] for row in rows[298:302]] == [None, None, str(day), str(day)]
    assert rows[300]["last_jump_ratio"] == pytest.approx(1 / ratio, rel=0.07)
    assert [row["split_like_jumps"] for row in rows[300 + 397 : 300 + 401]] == [1, 1, 0, 0]


def test_a_crash_in_the_session_is_none_and_one_overnight_is() -> None:
    """VRT fell by 30 % on 2025-01-27, from an open 20 % down: a trading day. SMCI's 2024-10-30 can't be told apart."""
    frame = pl.DataFrame(
        {
            "ticker_id": ["SMCI", "SMCI", "VRT", "VRT"],
            "date": [date(2024, 10, 29), date(2024, 10, 30), date(2025, 1, 24), date(2025, 1, 27)],
            "open": [49.0, 34.85, 147.0, 117.05],
            "high": [50.0, 36.5, 149.0, 118.0],
            "low": [48.5, 32.6, 145.0, 100.0],
            "close": [49.12, 33.07, 146.32, 102.6],
            "volume": [1.0, 6.7, 1.0, 5.5],
        }
    )
    assert [row["flags"] for row in quality_of(frame)] == [[], ["split_like_jump"], [], []]


def test_a_row_rests_on_its_own_window() -> None:
    """The same computed alone, in a range, with more history at hand, and beside tickers of other prices."""
    cheap, dear = bars("a", 450, 1, "penny"), bars("b", 900, 2, "split")
    days = dear["date"].to_list()
    together = quality_of(pl.concat([dear, cheap]), days[430:440])
    assert together == [*quality_of(cheap)[430:440], *quality_of(dear)[430:440]]
    assert quality_of(dear[31:440], [days[430]]) == quality_of(dear, [days[430]])
    apart = [days[5], days[402], days[700]]  # windows that overlap and windows that don't
    assert quality_of(dear, apart) == [quality_of(dear)[days.index(day)] for day in apart]
    assert quality_of(cheap, []) == []


def test_real_large_caps_are_seldom_flagged() -> None:
    """Two years of 259 stocks and ETFs, none of them split in these adjusted bars: one crash, one takeover."""
    files = sorted((dataset("market_2026") / "flatfiles/us_stocks_sip/day_aggs_v1").glob("*/*/*.csv.gz"))
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64)
    frame = pl.concat(
        pl.read_csv(path, schema_overrides=prices).select(
            pl.col("ticker").alias("ticker_id"), *prices, date=pl.lit(date.fromisoformat(path.name[:10]))
        )
        for path in files
    )
    windows = BarWindows.of(frame, frame["date"].unique().to_list())
    values = {path[-1]: column for path, column in bar_quality(windows).items()}
    found = windows.keys.with_columns(**values).explode("flags").drop_nulls("flags")
    jumps = found.filter(flags="split_like_jump").select("ticker_id", "last_jump_date").unique()
    assert jumps.rows() == [("SMCI", "2024-10-30")]
    assert set(found.filter(flags="stale_bar")["ticker_id"]) == {
        "EA"
    }  # bought out: bars without trades at the end


SESSION = date(2026, 8, 21)
CLOSE = datetime(2026, 8, 21, 20, tzinfo=UTC)


def chain_of(name: str, spot: float, volatility: float = 0.3) -> pl.DataFrame:
    """Calls and puts of three expiries with Black–Scholes' gamma at that spot, published to four decimals."""
    terms = [
        (days, strike, side)
        for days in (3, 28, 63)
        for strike in np.arange(60.0, 141.0, 2.5).tolist()
        for side in "CP"
    ]
    days, strikes, sides = zip(*terms, strict=True)
    gammas = gamma(spot, np.array(strikes), np.array(days) / 365, volatility)
    return pl.DataFrame(
        {
            "ticker_id": [name] * len(terms),
            "expiration_date": [SESSION + timedelta(days=n) for n in days],
            "expires_at": [CLOSE + timedelta(days=n) for n in days],
            "strike_price": strikes,
            "option_type": sides,
            "volume": [10] * len(terms),
            "open_interest": [1000] * len(terms),
            "implied_volatility": [volatility] * len(terms),
            "gamma": np.round(gammas, 4),
            "shares_per_contract": [100] * len(terms),
        }
    )


def chains(*contracts: pl.DataFrame, spot: float | None = 100.0) -> dict[str, Quality]:
    """The object of each ticker id; `none` has no contracts."""
    given = pl.concat(contracts)
    names = sorted({*given["ticker_id"], "none"})
    underlyings = pl.DataFrame(
        {"ticker_id": names, "symbol": names, "spot": [spot] * len(names)},
        schema_overrides={"spot": pl.Float64},
    )
    snapshot = read_snapshot(given, underlyings, snapshot_time=CLOSE, session=SESSION, carry=Carry(0.0))
    return dict(zip(snapshot.underlyings["ticker_id"], chain_quality(snapshot), strict=True))


def test_greeks_of_another_day_are_told_from_fresh_ones() -> None:
    """The session's own greeks are not flagged, at any level of volatility; those of a spot 15 % away are."""
    found = chains(
        chain_of("calm", 100.0, 0.12),
        chain_of("fresh", 100.0),
        chain_of("stale", 115.0),
        chain_of("wild", 100.0, 0.9),
    )
    assert {name: one["flags"] for name, one in found.items()} == {
        "calm": [],
        "fresh": [],
        "none": [],
        "stale": ["stale_greeks"],
        "wild": [],
    }
    assert found["fresh"]["compared_gammas"] == 2 * 2 * 9  # two expiries of a week or more, 90 to 110
    assert found["fresh"]["stale_greeks_share"] == 0.0
    assert chains(chain_of("a", 100.0), spot=None)["a"]["stale_greeks_share"] is None


def test_what_a_chain_lacks_is_counted() -> None:
    """Shares are of live contracts; a few contracts are a thin chain, and none at all are no chain."""
    whole = chain_of("a", 100.0)
    first = pl.int_range(pl.len()) < 120
    lacking = whole.with_columns(
        gamma=pl.when(first).then(None).otherwise("gamma"),
        implied_volatility=pl.when(~first).then(0.0).otherwise("implied_volatility"),
    )
    expired = whole[:3].with_columns(
        expiration_date=SESSION - timedelta(days=1), expires_at=CLOSE - timedelta(days=1)
    )
    found = chains(pl.concat([lacking, expired]))
    assert found["a"] == {
        "flags": ["without_greeks"],
        "live_options_count": 198,
        "without_greeks_share": pytest.approx(120 / 198),
        "without_iv_share": pytest.approx(78 / 198),
        "compared_gammas": 0,
        "stale_greeks_share": None,
    }
    assert found["none"]["live_options_count"] == 0
    assert found["none"]["without_iv_share"] is None
    assert chains(whole[:24])["a"]["flags"] == ["thin_chain"]
    assert chains(whole[:25])["a"]["flags"] == []
    assert {metric.path[-1].removesuffix("[]") for metric in CHAIN_QUALITY} == found["a"].keys()
