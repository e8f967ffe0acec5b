"""Net GEX as a function of spot: every contract repriced at its own IV, the gamma flip and the slope at spot.

With m = S/spot, a contract's γ(S) S² is spot · m · w · exp(−(d + b ln m)²/2), where w = e^(−qT)/(σ√T √2π),
b = 1/(σ√T) and d is d1 at today's spot: nothing but ln m changes along the grid, and the grid is the same for
every underlying. Sticky strike: each contract keeps its IV as spot moves.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from kapman_metrics.chain import Chain, FloatArray, IntArray
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

_RING = 22
"""Grid points on either side of spot that are repriced at a time: ±5.5 % by default."""

_LANES = 16
"""The kernel's loops are padded to a multiple of this: four vectors of four doubles at a time."""


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
def _add_curves(underlyings, bounds, signed_weight, offset, scale, log_moneyness, curves):  # type: ignore[no-untyped-def]
    """Add each contract's |weight| · 2^−(offset + scale · log_moneyness)² to its side's curve.

    Of the `underlyings` listed; the contracts of underlying u are bounds[u] … bounds[u + 1] − 1. `curves` is
    (listed underlyings, 2 sides: calls, puts; points).
    """
    for k in range(underlyings.size):
        u = underlyings[k]
        for i in range(bounds[u], bounds[u + 1]):
            w = abs(signed_weight[i])
            a = offset[i]
            b = scale[i]
            curve = curves[k, 0 if signed_weight[i] > 0.0 else 1]
            for j in range(log_moneyness.size):
                x = a + b * log_moneyness[j]
                curve[j] += w * _power_of_two(-(x * x))


@njit(cache=True, fastmath={"contract"})
def _balance(x, signed_weight, offset, scale, values):  # type: ignore[no-untyped-def]
    """(net, gross) of some contracts at log-moneyness x, up to a common factor; `values` is scratch space.

    Two loops, because the first becomes vector instructions and the sums, in order, can't.
    """
    for i in range(values.size):
        d = offset[i] + scale[i] * x
        values[i] = signed_weight[i] * _power_of_two(-(d * d))
    net = 0.0
    gross = 0.0
    for i in range(values.size):
        net += values[i]
        gross += abs(values[i])
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
        own = slice(bounds[u], bounds[u + 1])
        contracts = (signed_weight[own], offset[own], scale[own], np.empty(bounds[u + 1] - bounds[u]))
        x0, x1, x = low[u], high[u], guess[u]
        f0, _ = _balance(x0, *contracts)
        f1, _ = _balance(x1, *contracts)
        side = 0
        for _ in range(100):
            f, gross = _balance(x, *contracts)
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


@dataclass(frozen=True)
class _Terms:
    """What repricing needs of each contract, and where the contracts of each underlying are."""

    bounds: IntArray
    signed_weight: FloatArray
    """Above 0 for calls, below for puts."""
    offset: FloatArray
    scale: FloatArray

    def curves(self, underlyings: IntArray, moneyness: FloatArray) -> FloatArray:
        """γ S² / spot · 0.01 of all contracts together at spots of that `moneyness`, ascending or not.

        (underlyings, 2, points). Calls and puts are summed apart, in the chain's order: where they mirror
        each other, net is exactly 0.
        """
        points = moneyness.size
        padded = np.ones(-(-points // _LANES) * _LANES)
        padded[:points] = moneyness
        result = np.zeros((underlyings.size, 2, padded.size))
        contracts = (self.signed_weight, self.offset, self.scale)
        _add_curves(underlyings, self.bounds, *contracts, np.log(padded), result)
        return result[:, :, :points] * (0.01 / math.sqrt(2.0 * math.pi) * moneyness)


def reprice(chain: Chain, spot: FloatArray, settings: DealerSettings) -> Repricing:
    """Gamma flip and GEX slope of every underlying from its eligible contracts.

    `chain` holds eligible contracts alone, of underlyings whose spot is known; `spot` has one price per
    underlying in dollars, NaN where unknown.
    """
    contracts = np.bincount(chain.underlying, minlength=spot.size).astype(np.int64)
    chain = chain.where(np.isfinite(chain.volatility))
    repriced = np.bincount(chain.underlying, minlength=spot.size).astype(np.int64)
    weight = chain.open_interest * chain.shares / chain.model.deviation
    if settings.dividend_yield:
        weight *= np.exp(-settings.dividend_yield * chain.years)
    terms = _Terms(
        bounds=np.searchsorted(chain.underlying, np.arange(spot.size + 1)),
        signed_weight=np.where(chain.call, weight, -weight),
        offset=chain.model.d1 * _BASE_2,
        scale=_BASE_2 / chain.model.deviation,
    )
    low, guess, high, slope = _search(terms, np.flatnonzero(repriced), grid(settings), spot.size)
    brackets = (np.log(low), np.log(guess), np.log(high))
    root = np.exp(_polish(*brackets, terms.signed_weight, terms.offset, terms.scale, terms.bounds))
    return Repricing(root * spot, _statuses(spot, contracts, repriced, root), slope * spot, repriced)


def _search(
    terms: _Terms, wanted: IntArray, points: FloatArray, underlyings: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Per underlying the bracket of the crossing nearest spot (see `_nearest_crossing`), and the slope / spot.

    The grid is repriced in rings around spot, and no farther than needed: a crossing inside the rings so far
    is the nearest of the whole grid, once the outermost points have a sign of their own. (Where net has faded
    to 0 there, a crossing whose zeros reach inside may still follow.)
    """
    low, guess, high, slope = (np.full(underlyings, np.nan) for _ in range(4))
    centre = points.size // 2
    distance = np.abs(np.arange(points.size) - centre)
    calls, puts = np.zeros((2, wanted.size, points.size))
    reach = -1
    while wanted.size and reach < centre:
        ring = np.flatnonzero((distance > reach) & (distance <= reach + _RING + (reach < 0)))
        around_spot = [0.99, 1.01] if reach < 0 else []
        curves = terms.curves(wanted, np.concatenate([points[ring], around_spot]))
        if reach < 0:
            net_around = curves[:, 0, ring.size :] - curves[:, 1, ring.size :]
            slope[wanted] = (net_around[:, 1] - net_around[:, 0]) / 2.0
        calls[:, ring], puts[:, ring] = curves[:, 0, : ring.size], curves[:, 1, : ring.size]
        reach = int(distance[ring].max())

        window = slice(centre - reach, centre + reach + 1)
        net, gross = calls[:, window] - puts[:, window], calls[:, window] + puts[:, window]
        sign = np.where(np.abs(net) <= _NOISE * gross, 0.0, np.sign(net))
        low[wanted], guess[wanted], high[wanted] = _nearest_crossing(points[window], net, sign)
        inside = np.abs(guess[wanted] - 1.0) < points[centre + reach] - 1.0 - 1e-12
        searching = ~(inside & (sign[:, 0] != 0) & (sign[:, -1] != 0))
        wanted, calls, puts = wanted[searching], calls[searching], puts[searching]
    return low, guess, high, slope


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
