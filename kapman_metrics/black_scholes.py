"""Black–Scholes–Merton sensitivities of European options, vectorised over NumPy arrays.

Source: J. C. Hull, "Options, Futures, and Other Derivatives", ch. 19 (delta, gamma); E. G. Haug, "The
Complete Guide to Option Pricing Formulas", 2nd ed., §2.4 and §2.7 (vanna = DdeltaDvol, charm = DdeltaDtime).

Shared notation, all arguments broadcasting against each other as float64:

- `spot` S, `strike` K in dollars, both > 0;
- `years` T to expiry in years (ACT/365), > 0;
- `volatility` σ per year as a fraction (0.20 = 20 %), > 0;
- `rate` r and `dividend_yield` q, continuously compounded per year as fractions.

d1 = (ln(S/K) + (r − q + σ²/2) T) / (σ√T), d2 = d1 − σ√T. Nothing is validated here: a zero or negative S, K,
T or σ gives NaN or ±Infinity as NumPy does, so callers leave such contracts out.
"""

import math

import numpy as np
from numba import vectorize
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_SQRT_2PI = math.sqrt(2.0 * math.pi)


# NumPy has no erf; Numba compiles C's erfc at the first call.
@vectorize(cache=True)
def _normal_cdf(x):  # type: ignore[no-untyped-def]
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _normal_pdf(x: FloatArray) -> FloatArray:
    return np.exp(-0.5 * x * x) / _SQRT_2PI


def d1(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> FloatArray:
    """d1 of the Black–Scholes formula (no unit); d2 is this less σ√T."""
    s, k, t, v, r, q = (
        np.asarray(x, dtype=np.float64) for x in (spot, strike, years, volatility, rate, dividend_yield)
    )
    return (np.log(s / k) + (r - q + 0.5 * v * v) * t) / (v * np.sqrt(t))


def delta(
    call: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> FloatArray:
    """∂V/∂S, dollars of option per dollar of spot: e^(−qT) N(d1) for a call, e^(−qT) (N(d1) − 1) for a put.

    `call` is boolean: True for calls, False for puts.
    """
    t, q = np.asarray(years, dtype=np.float64), np.asarray(dividend_yield, dtype=np.float64)
    sign = np.where(np.asarray(call, dtype=np.bool_), 1.0, -1.0)
    # sign · N(sign · d1) keeps every digit of a far out-of-the-money put, where N(d1) − 1 would cancel.
    x = d1(spot, strike, years, volatility, rate, dividend_yield)
    return np.asarray(sign * np.exp(-q * t) * _normal_cdf(sign * x))


def gamma(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> FloatArray:
    """∂²V/∂S², change of delta per dollar of spot, the same for calls and puts: e^(−qT) φ(d1) / (S σ√T)."""
    s, t, v, q = (np.asarray(x, dtype=np.float64) for x in (spot, years, volatility, dividend_yield))
    x = d1(spot, strike, years, volatility, rate, dividend_yield)
    return np.asarray(np.exp(-q * t) * _normal_pdf(x) / (s * v * np.sqrt(t)))


def vanna(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> FloatArray:
    """∂Δ/∂σ, change of delta per 1.00 of volatility (100 vol points), the same for calls and puts:
    −e^(−qT) φ(d1) d2 / σ. Multiply by 0.01 for one vol point.
    """
    t, v, q = (np.asarray(x, dtype=np.float64) for x in (years, volatility, dividend_yield))
    x = d1(spot, strike, years, volatility, rate, dividend_yield)
    return np.asarray(-np.exp(-q * t) * _normal_pdf(x) * (x - v * np.sqrt(t)) / v)


def charm(
    call: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> FloatArray:
    """∂Δ/∂t = −∂Δ/∂T, change of delta per year of calendar time that passes (divide by 365 for a day):
    qΔ − e^(−qT) φ(d1) (2(r − q)T − d2 σ√T) / (2T σ√T), Δ being the option's own delta.
    """
    t, v, r, q = (np.asarray(x, dtype=np.float64) for x in (years, volatility, rate, dividend_yield))
    deviation = v * np.sqrt(t)
    x = d1(spot, strike, years, volatility, rate, dividend_yield)
    drift = (2.0 * (r - q) * t - (x - deviation) * deviation) / (2.0 * t * deviation)
    carry = q * delta(call, spot, strike, years, volatility, rate, dividend_yield) if np.any(q) else 0.0
    return np.asarray(carry - np.exp(-q * t) * _normal_pdf(x) * drift)
