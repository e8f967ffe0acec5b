"""Exposure by strike: the profile, the call and put walls, and max pain."""

from dataclasses import dataclass

import numpy as np

from kapman_metrics.dealer.chain import BoolArray, Chain, FloatArray, IntArray, sum_by
from kapman_metrics.dealer.rounding import significant
from kapman_metrics.dealer.settings import PROXIMITY_WEIGHTS, DealerSettings


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
class Profile:
    """Eligible contracts summed by strike, sorted by (underlying, strike); rows of 2-D arrays: calls, puts."""

    underlying: IntArray
    strike: FloatArray
    gex: FloatArray
    """|GEX|, dollars per 1 %."""
    open_interest: FloatArray
    contracts: IntArray


def profile_by_strike(chain: Chain, gex: FloatArray) -> Profile:
    """Sums by strike over all expiries of eligible contracts; `gex` is |GEX| of each contract of `chain`."""
    first = _first_of_strike(chain)
    group = np.cumsum(first) - 1
    strikes = int(np.count_nonzero(first))
    side = np.where(chain.call, 0, strikes) + group

    def by_side(values: FloatArray) -> FloatArray:
        return sum_by(side, values, 2 * strikes).reshape(2, strikes)

    return Profile(
        underlying=chain.underlying[first],
        strike=chain.strike[first],
        gex=by_side(gex),
        open_interest=by_side(chain.open_interest),
        contracts=by_side(np.ones(len(chain))).astype(np.int64),
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
    gex, distance = significant(profile.gex[side]), significant(profile.strike - price)
    for i in ranked[rank < settings.walls].tolist():
        result[profile.underlying[i]].append(
            Wall(
                strike=float(profile.strike[i]),
                gex=float(gex[i]),
                open_interest=float(profile.open_interest[side, i]),
                contracts=int(profile.contracts[side, i]),
                moneyness=float(moneyness[i]),
                distance_from_spot=float(distance[i]),
            )
        )
    return result


def max_pain(chain: Chain, underlyings: int) -> FloatArray:
    """Per underlying the listed strike at which all contracts together pay least at expiry; NaN without OI.

    `chain` holds every live contract with valid terms, all expiries, whatever the other filters say; each
    weighs open interest × shares per contract. The payout Σ w_c (S − K)⁺ + Σ w_p (K − S)⁺ is convex in S and
    its slope just above a strike K is (calls struck at or below K) − (puts struck above K): the first strike
    where that is not negative is the lowest minimum. Open interest and shares are whole numbers, so the sums
    are exact, and so are ties.
    """
    weight = np.where(chain.open_interest > 0, chain.open_interest, 0.0) * chain.shares
    first = _first_of_strike(chain)
    group = np.cumsum(first) - 1
    owner, strike = chain.underlying[first], chain.strike[first]

    def cumulated(side: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Weight of one side up to each strike of its underlying, and the underlying's total."""
        one_side = np.where(side, weight, 0.0)
        running = np.cumsum(sum_by(group, one_side, strike.size))
        total = sum_by(chain.underlying, one_side, underlyings)
        return running - (np.cumsum(total) - total)[owner], total

    calls, call_total = cumulated(chain.call)
    puts, put_total = cumulated(~chain.call)
    bottom = np.flatnonzero(calls - (put_total[owner] - puts) >= 0)
    lowest = np.full(underlyings, np.nan)
    owners, index = np.unique(owner[bottom], return_index=True)
    lowest[owners] = strike[bottom[index]]
    return np.where(call_total + put_total > 0, lowest, np.nan)


def _first_of_strike(chain: Chain) -> BoolArray:
    """Whether a contract is the first of its (underlying, strike)."""
    first = np.ones(len(chain), dtype=np.bool_)
    first[1:] = (chain.underlying[1:] != chain.underlying[:-1]) | (chain.strike[1:] != chain.strike[:-1])
    return first
