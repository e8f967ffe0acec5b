"""Promise: the sensitivities behind vex, cex, the flip and the slope equal QuantLib's and vollib's.

On a grid of moneyness, term, volatility and carry, far enough out to meet gammas of 1e-20 and deltas of 1.
"""

import itertools
import math

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813 - the name that QuantLib's own documentation uses
from vollib.black_scholes_merton.greeks import analytical

from kapman_metrics.black_scholes import charm, delta, gamma, vanna

SPOT = 100.0
GRID = [
    (call, strike, days / 365.0, volatility, rate, dividend_yield)
    for call, strike, days, volatility, (rate, dividend_yield) in itertools.product(
        (True, False),
        (60.0, 90.0, 100.0, 103.5, 150.0),
        (1 / 24, 1, 30, 365),
        (0.08, 0.2, 0.9),
        ((0.0, 0.0), (0.05, 0.012), (-0.01, 0.08)),
    )
]
CALL, STRIKE, YEARS, VOLATILITY, RATE, DIVIDEND_YIELD = (
    np.array(column) for column in zip(*GRID, strict=True)
)
TERMS = (SPOT, STRIKE, YEARS, VOLATILITY, RATE, DIVIDEND_YIELD)


def quantlib(call, strike, years, volatility, rate, dividend_yield):
    payoff = ql.PlainVanillaPayoff(ql.Option.Call if call else ql.Option.Put, strike)
    forward = SPOT * math.exp((rate - dividend_yield) * years)
    return ql.BlackCalculator(payoff, forward, volatility * math.sqrt(years), math.exp(-rate * years))


def test_gamma_delta_and_vanna_equal_quantlib():
    oracle = [quantlib(*contract) for contract in GRID]
    np.testing.assert_allclose(gamma(*TERMS), [o.gamma(SPOT) for o in oracle], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(delta(CALL, *TERMS), [o.delta(SPOT) for o in oracle], rtol=1e-10, atol=1e-14)
    expected = [o.vanna(SPOT, t) for o, t in zip(oracle, YEARS, strict=True)]
    np.testing.assert_allclose(vanna(*TERMS), expected, rtol=1e-9, atol=1e-12)


def test_gamma_and_delta_equal_vollib():
    flags = ["c" if call else "p" for call in CALL]
    terms = list(zip(flags, STRIKE, YEARS, RATE, VOLATILITY, DIVIDEND_YIELD, strict=True))
    expected = [analytical.gamma(f, SPOT, k, t, r, v, q) for f, k, t, r, v, q in terms]
    np.testing.assert_allclose(gamma(*TERMS), expected, rtol=1e-10, atol=1e-14)
    expected = [analytical.delta(f, SPOT, k, t, r, v, q) for f, k, t, r, v, q in terms]
    np.testing.assert_allclose(delta(CALL, *TERMS), expected, rtol=1e-10, atol=1e-14)


def test_charm_is_the_rate_at_which_quantlibs_delta_decays():
    def decay(call, strike, years, *rest):
        h = years * 1e-3

        def at(t):
            return quantlib(call, strike, t, *rest).delta(SPOT)

        # Fifth-order central difference of delta in T; charm is the change as T shrinks.
        return -(8 * (at(years + h) - at(years - h)) - (at(years + 2 * h) - at(years - 2 * h))) / (12 * h)

    expected = np.array([decay(*contract) for contract in GRID])
    np.testing.assert_allclose(charm(CALL, *TERMS) * YEARS, expected * YEARS, rtol=1e-7, atol=1e-11)


def test_the_published_figures_of_an_at_the_money_month():
    month = (100.0, 100.0, 30 / 365, 0.2)
    assert gamma(*month) == pytest.approx(0.0695484408, abs=5e-11)
    assert vanna(*month) == pytest.approx(0.0571631, abs=5e-8)
    assert charm(True, *month) == charm(False, *month) == pytest.approx(-0.0695484, abs=5e-8)
