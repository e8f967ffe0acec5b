"""Prices and greeks of European options on a share with a dividend yield (Black and Scholes 1973, Merton 1973)."""

import math
from typing import NamedTuple

import numpy as np

RATE = 0.04  # continuously compounded, for every expiry
DIVIDEND_YIELD = 0.01  # continuous, for every underlying

_erfc = np.frompyfunc(math.erfc, 1, 1)


class Valuation(NamedTuple):
    """Per share, all float64 of one shape: theta per calendar day, vega per point of volatility (0.01)."""

    price: np.ndarray
    delta: np.ndarray
    gamma: np.ndarray
    theta: np.ndarray
    vega: np.ndarray


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    cdf: np.ndarray = 0.5 * np.asarray(_erfc(-x / math.sqrt(2.0)), dtype=np.float64)
    return cdf


def valuation(
    spot: float, strike: np.ndarray, years: np.ndarray, volatility: np.ndarray, is_call: np.ndarray
) -> Valuation:
    """Value contracts of one underlying (Hull, Options, Futures, and Other Derivatives, ch. 17 and 19).

    Arrays of one shape; strike in the currency of spot, years > 0, volatility annual and > 0.
    """
    sign = np.where(is_call, 1.0, -1.0)
    root = np.sqrt(years)
    d1 = (np.log(spot / strike) + (RATE - DIVIDEND_YIELD + volatility**2 / 2) * years) / (volatility * root)
    d2 = d1 - volatility * root
    carried = spot * np.exp(-DIVIDEND_YIELD * years)
    discounted = strike * np.exp(-RATE * years)
    density = np.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    above, below = _normal_cdf(sign * d1), _normal_cdf(sign * d2)
    decay = -carried * density * volatility / (2 * root)
    return Valuation(
        price=sign * (carried * above - discounted * below),
        delta=sign * np.exp(-DIVIDEND_YIELD * years) * above,
        gamma=np.exp(-DIVIDEND_YIELD * years) * density / (spot * volatility * root),
        theta=(decay - sign * (RATE * discounted * below - DIVIDEND_YIELD * carried * above)) / 365.0,
        vega=carried * density * root / 100.0,
    )
