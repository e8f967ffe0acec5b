"""Promise: volatility metrics are what their definitions say, say why they are missing, and hang on nothing else.

Oracles: the definitions written down a second time in plain Python, contract by contract; QuantLib and vollib
for deltas, variances and the expected move; cases small enough to work out by hand; symmetries of any chain.
"""

import json
import math
from datetime import UTC, date, datetime, timedelta
from statistics import fmean, pstdev

import numpy as np
import polars as pl
import pytest
import QuantLib as ql  # noqa: N813 - the name that QuantLib's own documentation uses
from hypothesis import given, settings
from hypothesis import strategies as st
from vollib.black_scholes_merton.greeks import analytical

from kapman_metrics.chain import Carry, read_snapshot
from kapman_metrics.dealer import DealerSettings, dealer_metrics, dealer_metrics_of
from kapman_metrics.volatility import (
    HISTORY_SESSIONS,
    SCHEMA,
    VOLATILITY_METRICS,
    VolatilitySettings,
    volatility_metrics,
    volatility_metrics_of,
)

SESSION = date(2026, 8, 21)
CLOSE = datetime(2026, 8, 21, 20, tzinfo=UTC)
NO_CARRY = VolatilitySettings(rate=0.0, dividend_yield=0.0)
CONTRACT = {
    "ticker_id": pl.String,
    "expiration_date": pl.Date,
    "expires_at": pl.Datetime("us", "UTC"),
    "strike_price": pl.Float64,
    "option_type": pl.String,
    "volume": pl.Int64,
    "open_interest": pl.Int64,
    "implied_volatility": pl.Float64,
    "gamma": pl.Float64,
    "shares_per_contract": pl.Int64,
}
HISTORY = {"ticker_id": pl.String, "session": pl.Date, "avg_iv": pl.Float64}


def contract(strike, option_type, days=30, iv=0.2, **changes):
    row = {
        "ticker_id": "a",
        "expiration_date": SESSION + timedelta(days=days),
        "expires_at": CLOSE + timedelta(days=days),
        "strike_price": float(strike),
        "option_type": option_type,
        "volume": 10,
        "open_interest": 1000,
        "implied_volatility": iv,
        "gamma": 0.02,
        "shares_per_contract": 100,
    }
    return row | changes


def frame(rows):
    return rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, schema=CONTRACT)


def history_of(ivs, ticker_id="a"):
    """Average IVs of the sessions before, the latest first."""
    rows = [(ticker_id, SESSION - timedelta(days=1 + n), iv) for n, iv in enumerate(ivs)]
    return pl.DataFrame(rows, schema=HISTORY, orient="row")


def metrics_of(rows, spot=100.0, config=NO_CARRY, history=(), **columns):
    """The document of underlying `a`."""
    underlyings = pl.DataFrame(
        {"ticker_id": ["a"], "symbol": ["A"], "spot": [spot], "spot_source": ["ohlcv"], **columns},
        schema_overrides={"spot": pl.Float64},
    )
    result = volatility_metrics(
        frame(rows),
        underlyings,
        history_of(history),
        snapshot_time=CLOSE,
        session=SESSION,
        settings=config,
        model_version="test",
    )
    assert result.schema == SCHEMA
    return json.loads(result["volatility_metrics_json"][0], parse_constant=pytest.fail)


def random_chain(seed, spot=100.0):
    """Smiles with noise; some strikes, IVs, open interests and deliverables missing, some contracts expired."""
    random = np.random.default_rng(seed)
    terms = sorted(random.choice([-2, 0, 1, 4, 11, 18, 27, 33, 46, 62, 88, 95, 130, 300], 8, replace=False))
    rows = []
    for days in map(int, terms):
        for strike in np.round(spot * np.arange(0.7, 1.31, 0.03) + random.uniform(-1, 1), 2):
            for option_type in "CP":
                if random.uniform() < 0.15:
                    continue
                skewed = 0.3 - 0.2 * math.log(strike / spot) + 0.02 * random.standard_normal()
                iv = [skewed, skewed, skewed, skewed, skewed, skewed, None, 0.0, float("nan")][
                    random.integers(9)
                ]
                changes = {
                    "open_interest": [int(random.integers(0, 5000)), None][int(random.uniform() < 0.1)],
                    "volume": [int(random.integers(0, 90)), None][int(random.uniform() < 0.2)],
                    "shares_per_contract": [100, 100, 100, None, 0][random.integers(5)],
                }
                rows.append(contract(strike, option_type, days, iv, **changes))
    return rows


# --- the definitions once more, in plain Python -------------------------------------------------------------


def delta_of(option, spot, config):
    flag, years = option["option_type"].lower(), max(option["days"] / 365, 1 / 8760)
    terms = (spot, option["strike_price"], years, config.rate, option["implied_volatility"])
    return analytical.delta(flag, *terms, config.dividend_yield)


def line(x, points):
    """Value at x between the nearest points on either side, None without one of them."""
    below = max((p for p in points if p[0] <= x), default=None)
    above = min((p for p in points if p[0] >= x), default=None)
    if below is None or above is None:
        return None
    return below[1] if below[0] == above[0] else float(np.interp(x, *zip(below, above, strict=True)))


def oracle_atm(options, spot, target):
    variances = []
    for days in {o["days"] for o in options if o["days"] >= 1}:
        sides = []
        for side in "CP":
            near = [
                (o["strike_price"], o["implied_volatility"])
                for o in options
                if o["days"] == days and o["option_type"] == side and abs(o["strike_price"] / spot - 1) <= 0.2
            ]
            sides.append(line(spot, near))
        known = [iv for iv in sides if iv is not None]
        if known:
            variances.append((days, fmean(known) ** 2 * days))
    total = line(target, variances)
    return None if total is None else math.sqrt(total / target)


def oracle_skew(options, spot, config):
    sides_of = {}
    for o in options:
        if o["days"] >= 1:
            sides_of.setdefault(o["days"], set()).add(o["option_type"])
    days = min((d for d in sides_of if len(sides_of[d]) == 2), key=lambda d: (abs(d - 30), d), default=None)
    if days is None:
        return None, "no_expiry", None
    ivs, status = {}, "interpolated"
    for side in "CP":
        points = [
            (abs(delta_of(o, spot, config)), o["implied_volatility"])
            for o in options
            if o["days"] == days and o["option_type"] == side
        ]
        ivs[side] = line(0.25, points)
        if ivs[side] is None:
            distance, iv = min((abs(d - 0.25), iv) for d, iv in points)
            if distance > 0.15:
                return None, "no_25_delta", days
            ivs[side], status = iv, "nearest_contract"
    return 100 * (ivs["P"] - ivs["C"]), status, days


def weighted(options):
    if not options:
        return None
    weights = [o["open_interest"] or 0 for o in options]
    ivs = [o["implied_volatility"] for o in options]
    return fmean(ivs, weights) if sum(weights) else fmean(ivs)


def share(a, b, factor=1.0):
    return factor * a / b if b else None


def minus(a, b):
    return None if a is None or b is None else 100 * (a - b)


def oracle(rows, spot, config):
    """Numbers and statuses of the document, worked out contract by contract."""
    live = [
        row | {"days": (row["expiration_date"] - SESSION).days}
        for row in rows
        if row["strike_price"] > 0 and row["shares_per_contract"] != 0 and row["expiration_date"] >= SESSION
    ]
    quoted = [o for o in live if o["implied_volatility"] and o["implied_volatility"] > 0]
    calls, puts = ([o for o in quoted if o["option_type"] == side] for side in "CP")

    def total(name, side):
        return sum(o[name] or 0 for o in live if o["option_type"] in side)

    def month(middle, reach):
        ivs = [o["implied_volatility"] for o in quoted if abs(o["days"] - middle) <= reach]
        return fmean(ivs) if ivs else None

    near, far = oracle_atm(quoted, spot, 30), oracle_atm(quoted, spot, 90)
    skew, skew_status, skew_days = oracle_skew(quoted, spot, config)
    return {
        "avg_iv": weighted(quoted),
        "avg_call_iv": weighted(calls),
        "avg_put_iv": weighted(puts),
        "iv_stddev": pstdev([o["implied_volatility"] for o in quoted]) if quoted else None,
        "iv_skew_call_put": minus(weighted(puts), weighted(calls)),
        "front_month_iv": month(30, 15),
        "back_month_iv": month(90, 30),
        "atm_iv_30d": near,
        "atm_iv_90d": far,
        "iv_term_structure": minus(far, near),
        "iv_term_structure_slope": None if minus(far, near) is None else minus(far, near) / 60,
        "expected_move_30d": None if near is None else near * math.sqrt(30 / 365) * spot,
        "iv_hv_spread": minus(near, 0.25),
        "iv_skew_25d": skew,
        "iv_skew_25d_status": skew_status,
        "iv_skew_25d_days": skew_days,
        "put_call_oi_ratio": share(total("open_interest", "P"), total("open_interest", "C")),
        "put_call_volume_ratio": share(total("volume", "P"), total("volume", "C")),
        "oi_ratio": share(total("volume", "CP"), total("open_interest", "CP")),
        "iv_options_count": len(quoted),
        "iv_call_options_count": len(calls),
        "iv_put_options_count": len(puts),
        "total_options_count": len(rows),
    }


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("carry", [(0.0, 0.0), (0.05, 0.012)])
def test_the_definitions_contract_by_contract(seed, carry):
    config = VolatilitySettings(rate=carry[0], dividend_yield=carry[1])
    rows = random_chain(seed)
    # Thin chains meet the fallbacks and the nulls.
    rows = rows[:: 1 + seed % 4 * 4]
    row = metrics_of(rows, 101.37, config, hv_20=[0.25])
    for name, expected in oracle(rows, 101.37, config).items():
        wanted = pytest.approx(expected, rel=1e-10, abs=1e-11) if isinstance(expected, float) else expected
        assert row[name] == wanted, name


def test_a_chain_worked_out_by_hand():
    rows = [
        contract(95, "C", 20, 0.30, open_interest=1, volume=8),
        contract(105, "C", 20, 0.20, open_interest=2, volume=2),
        contract(95, "P", 20, 0.40, open_interest=3, volume=4),
        contract(105, "P", 20, 0.32, open_interest=4, volume=6),
        contract(100, "C", 50, 0.25, open_interest=0, volume=None),
        contract(100, "C", 140, 0.22, open_interest=None, volume=0),
        contract(100, "P", 100, None, open_interest=10, volume=0),
    ]
    row = metrics_of(rows, hv_20=[0.35])
    assert row["avg_call_iv"] == pytest.approx((0.30 + 2 * 0.20) / 3)
    assert row["avg_put_iv"] == pytest.approx((3 * 0.40 + 4 * 0.32) / 7)
    assert row["avg_iv"] == pytest.approx((0.30 + 0.40 + 1.20 + 1.28) / 10)
    assert row["iv_skew_call_put"] == pytest.approx(100 * (2.48 / 7 - 0.7 / 3))
    assert row["front_month_iv"] == pytest.approx((0.30 + 0.20 + 0.40 + 0.32) / 4)  # 20 days; not 50
    assert row["back_month_iv"] is None  # 100 days has no IV, 140 is too far
    # At 20 days calls are at 0.25 and puts at 0.36 at spot, their mean is 0.305; a third of the way to 50 days.
    near = math.sqrt((0.305**2 * 20 + (0.25**2 * 50 - 0.305**2 * 20) / 3) / 30)
    far = math.sqrt((0.25**2 * 50 + (0.22**2 * 140 - 0.25**2 * 50) * 40 / 90) / 90)
    assert (row["atm_iv_30d"], row["atm_iv_90d"]) == pytest.approx((near, far))
    assert row["iv_term_structure"] == pytest.approx(100 * (far - near))
    assert row["iv_term_structure_slope"] == pytest.approx(100 * (far - near) / 60)
    assert row["expected_move_30d"] == pytest.approx(near * math.sqrt(30 / 365) * 100)
    assert row["iv_hv_spread"] == pytest.approx(100 * (near - 0.35))
    assert (row["put_call_oi_ratio"], row["put_call_volume_ratio"]) == pytest.approx((17 / 3, 1.0))
    assert row["oi_ratio"] == pytest.approx(1.0)  # 20 trades, 20 open
    assert row["filters"] == {"invalid_terms": 0, "expired": 0, "missing_iv": 1}
    assert row["quality"]["without_iv_share"] == pytest.approx(1 / 7)
    assert (row["status"], row["status_reason"]) == ("LIMITED", "few_contracts")


def test_at_the_money_variance_is_quantlibs():
    """QuantLib's curve of Black variances interpolates the same total variance between the same expiries."""
    terms = {7: 0.42, 21: 0.33, 35: 0.28, 63: 0.26, 98: 0.31}
    rows = [contract(100, side, days, iv) for days, iv in terms.items() for side in "CP"]
    today = ql.Date(21, 8, 2026)
    curve = ql.BlackVarianceCurve(
        today, [today + days for days in terms], [*terms.values()], ql.Actual365Fixed()
    )
    row = metrics_of(rows)
    assert row["atm_iv_30d"] == pytest.approx(curve.blackVol(today + 30, 100.0), rel=1e-12)
    assert row["atm_iv_90d"] == pytest.approx(curve.blackVol(today + 90, 100.0), rel=1e-12)
    process = ql.BlackScholesProcess(
        ql.QuoteHandle(ql.SimpleQuote(100.0)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, 0.0, ql.Actual365Fixed())),
        ql.BlackVolTermStructureHandle(curve),
    )
    deviation = process.stdDeviation(0.0, 100.0, 30 / 365) * 100.0
    assert row["expected_move_30d"] == pytest.approx(deviation, rel=1e-12)


def test_the_skew_is_read_where_quantlibs_delta_is_a_quarter():
    """On a smile that is a straight line in delta the interpolation is exact: put the strikes where QuantLib says."""
    config, years = VolatilitySettings(rate=0.03, dividend_yield=0.01), 31 / 365
    growth, discount = math.exp(-0.01 * years), math.exp(-0.03 * years)

    def smile(delta, side):
        return 0.2 + (0.3 if side == "P" else -0.1) * (0.5 - delta)

    rows = []
    for side, kind in (("C", ql.Option.Call), ("P", ql.Option.Put)):
        for delta in (0.1, 0.2, 0.33, 0.45):
            deviation = smile(delta, side) * math.sqrt(years)
            calculator = ql.BlackDeltaCalculator(
                kind, ql.DeltaVolQuote.Spot, 100.0, discount, growth, deviation
            )
            strike = calculator.strikeFromDelta(delta if side == "C" else -delta)
            rows.append(contract(strike, side, 31, smile(delta, side)))
    row = metrics_of(rows, config=config)
    assert (row["iv_skew_25d_status"], row["iv_skew_25d_days"]) == ("interpolated", 31)
    assert row["iv_skew_25d"] == pytest.approx(100 * (0.3 + 0.1) * 0.25, rel=1e-9)


@pytest.mark.parametrize(
    ("deltas", "skew", "status"),
    [
        ({"C": [0.2, 0.3], "P": [0.05, 0.6]}, 1.0, "interpolated"),
        ({"C": [0.2, 0.4], "P": [0.39]}, 1.0, "nearest_contract"),
        ({"C": [0.05, 0.12], "P": [0.3, 0.5]}, 1.0, "nearest_contract"),
        ({"C": [0.09], "P": [0.25]}, None, "no_25_delta"),
        ({"C": [0.26], "P": [0.41, 0.6]}, None, "no_25_delta"),
        ({"C": [0.26], "P": []}, None, "no_expiry"),
    ],
)
def test_without_a_bracket_the_nearest_contract_speaks_within_reach(deltas, skew, status):
    rows = [
        contract(strike_at(delta, side, iv), side, 30, iv)
        for side, iv in (("C", 0.20), ("P", 0.21))
        for delta in deltas[side]
    ]
    row = metrics_of(rows)
    assert (row["iv_skew_25d"], row["iv_skew_25d_status"]) == (
        pytest.approx(skew, rel=1e-9) if skew else None,
        status,
    )


def strike_at(delta, side, iv, days=30):
    """Strike at which |Δ| is `delta` without carry, spot 100."""
    deviation = iv * math.sqrt(days / 365)
    d1 = float(ql.InverseCumulativeNormal()(delta)) * (1 if side == "C" else -1)
    return 100 * math.exp(deviation**2 / 2 - d1 * deviation)


def test_the_skews_expiry_is_the_nearest_to_30_days_that_has_both_sides():
    def on(days, sides="CP", iv=0.2):
        return [contract(strike_at(0.25, side, iv, days), side, days, iv) for side in sides]

    assert metrics_of(on(25) + on(36))["iv_skew_25d_days"] == 25
    assert metrics_of(on(25, "C") + on(36))["iv_skew_25d_days"] == 36
    assert metrics_of(on(25) + on(35))["iv_skew_25d_days"] == 25  # of two equally near the earlier
    assert metrics_of(on(0) + on(400))["iv_skew_25d_days"] == 400  # at its own bell no volatility is left
    silent = [contract(100, side, 30, None) for side in "CP"]
    assert metrics_of(silent + on(33))["iv_skew_25d_days"] == 33


@pytest.mark.parametrize(
    ("days", "near", "far"),
    [
        ([30, 90], "known", "known"),
        ([31, 120], "no_bracket", "known"),
        ([7, 29], "no_bracket", "no_bracket"),
        ([0, 45], "no_bracket", "no_bracket"),
        ([1, 89], "known", "no_bracket"),
    ],
)
def test_nothing_is_extrapolated_in_time(days, near, far):
    row = metrics_of([contract(100, "C", d) for d in days])
    assert (row["atm_iv_30d_status"], row["atm_iv_90d_status"]) == (near, far)
    assert row["atm_iv_30d"] == (pytest.approx(0.2) if near == "known" else None)
    assert row["atm_iv_90d"] == (pytest.approx(0.2) if far == "known" else None)


def test_nothing_is_extrapolated_in_strike():
    wings = [contract(k, side) for k in (60, 79) for side in "CP"] + [contract(110, "C"), contract(121, "P")]
    assert metrics_of(wings)["atm_iv_30d"] is None
    assert metrics_of(wings, config=VolatilitySettings(max_strike_distance=0.21))["atm_iv_30d"] is not None
    one_sided = [contract(99, "P", iv=0.3), contract(101, "P", iv=0.4), contract(101, "C", iv=0.9)]
    assert metrics_of(one_sided)["atm_iv_30d"] == pytest.approx(0.35)


def test_without_open_interest_every_contract_counts_alike():
    rows = [
        contract(90 + k, "CP"[k % 2], iv=0.1 + k / 100, open_interest=[0, None, -5][k % 3]) for k in range(9)
    ]
    row = metrics_of(rows)
    assert row["avg_iv"] == pytest.approx(0.14)
    assert row["avg_call_iv"] == pytest.approx(fmean([0.1, 0.12, 0.14, 0.16, 0.18]))
    assert (row["put_call_oi_ratio"], row["oi_ratio"]) == (None, None)


def test_scaling_spot_and_strikes_scales_the_move_and_nothing_else():
    chain = frame(random_chain(5))
    plain = metrics_of(chain)
    scaled = metrics_of(chain.with_columns(pl.col("strike_price") * 3.7, pl.col("gamma") / 3.7), 370.0)
    assert scaled["expected_move_30d"] == pytest.approx(3.7 * plain["expected_move_30d"], rel=1e-11)
    for name in plain.keys() - {"spot", "expected_move_30d"}:
        same = pytest.approx(plain[name], rel=1e-9) if isinstance(plain[name], float) else plain[name]
        assert scaled[name] == same, name


def test_swapping_calls_and_puts_turns_the_skew_around():
    """For the 25-delta skew the strikes are mirrored too, so that each contract keeps its |Δ|."""
    random = np.random.default_rng(3)
    rows, mirrored = [], []
    for delta in (0.05, 0.18, 0.3, 0.47, 0.6):
        for side, other in ("CP", "PC"):
            iv, interest = random.uniform(0.1, 0.5), int(random.integers(1, 900))
            rows.append(contract(strike_at(delta, side, iv), side, 30, iv, open_interest=interest))
            mirrored.append(contract(strike_at(delta, other, iv), other, 30, iv, open_interest=interest))
    plain, turned = metrics_of(rows), metrics_of(mirrored)
    for name in ("iv_skew_call_put", "iv_skew_25d"):
        assert turned[name] == pytest.approx(-plain[name], rel=1e-9)
        assert abs(plain[name]) > 0.1
    assert turned["put_call_oi_ratio"] == pytest.approx(1 / plain["put_call_oi_ratio"])
    assert turned["avg_iv"] == pytest.approx(plain["avg_iv"], rel=1e-12)


def test_neither_row_order_nor_company_changes_a_bit():
    chain = frame(random_chain(7))
    past = [0.2 + n / 1000 for n in range(30)]
    alone = metrics_of(chain, history=past)
    for seed in range(5):
        assert metrics_of(chain.sample(fraction=1.0, shuffle=True, seed=seed), history=past) == alone
    others = frame(random_chain(8)).with_columns(ticker_id=pl.lit("0"))
    outside = frame(random_chain(9)).with_columns(ticker_id=pl.lit("b"))
    batch = volatility_metrics(
        pl.concat([outside, chain, others]),
        pl.DataFrame({"ticker_id": ["a", "0"], "symbol": ["A", "Z"], "spot": [100.0, 50.0], "spot_source": "ohlcv"}),
        pl.concat([history_of([0.9] * 40, "b"), history_of(past), history_of([0.1] * 21, "0")]).reverse(),
        snapshot_time=CLOSE,
        session=SESSION,
        settings=NO_CARRY,
        model_version="test",
    )  # fmt: skip
    assert batch["ticker_id"].to_list() == ["0", "a"]
    assert json.loads(batch["volatility_metrics_json"][1]) == alone
    assert [batch["avg_iv"][1], batch["iv_rank"][1]] == [alone["avg_iv"], alone["iv_rank"]]


@settings(max_examples=80, deadline=None)
@given(
    today=st.integers(1, 40),
    past=st.lists(st.one_of(st.none(), st.integers(1, 40), st.just(float("nan"))), max_size=HISTORY_SESSIONS),
)
def test_rank_and_percentile_by_brute_force(today, past):
    row = metrics_of([contract(100, "C", iv=today / 100)], history=[p and p / 100 for p in past])
    known = [p for p in past if p is not None and not math.isnan(p)]
    assert row["iv_history_sessions"] == len(known)
    if len(known) < 20:
        assert (row["iv_rank"], row["iv_percentile"]) == (None, None)
        assert row["iv_rank_status"] == "history_too_short"
        return
    assert row["iv_percentile"] == pytest.approx(100 * sum(p <= today for p in known) / len(known), rel=1e-11)
    low, high = min(known), max(known)
    if low == high:
        assert (row["iv_rank"], row["iv_rank_status"]) == (None, "flat_history")
    else:
        expected = min(max(100 * (today - low) / (high - low), 0), 100)
        assert row["iv_rank_status"] == "known"
        assert row["iv_rank"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_an_iv_compares_equal_to_the_one_stored_before():
    """A mean of equal IVs is off by its last bit; what is stored isn't, and today's is rounded alike."""
    rows = [contract(80 + k, "C", iv=0.1, open_interest=k + 1) for k in range(40)]
    stored = metrics_of(rows)["avg_iv"]
    row = metrics_of(rows, history=[stored] * 25)
    assert (row["iv_percentile"], row["iv_rank_status"]) == (100.0, "flat_history")


def test_nineteen_sessions_are_no_history_twenty_are():
    rows = [contract(100, "C", iv=0.3)]
    assert metrics_of(rows, history=[0.2] * 18 + [0.4])["iv_rank_status"] == "history_too_short"
    row = metrics_of(rows, history=[0.2] * 19 + [0.4])
    assert (row["iv_rank"], row["iv_percentile"]) == pytest.approx((50.0, 95.0))
    assert metrics_of([], history=[0.2] * 19 + [0.4])["iv_rank_status"] == "no_iv"


@pytest.mark.parametrize(
    ("rows", "spot", "status", "reason"),
    [
        ([], 100.0, "INVALID", "no_options"),
        ([contract(100, "C", -1), contract(0, "C")], 100.0, "INVALID", "all_contracts_filtered"),
        ([contract(100, "C", iv=None), contract(101, "C", iv=0.0), contract(99, "C", -1)], 100.0, "INVALID", "no_iv"),
        ([contract(80 + k, "C") for k in range(30)], None, "LIMITED", "no_spot"),
        ([contract(80 + k, "C") for k in range(30)], float("inf"), "LIMITED", "no_spot"),
        ([contract(80 + k, "C") for k in range(24)], 100.0, "LIMITED", "few_contracts"),
        ([contract(80 + k, "C", 31) for k in range(25)], 100.0, "LIMITED", "no_atm_iv_30d"),
        ([contract(80 + k, "C") for k in range(25)], 100.0, "FULL", None),
    ],
)  # fmt: skip
def test_status_says_what_is_missing(rows, spot, status, reason):
    row = metrics_of(rows, spot)
    assert (row["status"], row["status_reason"]) == (status, reason)
    assert (row["avg_iv"] is None) == (status == "INVALID")
    assert row["total_options_count"] == len(rows) == row["iv_options_count"] + sum(row["filters"].values())
    if reason == "no_spot":
        statuses = [row[name] for name in ("atm_iv_30d_status", "atm_iv_90d_status", "iv_skew_25d_status")]
        assert statuses == ["no_spot"] * 3
        assert (row["spot"], row["spot_source"], row["expected_move_30d"]) == (None, None, None)


def leaves(document, path=""):
    if not isinstance(document, dict):
        return {path}
    return {
        leaf for key, inner in document.items() for leaf in leaves(inner, f"{path}.{key}" if path else key)
    }


def test_every_key_is_always_there_and_documented():
    documented = {".".join(metric.path).removesuffix("[]") for metric in VOLATILITY_METRICS}
    for rows, spot in ((random_chain(3), 100.0), ([], None), ([contract(100, "C")], None)):
        assert leaves(metrics_of(rows, spot)) == documented


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.builds(
            contract,
            st.sampled_from([0.0, 1e-9, 80.0, 99.99, 100.0, 100.01, 1e9, float("nan"), float("inf")]),
            st.sampled_from("CP"),
            st.sampled_from([-1, 0, 1, 29, 30, 31, 90, 4000]),
            st.sampled_from([None, 0.0, -0.3, 1e-12, 1e-6, 0.2, 50.0, 1e12, float("nan"), float("inf")]),
            open_interest=st.sampled_from([None, -1, 0, 1, 2**40]),
            volume=st.sampled_from([None, -1, 0, 1, 2**40]),
        ),
        max_size=12,
        unique_by=lambda row: (row["strike_price"], row["option_type"], row["expiration_date"]),
    ),
    spot=st.sampled_from([None, 1e-6, 100.0, 1e9]),
)
def test_whatever_the_vendor_sends_every_number_is_finite(rows, spot):
    metrics_of(rows, spot, hv_20=[float("inf")])  # its reader refuses NaN and Infinity


def test_a_snapshot_read_once_serves_dealer_and_volatility_metrics():
    chain = frame(random_chain(2))
    underlyings = pl.DataFrame(
        {"ticker_id": ["a"], "symbol": ["A"], "spot": [100.0], "spot_source": ["ohlcv"]}
    )
    times = {"snapshot_time": CLOSE, "session": SESSION}
    dealer, volatility, history = DealerSettings(), VolatilitySettings(), history_of([])
    snapshot = read_snapshot(chain, underlyings, **times, carry=Carry())
    same = dealer_metrics(chain, underlyings, **times, settings=dealer, model_version="v")
    assert dealer_metrics_of(snapshot, settings=dealer, model_version="v").equals(same)
    same = volatility_metrics(chain, underlyings, history, **times, settings=volatility, model_version="v")
    assert volatility_metrics_of(snapshot, history, settings=volatility, model_version="v").equals(same)
    with pytest.raises(ValueError, match=r"valued with rate 0.04 .* the settings say 0.01"):
        dealer_metrics_of(snapshot, settings=DealerSettings(rate=0.01), model_version="v")


def test_history_and_settings_that_mean_nothing_are_refused():
    rows = [contract(100, "C")]
    today = pl.DataFrame([("a", SESSION, 0.2)], schema=HISTORY, orient="row")
    arguments = {"snapshot_time": CLOSE, "session": SESSION, "settings": NO_CARRY, "model_version": "v"}
    underlyings = pl.DataFrame({"ticker_id": ["a"], "symbol": ["A"], "spot": [100.0]})
    with pytest.raises(ValueError, match=r"not of earlier sessions; the first is that of ticker_id a"):
        volatility_metrics(frame(rows), underlyings, today, **arguments)
    twice = pl.concat([history_of([0.2]), history_of([0.3])])
    with pytest.raises(ValueError, match="2 rows of 1 sessions"):
        volatility_metrics(frame(rows), underlyings, twice, **arguments)
    with pytest.raises(ValueError, match="253 rows of 253 sessions"):
        volatility_metrics(frame(rows), underlyings, history_of([0.2] * 253), **arguments)
    with pytest.raises(ValueError, match=r"VolatilitySettings.rate is a fraction per year"):
        VolatilitySettings(rate=4.0)
    with pytest.raises(ValueError, match="max_strike_distance"):
        VolatilitySettings(max_strike_distance=0.0)
