"""How high the implied volatilities of an underlying are, over all strikes and expiries."""

import numpy as np
from numba import njit

from kapman_metrics.chain import BoolArray, Chain, FloatArray
from kapman_metrics.rounding import significant

POINTS = 100.0
"""Vol points in 1.00 of volatility."""

# Middle and reach of the front and the back month, calendar days to expiry.
_FRONT, _FRONT_REACH = 30, 15
_BACK, _BACK_REACH = 90, 30

_CALLS, _PUTS, _FRONT_MONTH, _BACK_MONTH = range(4)


def iv_levels(chain: Chain, quoted: BoolArray, underlyings: int) -> dict[str, FloatArray]:
    """Averages and spread of the IVs of the contracts that are `quoted`, per underlying; NaN where none is.

    Averages over all expiries weigh by open interest, or are the plain mean where there is none.
    """
    contracts = (chain.underlying, quoted, chain.volatility)
    sums = _sums(*contracts, amount(chain.open_interest), chain.call, chain.days, underlyings)
    both_sides = sums[:, _CALLS] + sums[:, _PUTS]
    count, total = both_sides[:, 0], both_sides[:, 1]
    variance = ratio(_squares(*contracts, ratio(total, count)), count)
    call_iv, put_iv = _average(sums[:, _CALLS]), _average(sums[:, _PUTS])
    front, back = sums[:, _FRONT_MONTH], sums[:, _BACK_MONTH]
    return {
        # Rounded as it is stored, so that equal volatilities of two sessions compare equal.
        "avg_iv": significant(_average(both_sides)),
        "avg_call_iv": call_iv,
        "avg_put_iv": put_iv,
        "iv_stddev": np.sqrt(variance),
        "iv_skew_call_put": (put_iv - call_iv) * POINTS,
        "front_month_iv": ratio(front[:, 1], front[:, 0]),
        "back_month_iv": ratio(back[:, 1], back[:, 0]),
    }


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient, NaN where the denominator is not above 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.size, np.nan), where=denominator > 0)


def amount(values: FloatArray) -> FloatArray:
    """Open interest or volume, 0 where the vendor says nothing or nonsense."""
    return np.where(np.isfinite(values) & (values > 0), values, 0.0)


def _average(sums: FloatArray) -> FloatArray:
    """By weight, else plain, of rows of what `_sums` adds up."""
    count, total, weight, weighted = sums.T
    return np.where(weight > 0, ratio(weighted, weight), ratio(total, count))


@njit(cache=True)
def _sums(underlying, quoted, iv, weight, call, days, underlyings):  # type: ignore[no-untyped-def]
    """Number, Σ IV, Σ weight and Σ IV · weight of each underlying's calls, puts, front and back month."""
    sums = np.zeros((underlyings, 4, 4))
    for i in range(iv.size):
        if not quoted[i]:
            continue
        own = sums[underlying[i]]
        for kind in range(4):
            if (
                (kind == _CALLS and call[i])
                or (kind == _PUTS and not call[i])
                or (kind == _FRONT_MONTH and abs(days[i] - _FRONT) <= _FRONT_REACH)
                or (kind == _BACK_MONTH and abs(days[i] - _BACK) <= _BACK_REACH)
            ):
                own[kind, 0] += 1.0
                own[kind, 1] += iv[i]
                own[kind, 2] += weight[i]
                own[kind, 3] += iv[i] * weight[i]
    return sums


@njit(cache=True)
def _squares(underlying, quoted, iv, mean):  # type: ignore[no-untyped-def]
    """Σ (IV − mean)² of each underlying."""
    result = np.zeros(mean.size)
    for i in range(iv.size):
        if quoted[i]:
            deviation = iv[i] - mean[underlying[i]]
            result[underlying[i]] += deviation * deviation
    return result
