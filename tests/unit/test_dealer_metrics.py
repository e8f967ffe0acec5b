"""Promise: dealer exposures are exact, say why they are missing, and hang on nothing but the chain's content.

Oracles: closed-form gamma flips, brute force, NumPy on the definition of the design, and symmetries (scaling,
swapping calls and puts, permuting rows) that hold for any chain.
"""

import json
import math
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapman_metrics.black_scholes import gamma
from kapman_metrics.dealer import (
    DEALER_METRICS,
    SCHEMA,
    DealerSettings,
    dealer_gamma_pressure,
    dealer_metrics,
)

SESSION = date(2026, 8, 21)
CLOSE = datetime(2026, 8, 21, 20, tzinfo=UTC)
NO_CARRY = DealerSettings(rate=0.0, dividend_yield=0.0)
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


def contract(strike, option_type, days=30, **changes):
    row = {
        "ticker_id": "a",
        "expiration_date": SESSION + timedelta(days=days),
        "expires_at": CLOSE + timedelta(days=days),
        "strike_price": float(strike),
        "option_type": option_type,
        "volume": 10,
        "open_interest": 1000,
        "implied_volatility": 0.2,
        "gamma": 0.02,
        "shares_per_contract": 100,
    }
    return row | changes


def frame(rows):
    return pl.DataFrame(rows, schema=CONTRACT)


def metrics_of(rows, spot=100.0, config=NO_CARRY, **columns):
    """The document of underlying `a`."""
    contracts = rows if isinstance(rows, pl.DataFrame) else frame(rows)
    underlyings = pl.DataFrame(
        {"ticker_id": ["a"], "symbol": ["A"], "spot": [spot], "spot_source": ["ohlcv"], **columns},
        schema_overrides={"spot": pl.Float64},
    )
    result = dealer_metrics(
        contracts, underlyings, snapshot_time=CLOSE, session=SESSION, settings=config, model_version="test"
    )
    assert result.schema == SCHEMA
    return json.loads(result["dealer_metrics_json"][0], parse_constant=pytest.fail)


def random_chain(seed, spot=100.0):
    """A chain of every expiry from the session's own on, with model gammas and some IVs missing."""
    random = np.random.default_rng(seed)
    strikes = np.round(spot * np.arange(0.7, 1.31, 0.025), 2)
    rows = []
    for days in (0, 3, 28, 63):
        for strike in strikes:
            for option_type in "CP":
                volatility = float(random.uniform(0.15, 0.6))
                years = max(days / 365, 1 / 8760)
                rows.append(
                    contract(
                        strike,
                        option_type,
                        days,
                        open_interest=int(random.integers(0, 5000)),
                        volume=int(random.integers(0, 20)),
                        implied_volatility=volatility if random.uniform() < 0.9 else None,
                        gamma=float(gamma(spot, strike, years, volatility)),
                        shares_per_contract=[100, 100, 100, 10, None][random.integers(5)],
                    )
                )
    return rows


def two_strike_flip(call, put, calls, puts, days, volatility, rate, dividend_yield):
    years = days / 365
    variance = volatility**2 * years
    carry = (rate - dividend_yield) * years + variance / 2
    return math.exp(
        math.log(call * put) / 2 - carry + variance * math.log(calls / puts) / math.log(put / call)
    )


def test_one_contract_of_the_design():
    row = metrics_of([contract(100, "C", gamma=0.0695484408)])
    assert row["gex_net"] == row["gex_total"] == row["gex_call"] == pytest.approx(695_484.408, abs=1e-6)
    assert row["vex"] == pytest.approx(0.0571631 * 1000 * 100 * 100 * 0.01, rel=1e-6)
    assert row["cex"] == pytest.approx(-0.0695484 / 365 * 1000 * 100 * 100, rel=1e-6)
    assert row["gex_put"] == 0.0
    assert row["position"] == "neutral"
    put = metrics_of([contract(100, "P", gamma=0.0695484408, shares_per_contract=10)])
    assert put["gex_net"] == pytest.approx(-69_548.4408, abs=1e-6)


@pytest.mark.parametrize(
    ("terms", "spot", "flip"),
    [
        ((110, 90, 1000, 1000, 30, 0.2, 0.0, 0.0), 100.0, 99.335318),
        ((460, 430, 800, 2100, 10, 0.18, 0.05, 0.012), 445.0, 449.764199),
    ],
)
def test_flip_between_two_strikes_is_the_closed_form(terms, spot, flip):
    call, put, calls, puts, days, volatility, rate, dividend_yield = terms
    rows = [
        contract(call, "C", days, open_interest=calls, implied_volatility=volatility),
        contract(put, "P", days, open_interest=puts, implied_volatility=volatility),
    ]
    row = metrics_of(rows, spot, DealerSettings(rate=rate, dividend_yield=dividend_yield))
    assert row["gamma_flip_status"] == "found"
    assert row["gamma_flip"] == pytest.approx(flip, abs=5e-7)
    assert row["gamma_flip"] == pytest.approx(two_strike_flip(*terms), rel=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    call=st.floats(101, 112),
    put=st.floats(88, 99),
    calls=st.integers(100, 9000),
    puts=st.integers(100, 9000),
    days=st.integers(1, 90),
    volatility=st.floats(0.1, 0.9),
    rate=st.floats(-0.02, 0.08),
)
def test_any_two_strike_flip_is_found_where_it_lies_on_the_grid(
    call, put, calls, puts, days, volatility, rate
):
    rows = [
        contract(call, "C", days, open_interest=calls, implied_volatility=volatility),
        contract(put, "P", days, open_interest=puts, implied_volatility=volatility),
    ]
    expected = two_strike_flip(call, put, calls, puts, days, volatility, rate, 0.0)
    row = metrics_of(rows, 100.0, DealerSettings(rate=rate))
    if 80.5 < expected < 119.5:
        assert row["gamma_flip"] == pytest.approx(expected, rel=1e-9)
    elif not 80 <= expected <= 120:
        assert (row["gamma_flip"], row["gamma_flip_status"]) == (None, "no_crossing")


def test_flip_of_a_symmetric_chain_lies_half_a_variance_below_its_centre():
    rows = [
        contract(100 * math.exp(side * k), option_type)
        for k in (0.02, 0.05, 0.11)
        for side, option_type in ((1, "C"), (-1, "P"))
    ]
    expected = 100 * math.exp(-(0.2**2) * (30 / 365) / 2)
    assert metrics_of(rows)["gamma_flip"] == pytest.approx(expected, rel=1e-11)
    assert metrics_of(rows, spot=expected)["gamma_flip"] == pytest.approx(
        expected, rel=1e-11
    )  # at spot itself


def test_a_chain_that_cancels_has_no_flip():
    rows = [contract(k, side, days) for k in (90, 97.5, 104) for side in "CP" for days in (7, 30, 60)]
    row = metrics_of(rows)
    assert (row["gex_net"], row["gex_slope"], row["vex"], row["dgpi"]) == (0.0, 0.0, 0.0, 0.0)
    assert (row["gamma_flip"], row["gamma_flip_status"]) == (None, "no_crossing")
    assert row["gex_total"] > 0


def test_where_gamma_fades_to_nothing_the_larger_open_interest_makes_no_sign():
    dying = [contract(112, "C", 0, open_interest=9000), contract(90, "P", 0)]
    row = metrics_of(dying)
    assert row["gamma_flip"] == pytest.approx(101, abs=0.5)  # middle of the strip without any gamma
    assert row["gex_slope"] == 0.0
    assert metrics_of(dying[:1])["gamma_flip_status"] == "no_crossing"


def test_of_several_crossings_the_nearest_to_spot_is_the_flip():
    # Puts around 90 and 112, calls around 100: net GEX changes sign between 90 and 100 and between 100 and 112.
    rows = [contract(90, "P"), contract(100, "C"), contract(112, "P")]
    low = metrics_of(rows, 97.0)["gamma_flip"]
    high = metrics_of(rows, 103.0)["gamma_flip"]
    assert 90 < low < 100 < high < 112
    assert low == pytest.approx(two_strike_flip(100, 90, 1, 1, 30, 0.2, 0, 0), abs=0.2)
    assert high == pytest.approx(two_strike_flip(112, 100, 1, 1, 30, 0.2, 0, 0), abs=0.2)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_flip_and_slope_follow_the_definition(seed):
    """NumPy on the definition: 161 points, S² at the point, linear interpolation, the crossing nearest spot."""
    config = DealerSettings(rate=0.03, dividend_yield=0.01)
    chain = frame(random_chain(seed))
    used = chain.filter(
        (pl.col("open_interest") >= 100) & (pl.col("volume") >= 1), pl.col("implied_volatility").is_not_null()
    )
    sign = np.where(used["option_type"] == "C", 1.0, -1.0)
    days = (used["expiration_date"] - SESSION).dt.total_days().to_numpy()
    years = np.maximum(days / 365, 1 / 8760)
    size = sign * used["open_interest"].to_numpy() * used["shares_per_contract"].fill_null(100).to_numpy()
    strike, volatility = used["strike_price"].to_numpy(), used["implied_volatility"].to_numpy()

    def net(s):
        return float(np.sum(size * gamma(s, strike, years, volatility, 0.03, 0.01)) * s * s * 0.01)

    grid = np.linspace(80, 120, 161)
    curve = np.array([net(s) for s in grid])
    change = np.flatnonzero(curve[:-1] * curve[1:] < 0)
    crossings = grid[change] + 0.25 * curve[change] / (curve[change] - curve[change + 1])
    row = metrics_of(chain, 100.0, config)
    assert row["repriced_options_count"] == used.height < row["eligible_options_count"]
    assert row["gamma_flip"] == pytest.approx(crossings[np.argmin(np.abs(crossings - 100))], abs=0.02)
    assert abs(net(row["gamma_flip"])) < 1e-9 * row["gex_total"]
    assert row["gex_slope"] == pytest.approx((net(101) - net(99)) / 2, rel=1e-10)
    assert row["dgpi"] == pytest.approx(
        math.copysign(10, row["gex_net"])
        * math.log10(abs(row["gex_net"]) + 1)
        * (1 + min(max(row["gex_slope"] / row["gex_total"], -0.3), 0.3)),
        rel=1e-10,
    )


def crossings_on_the_whole_grid(rows, points):
    """(crossing, grid points around it) where net GEX changes sign: by linear interpolation, or in the middle of
    what has no sign.
    """
    net, gross = np.zeros(points.size), np.zeros(points.size)
    for row in rows:
        years = max((row["expires_at"] - CLOSE).days / 365, 1 / 8760)
        deviation = row["implied_volatility"] * math.sqrt(years)
        d = np.log(points / row["strike_price"]) / deviation + deviation / 2
        exponent = d * d / 2 / math.log(2)
        curve = row["open_interest"] / deviation * np.exp2(-exponent) * (exponent < 1022) * points
        net += curve if row["option_type"] == "C" else -curve
        gross += curve
    signed = np.flatnonzero(np.abs(net) > 1e-12 * gross)
    for i, j in pairwise(signed):
        if np.sign(net[i]) != np.sign(net[j]):
            share = net[i] / (net[i] - net[j]) if j == i + 1 else 0.5
            yield points[i] + (points[j] - points[i]) * share, points[i], points[j]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            contract,
            st.integers(76, 124),
            st.sampled_from("CP"),
            st.sampled_from([0, 1, 2, 5, 30, 90]),
            open_interest=st.integers(100, 9000),
            implied_volatility=st.floats(0.05, 0.6),
        ),
        min_size=2,
        max_size=8,
        unique_by=lambda row: (row["strike_price"], row["option_type"], row["expiration_date"]),
    )
)
def test_searching_outward_from_spot_misses_no_nearer_crossing(rows):
    points = np.linspace(80, 120, 161)
    crossings = sorted(crossings_on_the_whole_grid(rows, points), key=lambda crossing: abs(crossing[0] - 100))
    row = metrics_of(rows)
    if not crossings:
        assert row["gamma_flip_status"] == "no_crossing"
        return
    # The flip is the exact zero between the two points; of crossings equally near either may be the nearer.
    nearest = abs(crossings[0][0] - 100) + 1e-6
    cells = [(low, high) for crossing, low, high in crossings if abs(crossing - 100) <= nearest]
    assert any(low <= row["gamma_flip"] <= high for low, high in cells)


def test_known_iv_rank_weights_the_pressure():
    rows = random_chain(1)
    plain, ranked = metrics_of(rows)["dgpi"], metrics_of(rows, iv_rank=[40.0])["dgpi"]
    assert ranked == pytest.approx(plain * (0.7 + 40 / 333), rel=1e-10)
    huge = np.array([-1e30])
    assert dealer_gamma_pressure(huge, -huge, huge * 0, np.array([100.0])) == [-100.0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from("CP"), st.integers(0, 50), st.integers(0, 2)),
        min_size=1,
        unique_by=lambda row: (row[0], row[1], row[3]),
    )
)
def test_max_pain_is_the_cheapest_listed_strike(rows):
    chain = [contract(k, side, 7 * week, open_interest=oi, gamma=None) for k, side, oi, week in rows]
    payout = {
        settle: sum(oi * max((settle - k) * (1 if side == "C" else -1), 0) for k, side, oi, _ in rows)
        for settle in sorted({k for k, *_ in rows})
    }
    expected = min(payout, key=payout.get) if any(oi for _, _, oi, _ in rows) else None
    assert metrics_of(chain, spot=None)["max_pain"] == expected


def test_scaling_spot_and_strikes_scales_exposure():
    chain = frame(random_chain(5))
    plain = metrics_of(chain)
    scaled = metrics_of(chain.with_columns(pl.col("strike_price") * 3.7, pl.col("gamma") / 3.7), 370.0)
    for name in (
        "gex_net",
        "gex_total",
        "gex_call",
        "gex_put",
        "gex_slope",
        "gamma_flip",
        "vex",
        "cex",
        "max_pain",
    ):
        assert scaled[name] == pytest.approx(plain[name] * 3.7, rel=1e-10), name
    assert scaled["zero_dte_share"] == pytest.approx(plain["zero_dte_share"], rel=1e-10)
    for name in ("status", "confidence", "filters", "eligible_options_count"):
        assert scaled[name] == plain[name]
    assert [w["contracts"] for w in scaled["put_walls"]] == [w["contracts"] for w in plain["put_walls"]]


def test_swapping_calls_and_puts_flips_the_sign():
    chain = frame(random_chain(6))
    swapped = chain.with_columns(pl.col("option_type").replace({"C": "P", "P": "C"}))
    plain, mirrored = metrics_of(chain), metrics_of(swapped)
    for name in ("gex_net", "gex_slope", "vex", "cex"):
        assert mirrored[name] == -plain[name]
    assert mirrored["gex_total"] == plain["gex_total"]
    assert mirrored["gamma_flip"] == plain["gamma_flip"]
    assert mirrored["call_walls"] == plain["put_walls"]


def test_neither_row_order_nor_company_changes_a_bit():
    chain = frame(random_chain(7))
    alone = metrics_of(chain)
    for seed in range(5):
        assert metrics_of(chain.sample(fraction=1.0, shuffle=True, seed=seed)) == alone
    others = frame(random_chain(8)).with_columns(ticker_id=pl.lit("0"))
    outside = frame(random_chain(9)).with_columns(ticker_id=pl.lit("b"))
    batch = dealer_metrics(
        pl.concat([outside, chain, others]),
        pl.DataFrame({"ticker_id": ["a", "0"], "symbol": ["A", "Z"], "spot": [100.0, 100.0], "spot_source": "ohlcv"}),
        snapshot_time=CLOSE,
        session=SESSION,
        settings=NO_CARRY,
        model_version="test",
    )  # fmt: skip
    assert batch["ticker_id"].to_list() == ["0", "a"]
    assert json.loads(batch["dealer_metrics_json"][1]) == alone
    assert batch["gex_net"][1] == alone["gex_net"]


def test_each_filter_counts_what_it_removes_first():
    rows = [
        contract(100, "C"),
        contract(0, "C", open_interest=1),
        contract(101, "C", shares_per_contract=0),
        contract(100, "C", -1, gamma=None),
        contract(100, "C", 91, gamma=None),
        contract(100, "C", 90),
        contract(100, "C", 1, gamma=None, volume=0),
        contract(100, "C", 2, gamma=float("nan")),
        contract(100, "C", 3, gamma=-0.01, open_interest=0),
        contract(100, "C", 4, open_interest=99, volume=0),
        contract(100, "C", 5, open_interest=None),
        contract(100, "C", 6, volume=0),
        contract(100, "C", 7, volume=None),
        contract(100, "C", 8, open_interest=100, volume=1, gamma=0.0),
    ]
    row = metrics_of(rows)
    assert row["filters"] == {
        "invalid_terms": 2,
        "expired": 1,
        "dte_exceeded": 1,
        "missing_gamma": 2,
        "negative_gamma": 1,
        "low_open_interest": 2,
        "low_volume": 2,
    }
    assert row["eligible_options_count"] == 3
    assert row["total_options_count"] == len(rows) == 3 + sum(row["filters"].values())
    lenient = metrics_of(rows, config=DealerSettings(max_dte=91, min_open_interest=0, min_volume=0))
    assert (lenient["filters"]["dte_exceeded"], lenient["filters"]["low_volume"]) == (0, 1)
    assert lenient["inputs"]["max_dte"] == 91


@pytest.mark.parametrize(
    ("eligible", "status", "confidence"),
    [
        (1, "LIMITED", "low"),
        (9, "LIMITED", "low"),
        (10, "LIMITED", "medium"),
        (24, "LIMITED", "medium"),
        (25, "FULL", "medium"),
        (49, "FULL", "medium"),
        (50, "FULL", "high"),
    ],
)
def test_status_and_confidence_grow_with_the_eligible_count(eligible, status, confidence):
    row = metrics_of([contract(80 + k, "C") for k in range(eligible)] + [contract(100, "P", volume=0)])
    assert (row["status"], row["status_reason"], row["confidence"]) == (status, None, confidence)
    assert row["position"] == ("long_gamma" if eligible * 200_000 >= 1_000_000 else "neutral")


@pytest.mark.parametrize(
    ("rows", "spot", "reason"),
    [
        ([], None, "no_options"),
        ([contract(100, "C")], None, "no_spot"),
        ([contract(100, "C")], float("nan"), "no_spot"),
        ([contract(100, "C")], 0.0, "no_spot"),
        ([contract(100, "C", volume=0)], 100.0, "all_contracts_filtered"),
        ([contract(k, "C", gamma=0.0) for k in range(80, 120)], 100.0, "zero_gex"),
    ],
)
def test_an_invalid_row_is_written_and_says_why(rows, spot, reason):
    row = metrics_of(rows, spot)
    assert (row["status"], row["status_reason"]) == ("INVALID", reason)
    assert row["total_options_count"] == len(rows)
    assert (row["call_walls"], row["call_wall"], row["dgpi"], row["zero_dte_share"]) == ([], None, None, None)
    if reason != "zero_gex":
        assert (row["gex_net"], row["gamma_flip_status"], row["position"]) == (
            None,
            "not_computed",
            "unknown",
        )


def test_without_iv_exposure_stands_and_repricing_says_so():
    row = metrics_of([contract(100 + k, "C", implied_volatility=[None, 0.0][k % 2]) for k in range(30)])
    assert (row["status"], row["gamma_flip_status"], row["repriced_options_count"]) == ("FULL", "no_iv", 0)
    assert row["gex_net"] > 0
    assert [row[name] for name in ("gamma_flip", "gex_slope", "vex", "cex", "dgpi")] == [None] * 5


def test_a_contract_that_expires_at_the_bell_counts_and_has_an_hour_to_live():
    row = metrics_of([contract(100, "C", 0), contract(100, "C", gamma=0.06)])
    assert row["zero_dte_share"] == pytest.approx(0.25, rel=1e-12)
    hour = float(gamma(101.0, 100.0, 1 / 8760, 0.2) * 101**2 - gamma(99.0, 100.0, 1 / 8760, 0.2) * 99**2)
    alone = metrics_of([contract(100, "C", 0)])
    assert alone["gex_slope"] == pytest.approx(hour / 2 * 1000 * 100 * 0.01, rel=1e-10)


def test_walls_weigh_proximity_and_ties_go_to_the_lower_strike():
    rows = [
        contract(100, "C", open_interest=100),
        contract(95, "C"),
        contract(105, "C", 7, open_interest=600),
        contract(105, "C", 14, open_interest=400),
        contract(110, "C", open_interest=1400),  # × 0.7 < 1000
        contract(119, "C", open_interest=4000),  # × 0.2 < 980
        contract(121, "C", open_interest=900_000),  # beyond 20 %
        contract(95, "P", gamma=0.0),
    ]
    row = metrics_of(rows)
    assert [wall["strike"] for wall in row["call_walls"]] == [95, 105, 110]
    assert row["call_wall"] == row["call_walls"][0]
    assert row["call_walls"][1] == {
        "strike": 105.0,
        "gex": pytest.approx(0.02 * 1000 * 100 * 100, rel=1e-12),
        "open_interest": 1000.0,
        "contracts": 2,
        "moneyness": 0.05,
        "distance_from_spot": 5.0,
    }
    assert (row["put_walls"], row["put_wall"]) == ([], None)
    assert row["profile"]["strike"] == [95, 100, 105, 110, 119, 121]
    assert sum(row["profile"]["call_gex"]) + sum(row["profile"]["put_gex"]) == pytest.approx(row["gex_net"])


def leaves(value, path=""):
    if isinstance(value, dict):
        return {
            leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}" if path else key)
        }
    if isinstance(value, list):
        return {leaf for inner in value for leaf in leaves(inner, path + "[]")}
    return {path}


def test_every_key_is_always_there_and_documented():
    full, thin = metrics_of(random_chain(3)), metrics_of([contract(100, "C")])  # which has a flag
    assert leaves({**full, "quality": thin["quality"]}) == {
        ".".join(metric.path) for metric in DEALER_METRICS
    }
    for rows, spot in (([], None), ([contract(100, "C")], None), ([contract(100, "C")], 100.0)):
        assert list(metrics_of(rows, spot)) == list(full)


def test_input_that_means_nothing_is_refused():
    rows = [contract(100, "C"), contract(101, "C"), contract(100, "C", volume=3)]
    with pytest.raises(ValueError, match=r"occur more than once.*call of ticker_id a at strike 100"):
        metrics_of(rows)
    with pytest.raises(ValueError, match="option_type X"):
        metrics_of([contract(100, "X")])
    with pytest.raises(ValueError, match="time zone"):
        metrics_of(frame(rows).with_columns(pl.col("expires_at").dt.replace_time_zone(None)))
    with pytest.raises(ValueError, match="grid_step"):
        DealerSettings(grid_step=0.3)
