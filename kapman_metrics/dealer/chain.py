"""The contracts of a snapshot as NumPy columns in one total order, and which of them are eligible."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kapman_metrics.dealer.settings import DealerSettings

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

FILTERS = (
    "invalid_terms",
    "expired",
    "dte_exceeded",
    "missing_gamma",
    "negative_gamma",
    "low_open_interest",
    "low_volume",
)
"""The filters in the order in which they are asked; a contract is counted under the first that removes it."""

ELIGIBLE = len(FILTERS)
"""The verdict of a contract that no filter removes; the others carry their filter's index in FILTERS."""

SHARES_PER_CONTRACT = 100.0
"""Deliverable of a contract when the vendor is silent."""

_MICROSECONDS_PER_YEAR = 365 * 24 * 3600 * 1_000_000
_SHORTEST_LIFE = 3600 * 1_000_000
"""One hour in µs: a contract at its own closing bell keeps a finite gamma."""

_SMALLEST_IV = 1e-6
"""A vendor's IV below a ten-thousandth of a vol point means that there is none."""


@dataclass(frozen=True)
class Chain:
    """Columns of equal length, one element per contract, sorted by (underlying, strike, expiration, type).

    The order is total, because those four are the key of a contract: sums over it do not depend on the order
    of the rows that were given. NaN stands for a missing value.
    """

    underlying: IntArray
    """Row of the underlying among the underlyings sorted by `ticker_id`."""
    strike: FloatArray
    call: BoolArray
    days: IntArray
    """Calendar days from the session to the expiry; negative once expired."""
    years: FloatArray
    """ACT/365 from the snapshot to the session close of the expiry, never below one hour."""
    open_interest: FloatArray
    volume: FloatArray
    shares: FloatArray
    gamma: FloatArray
    volatility: FloatArray
    """Implied volatility as a fraction; NaN where there is none above zero."""

    def __len__(self) -> int:
        return int(self.underlying.size)

    def where(self, mask: BoolArray) -> "Chain":
        """The contracts for which `mask` holds, in the same order."""
        if mask.all():
            return self
        return replace(self, **{name: column[mask] for name, column in vars(self).items()})


def read_chain(
    contracts: pl.DataFrame, ticker_ids: pl.Series, snapshot_time: datetime, session: date
) -> Chain:
    """Chain of the contracts of `ticker_ids` (sorted, unique); others are out of scope.

    Raises ValueError for two rows of one contract, a missing expiry or an unknown type, or an `expires_at` or
    `snapshot_time` without a time zone.
    """
    expires_at = contracts.schema["expires_at"]
    if snapshot_time.tzinfo is None or not (isinstance(expires_at, pl.Datetime) and expires_at.time_zone):
        raise ValueError("snapshot_time and expires_at need a time zone: they are the closes of sessions.")
    _refuse_unknown_terms(contracts)
    snapshot = (snapshot_time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    numbers = (
        "strike_price", "open_interest", "volume", "shares_per_contract", "gamma", "implied_volatility",
    )  # fmt: skip
    underlying = pl.col("ticker_id").cast(pl.Enum(ticker_ids), strict=False).to_physical()
    frame = contracts.select(
        underlying=underlying.cast(pl.Int64).fill_null(-1),
        days=(pl.col("expiration_date") - pl.lit(session)).dt.total_days(),
        call=pl.col("option_type") == "C",
        life=pl.col("expires_at").dt.timestamp("us") - snapshot,
        **{name: pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in numbers},
    )
    column = {name: frame[name].to_numpy() for name in frame.columns}
    key = ("call", "days", "strike_price", "underlying")  # the last is the first to sort by
    order = np.lexsort([column[name] for name in key])
    order = order[np.searchsorted(column["underlying"], 0, sorter=order) :]
    column = {name: values[order] for name, values in column.items()}
    _refuse_duplicates(column, key, ticker_ids)
    volatility, shares = column["implied_volatility"], column["shares_per_contract"]
    return Chain(
        underlying=column["underlying"],
        strike=column["strike_price"],
        call=column["call"],
        days=column["days"],
        years=np.maximum(column["life"], _SHORTEST_LIFE) / _MICROSECONDS_PER_YEAR,
        open_interest=column["open_interest"],
        volume=column["volume"],
        shares=np.where(np.isnan(shares), SHARES_PER_CONTRACT, shares),
        gamma=column["gamma"],
        volatility=np.where(np.isfinite(volatility) & (volatility >= _SMALLEST_IV), volatility, np.nan),
    )


def _refuse_unknown_terms(contracts: pl.DataFrame) -> None:
    known = pl.col("option_type").is_in(["C", "P"]).fill_null(False)
    dated = pl.col("expiration_date").is_not_null() & pl.col("expires_at").is_not_null()
    unknown = contracts.filter(~(known & dated))
    if unknown.height:
        row = unknown.row(0, named=True)
        raise ValueError(
            f"{unknown.height} contracts lack an expiration_date, an expires_at or an option_type C or P; the "
            f"first belongs to ticker_id {row['ticker_id']}: strike {row['strike_price']}, option_type "
            f"{row['option_type']}, expiration_date {row['expiration_date']}, expires_at {row['expires_at']}."
        )


def _refuse_duplicates(column: dict[str, NDArray[Any]], key: tuple[str, ...], ticker_ids: pl.Series) -> None:
    repeated = np.logical_and.reduce([column[name][1:] == column[name][:-1] for name in key])
    if repeated.any():
        i = int(np.argmax(repeated))
        raise ValueError(
            f"{np.count_nonzero(repeated)} contracts occur more than once in the snapshot; the first is the "
            f"{'call' if column['call'][i] else 'put'} of ticker_id {ticker_ids[int(column['underlying'][i])]} "
            f"at strike {column['strike_price'][i]} that expires in {column['days'][i]} days. Give each "
            "contract one row."
        )


def sum_by(group: IntArray, values: FloatArray, groups: int) -> FloatArray:
    """Sums of `values` by group 0 … groups − 1, added one after the other in the order of the rows."""
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)


def verdicts(chain: Chain, settings: DealerSettings) -> IntArray:
    """Index in FILTERS of the first filter that removes each contract, or ELIGIBLE.

    A missing or unusable value fails its filter: no gamma is `missing_gamma`, no open interest
    `low_open_interest`, no volume `low_volume`; a strike or a deliverable that is not a positive number is
    `invalid_terms`.
    """
    usable = np.isfinite(chain.strike) & (chain.strike > 0) & np.isfinite(chain.shares) & (chain.shares > 0)
    removed = [
        ~usable,
        chain.days < 0,
        chain.days > settings.max_dte,
        ~np.isfinite(chain.gamma),
        chain.gamma < 0,
        ~(np.isfinite(chain.open_interest) & (chain.open_interest >= settings.min_open_interest)),
        ~(np.isfinite(chain.volume) & (chain.volume >= settings.min_volume)),
    ]
    return np.select(removed, list(range(ELIGIBLE)), default=ELIGIBLE).astype(np.int64)


def count_by_verdict(chain: Chain, verdict: IntArray, underlyings: int) -> IntArray:
    """Contracts per underlying (rows) and verdict (columns: FILTERS, then ELIGIBLE)."""
    columns = ELIGIBLE + 1
    counts = np.bincount(chain.underlying * columns + verdict, minlength=underlyings * columns)
    return counts.reshape(underlyings, columns).astype(np.int64)
