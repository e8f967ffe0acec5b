"""Exposure by strike: the profile, the call and put walls, and max pain."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from kapman_metrics.chain import BoolArray, Chain, FloatArray, IntArray, sum_by
from kapman_metrics.dealer.settings import PROXIMITY_WEIGHTS, DealerSettings
from kapman_metrics.rounding import significant


@dataclass(frozen=True)
class Wall:
    """A strike where much gamma of one side sits. `gex` is Σ|GEX| there in dollars per 1 %, all expiries."""

    strike: float
    gex: float
    open_interest: float
    contracts: int
    moneyness: float
    """|strike − spot| / spot, the measure that the proximity weights go by."""
    distance_from_spot: float
    """strike − spot in dollars."""


@dataclass(frozen=True)
class Strikes:
    """The strikes of a chain, all expiries together, sorted by (underlying, strike)."""

    underlying: IntArray
    strike: FloatArray
    group: IntArray
    """Of each contract: which of the strikes is its own."""


@dataclass(frozen=True)
class Profile:
    """Eligible contracts summed by strike, sorted by (underlying, strike); rows of 2-D arrays: calls, puts."""

    underlying: IntArray
    strike: FloatArray
    gex: FloatArray
    """|GEX|, dollars per 1 %."""
    open_interest: FloatArray
    contracts: IntArray


def listed_strikes(chain: Chain, underlyings: int) -> Strikes:
    """The strikes at which `chain` has contracts."""
    bounds = np.searchsorted(chain.underlying, np.arange(underlyings + 1))
    strike, group = np.empty(len(chain)), np.empty(len(chain), dtype=np.int64)
    listed = _group_strikes(bounds, chain.strike, strike, group)
    owner = np.repeat(np.arange(underlyings), np.diff(listed))
    return Strikes(owner, strike[: owner.size], group)


@njit(cache=True)
def _group_strikes(bounds, strike, listed, group):  # type: ignore[no-untyped-def]
    """Write the distinct strikes of each underlying to `listed`, the position of each contract's to `group`.

    Returns where in `listed` each underlying begins. The contracts of an expiry ascend by strike, so that
    the position only ever starts again at the next expiry.
    """
    begins = np.zeros(bounds.size, np.int64)
    for u in range(bounds.size - 1):
        own = np.unique(strike[bounds[u] : bounds[u + 1]])
        begin = begins[u]
        position = 0
        for i in range(bounds[u], bounds[u + 1]):
            if own[position] > strike[i]:
                position = 0
            while own[position] < strike[i]:
                position += 1
            group[i] = begin + position
        listed[begin : begin + own.size] = own
        begins[u + 1] = begin + own.size
    return begins


def profile_by_strike(chain: Chain, group: IntArray, gex: FloatArray, strikes: Strikes) -> Profile:
    """Sums by strike over all expiries of eligible contracts, strikes without any left out.

    `group` says which of `strikes` is that of each contract of `chain`, `gex` is its |GEX|.
    """
    listed = strikes.strike.size
    side = np.where(chain.call, 0, listed) + group
    contracts = np.bincount(side, minlength=2 * listed).reshape(2, listed)
    eligible = contracts.any(axis=0)

    def by_side(values: FloatArray) -> FloatArray:
        return sum_by(side, values, 2 * listed).reshape(2, listed)[:, eligible]

    return Profile(
        underlying=strikes.underlying[eligible],
        strike=strikes.strike[eligible],
        gex=by_side(gex),
        open_interest=by_side(chain.open_interest),
        contracts=contracts[:, eligible].astype(np.int64),
    )


def walls(profile: Profile, side: int, spot: FloatArray, settings: DealerSettings) -> list[list[Wall]]:
    """Per underlying the walls of a side (0 calls, 1 puts), the strongest first.

    Strikes within `max_moneyness` of spot, ranked by |GEX| weighted by proximity; ties go to the lower
    strike. A strike without gamma is no wall. `spot` has one price per underlying.
    """
    price = spot[profile.underlying]
    # Rounded, so that the bounds and the ranking do not hang on the last bit of a quotient.
    moneyness = np.round(np.abs(profile.strike - price) / price, 12)
    bounds, weights = zip(*PROXIMITY_WEIGHTS, strict=True)
    weighted = significant(profile.gex[side] * np.asarray(weights)[np.searchsorted(bounds, moneyness)])
    candidates = np.flatnonzero((moneyness <= settings.max_moneyness) & (profile.gex[side] > 0))
    keys = (profile.strike[candidates], -weighted[candidates], profile.underlying[candidates])
    ranked = candidates[np.lexsort(keys)]
    owner = profile.underlying[ranked]
    rank = np.arange(ranked.size) - np.searchsorted(owner, owner)
    result: list[list[Wall]] = [[] for _ in range(spot.size)]
    strongest = ranked[rank < settings.walls]
    columns = (
        profile.strike[strongest],
        significant(profile.gex[side, strongest]),
        profile.open_interest[side, strongest],
        profile.contracts[side, strongest],
        moneyness[strongest],
        significant(profile.strike[strongest] - price[strongest]),
    )
    walls_in_order = zip(*(column.tolist() for column in columns), strict=True)
    for underlying, wall in zip(profile.underlying[strongest].tolist(), walls_in_order, strict=True):
        result[underlying].append(Wall(*wall))
    return result


def max_pain(chain: Chain, strikes: Strikes, underlyings: int) -> FloatArray:
    """Per underlying the listed strike at which all contracts together pay least at expiry; NaN without OI.

    `chain` holds every live contract with valid terms, all expiries, whatever the other filters say; each
    weighs open interest × shares per contract. The payout Σ w_c (S − K)⁺ + Σ w_p (K − S)⁺ is convex in S and
    its slope just above a strike K is (calls struck at or below K) − (puts struck above K): the first strike
    where that is not negative is the lowest minimum. Open interest and shares are whole numbers, so the sums
    are exact, and so are ties.
    """
    weight = np.where(chain.open_interest > 0, chain.open_interest, 0.0) * chain.shares
    owner = strikes.underlying

    def cumulated(side: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Weight of one side up to each strike of its underlying, and the underlying's total."""
        at_strike = sum_by(strikes.group, np.where(side, weight, 0.0), strikes.strike.size)
        total = sum_by(owner, at_strike, underlyings)
        return np.cumsum(at_strike) - (np.cumsum(total) - total)[owner], total

    calls, call_total = cumulated(chain.call)
    puts, put_total = cumulated(~chain.call)
    bottom = np.flatnonzero(calls - (put_total[owner] - puts) >= 0)
    lowest = np.full(underlyings, np.nan)
    owners, index = np.unique(owner[bottom], return_index=True)
    lowest[owners] = strikes.strike[bottom[index]]
    return np.where(call_total + put_total > 0, lowest, np.nan)
