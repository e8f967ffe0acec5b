"""Points on the implied volatility surface: at the money at 30 and 90 days, and 25 delta out.

Everything here rests on the contracts that have an IV and at least a day to live. Those that expire at the
snapshot's own closing bell have no time left in which a volatility could mean anything.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from kapman_metrics.chain import BoolArray, Chain, FloatArray, IntArray

KNOWN = "known"
NO_SPOT = "no_spot"
NO_BRACKET = "no_bracket"

INTERPOLATED = "interpolated"
NEAREST_CONTRACT = "nearest_contract"
NO_EXPIRY = "no_expiry"
NO_25_DELTA = "no_25_delta"

SKEW_DAYS = 30
"""Calendar days that the skew's expiry should be near to."""
_DELTA = 0.25
_DELTA_TOLERANCE = 0.15
"""How far from 0.25 the |Δ| of a lone contract may be."""


@dataclass(frozen=True)
class Skew:
    """Arrays with an element per underlying."""

    put_minus_call: FloatArray
    """Fraction per year; NaN where a side has no 25-delta IV."""
    status: list[str]
    days: list[int | None]
    """Calendar days to the expiry that it was read off."""


@dataclass(frozen=True)
class Surface:
    """The contracts of a snapshot, what they say about volatility to come, and where their expiries are."""

    chain: Chain
    spot: FloatArray
    iv: FloatArray
    """Of each contract, a fraction per year; NaN where it has none, no valid terms or less than a day to live."""
    begins: IntArray
    """First contract of each expiry, and the number of contracts."""
    owner: IntArray
    """Underlying of each expiry."""
    days: IntArray
    """Calendar days to each expiry, ascending by underlying."""


def surface_of(chain: Chain, spot: FloatArray) -> Surface:
    """Surface that the contracts of `chain` make; `spot` as in OptionSnapshot."""
    first = np.ones(len(chain), dtype=np.bool_)
    first[1:] = (chain.underlying[1:] != chain.underlying[:-1]) | (chain.days[1:] != chain.days[:-1])
    begins = np.flatnonzero(first)
    return Surface(
        chain=chain,
        spot=spot,
        iv=np.where(chain.valid & (chain.days >= 1), chain.volatility, np.nan),
        begins=np.append(begins, len(chain)),
        owner=chain.underlying[begins],
        days=chain.days[begins],
    )


def at_the_money(surface: Surface, max_strike_distance: float) -> FloatArray:
    """IV at spot of each expiry, a fraction per year: the mean of the calls' and the puts'.

    A side's IV at spot is interpolated linearly in strike between the two strikes with an IV that are spot's
    neighbours, both within `max_strike_distance` of it (a fraction of spot); a strike at spot has it outright.
    Nothing is extrapolated: a side without two neighbours has none, and the other speaks alone. NaN if
    neither has one.
    """
    chain, spot = surface.chain, surface.spot[surface.owner]
    return _at_the_money(surface.begins, spot, chain.strike, chain.call, surface.iv, max_strike_distance)


@njit(cache=True)
def _at_the_money(begins, spot, strike, call, iv, width):  # type: ignore[no-untyped-def]
    result = np.full(spot.size, np.nan)
    for e in range(spot.size):
        s = spot[e]
        total = 0.0
        sides = 0
        for side in (True, False):
            below = -1
            above = -1
            for i in range(begins[e], begins[e + 1]):
                if call[i] != side or math.isnan(iv[i]):
                    continue
                # Not "> width": nothing is the neighbour of an unknown spot.
                if not (abs(strike[i] - s) <= width * s):
                    continue
                if strike[i] <= s:
                    below = i
                if strike[i] >= s:
                    above = i
                    break
            if below >= 0 and above >= 0:
                gap = strike[above] - strike[below]
                share = (s - strike[below]) / gap if gap > 0.0 else 0.0
                total += iv[below] + (iv[above] - iv[below]) * share
                sides += 1
        if sides:
            result[e] = total / sides
    return result


def at_days(surface: Surface, at_the_money_iv: FloatArray, days: int) -> FloatArray:
    """At-the-money IV `days` calendar days ahead per underlying, a fraction per year.

    Interpolated linearly in time in total variance σ²·days/365 between the last expiry up to then and the first
    from then on; an expiry on the day has it outright. NaN where there is none on one side: no extrapolation.
    `at_the_money_iv` has one IV per expiry; those without one are passed over.
    """
    return _at_days(surface.owner, surface.days, at_the_money_iv, days, surface.spot.size)


@njit(cache=True)
def _at_days(owner, days, iv, target, underlyings):  # type: ignore[no-untyped-def]
    before = np.full(underlyings, -1)
    after = np.full(underlyings, -1)
    for e in range(owner.size):
        if math.isnan(iv[e]):
            continue
        u = owner[e]
        if days[e] <= target:
            before[u] = e
        if days[e] >= target and after[u] < 0:
            after[u] = e
    result = np.full(underlyings, np.nan)
    for u in range(underlyings):
        if before[u] < 0 or after[u] < 0:
            continue
        t0, t1 = days[before[u]], days[after[u]]
        if t0 == t1:
            result[u] = iv[before[u]]
            continue
        w0, w1 = iv[before[u]] ** 2 * t0, iv[after[u]] ** 2 * t1
        result[u] = math.sqrt((w0 + (w1 - w0) * (target - t0) / (t1 - t0)) / target)
    return result


def atm_statuses(spot: FloatArray, iv: FloatArray) -> list[str]:
    """Why an at-the-money IV is known or isn't, per underlying."""
    return np.select([np.isnan(spot), np.isnan(iv)], [NO_SPOT, NO_BRACKET], default=KNOWN).tolist()


def skew_25_delta(surface: Surface) -> Skew:
    """IV of the 25-delta put minus that of the 25-delta call, per underlying.

    Read off one expiry: of those in which a call and a put have an IV the nearest to 30 days, the earlier of
    two. Δ is Black–Scholes at the contract's own IV. On each side the IV is interpolated linearly in |Δ|
    between the contract with the largest |Δ| ≤ 0.25 and that with the smallest |Δ| ≥ 0.25, of equals the lower
    strike; without one of them it is that of the contract with |Δ| nearest to 0.25 if within 0.15.
    """
    underlyings, expiries, chain = surface.spot.size, surface.owner.size, surface.chain
    expiry = np.repeat(np.arange(expiries), np.diff(surface.begins))
    quoted = np.isfinite(surface.iv)
    calls, puts = (
        np.bincount(expiry[quoted & side], minlength=expiries) for side in (chain.call, ~chain.call)
    )
    usable = (calls > 0) & (puts > 0) & np.isfinite(surface.spot[surface.owner])
    chosen = _nearest_expiry(surface, usable)

    own = np.flatnonzero(quoted & (chosen[chain.underlying] == expiry))
    call = chain.call[own]
    size = np.abs(chain.model[own].delta(call))
    ivs, lone = _at_delta(chain.underlying[own], call, size, surface.iv[own], underlyings)
    skew = ivs[:, 1] - ivs[:, 0]
    status = np.select(
        [np.isnan(surface.spot), chosen < 0, np.isnan(skew), lone],
        [NO_SPOT, NO_EXPIRY, NO_25_DELTA, NEAREST_CONTRACT],
        default=INTERPOLATED,
    )
    return Skew(
        put_minus_call=skew,
        status=status.tolist(),
        days=[int(surface.days[e]) if e >= 0 else None for e in chosen.tolist()],
    )


def _nearest_expiry(surface: Surface, usable: BoolArray) -> IntArray:
    """Per underlying the usable expiry nearest to SKEW_DAYS, −1 where there is none."""
    candidates = np.flatnonzero(usable)
    distance = np.abs(surface.days[candidates] - SKEW_DAYS)
    # Expiries ascend, and lexsort is stable: of two equally near the earlier comes first.
    ranked = candidates[np.lexsort((distance, surface.owner[candidates]))]
    owners, first = np.unique(surface.owner[ranked], return_index=True)
    chosen = np.full(surface.spot.size, -1, dtype=np.int64)
    chosen[owners] = ranked[first]
    return chosen


@njit(cache=True)
def _at_delta(underlying, call, size, contract_iv, underlyings):  # type: ignore[no-untyped-def]
    """IV at |Δ| = 0.25 per underlying and side (calls, puts), and whether a lone contract stands in for one.

    `size` is |Δ| of each contract; a side has at most one expiry.
    """
    low = np.full((underlyings, 2), -1)
    high = np.full((underlyings, 2), -1)
    for i in range(size.size):
        side = 0 if call[i] else 1
        u = underlying[i]
        if size[i] <= _DELTA and (low[u, side] < 0 or size[i] > size[low[u, side]]):
            low[u, side] = i
        if size[i] >= _DELTA and (high[u, side] < 0 or size[i] < size[high[u, side]]):
            high[u, side] = i
    iv = np.full((underlyings, 2), np.nan)
    lone = np.zeros(underlyings, np.bool_)
    for u in range(underlyings):
        for side in range(2):
            a, b = low[u, side], high[u, side]
            if a >= 0 and b >= 0:
                gap = size[b] - size[a]
                share = (_DELTA - size[a]) / gap if gap > 0.0 else 0.0
                iv[u, side] = contract_iv[a] + (contract_iv[b] - contract_iv[a]) * share
            elif max(a, b) >= 0 and abs(size[max(a, b)] - _DELTA) <= _DELTA_TOLERANCE:
                iv[u, side] = contract_iv[max(a, b)]
                lone[u] = True
    return iv, lone
