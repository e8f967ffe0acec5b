"""Every contract and ticker that the vendor sends is stored, ignored under a reason, or rejected with its text.

Nothing may depend on how the vendor cut its answer into pages or in which order it came; the quirks of the
vendor's data (adjusted contracts, stale day bars, duplicates, odd symbols) have the outcome that we document.
"""

import datetime as dt
import gzip
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from kapman_resources.errors import VendorError
from kapman_resources.tables import OPTIONS_CHAINS, TICKERS
from kapman_resources.vendor_pages import DecodedChain, DecodedTickers, decode_chain, decode_tickers
from tests.conftest import dataset

SESSION = dt.date(2026, 1, 15)
# Midnight in New York at the start of the session, in nanoseconds: what the vendor writes into `day`.
MIDNIGHT = int(dt.datetime(2026, 1, 15, 5, tzinfo=dt.UTC).timestamp()) * 1_000_000_000
DAY = 86_400_000_000_000


def page(items: Sequence[Any]) -> bytes:
    return json.dumps({"status": "OK", "results": list(items)}).encode()


def contract(**changes: Any) -> dict[str, Any]:
    """A complete contract of AAPL; `details__strike_price=1` changes a nested field, None removes it."""
    item: dict[str, Any] = {
        "details": {
            "contract_type": "call",
            "exercise_style": "american",
            "expiration_date": "2026-01-16",
            "shares_per_contract": 100,
            "strike_price": 150,
            "ticker": "O:AAPL260116C00150000",
        },
        "day": {"close": 29, "volume": 8, "last_updated": MIDNIGHT},
        "greeks": {"delta": 0.64, "gamma": 0.006, "theta": -0.028, "vega": 0.63},
        "last_quote": {"bid": 28.9, "ask": 29.25},
        "last_trade": {"price": 29.1},
        "implied_volatility": 0.357,
        "open_interest": 8133,
        "underlying_asset": {"price": 159.96, "ticker": "AAPL", "last_updated": 5},
    }
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = item
        for parent in parents:
            place = place[parent]
        if value is None:
            place.pop(name)
        else:
            place[name] = value
    return item


def chain(*items: Any, underlying: str = "AAPL") -> DecodedChain:
    decoded = decode_chain([page(items)], underlying=underlying, session=SESSION)
    assert_balanced(decoded)
    return decoded


def assert_balanced(decoded: DecodedChain) -> None:
    accounted = decoded.frame.height + sum(decoded.ignored.values()) + len(decoded.rejected)
    assert decoded.contracts_read == accounted


def only(decoded: DecodedChain) -> dict[str, Any]:
    assert decoded.frame.height == 1, (decoded.ignored, decoded.rejected)
    return decoded.frame.row(0, named=True)


def test_a_contract_becomes_a_row_of_the_table() -> None:
    decoded = chain(contract())
    assert only(decoded) == {
        "expiration_date": dt.date(2026, 1, 16),
        "strike_price": 150.0,
        "option_type": "C",
        "bid": 28.9,
        "ask": 29.25,
        "last": 29.1,
        "volume": 8,
        "open_interest": 8133,
        "implied_volatility": 0.357,
        "delta": 0.64,
        "gamma": 0.006,
        "theta": -0.028,
        "vega": 0.63,
        "shares_per_contract": 100.0,
        "contract": "O:AAPL260116C00150000",
    }
    assert decoded.underlying_price == 159.96
    stored = {column.name for column in OPTIONS_CHAINS.recorded} - {"time", "ticker_id"}
    assert stored == set(decoded.frame.columns) - {"contract"}


def test_absent_groups_are_null_and_no_bar_is_no_volume() -> None:
    """Plans without quotes and trades, deep contracts without greeks, never traded ones without a bar."""
    bare = chain({"details": contract()["details"], "greeks": {}, "day": {}, "last_trade": None})
    empty = {name for name, value in only(bare).items() if value is None}
    assert empty == {
        "bid", "ask", "last", "open_interest", "implied_volatility", "delta", "gamma", "theta", "vega"
    }  # fmt: skip
    assert only(bare)["volume"] == 0
    assert (bare.underlying_price, bare.nulled) == (None, {})


@pytest.mark.parametrize(
    ("day", "volume", "stale"),
    [
        ({"volume": 8, "last_updated": MIDNIGHT}, 8, 0),
        ({"volume": 8, "last_updated": MIDNIGHT + DAY - 1_000_000}, 8, 0),
        ({"volume": 8, "last_updated": MIDNIGHT - 1_000_000}, 0, 1),
        ({"volume": 8, "last_updated": MIDNIGHT + DAY}, 0, 1),
        ({"volume": 8}, 8, 0),
        ({"volume": 8.0}, 8, 0),
        ({"close": 1.5}, None, 0),
        ({}, 0, 0),
        (None, 0, 0),
    ],
)
def test_volume_counts_only_in_its_own_session(
    day: dict[str, Any] | None, volume: int | None, stale: int
) -> None:
    decoded = chain(contract(day=day))
    assert (only(decoded)["volume"], decoded.stale_volumes) == (volume, stale)


@pytest.mark.parametrize(
    ("underlying", "ticker", "ignored"),
    [
        ("AAPL", "O:AAPL1260116C00150000", True),
        ("AAPL", "O:XYZ2260116C00150000", True),
        ("BRK.B", "O:BRKB260116C00150000", False),
        ("BRK.B", "O:BRKB1260116C00150000", True),
        ("I:SPX", "O:SPX260116C00150000", False),
        ("I:SPX", "O:SPXW260116C00150000", False),
        ("A1", "O:A1260116C00150000", False),  # an underlying whose own symbol ends with a digit
        ("A1", "O:A11260116C00150000", True),
        ("AAPL", "nonsense", False),
    ],
)
def test_adjusted_contracts_are_told_by_their_root(underlying: str, ticker: str, ignored: bool) -> None:
    decoded = chain(contract(details__ticker=ticker), underlying=underlying)
    assert decoded.ignored == ({"adjusted contract": 1} if ignored else {})


def test_an_adjusted_contract_never_displaces_the_standard_one() -> None:
    adjusted = contract(
        details__ticker="O:AAPL1260116C00150000", details__shares_per_contract=37, open_interest=99_999
    )
    standard = contract(details__shares_per_contract=10, open_interest=None)
    for items in ([adjusted, standard], [standard, adjusted]):
        decoded = chain(*items)
        assert only(decoded)["contract"] == "O:AAPL260116C00150000"
        assert only(decoded)["shares_per_contract"] == 10, "a standard root may deliver another number"
        assert decoded.ignored == {"adjusted contract": 1}


def test_duplicates_have_one_deterministic_winner() -> None:
    """Identical, then open interest, then gamma, then volume; an index prefers its own root."""
    poor = contract(open_interest=None)
    no_gamma = contract(greeks={"delta": 0.5}, day__volume=900)
    quiet, busy = contract(day__volume=1, implied_volatility=0.9), contract(day__volume=5)
    decoded = chain(poor, quiet, busy, busy, no_gamma)
    assert (only(decoded)["volume"], only(decoded)["gamma"]) == (5, 0.006)
    assert decoded.ignored == {"duplicate contract": 1, "duplicate contract with other values": 3}

    evening = contract(details__ticker="O:SPXW260116C00150000", day__volume=10_000)
    morning = contract(details__ticker="O:SPX260116C00150000", open_interest=None)
    spx = chain(evening, morning, underlying="I:SPX")
    assert only(spx)["contract"] == "O:SPX260116C00150000"
    assert spx.ignored == {"same key under another root": 1}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (contract(details=None), "contract type missing"),
        (contract(details__contract_type=None), "contract type missing"),
        (contract(details__contract_type="straddle"), "contract type unknown"),
        (contract(details__expiration_date=None), "expiration date missing"),
        (contract(details__expiration_date="2026-02-30"), "expiration date is not a date"),
        (contract(details__expiration_date="2026-1-5"), "expiration date is not a date"),
        (contract(details__expiration_date="20260116"), "expiration date is not a date"),
        (contract(details__expiration_date="2099-01-16"), "expiration date more than ten years away"),
        (contract(details__strike_price=None), "strike missing"),
        (contract(details__strike_price=-5), "strike not positive"),
        (contract(details__strike_price=0), "strike not positive"),
        (contract(details__strike_price=1e8), "strike too large"),
        (contract(details__strike_price=12.34567), "strike with more than four decimals"),
        (contract(details__strike_price=1234567.00001), "strike with more than four decimals"),
        (contract(details__strike_price=4e-10), "strike with more than four decimals"),
        (contract(details__strike_price=99999999.99996), "strike too large"),
        (contract(details__strike_price="150"), "wrong type"),
        (contract(open_interest=True), "wrong type"),
        (contract(greeks=[1]), "wrong type"),
        ("'; DROP TABLE options_chains", "wrong type"),
        (None, "wrong type"),
    ],
)
def test_unusable_contracts_are_rejected_with_their_text(item: Any, reason: str) -> None:
    """One bad item costs itself, never its page."""
    decoded = chain(contract(), item, contract(details__contract_type="put"))
    assert decoded.frame.height == 2
    ((raw, found),) = decoded.rejected
    assert found.startswith(reason)
    assert json.loads(raw) == item


def test_a_number_out_of_range_costs_its_contract_only() -> None:
    huge = json.dumps(contract()).replace("8133", "1e400")
    body = f'{{"results":[{huge},{json.dumps(contract())}]}}'.encode()
    decoded = decode_chain([body], underlying="AAPL", session=SESSION)
    assert (decoded.frame.height, decoded.rejected[0][0]) == (1, huge.encode())


def test_expired_and_other_types_are_ignored_and_the_last_day_is_not() -> None:
    decoded = chain(
        contract(details__expiration_date="2026-01-14"),
        contract(details__expiration_date="2026-01-15"),
        contract(details__contract_type="other", details__strike_price=None),
    )
    assert only(decoded)["expiration_date"] == SESSION
    assert decoded.ignored == {"contract type other": 1, "expired before the session": 1}


def test_values_that_can_not_be_are_null_and_counted() -> None:
    decoded = chain(
        contract(
            implied_volatility=-1,
            last_quote={"bid": -0.01, "ask": 0},
            day__volume=2.5,
            open_interest=-3,
            details__shares_per_contract=0,
            greeks={"delta": -0.0},
        )
    )
    row = only(decoded)
    nulls = ("implied_volatility", "bid", "volume", "open_interest", "shares_per_contract")
    assert [row[name] for name in nulls] == [None] * 5
    assert row["ask"] == 0
    assert math.copysign(1, row["delta"]) == 1, "a negative zero would give another hash"
    assert decoded.nulled == {
        "bid: negative": 1,
        "implied_volatility: negative": 1,
        "open_interest: negative": 1,
        "shares_per_contract: zero": 1,
        "volume: not a whole number": 1,
    }


def test_the_noise_of_binary_arithmetic_does_not_make_another_strike() -> None:
    decoded = chain(contract(details__strike_price=0.1 + 0.2), contract(details__strike_price=0.3))
    assert only(decoded)["strike_price"] == 0.3


def test_a_page_that_is_no_page_is_an_error_not_an_end() -> None:
    for body in (b'{"status":"OK"}', b"[]", b'{"results":[{}', b"<html>", b""):
        with pytest.raises(VendorError, match="Page 2"):
            decode_chain([page([contract()]), body], underlying="AAPL", session=SESSION)
        with pytest.raises(VendorError, match="Page 1"):
            decode_tickers([body])


_NUMBERS = st.one_of(
    st.none(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), st.just("x")
)
_CONTRACTS = st.fixed_dictionaries(
    {},
    optional={
        "details": st.fixed_dictionaries(
            {},
            optional={
                "contract_type": st.sampled_from(["call", "put", "other", "Call", None]),
                "expiration_date": st.sampled_from(["2026-01-14", "2026-01-16", "2026-02-20", "", "x"]),
                "strike_price": st.one_of(st.sampled_from([150, 150.0, 152.5, 0.00001]), _NUMBERS),
                "shares_per_contract": _NUMBERS,
                "ticker": st.sampled_from(["O:AAPL260116C00150000", "O:AAPL1260116C00150000", "", None]),
            },
        ),
        "day": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={"volume": _NUMBERS, "last_updated": st.sampled_from([MIDNIGHT, MIDNIGHT - DAY, 0])},
            ),
        ),
        "greeks": st.one_of(st.none(), st.dictionaries(st.sampled_from(["gamma", "delta"]), _NUMBERS)),
        "open_interest": _NUMBERS,
        "implied_volatility": _NUMBERS,
        "underlying_asset": st.fixed_dictionaries({"price": st.sampled_from([1, 2.5])}),
        "unknown": st.just({"nested": [1]}),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    items=st.lists(st.one_of(_CONTRACTS, st.sampled_from([None, 1, "x", []])), max_size=12), data=st.data()
)
def test_the_vendors_paging_and_order_do_not_matter(items: list[Any], data: st.DataObject) -> None:
    whole = decode_chain([page(items)], underlying="AAPL", session=SESSION)
    assert_balanced(whole)
    key = ["expiration_date", "strike_price", "option_type"]
    assert whole.frame.select(key).is_unique().all()
    assert whole.frame.select(key).null_count().row(0) == (0, 0, 0)

    shuffled = data.draw(st.permutations(items))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(items)), max_size=3)))
    bounds = zip([0, *cuts], [*cuts, len(items)], strict=True)
    pages = [page(shuffled[start:end]) for start, end in bounds]
    other = decode_chain(pages, underlying="AAPL", session=SESSION)
    assert_frame_equal(whole.frame, other.frame)
    assert (whole.ignored, whole.nulled, whole.rejected) == (other.ignored, other.nulled, other.rejected)
    assert (whole.stale_volumes, whole.underlying_price) == (other.stale_volumes, other.underlying_price)


def _pages_of(path: Path) -> list[bytes]:
    with gzip.open(path) as lines:
        return list(lines)


@pytest.mark.parametrize("name", ["market_2026", "vendor_snapshot_2025"])
def test_real_chains_are_accounted_for_and_equal_a_plain_reading(name: str) -> None:
    """Against an independent reading with the standard library, value by value."""
    files = sorted((dataset(name) / "options").glob("*/*.pages.jsonl.gz"))
    assert files
    for path in files:
        underlying, session = (
            path.name.removesuffix(".pages.jsonl.gz"),
            dt.date.fromisoformat(path.parent.name),
        )
        pages = _pages_of(path)
        decoded = decode_chain(pages, underlying=underlying, session=session)
        assert_balanced(decoded)
        items = [item for body in pages for item in json.loads(body)["results"]]
        assert decoded.contracts_read == len(items)
        assert decoded.frame.height == len(items), (path, decoded.ignored, decoded.rejected)
        by_ticker = {item["details"]["ticker"]: item for item in items}
        for row in decoded.frame.iter_rows(named=True):
            item = by_ticker[row["contract"]]
            assert row["strike_price"] == item["details"]["strike_price"]
            assert row["expiration_date"].isoformat() == item["details"]["expiration_date"]
            assert row["option_type"] == {"call": "C", "put": "P"}[item["details"]["contract_type"]]
            for name_, value in _plain_values(item).items():
                assert row[name_] == value, (path, row["contract"], name_)


def _plain_values(item: dict[str, Any]) -> dict[str, Any]:
    def of(group: str, name: str) -> Any:
        return (item.get(group) or {}).get(name)

    return {
        "volume": of("day", "volume") if item.get("day") else 0,
        "last": of("last_trade", "price"),
        "bid": of("last_quote", "bid"),
        "ask": of("last_quote", "ask"),
        "open_interest": item.get("open_interest"),
        "implied_volatility": item.get("implied_volatility"),
    } | {name: of("greeks", name) for name in ("delta", "gamma", "theta", "vega")}


def test_the_official_clients_fixture_decodes() -> None:
    body = (dataset("vendor_client_mocks") / "v3/snapshot/options/AAPL.json").read_bytes()
    decoded = decode_chain([body], underlying="AAPL", session=dt.date(2022, 4, 29))
    assert (only(decoded)["volume"], only(decoded)["open_interest"], only(decoded)["last"]) == (
        8,
        8133,
        29.25,
    )
    other_day = decode_chain([body], underlying="AAPL", session=dt.date(2022, 5, 2))
    assert (only(other_day)["volume"], other_day.stale_volumes) == (0, 1)


# --- reference tickers -----------------------------------------------------------------------------------


def ticker(symbol: Any = "AAPL", **changes: Any) -> dict[str, Any]:
    return {
        "ticker": symbol,
        "name": "Apple Inc.",
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "XNAS",
        "type": "CS",
        "active": True,
        "currency_name": "USD",
        "cik": "0000320193",
        "composite_figi": "BBG000B9XRY4",
        "share_class_figi": "BBG001S5N8V8",
        "last_updated_utc": "2026-01-15T07:06:03.780838161Z",
    } | changes


def tickers(*items: Any) -> DecodedTickers:
    decoded = decode_tickers([page(items)])
    assert decoded.read == decoded.frame.height + sum(decoded.ignored.values()) + len(decoded.rejected)
    return decoded


def test_a_ticker_becomes_a_row_of_the_table() -> None:
    decoded = tickers(ticker())
    assert decoded.frame.row(0, named=True) == {
        "symbol": "AAPL",
        "name": "Apple Inc.",
        "type": "CS",
        "primary_exchange": "XNAS",
        "currency": "usd",
        "cik": "0000320193",
        "composite_figi": "BBG000B9XRY4",
        "share_class_figi": "BBG001S5N8V8",
        "active": True,
        "last_updated_utc": dt.datetime(2026, 1, 15, 7, 6, 3, 780838, tzinfo=dt.UTC),
    }
    assert decoded.frame.columns == [column.name for column in TICKERS.recorded if column.name != "id"]
    assert decoded.frame.schema["last_updated_utc"] == pl.Datetime("us", "UTC")


def test_symbols_keep_their_case_and_odd_ones_survive() -> None:
    """`TpC` (a preferred) once overwrote `TPC` (a common stock)."""
    odd = ["BRK.A", "MRTpA.CL", "TPC", "TpC", "X.U", "X.WS", "Xr", "Xw", "ZVZZT"]
    assert tickers(*map(ticker, reversed(odd))).frame["symbol"].to_list() == odd


@pytest.mark.parametrize(
    "symbol", ["", None, "A B", "A\n", "A\x00", "\x7f", "é", "x" * 33, 7, "'; DROP TABLE tickers", " AAPL"]
)
def test_garbage_symbols_are_rejected_with_their_text(symbol: Any) -> None:
    decoded = tickers(ticker(), ticker(symbol))
    assert decoded.frame["symbol"].to_list() == ["AAPL"]
    ((raw, _),) = decoded.rejected
    assert json.loads(raw)["ticker"] == symbol


def test_blank_fields_are_null_and_other_markets_are_counted() -> None:
    decoded = tickers(
        ticker(name="", cik="  ", type=None, last_updated_utc="", composite_figi="BBG\x00"),
        ticker("BTC", market="crypto"),
        ticker("OLD", last_updated_utc="yesterday", active=False),
        ticker("NEW", last_updated_utc="2022-04-27T00:00:00Z"),
    )
    row = decoded.frame.row(0, named=True)
    assert [row[name] for name in ("name", "cik", "type", "last_updated_utc", "composite_figi")] == [None] * 5
    assert decoded.ignored == {"market 'crypto'": 1}
    assert decoded.nulled == {"composite_figi: control characters": 1, "last_updated_utc: not a time": 1}
    assert decoded.frame["active"].to_list() == [True, True, False]
    assert decoded.frame["last_updated_utc"][1] == dt.datetime(2022, 4, 27, tzinfo=dt.UTC)


def test_contradicting_tickers_have_one_winner_whatever_the_order() -> None:
    old, new = ticker(name="Old", last_updated_utc="2025-01-01T00:00:00Z"), ticker(name="New")
    rival = ticker(name="Newer by name only")
    for items in ([old, new, new, rival], [rival, new, old, new]):
        decoded = tickers(*items)
        assert decoded.frame["name"].to_list() == ["Newer by name only"]
        assert decoded.ignored == {"duplicate ticker": 1, "duplicate ticker with other values": 2}


@pytest.mark.parametrize("name", ["market_2026", "odd_symbols_2025"])
def test_real_reference_pages_are_read_whole(name: str) -> None:
    (path,) = (dataset(name) / "reference" / "tickers").glob("*.pages.jsonl.gz")
    pages = _pages_of(path)
    decoded = decode_tickers(pages)
    items = [item for body in pages for item in json.loads(body)["results"]]
    assert decoded.read == len(items)
    assert decoded.frame.height == len(items)
    assert Counter(decoded.frame["type"]) == Counter(item["type"] for item in items)
    assert decoded.frame["symbol"].to_list() == sorted(item["ticker"] for item in items)
