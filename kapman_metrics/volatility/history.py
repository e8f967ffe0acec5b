"""Where today's implied volatility stands among that of the sessions before."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from kapman_metrics.chain import FloatArray, IntArray

HISTORY_SESSIONS = 252
"""Sessions, those before the one in question, that a volatility is ranked among."""
MINIMUM_HISTORY = 20
"""Of these, how many must have a volatility."""

KNOWN = "known"
NO_IV = "no_iv"
HISTORY_TOO_SHORT = "history_too_short"
FLAT_HISTORY = "flat_history"


@dataclass(frozen=True)
class Standing:
    """Arrays with an element per underlying; NaN where a figure can't be computed."""

    rank: FloatArray
    """(IV − min) / (max − min) · 100, clamped to 0 … 100: an IV beyond all before is 0 or 100."""
    rank_status: list[str]
    percentile: FloatArray
    """Share of the sessions whose IV was at most today's, in percent."""
    sessions: IntArray
    """Prior sessions with a known IV."""


def standing(current: FloatArray, history: pl.DataFrame, ticker_ids: pl.Series, session: date) -> Standing:
    """Rank and percentile of `current`, one volatility per ticker_id (sorted, unique), NaN where unknown.

    `history`, one row per ticker and prior session, in any order: ticker_id (String), session (Date), avg_iv
    (fraction per year; null, not finite or not above 0: unknown). Other tickers are ignored. Which sessions
    are the 252 before is the caller's to say: it knows the exchange's calendar.

    Raises ValueError for a row that is not before `session`, a session given twice, or more than 252.
    """
    _refuse_other_sessions(history, session)
    known = history.select(
        owner=pl.col("ticker_id").cast(pl.Enum(ticker_ids), strict=False).to_physical().cast(pl.Int64),
        iv=pl.col("avg_iv").cast(pl.Float64),
    ).filter(pl.col("owner").is_not_null() & pl.col("iv").is_finite() & (pl.col("iv") > 0))
    owner, iv = known["owner"].to_numpy(), known["iv"].to_numpy()
    lowest, highest = np.full(current.size, np.inf), np.full(current.size, -np.inf)
    np.minimum.at(lowest, owner, iv)
    np.maximum.at(highest, owner, iv)
    sessions = np.bincount(owner, minlength=current.size)
    below = np.bincount(owner[iv <= current[owner]], minlength=current.size)

    long_enough = np.isfinite(current) & (sessions >= MINIMUM_HISTORY)
    ranked = long_enough & (highest > lowest)
    rank, percentile = np.full((2, current.size), np.nan)
    width = highest[ranked] - lowest[ranked]
    rank[ranked] = np.clip((current[ranked] - lowest[ranked]) / width, 0.0, 1.0) * 100.0
    percentile[long_enough] = below[long_enough] / sessions[long_enough] * 100.0
    status = np.select(
        [np.isnan(current), ~long_enough, ~ranked], [NO_IV, HISTORY_TOO_SHORT, FLAT_HISTORY], default=KNOWN
    )
    return Standing(rank, status.tolist(), percentile, sessions.astype(np.int64))


def _refuse_other_sessions(history: pl.DataFrame, session: date) -> None:
    late = history.filter((pl.col("session") >= session).fill_null(True))
    if late.height:
        row = late.row(0, named=True)
        raise ValueError(
            f"The volatility history of {session} has {late.height} rows that are not of earlier sessions; the "
            f"first is that of ticker_id {row['ticker_id']}, session {row['session']}."
        )
    counts = history.group_by("ticker_id").agg(rows=pl.len(), sessions=pl.col("session").n_unique())
    wrong = counts.filter((pl.col("rows") != pl.col("sessions")) | (pl.col("rows") > HISTORY_SESSIONS))
    if wrong.height:
        row = wrong.sort("ticker_id").row(0, named=True)
        raise ValueError(
            f"ticker_id {row['ticker_id']} has {row['rows']} rows of {row['sessions']} sessions in the volatility "
            f"history of {session}. Give each of the {HISTORY_SESSIONS} sessions before it at most one row."
        )
