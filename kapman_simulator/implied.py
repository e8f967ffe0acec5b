"""How implied volatility moves from session to session: up when the market falls, and back to its usual height.

Like a bar, a session's mood depends on the seed, the symbol and the days until then alone: neither the window nor
the day on which somebody asks changes it.
"""

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np

from kapman_simulator.listings import Listing
from kapman_simulator.prices import SESSIONS_PER_YEAR, reverting_sum
from kapman_simulator.randomness import bell, words
from kapman_simulator.sessions import all_sessions

REVERSION = 17.0  # per year: half of a shock is gone after ten sessions
DEVIATION = 0.12  # of ln(volatility): within about a quarter of its usual height
MARKET_SHARE = 0.7  # of a shock, in a name that moves with the market


class Mood(NamedTuple):
    """Of one underlying in one session, around 0: `level` is ln of its volatility over the usual one, `skew` in standard deviations."""

    level: float
    skew: float


@dataclass(frozen=True)
class Moods:
    """Moods in columns: float64 arrays of shape (sessions, symbols)."""

    level: np.ndarray
    skew: np.ndarray


def moods(seed: int, listings: list[Listing], sessions: tuple[date, ...]) -> Moods:
    """The moods of `listings` (columns) in `sessions` (rows, consecutive sessions of `all_sessions()`)."""
    known = all_sessions()
    until = known[: known.index(sessions[-1]) + 1]
    ordinals = np.array([session.toordinal() for session in until], dtype=np.int64)
    first_day, days = int(ordinals[0]), int(ordinals[-1] - ordinals[0]) + 1
    on_sessions = ordinals - first_day
    draws = np.stack(
        [words(seed, f"volatility {row.symbol}", first_day, days)[on_sessions] for row in listings], axis=1
    )
    # The words that move the prices: volatility rises when the market falls.
    market = -bell(words(seed, "market", first_day, days)[on_sessions, 0])
    share = MARKET_SHARE * np.clip(np.array([row.beta for row in listings]), 0.0, 1.0)
    keep = 1.0 - REVERSION / SESSIONS_PER_YEAR
    shock = np.sqrt(1.0 - keep * keep)  # gives a path of variance 1
    level = share * market[:, np.newaxis] + np.sqrt(1.0 - share * share) * bell(draws[:, :, 0])
    return Moods(
        level=DEVIATION * reverting_sum(shock * level, REVERSION)[-len(sessions) :],
        skew=reverting_sum(shock * bell(draws[:, :, 1]), REVERSION)[-len(sessions) :],
    )
