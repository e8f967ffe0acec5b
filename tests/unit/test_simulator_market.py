"""The promise: a generated market is one and the same for everybody, grows by appending, and is worth testing on.

Whoever names a seed and a day gets the same bytes on every machine; a later day adds files and changes none; chains
are priced as Black, Scholes and Merton price them (oracle: vollib).
"""

import csv
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from vollib.black_scholes_merton.greeks import analytical

from kapman_simulator.black_scholes import DIVIDEND_YIELD, RATE
from kapman_simulator.chains import LAST_HOUR_YEARS
from kapman_simulator.faults import FAULTS
from kapman_simulator.generated import generate
from kapman_simulator.market import Market, Unservable
from kapman_simulator.objects import HEADER, gunzipped, key_of
from kapman_simulator.options import MarketOptions
from kapman_simulator.sessions import last_completed_session, midnight_ns, session_on_or_before
from kapman_simulator.underlyings import UNDERLYINGS

TODAY = date(2026, 11, 20)
SMALL = MarketOptions(symbols=100, sessions=30, underlyings=3, contracts=80, today=TODAY)


@pytest.fixture(scope="module")
def market() -> Market:
    """A mid-sized market over a window that holds a split and the turn to fractional volumes."""
    return generate(MarketOptions(symbols=600, sessions=280, underlyings=40, contracts=500, today=TODAY))


def rows_of(market: Market, session: date) -> list[dict[str, str]]:
    text = gunzipped(market.files[key_of(session)]).decode()
    return list(csv.DictReader(text.splitlines()))


def contracts_of(market: Market, underlying: str) -> list[dict]:
    return [json.loads(row) for row in market.chains[underlying]]


def digest(market: Market) -> str:
    parts = [*market.files.values(), *(row.json for row in market.tickers)]
    parts += [row for name in sorted(market.chains) for row in market.chains[name]]
    return sha256(b"".join(parts)).hexdigest()


def test_another_process_makes_the_same_bytes() -> None:
    program = (
        "from tests.unit.test_simulator_market import SMALL, digest, generate; print(digest(generate(SMALL)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "12345", "PATH": ""},
    )
    assert other.stdout.strip() == digest(generate(SMALL))


def test_the_files_content_is_pinned() -> None:
    """A release of NumPy or Polars that changed the market would change everybody's expected results."""
    texts = b"".join(gunzipped(body) for body in generate(SMALL).files.values())
    assert sha256(texts).hexdigest() == "4c44086e399b26fd884d1c8fce769088c92c5830241201af6b3fa2b2cede9149"


def test_a_later_day_and_a_larger_market_only_add() -> None:
    small = generate(SMALL)
    later = generate(
        MarketOptions(symbols=100, sessions=42, underlyings=3, contracts=80, today=date(2026, 12, 3))
    )
    shared = small.files.keys() & later.files.keys()
    assert len(shared) == 30
    assert {key: later.files[key] for key in shared} == {key: small.files[key] for key in shared}

    larger = generate(MarketOptions(symbols=900, sessions=5, underlyings=7, contracts=80, today=TODAY))
    assert {name: larger.chains[name] for name in small.chains} == small.chains
    by_symbol = {row["ticker"]: row for row in rows_of(larger, TODAY)}
    assert all(by_symbol[row["ticker"]] == row for row in rows_of(small, TODAY))
    assert {row.json for row in small.tickers} <= {row.json for row in larger.tickers}


def test_a_past_session_has_the_chains_that_it_had_on_its_day() -> None:
    """Whoever asks later, of a market of another size, gets what was shown then; but never a day that is to come."""
    now = generate(MarketOptions(symbols=100, sessions=30, underlyings=4, contracts=80, today=TODAY))
    for day in (date(2026, 11, 19), date(2026, 10, 26)):
        then = generate(MarketOptions(symbols=60, sessions=5, underlyings=3, contracts=80, today=day))
        assert {name: now.past_chain(name, day) for name in then.chains} == then.chains
    assert now.past_chain("TPC", date(2026, 11, 19)) == []
    for unknown in (date(2026, 11, 23), date(2026, 11, 21), date(2026, 9, 1)):
        assert now.past_chain("AAPL", unknown) is None


def test_chains_live_from_session_to_session() -> None:
    """Volatility moves against the market and back to its height; a contract's interest is a story, not a draw."""
    market = generate(MarketOptions(symbols=60, sessions=253, underlyings=32, contracts=60, today=TODAY))
    sessions = [date.fromisoformat(key[-17:-7]) for key in market.files]

    def of(symbol: str) -> list[dict[str, dict]]:
        chains = [[json.loads(row) for row in market.past_chain(symbol, day) or []] for day in sessions]
        return [{row["details"]["ticker"]: row for row in chain} for chain in chains]

    spy = of("SPY")
    ivs = np.log(
        [
            np.mean([c["implied_volatility"] for c in chain.values() if "implied_volatility" in c])
            for chain in spy
        ]
    )
    spot = np.log([next(iter(chain.values()))["underlying_asset"]["price"] for chain in spy])
    assert np.corrcoef(np.diff(ivs), np.diff(spot))[0, 1] < -0.3
    assert 0.04 < ivs.std() < 0.2
    assert np.corrcoef(ivs[1:], ivs[:-1])[0, 1] > 0.7
    interest = [
        (earlier[ticker]["open_interest"], chain[ticker]["open_interest"])
        for earlier, chain in pairwise(spy)
        for ticker in chain.keys() & earlier.keys()
    ]
    changes = [abs(now - before) / before for before, now in interest if before >= 100]
    assert 0 < np.median(changes) < 0.15


def test_another_seed_is_another_market() -> None:
    assert digest(generate(SMALL)) != digest(generate(MarketOptions(**{**SMALL.__dict__, "seed": 99})))


def test_bars_are_possible_bars(market: Market) -> None:
    for key, body in market.files.items():
        text = gunzipped(body).decode()
        assert text.startswith(",".join(HEADER) + "\n")
        rows = list(csv.DictReader(text.splitlines()))
        session = date.fromisoformat(key[-17:-7])
        o, h, low, c, v = (
            np.array([float(row[name]) for row in rows])
            for name in ("open", "high", "low", "close", "volume")
        )
        assert (low > 0).all()
        assert (low <= np.minimum(o, c)).all()
        assert (h >= np.maximum(o, c)).all()
        assert (v >= 0).all()
        assert {int(row["window_start"]) for row in rows} == {midnight_ns(session)}
        symbols = [row["ticker"] for row in rows]
        assert symbols == sorted(set(symbols))
        assert all(len(row["close"].partition(".")[2]) <= 4 for row in rows)
        fractional = any("." in row["volume"] for row in rows)
        assert fractional == (session >= date(2026, 1, 1))


def test_returns_move_with_the_market(market: Market) -> None:
    sessions = sorted(date.fromisoformat(key[-17:-7]) for key in market.files)
    by_session = [
        {row["ticker"]: float(row["close"]) for row in rows_of(market, session)} for session in sessions
    ]

    def returns(symbol: str) -> np.ndarray:
        return np.diff(np.log([closes[symbol] for closes in by_session]))

    correlation = np.corrcoef([returns(name) for name in ("SPY", "QQQ", "MSFT", "TLT")])
    assert correlation[0, 1] > 0.75
    assert 0.3 < correlation[0, 2] < 0.9
    assert correlation[0, 3] < 0.2
    assert 0.1 < returns("SPY").std() * np.sqrt(252) < 0.19
    # The split of 2025-11-17 is a fall to a tenth: prices are unadjusted.
    fall = dict(zip(sessions[1:], returns("NFLX"), strict=True))[date(2025, 11, 17)]
    assert np.log(1 / 10) - 0.15 < fall < np.log(1 / 10) + 0.15


def test_the_vendors_odd_symbols_are_there(market: Market) -> None:
    traded = Counter(
        row["ticker"] for key in market.files for row in rows_of(market, date.fromisoformat(key[-17:-7]))
    )
    listed = {row.symbol for row in market.tickers if row.active}
    assert {
        "BRK.A",
        "BRK.B",
        "TPC",
        "TpC",
        "BACpK",
        "MRTpA.CL",
        "SPCQ.WS",
        "SPCQ.U",
        "AIIAr",
    } <= traded.keys() & listed
    assert {"ZVZZT", "ZWZZT", "ZXZZT", "ZTEST", "NTEST", "CTEST", "ATEST"} <= traded.keys()
    assert {"GHOST", "PHNTM", "KVUEw"} <= traded.keys() - {row.symbol for row in market.tickers}
    assert any(count < len(market.files) * 0.9 for count in traded.values())
    assert any(row["volume"] == "0" for row in rows_of(market, TODAY))
    assert any(not row.active for row in market.tickers)
    types = {row.type for row in market.tickers}
    assert {"CS", "ETF", "ETV", "ADRC", "PFD", "WARRANT", "UNIT", "RIGHT", "FUND"} <= types
    assert any(b"composite_figi" not in row.json for row in market.tickers)


def test_chains_are_priced_by_black_scholes_merton(market: Market) -> None:
    closes = {row["ticker"]: float(row["close"]) for row in rows_of(market, TODAY)}
    for underlying in ("AAPL", "BRK.B", "SPY"):
        for contract in contracts_of(market, underlying):
            assert contract["underlying_asset"]["price"] == closes[underlying]
            if not contract.get("greeks") or "implied_volatility" not in contract:
                continue
            details = contract["details"]
            flag = details["contract_type"][0]
            days = (date.fromisoformat(details["expiration_date"]) - TODAY).days
            arguments = (
                flag,
                closes[underlying],
                details["strike_price"],
                max(days / 365, LAST_HOUR_YEARS),
                RATE,
                contract["implied_volatility"],
                DIVIDEND_YIELD,
            )
            for name in ("delta", "gamma", "theta", "vega"):
                expected = getattr(analytical, name)(*arguments)
                assert contract["greeks"][name] == pytest.approx(expected, rel=1e-6, abs=2e-8), (
                    details,
                    name,
                )
            assert 0 <= contract["last_quote"]["bid"] < contract["last_quote"]["ask"]


def test_chains_look_like_the_vendors(market: Market) -> None:
    everything = [contract for name in market.chains for contract in contracts_of(market, name)]
    assert list(market.chains) == list(UNDERLYINGS[:40])
    assert all(490 <= len(chain) <= 510 for chain in market.chains.values())
    liquid = np.mean([c["open_interest"] >= 100 and c["day"].get("volume", 0) >= 1 for c in everything])
    assert 0.3 < liquid < 0.9
    assert 0.02 < np.mean([not c.get("greeks") for c in everything]) < 0.3
    assert any(c.get("greeks") == {} for c in everything)
    assert any("greeks" not in c for c in everything)
    assert any(c.get("greeks") and "implied_volatility" not in c for c in everything)
    assert any(c["day"] == {} for c in everything)
    assert any(c["day"].get("last_updated", midnight_ns(TODAY)) < midnight_ns(TODAY) for c in everything)
    assert any(c["details"]["shares_per_contract"] == 10 for c in everything)
    for name in ("AAPL", "SPY"):
        expiries = {c["details"]["expiration_date"] for c in contracts_of(market, name)}
        assert 8 <= len(expiries) <= 14
        assert (TODAY.isoformat() in expiries) == (name == "SPY")


def test_adjusted_contracts_share_a_key_with_standard_ones(market: Market) -> None:
    key = ("expiration_date", "strike_price", "contract_type")
    chain = [c["details"] for c in contracts_of(market, "AAPL")]
    adjusted = [details for details in chain if details["ticker"].startswith("O:AAPL1")]
    standard = {tuple(details[name] for name in key) for details in chain if details not in adjusted}
    assert len(adjusted) == 4
    assert all(tuple(details[name] for name in key) in standard for details in adjusted)
    assert len(standard) == len(chain) - len(adjusted)
    assert len({details["ticker"] for details in chain}) == len(chain)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 20, 20, 59, tzinfo=UTC), date(2026, 11, 19)),
        (datetime(2026, 11, 20, 21, 0, tzinfo=UTC), date(2026, 11, 20)),
        (datetime(2026, 11, 21, 12, 0, tzinfo=UTC), date(2026, 11, 20)),
        (datetime(2026, 11, 26, 23, 0, tzinfo=UTC), date(2026, 11, 25)),  # Thanksgiving
        (datetime(2026, 11, 27, 22, 0, tzinfo=UTC), date(2026, 11, 27)),  # half day
    ],
)
def test_today_is_the_last_session_that_is_over(now: datetime, expected: date) -> None:
    assert last_completed_session(now) == expected


def test_what_cannot_be_served_is_said() -> None:
    assert session_on_or_before(date(2026, 11, 22)) == TODAY
    assert generate(MarketOptions(60, 2, 1, 40, today=date(2026, 11, 22))).notes
    for impossible in (
        MarketOptions(symbols=3, underlyings=4),
        MarketOptions(underlyings=141),
        MarketOptions(sessions=5000, today=TODAY),
        MarketOptions(today=date(1999, 1, 4)),
    ):
        with pytest.raises(Unservable):
            generate(impossible)


def test_the_documentation_names_every_fault() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
    for entry in FAULTS.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{entry.name}` |"))
        assert row.endswith(f"| {entry.what} |")
