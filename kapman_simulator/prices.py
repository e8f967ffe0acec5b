"""Daily bars of the generated market: mean-reverting log prices around an anchor, moved by one market factor.

A bar depends on the seed, its symbol and its session alone. Paths start at ORIGIN and every session's draw is
addressed by its calendar day, so neither the window nor the number of symbols changes a price.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from kapman_simulator.listings import Listing
from kapman_simulator.randomness import bell, grow, uniforms, words
from kapman_simulator.sessions import all_sessions

SESSIONS_PER_YEAR = 252
MARKET_VOLATILITY = 0.14  # annual, of the factor that every beta refers to
REVERSION = 1.0  # per year: a path of 30 % volatility stays within about ±21 % of its anchor (σ/√2κ)
# Since this day the vendor's volumes count fractional shares.
FRACTIONAL_VOLUME_FROM = date(2026, 1, 1)

_SYMBOLS_AT_ONCE = 512  # bounds memory: 512 paths of five years are 30 MB of words


@dataclass(frozen=True)
class Bars:
    """Bars in columns, every array of shape (sessions, symbols); NaN prices and `traded` False where none exists.

    Prices in US dollars (float64, unadjusted, two or four decimals), volume in shares (float64), transactions int64.
    """

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    transactions: np.ndarray
    traded: np.ndarray


def daily_bars(seed: int, listings: list[Listing], sessions: tuple[date, ...]) -> Bars:
    """The bars of `listings` (columns) in `sessions` (rows, consecutive sessions of `all_sessions()`)."""
    blocks = [
        _block(seed, listings[start : start + _SYMBOLS_AT_ONCE], sessions)
        for start in range(0, len(listings), _SYMBOLS_AT_ONCE)
    ]
    columns = ("open", "high", "low", "close", "volume", "transactions", "traded")
    return Bars(
        **{name: np.concatenate([getattr(block, name) for block in blocks], axis=1) for name in columns}
    )


def _block(seed: int, listings: list[Listing], sessions: tuple[date, ...]) -> Bars:
    known = all_sessions()
    end = known.index(sessions[-1]) + 1
    keep = len(sessions)
    ordinals = np.array([session.toordinal() for session in known[:end]], dtype=np.int64)
    first_day, days = int(ordinals[0]), int(ordinals[-1] - ordinals[0]) + 1
    on_sessions = ordinals - first_day
    # (sessions, symbols, 4): word 0 moves the close, 1 the open, 2 high and low, 3 volume and the trade count.
    draws = np.stack(
        [words(seed, f"bar {row.symbol}", first_day, days)[on_sessions] for row in listings], axis=1
    )
    market = bell(words(seed, "market", first_day, days)[on_sessions, 0])

    volatility = np.array([row.volatility for row in listings]) / np.sqrt(SESSIONS_PER_YEAR)
    common = np.array([row.beta for row in listings]) * MARKET_VOLATILITY / np.sqrt(SESSIONS_PER_YEAR)
    # No symbol is more than 95 % market: SPY still has a little noise of its own.
    common = np.clip(common, -0.95 * volatility, 0.95 * volatility)
    own = np.sqrt(volatility * volatility - common * common)
    step = common * market[:, np.newaxis] + own * bell(draws[:, :, 0])
    log_price = reverting_sum(step, REVERSION)[end - keep - 1 if end > keep else 0 :]
    if end == keep:  # the very first session has no session before it
        log_price = np.concatenate([np.zeros((1, len(listings))), log_price])

    ordinals, draws = ordinals[end - keep :], draws[end - keep :]
    anchor = np.array([row.price for row in listings]) * _split_factors(listings, ordinals)
    close = anchor * grow(log_price[1:])
    before = anchor * grow(log_price[:-1])
    opening = before * (1.0 + 0.45 * volatility * bell(draws[:, :, 1]))
    swing = uniforms(draws[:, :, 2])
    # Products of two uniforms: mostly close to the body of the bar, seldom a long wick.
    high = np.maximum(opening, close) * (1.0 + 1.6 * volatility * swing[..., 0] * swing[..., 1])
    low = np.minimum(opening, close) * (
        1.0 - np.minimum(1.6 * volatility * swing[..., 2] * swing[..., 3], 0.5)
    )
    activity = uniforms(draws[:, :, 3])
    traded = _traded(listings, ordinals, activity[..., 0])
    volume = _volumes(listings, ordinals, close, np.abs(step[end - keep :]) / volatility, activity)
    return _rounded(opening, high, low, close, volume, traded, draws[:, :, 3])


def reverting_sum(step: np.ndarray, reversion: float) -> np.ndarray:
    """x[t] = a·x[t−1] + step[t] from x = 0, along the first axis (a discrete Ornstein–Uhlenbeck process).

    reversion: per year; a = 1 − reversion/252.
    """
    keep = 1.0 - reversion / SESSIONS_PER_YEAR
    path = np.empty_like(step)
    level = np.zeros(step.shape[1])
    for index in range(len(step)):
        level = keep * level + step[index]
        path[index] = level
    return path


def _split_factors(listings: list[Listing], ordinals: np.ndarray) -> np.ndarray:
    """Old-share price over new-share price for each session: the product of the split ratios still to come."""
    factors = np.ones((len(ordinals), len(listings)))
    for column, row in enumerate(listings):
        for day, ratio in row.splits:
            factors[ordinals < day, column] *= ratio
    return factors


def _traded(listings: list[Listing], ordinals: np.ndarray, draw: np.ndarray) -> np.ndarray:
    listed = np.array([row.listed for row in listings])
    delisted = np.array([row.delisted for row in listings])
    idle = np.array([row.idle for row in listings])
    day = ordinals[:, np.newaxis]
    alive: np.ndarray = (day >= listed) & (day < delisted) & (draw >= idle)
    return alive


def _volumes(
    listings: list[Listing], ordinals: np.ndarray, close: np.ndarray, surprise: np.ndarray, draw: np.ndarray
) -> np.ndarray:
    """Shares a day: the symbol's typical dollars, more of them on days of large moves; thousandths since 2026."""
    dollars = np.array([row.dollars for row in listings])
    skew = (0.4 + draw[..., 1]) * (0.5 + draw[..., 2]) * (0.7 + 0.4 * surprise)
    shares = dollars / close * skew
    # Symbols that sit idle for many sessions also have bars without volume, as the vendor's files do.
    idle = np.array([row.idle for row in listings])
    shares[(idle > 0.2) & (draw[..., 3] < 0.15)] = 0.0
    fractional = (ordinals >= FRACTIONAL_VOLUME_FROM.toordinal())[:, np.newaxis] & (draw[..., 3] > 0.3)
    exact: np.ndarray = np.where(fractional, np.rint(shares * 1000.0) / 1000.0, np.rint(shares))
    return exact


def _rounded(
    opening: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    close: np.ndarray,
    volume: np.ndarray,
    traded: np.ndarray,
    draw: np.ndarray,
) -> Bars:
    """Bars on the tick: four decimals below a dollar and on one bar in eight, else two; rounding keeps low ≤ high."""
    fine = (close < 1.0) | ((draw & np.uint64(7)) == 0)
    scale = np.where(fine, 10_000.0, 100.0)
    tick = 1.0 / scale

    def on_tick(price: np.ndarray) -> np.ndarray:
        rounded: np.ndarray = np.maximum(np.rint(price * scale) / scale, tick)
        return np.where(traded, rounded, np.nan)

    # A bar without volume stands still at its close.
    still = volume == 0
    per_trade = 40.0 + (draw >> np.uint64(58)).astype(np.float64)
    return Bars(
        open=on_tick(np.where(still, close, opening)),
        high=on_tick(np.where(still, close, high)),
        low=on_tick(np.where(still, close, low)),
        close=on_tick(close),
        volume=volume,
        transactions=np.where(still, 0, np.maximum(np.rint(volume / per_trade), 1)).astype(np.int64),
        traded=traded,
    )
