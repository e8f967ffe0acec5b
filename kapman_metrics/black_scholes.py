"""Black–Scholes–Merton sensitivities of European options, vectorised over NumPy arrays.

Source: J. C. Hull, "Options, Futures, and Other Derivatives", ch. 19 (delta, gamma); E. G. Haug, "The
Complete Guide to Option Pricing Formulas", 2nd ed., §2.4 and §2.7 (vanna = DdeltaDvol, charm = DdeltaDtime).

Shared notation, all arguments broadcasting against each other as float64:

- `spot` S, `strike` K in dollars, both > 0;
- `years` T to expiry in years (ACT/365), > 0;
- `volatility` σ per year as a fraction (0.20 = 20 %), > 0;
- `rate` r and `dividend_yield` q, continuously compounded per year as fractions.

d1 = (ln(S/K) + (r − q + σ²/2) T) / (σ√T), d2 = d1 − σ√T. Nothing is validated here: a zero or negative S, K,
T or σ gives NaN or ±Infinity as NumPy does, so callers leave such contracts out. NaN stays NaN.

Whoever needs several of them values the options once with `sensitivities` and asks the result.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numba import vectorize
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_SQRT_2PI = math.sqrt(2.0 * math.pi)


# Compiled at the first call and kept: a formula is one pass over its arrays, where NumPy makes one for each of
# its operators. And NumPy has no erf.
@vectorize(cache=True)
def _d1(spot, strike, years, volatility, rate, dividend_yield):  # type: ignore[no-untyped-def]
    drift = (rate - dividend_yield + 0.5 * volatility * volatility) * years
    return (math.log(spot / strike) + drift) / (volatility * math.sqrt(years))


@vectorize(cache=True)
def _density(d1, years, dividend_yield):  # type: ignore[no-untyped-def]
    return math.exp(-0.5 * d1 * d1 - dividend_yield * years) / _SQRT_2PI


@vectorize(cache=True)
def _delta(sign, d1, years, dividend_yield):  # type: ignore[no-untyped-def]
    # sign · N(sign · d1) keeps every digit of a far out-of-the-money put, where N(d1) − 1 would cancel.
    return sign * math.exp(-dividend_yield * years) * 0.5 * math.erfc(-sign * d1 / math.sqrt(2.0))


@vectorize(cache=True)
def _vanna(density, d1, deviation, volatility):  # type: ignore[no-untyped-def]
    return -density * (d1 - deviation) / volatility


@vectorize(cache=True)
def _decay(density, d1, deviation, years, carry):  # type: ignore[no-untyped-def]
    """Charm of an option on an underlying without a yield of its own."""
    return density * ((d1 - deviation) / (2.0 * years) - carry / deviation)


@dataclass(frozen=True)
class Sensitivities:
    """What all greeks of a set of options rest on, computed once: arrays of one shape."""

    years: FloatArray
    volatility: FloatArray
    deviation: FloatArray
    """σ√T."""
    d1: FloatArray
    density: FloatArray
    """e^(−qT) φ(d1)."""
    rate: FloatArray
    dividend_yield: FloatArray
    """Per option or, without a dimension, the same for all."""

    def __getitem__(self, index: NDArray[np.int64] | slice) -> "Sensitivities":
        """Those of the options at `index`; rate and yield have to be the same for all."""
        return replace(
            self,
            years=self.years[index],
            volatility=self.volatility[index],
            deviation=self.deviation[index],
            d1=self.d1[index],
            density=self.density[index],
        )

    def delta(self, call: ArrayLike) -> FloatArray:
        """∂V/∂S, see the function of that name."""
        sign = np.where(np.asarray(call, dtype=np.bool_), 1.0, -1.0)
        return np.asarray(_delta(sign, self.d1, self.years, self.dividend_yield))

    def gamma(self, spot: ArrayLike) -> FloatArray:
        """∂²V/∂S², see the function of that name."""
        return np.asarray(self.density / (np.asarray(spot, dtype=np.float64) * self.deviation))

    def vanna(self) -> FloatArray:
        """∂Δ/∂σ, see the function of that name."""
        return np.asarray(_vanna(self.density, self.d1, self.deviation, self.volatility))

    def charm(self, call: ArrayLike) -> FloatArray:
        """∂Δ/∂t, see the function of that name."""
        carry = self.rate - self.dividend_yield
        decay = np.asarray(_decay(self.density, self.d1, self.deviation, self.years, carry))
        return decay + self.dividend_yield * self.delta(call) if np.any(self.dividend_yield) else decay


def sensitivities(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> Sensitivities:
    """σ√T, d1 and density of every option."""
    s, k, t, v, r, q = (
        np.asarray(x, dtype=np.float64) for x in (spot, strike, years, volatility, rate, dividend_yield)
    )
    d1 = np.asarray(_d1(s, k, t, v, r, q))
    return Sensitivities(t, v, np.asarray(v * np.sqrt(t)), d1, np.asarray(_density(d1, t, q)), r, q)


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
    return sensitivities(spot, strike, years, volatility, rate, dividend_yield).delta(call)


def gamma(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> FloatArray:
    """∂²V/∂S², change of delta per dollar of spot, the same for calls and puts: e^(−qT) φ(d1) / (S σ√T)."""
    return sensitivities(spot, strike, years, volatility, rate, dividend_yield).gamma(spot)


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
    return sensitivities(spot, strike, years, volatility, rate, dividend_yield).vanna()


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
    return sensitivities(spot, strike, years, volatility, rate, dividend_yield).charm(call)
