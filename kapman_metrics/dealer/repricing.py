"""Net GEX as a function of spot: every contract repriced at its own IV, the gamma flip and the slope at spot.

With m = S/spot, a contract's γ(S) S² is spot · m · w · exp(−(d + b ln m)²/2), where w = e^(−qT)/(σ√T √2π),
b = 1/(σ√T) and d is d1 at today's spot: nothing but ln m changes along the grid, and the grid is the same for
every underlying. Sticky strike: each contract keeps its IV as spot moves.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from kapman_metrics.black_scholes import d1
from kapman_metrics.dealer.chain import Chain, FloatArray, IntArray
from kapman_metrics.dealer.settings import DealerSettings

FOUND = "found"
NO_CROSSING = "no_crossing"
NO_IV = "no_iv"
NOT_COMPUTED = "not_computed"

_NOISE = 1e-12
"""|net| below this share of gross GEX is rounding, not a sign: 2,000 summands leave at most 2e-13."""

# exp(−x²/2) = 2^−(x · _BASE_2)²: scaling d and b once saves the kernel two operations a point.
_BASE_2 = math.sqrt(0.5 / math.log(2.0))

# 2^r for |r| ≤ ½ by its Taylor series; the first term left out is below 2e-16.
_SERIES = tuple(math.log(2.0) ** n / math.factorial(n) for n in range(13))
_DEGREE = len(_SERIES) - 1

# Adding 1.5 · 2^52 rounds a double to an integer and leaves that integer in its low bits.
_ROUNDER = 6755399441055744.0
_EXPONENT_BIAS = 1023
_MANTISSA_BITS = 52
_SMALLEST_EXPONENT = -1022.0


@dataclass(frozen=True)
class Repricing:
    """What repricing says of each underlying: arrays of one length, NaN where a figure can't be computed."""

    gamma_flip: FloatArray
    """Dollars."""
    flip_status: list[str]
    gex_slope: FloatArray
    """Dollars per 1 % move, per 1 % of spot."""
    contracts: IntArray
    """How many eligible contracts have an IV, i.e. take part."""


@njit(cache=True, inline="always")
def _power_of_two(exponent):  # type: ignore[no-untyped-def]
    """2^exponent for exponent ≤ 0, to 1e-15; 0 from 2^−1022 down.

    Written out because LLVM turns this into vector instructions and a call of `exp` not: four times faster.
    """
    bounded = exponent if exponent > _SMALLEST_EXPONENT else _SMALLEST_EXPONENT
    shifted = bounded + _ROUNDER
    rest = bounded - (shifted - _ROUNDER)
    power = _SERIES[_DEGREE]
    for n in range(_DEGREE - 1, -1, -1):
        power = power * rest + _SERIES[n]
    bits = (np.float64(shifted).view(np.int64) + _EXPONENT_BIAS) << _MANTISSA_BITS
    return power * np.int64(bits).view(np.float64) if exponent > _SMALLEST_EXPONENT else 0.0


# Contraction to fused multiply-adds is the only liberty with floating point: no sum is reordered.
@njit(cache=True, fastmath={"contract"})
def _add_curves(row, weight, offset, scale, log_moneyness, curves):  # type: ignore[no-untyped-def]
    """Add each contract's weight · 2^−(offset + scale · log_moneyness)² to its row of `curves`."""
    for i in range(row.size):
        w = weight[i]
        a = offset[i]
        b = scale[i]
        curve = curves[row[i]]
        for j in range(log_moneyness.size):
            x = a + b * log_moneyness[j]
            curve[j] += w * _power_of_two(-(x * x))


@njit(cache=True, fastmath={"contract"})
def _balance(x, signed_weight, offset, scale, first, last):  # type: ignore[no-untyped-def]
    """(net, gross) of the contracts first … last − 1 at log-moneyness x, up to a common factor."""
    net = 0.0
    gross = 0.0
    for i in range(first, last):
        d = offset[i] + scale[i] * x
        value = signed_weight[i] * _power_of_two(-(d * d))
        net += value
        gross += abs(value)
    return net, gross


@njit(cache=True)
def _polish(low, guess, high, signed_weight, offset, scale, bounds):  # type: ignore[no-untyped-def]
    """Zeros of the exact balance inside the brackets (low, high) by the Illinois method, starting at `guess`.

    All three are log-moneyness per underlying, NaN where there is no bracket. Stops where net is rounding
    noise or the bracket is narrower than 1e-14; where no gamma is left at the guess, that stands.

    The grid alone leaves the flip of the design's second closed-form case 8e-3 dollars off, this 1e-9.
    """
    roots = guess.copy()
    for u in range(guess.size):
        if math.isnan(guess[u]):
            continue
        x0, x1, x = low[u], high[u], guess[u]
        f0, _ = _balance(x0, signed_weight, offset, scale, bounds[u], bounds[u + 1])
        f1, _ = _balance(x1, signed_weight, offset, scale, bounds[u], bounds[u + 1])
        side = 0
        for _ in range(100):
            f, gross = _balance(x, signed_weight, offset, scale, bounds[u], bounds[u + 1])
            roots[u] = x
            if abs(f) <= _NOISE * 1e-3 * gross or x1 - x0 < 1e-14:
                break
            if (f > 0.0) == (f1 > 0.0):
                x1, f1 = x, f
                f0 = f0 * 0.5 if side == 1 else f0
                side = 1
            else:
                x0, f0 = x, f
                f1 = f1 * 0.5 if side == -1 else f1
                side = -1
            x = (x0 * f1 - x1 * f0) / (f1 - f0)
    return roots


def grid(settings: DealerSettings) -> FloatArray:
    """Spot over today's spot at the grid's points, ascending; 1 is among them. 161 points by default."""
    steps = math.floor(settings.grid_width / settings.grid_step + 1e-9)
    return np.arange(-steps, steps + 1, dtype=np.float64) * settings.grid_step + 1.0


def reprice(chain: Chain, spot: FloatArray, settings: DealerSettings) -> Repricing:
    """Gamma flip and GEX slope of every underlying from its eligible contracts.

    `chain` holds eligible contracts alone; `spot` has one price per underlying in dollars, NaN where unknown.
    """
    contracts = np.bincount(chain.underlying, minlength=spot.size).astype(np.int64)
    chain = chain.where(np.isfinite(chain.volatility) & np.isfinite(spot[chain.underlying]))
    repriced = np.bincount(chain.underlying, minlength=spot.size).astype(np.int64)
    deviation = chain.volatility * np.sqrt(chain.years)
    terms = (chain.strike, chain.years, chain.volatility, settings.rate, settings.dividend_yield)
    offset = d1(spot[chain.underlying], *terms) * _BASE_2
    scale = _BASE_2 / deviation
    weight = chain.open_interest * chain.shares * np.exp(-settings.dividend_yield * chain.years) / deviation

    points = grid(settings)
    moneyness = np.concatenate([points, [0.99, 1.01]])  # the last two are for the slope
    curves = np.zeros((2 * spot.size, moneyness.size))
    row = 2 * chain.underlying + np.where(chain.call, 0, 1)
    _add_curves(row, weight, offset, scale, np.log(moneyness), curves)
    curves *= 0.01 / math.sqrt(2.0 * math.pi) * moneyness
    # Calls and puts are summed apart, in the chain's order: where they mirror each other, net is exactly 0.
    net, gross = curves[0::2] - curves[1::2], curves[0::2] + curves[1::2]
    sign = np.where(np.abs(net) <= _NOISE * gross, 0.0, np.sign(net))

    low, guess, high = _nearest_crossing(points, net[:, : points.size], sign[:, : points.size])
    bounds = np.searchsorted(chain.underlying, np.arange(spot.size + 1))
    signed_weight = np.where(chain.call, weight, -weight)
    root = np.exp(_polish(np.log(low), np.log(guess), np.log(high), signed_weight, offset, scale, bounds))
    slope = np.where(repriced > 0, (net[:, -1] - net[:, -2]) / 2.0 * spot, np.nan)
    return Repricing(root * spot, _statuses(spot, contracts, repriced, root), slope, repriced)


def _statuses(spot: FloatArray, contracts: IntArray, repriced: IntArray, root: FloatArray) -> list[str]:
    computable = np.isfinite(spot) & (contracts > 0)
    return np.select(
        [~computable, repriced == 0, np.isnan(root)], [NOT_COMPUTED, NO_IV, NO_CROSSING], default=FOUND
    ).tolist()


def _nearest_crossing(
    points: FloatArray, net: FloatArray, sign: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per row of `net` the sign change nearest to 1: grid point below, linear interpolation, grid point above.

    Points with sign 0 belong to neither side: where net fades to nothing between two signs, as among far
    strikes on their last day, the crossing is the middle of the zeros (a lone zero is it). Of two crossings
    equally near the lower counts. NaN for rows without a change.
    """
    rows, width = net.shape
    column = np.arange(width)
    signed = np.maximum.accumulate(np.where(sign != 0, column, -1), axis=1)
    before = np.concatenate([np.full((rows, 1), -1), signed[:, :-1]], axis=1)
    take = np.arange(rows)[:, None]
    crosses = (before >= 0) & (sign != 0) & (sign[take, before] != sign)

    left, right = np.abs(net[take, before]), np.abs(net)
    share = np.divide(left, left + right, out=np.zeros_like(net), where=crosses)
    crossing = points[before] + (points[column] - points[before]) * share
    crossing = np.where(column - before > 1, (points[before] + points[column]) / 2.0, crossing)
    # Rounded, so that a tie between two mirrored crossings is a tie.
    distance = np.where(crosses, np.round(np.abs(crossing - 1.0), 12), np.inf)
    nearest = np.argmin(distance, axis=1)
    index = np.arange(rows)
    found = crosses[index, nearest]
    start = before[index, nearest]
    return (
        np.where(found, points[start], np.nan),
        np.where(found, crossing[index, nearest], np.nan),
        np.where(found, points[nearest], np.nan),
    )
