"""The option chains of a session as NumPy columns in one total order: what every options metric starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kapman_metrics.black_scholes import Sensitivities, sensitivities

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SHARES_PER_CONTRACT = 100.0
"""Deliverable of a contract when the vendor is silent."""

_MICROSECONDS_PER_YEAR = 365 * 24 * 3600 * 1_000_000
_SHORTEST_LIFE = 3600 * 1_000_000
"""One hour in µs: a contract at its own closing bell keeps a finite gamma."""

_SMALLEST_IV = 1e-6
"""A vendor's IV below a ten-thousandth of a vol point means that there is none."""


@dataclass(frozen=True)
class Carry:
    """What the contracts are valued with, the same for all of them.

    Raises ValueError for a rate or yield that can't be a fraction per year.
    """

    rate: float = 0.04
    """Risk-free rate per year, continuously compounded; a round figure near 3-month Treasury bills."""
    dividend_yield: float = 0.0
    """Dividend yield per year, continuously compounded."""

    def __post_init__(self) -> None:
        for name in ("rate", "dividend_yield"):
            if not -1.0 < getattr(self, name) < 1.0:
                raise ValueError(
                    f"{type(self).__name__}.{name} is a fraction per year, such as 0.04; "
                    f"got {getattr(self, name)}."
                )


@dataclass(frozen=True)
class Chain:
    """Columns of equal length, one element per contract, sorted by (underlying, expiration, strike, type).

    The order is total, because those four are the key of a contract: sums over it do not depend on the order
    of the rows that were given. NaN stands for a missing value.
    """

    underlying: IntArray
    """Row of the underlying among the underlyings sorted by `ticker_id`."""
    days: IntArray
    """Calendar days from the session to the expiry; negative once expired."""
    strike: FloatArray
    call: BoolArray
    open_interest: FloatArray
    volume: FloatArray
    shares: FloatArray
    gamma: FloatArray
    """The vendor's, per dollar."""
    model: Sensitivities
    """Black–Scholes at the contract's own IV and today's spot; NaN where one of them is missing."""

    def __len__(self) -> int:
        return int(self.underlying.size)

    @property
    def years(self) -> FloatArray:
        """ACT/365 from the snapshot to the session close of the expiry, never below one hour."""
        return self.model.years

    @property
    def volatility(self) -> FloatArray:
        """Implied volatility as a fraction; NaN where there is none above zero."""
        return self.model.volatility

    @cached_property
    def valid(self) -> BoolArray:
        """Whether strike and deliverable are positive numbers."""
        usable = np.isfinite(self.strike) & (self.strike > 0)
        return usable & np.isfinite(self.shares) & (self.shares > 0)

    def where(self, mask: BoolArray) -> "Chain":
        """The contracts for which `mask` holds, in the same order."""
        if mask.all():
            return self
        index = np.flatnonzero(mask)
        return Chain(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True)
class OptionSnapshot:
    """The chains of a session's underlyings, read and valued once for all metrics that rest on them."""

    underlyings: pl.DataFrame
    """As given, sorted by `ticker_id`."""
    spot: FloatArray
    """Dollars, one price per underlying; NaN where unknown."""
    chain: Chain
    time: datetime
    session: date
    carry: Carry

    def __len__(self) -> int:
        return self.underlyings.height

    def require(self, carry: Carry) -> None:
        """Raise ValueError if the contracts were valued with another rate or dividend yield."""
        wanted = (carry.rate, carry.dividend_yield)
        if wanted != (self.carry.rate, self.carry.dividend_yield):
            raise ValueError(
                f"The snapshot was valued with rate {self.carry.rate} and dividend yield "
                f"{self.carry.dividend_yield}, the settings say {wanted[0]} and {wanted[1]}. Read the snapshot "
                "with those of the settings."
            )

    def given(self, name: str) -> FloatArray:
        """A column of the underlyings that the caller may leave out, with NaN for what is missing."""
        if name not in self.underlyings.columns:
            return np.full(len(self), np.nan)
        return self.underlyings[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def read_snapshot(
    contracts: pl.DataFrame,
    underlyings: pl.DataFrame,
    *,
    snapshot_time: datetime,
    session: date,
    carry: Carry,
) -> OptionSnapshot:
    """The contracts of all `underlyings`, also of those without any, in order and valued.

    `contracts`, one row per contract in any order (rows of underlyings out of scope are ignored): ticker_id
    (String), expiration_date (Date), expires_at (Datetime with time zone: session close of the expiry),
    strike_price (dollars), option_type (String, "C" or "P"), volume, open_interest (contracts),
    implied_volatility (fraction per year), gamma (per dollar), shares_per_contract (null: 100); the numbers
    of any numeric type, nullable. Rows in the order of the table's key (ticker_id, expiration_date,
    strike_price, option_type) are not sorted again.

    `underlyings`, one row each: ticker_id, symbol (String), spot (dollars; null, not finite or not above 0:
    unknown), and what a metric asks for beyond that.

    `snapshot_time` is the close of `session`, with time zone. The settings of a metric are a `carry`.

    Raises ValueError for a ticker_id given twice, two rows of one contract, a contract without expiry or
    type, or a time without zone.
    """
    rows = underlyings.sort("ticker_id")
    if rows["ticker_id"].null_count() or rows["ticker_id"].is_duplicated().any():
        raise ValueError("Each underlying needs one row with a ticker_id of its own.")
    spot = rows["spot"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    spot = np.where(np.isfinite(spot) & (spot > 0), spot, np.nan)
    column = _in_order(_columns(contracts, rows["ticker_id"], snapshot_time, session), rows["ticker_id"])
    # A strike that is no positive number has no value: its contract is filtered as one with invalid terms.
    strike = np.where(np.isfinite(column["strike"]) & (column["strike"] > 0), column["strike"], np.nan)
    terms = (spot[column["underlying"]], strike, column.pop("years"), column.pop("volatility"))
    model = sensitivities(*terms, carry.rate, carry.dividend_yield)
    return OptionSnapshot(
        underlyings=rows,
        spot=spot,
        chain=Chain(**column, model=model),
        time=snapshot_time,
        session=session,
        carry=carry,
    )


def _columns(
    contracts: pl.DataFrame, ticker_ids: pl.Series, snapshot_time: datetime, session: date
) -> dict[str, NDArray[Any]]:
    """A Chain's columns and properties in the order of the rows; `underlying` is −1 where out of scope."""
    zone = contracts.schema["expires_at"]
    if snapshot_time.tzinfo is None or not (isinstance(zone, pl.Datetime) and zone.time_zone):
        raise ValueError("snapshot_time and expires_at need a time zone: they are the closes of sessions.")
    call, put = ((contracts["option_type"] == letter).fill_null(False).to_numpy() for letter in "CP")
    dated = not (contracts["expiration_date"].null_count() or contracts["expires_at"].null_count())
    if not (dated and (call | put).all()):
        raise ValueError(_unknown_terms(contracts))

    def number(name: str) -> FloatArray:
        return contracts[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    snapshot = (snapshot_time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    life = contracts["expires_at"].dt.timestamp("us").to_numpy() - snapshot
    expiration = contracts["expiration_date"].to_physical().to_numpy()
    shares, volatility = number("shares_per_contract"), number("implied_volatility")
    known = np.isfinite(volatility) & (volatility >= _SMALLEST_IV)
    return {
        "underlying": _underlying(contracts["ticker_id"], ticker_ids),
        "days": expiration.astype(np.int64) - (session - date(1970, 1, 1)).days,
        "strike": number("strike_price"),
        "call": call,
        "years": np.maximum(life, _SHORTEST_LIFE) / _MICROSECONDS_PER_YEAR,
        "open_interest": number("open_interest"),
        "volume": number("volume"),
        "shares": np.where(np.isnan(shares), SHARES_PER_CONTRACT, shares),
        "gamma": number("gamma"),
        "volatility": np.where(known, volatility, np.nan),
    }


def _underlying(ticker_id: pl.Series, ticker_ids: pl.Series) -> IntArray:
    """Position in `ticker_ids` of each `ticker_id`, −1 where it is none of them.

    Looked up once per run of equal ids: in the order of the table there is one run per underlying.
    """
    runs = ticker_id.rle().struct.unnest()
    known = runs["value"].cast(pl.Enum(ticker_ids), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return np.repeat(known.to_numpy(), runs["len"].to_numpy())


def _in_order(column: dict[str, NDArray[Any]], ticker_ids: pl.Series) -> dict[str, NDArray[Any]]:
    """The contracts in scope, sorted by the key; raises ValueError for a contract that occurs twice."""
    in_scope = column["underlying"] >= 0
    if not in_scope.all():
        column = {name: values[in_scope] for name, values in column.items()}
    key = [column["underlying"], column["days"], column["strike"], ~column["call"]]
    if _strictly_ascending(key):
        return column
    order = np.lexsort(key[::-1])
    column = {name: values[order] for name, values in column.items()}
    repeated = np.logical_and.reduce(
        [column[name][1:] == column[name][:-1] for name in ("underlying", "days", "strike", "call")]
    )
    if repeated.any():
        i = int(np.argmax(repeated))
        raise ValueError(
            f"{np.count_nonzero(repeated)} contracts occur more than once in the snapshot; the first is the "
            f"{'call' if column['call'][i] else 'put'} of ticker_id {ticker_ids[int(column['underlying'][i])]} "
            f"at strike {column['strike'][i]} that expires in {column['days'][i]} days. Give each "
            "contract one row."
        )
    return column


def _strictly_ascending(key: list[NDArray[Any]]) -> bool:
    """Whether every row's key is above that of the row before, the first column weighing most."""
    above = np.zeros(max(key[0].size - 1, 0), dtype=np.bool_)
    for column in reversed(key):
        above = (column[1:] > column[:-1]) | ((column[1:] == column[:-1]) & above)
    return bool(above.all())


def _unknown_terms(contracts: pl.DataFrame) -> str:
    known = pl.col("option_type").is_in(["C", "P"]).fill_null(False)
    dated = pl.col("expiration_date").is_not_null() & pl.col("expires_at").is_not_null()
    unknown = contracts.filter(~(known & dated))
    row = unknown.row(0, named=True)
    return (
        f"{unknown.height} contracts lack an expiration_date, an expires_at or an option_type C or P; the "
        f"first belongs to ticker_id {row['ticker_id']}: strike {row['strike_price']}, option_type "
        f"{row['option_type']}, expiration_date {row['expiration_date']}, expires_at {row['expires_at']}."
    )


def first_failure(failures: Sequence[BoolArray]) -> IntArray:
    """Index of the first of `failures` that holds for each contract; their number where none does."""
    return np.select(failures, list(range(len(failures))), default=len(failures)).astype(np.int64)


def count_by_verdict(chain: Chain, verdict: IntArray, verdicts: int, underlyings: int) -> IntArray:
    """Contracts per underlying (rows) and verdict 0 … verdicts − 1 (columns)."""
    counts = np.bincount(chain.underlying * verdicts + verdict, minlength=underlyings * verdicts)
    return counts.reshape(underlyings, verdicts).astype(np.int64)


def sum_by(group: IntArray, values: FloatArray, groups: int) -> FloatArray:
    """Sums of `values` by group 0 … groups − 1, added one after the other in the order of the rows."""
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)
