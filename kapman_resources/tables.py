"""The contract's tables, declared once.

COPY, the content hash, Dagster's column schemas and the documentation derive from these declarations;
`schema/` creates the same tables in SQL, and a test compares the two.
"""

import uuid
from dataclasses import dataclass, replace
from typing import Literal

PgType = Literal[
    "uuid", "text", "date", "timestamptz", "double precision", "bigint", "integer",
    "numeric(12,4)", "character(1)", "boolean", "jsonb",
]  # fmt: skip

TICKER_NAMESPACE = uuid.UUID("6f1b3b2e-5a0c-5f6e-9d0a-6b61706d616e")
"""Namespace of `tickers.id` = `uuid_generate_v5(TICKER_NAMESPACE, symbol)`: two repaves give the same keys."""


@dataclass(frozen=True)
class Column:
    """A column: its PostgreSQL type, what it means, and the unit of its values."""

    name: str
    type: PgType
    description: str
    unit: str = ""
    nullable: bool = False
    checks: tuple[str, ...] = ()
    """What the table's CHECK constraints say of the column, in words."""
    references: str = ""
    """`table.column` that a foreign key holds it to."""
    recorded: bool = True
    """False for bookkeeping times that say when a row was written, not what it is: the content hash
    leaves them out and loaders leave them to their defaults."""


@dataclass(frozen=True)
class Table:
    """A table, of the contract unless it says another schema than `public`."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time_column: str | None = None
    """The dimension of the hypertable, or the time by which partitions are told apart; None for reference tables."""
    hypertable: bool = False
    schema: str = "public"

    @property
    def recorded(self) -> tuple[Column, ...]:
        """The columns that make the content: everything but the bookkeeping times."""
        return tuple(column for column in self.columns if column.recorded)

    def only(self, *names: str) -> "Table":
        """The table as a stage sees it that writes only these columns."""
        return replace(self, columns=tuple(self.column(name) for name in names))

    def column(self, name: str) -> Column:
        """The column of that name (KeyError if there is none)."""
        return {column.name: column for column in self.columns}[name]


def _created_at() -> Column:
    return Column("created_at", "timestamptz", "When the row was written.", recorded=False)


_TICKER_ID = Column(
    "ticker_id", "uuid", "Ticker that the row belongs to (`tickers.id`).", references="tickers.id"
)
_NAMED = ("not empty",)
_PRICE = ("low ≤ open, close ≤ high", "above 0 and finite")
_QUOTE = ("0 or more and finite",)
_COUNT = ("0 or more",)
_FINITE = ("finite",)
_OBJECT = ("a JSON object",)

TICKERS = Table(
    "tickers",
    "Reference universe: every active stock ticker that the vendor lists.",
    (
        Column(
            "id",
            "uuid",
            "UUIDv5 of the symbol: the same in every database.",
            checks=("UUIDv5 of the symbol",),
        ),
        Column("symbol", "text", "The vendor's symbol, case kept (`BRK.B`, `TpC`).", checks=_NAMED),
        Column("name", "text", "Name of the company or fund.", nullable=True),
        Column("type", "text", "Vendor's type code (CS, ETF, ADRC, PFD, WARRANT, ...).", nullable=True),
        Column("primary_exchange", "text", "ISO 10383 code of the primary exchange.", nullable=True),
        Column("currency", "text", "Currency of the quotes, lower case.", nullable=True),
        Column("cik", "text", "SEC Central Index Key.", nullable=True),
        Column("composite_figi", "text", "Composite OpenFIGI identifier.", nullable=True),
        Column("share_class_figi", "text", "Share-class OpenFIGI identifier.", nullable=True),
        Column("active", "boolean", "Whether the vendor lists the ticker as trading."),
        Column("last_updated_utc", "timestamptz", "The vendor's time of the last change.", nullable=True),
        _created_at(),
    ),
    key=("symbol",),
)

WATCHLISTS = Table(
    "watchlists",
    "Symbols that the analytics cover, reconciled from the files in data/watchlists.",
    (
        Column("watchlist_id", "text", "Name of the list: its file's name without `.txt`.", checks=_NAMED),
        Column("symbol", "text", "Symbol as written in the file.", checks=_NAMED),
        Column("active", "boolean", "Whether the file lists the symbol now; leavers stay, inactive."),
        Column("source", "text", "The file's name."),
        Column("effective_date", "date", "As-of session at which the row took its present state."),
        _created_at(),
        Column("updated_at", "timestamptz", "When the row was last changed.", recorded=False),
    ),
    key=("watchlist_id", "symbol"),
)

OHLCV = Table(
    "ohlcv",
    "Daily bars of the whole market, unadjusted.",
    (
        _TICKER_ID,
        Column("date", "date", "Trading session."),
        Column("open", "double precision", "First price.", "USD", checks=_PRICE),
        Column("high", "double precision", "Highest price.", "USD", checks=_PRICE),
        Column("low", "double precision", "Lowest price.", "USD", checks=_PRICE),
        Column("close", "double precision", "Last price.", "USD", checks=_PRICE),
        Column(
            "volume", "double precision", "Shares traded; fractional since 2026.", "shares", checks=_QUOTE
        ),
        Column("transactions", "bigint", "Number of trades.", "trades", nullable=True, checks=_COUNT),
        _created_at(),
    ),
    key=("ticker_id", "date"),
    time_column="date",
    hypertable=True,
)

OPTIONS_CHAINS = Table(
    "options_chains",
    "Option-chain snapshots at the close of a session, one row per standard contract.",
    (
        Column("time", "timestamptz", "Close of the session that the snapshot belongs to."),
        _TICKER_ID,
        Column("expiration_date", "date", "Day on which the contract expires."),
        Column("strike_price", "numeric(12,4)", "Strike.", "USD", checks=("above 0",)),
        Column("option_type", "character(1)", "C for call, P for put.", checks=("C or P",)),
        Column("bid", "double precision", "Best bid.", "USD", nullable=True, checks=_QUOTE),
        Column("ask", "double precision", "Best ask.", "USD", nullable=True, checks=_QUOTE),
        Column("last", "double precision", "Price of the last trade.", "USD", nullable=True, checks=_QUOTE),
        Column(
            "volume",
            "bigint",
            "Contracts traded in the session; 0 when the vendor's day bar is older.",
            "contracts",
            nullable=True,
            checks=_COUNT,
        ),
        Column(
            "open_interest",
            "bigint",
            "Open interest at the end of the last session.",
            "contracts",
            nullable=True,
            checks=_COUNT,
        ),
        Column(
            "implied_volatility",
            "double precision",
            "Implied volatility, a year.",
            "1",
            nullable=True,
            checks=_QUOTE,
        ),
        Column(
            "delta",
            "double precision",
            "Change of price per dollar of the underlying.",
            "1",
            nullable=True,
            checks=_FINITE,
        ),
        Column(
            "gamma",
            "double precision",
            "Change of delta per dollar of the underlying.",
            "1/USD",
            nullable=True,
            checks=_FINITE,
        ),
        Column(
            "theta", "double precision", "Change of price per day.", "USD/day", nullable=True, checks=_FINITE
        ),
        Column(
            "vega",
            "double precision",
            "Change of price per point of volatility.",
            "USD/vol point",
            nullable=True,
            checks=_FINITE,
        ),
        Column(
            "shares_per_contract",
            "double precision",
            "Deliverable of one contract; 100 when absent.",
            "shares",
            nullable=True,
            checks=("above 0 and finite",),
        ),
        _created_at(),
    ),
    key=("time", "ticker_id", "expiration_date", "strike_price", "option_type"),
    time_column="time",
    hypertable=True,
)

DAILY_SNAPSHOTS = Table(
    "daily_snapshots",
    "Metrics of a ticker at the close of a session; each stage fills its own JSON column.",
    (
        Column("time", "timestamptz", "Close of the session."),
        _TICKER_ID,
        Column(
            "technical_indicators_json",
            "jsonb",
            "Technical indicators (docs/metrics.md).",
            nullable=True,
            checks=_OBJECT,
        ),
        Column(
            "price_metrics_json", "jsonb", "Price metrics (docs/metrics.md).", nullable=True, checks=_OBJECT
        ),
        Column(
            "dealer_metrics_json", "jsonb", "Dealer metrics (docs/metrics.md).", nullable=True, checks=_OBJECT
        ),
        Column("volatility_metrics_json", "jsonb", "Volatility metrics.", nullable=True, checks=_OBJECT),
        Column("model_version", "text", "Version of the definitions that computed the row."),
        _created_at(),
    ),
    key=("time", "ticker_id"),
    time_column="time",
)

RECOMMENDATIONS = Table(
    "recommendations",
    "Trade recommendations; structure only.",
    (
        Column("id", "uuid", "Identity."),
        Column("snapshot_time", "timestamptz", "`daily_snapshots.time` that it was made from."),
        _TICKER_ID,
        Column("recommendation_date", "date", "Session of the recommendation."),
        Column("direction", "text", "LONG, SHORT or NEUTRAL."),
        Column("action", "text", "BUY, SELL, HOLD or HEDGE."),
        Column("confidence", "double precision", "Confidence from 0 to 1.", "1"),
        Column("justification", "text", "Why.", nullable=True),
        Column("entry_price_target", "double precision", "Entry price.", "USD", nullable=True),
        Column(
            "stop_loss", "double precision", "Price at which the trade is given up.", "USD", nullable=True
        ),
        Column(
            "profit_target", "double precision", "Price at which the profit is taken.", "USD", nullable=True
        ),
        Column("option_strike", "numeric(12,4)", "Strike of the option leg.", "USD", nullable=True),
        Column("option_expiration", "date", "Expiry of the option leg.", nullable=True),
        Column("option_type", "character(1)", "C or P.", nullable=True),
        Column("option_strategy", "text", "LONG_CALL, LONG_PUT, CSP or VERTICAL_SPREAD.", nullable=True),
        Column("status", "text", "active, closed or expired."),
        Column("model_version", "text", "Version of the model that made it.", nullable=True),
        _created_at(),
    ),
    key=("id",),
)

RECOMMENDATION_OUTCOMES = Table(
    "recommendation_outcomes",
    "How recommendations turned out; structure only.",
    (
        Column("id", "uuid", "Identity."),
        Column("recommendation_id", "uuid", "`recommendations.id`."),
        Column("evaluation_date", "date", "Session of the evaluation."),
        Column("entry_price_actual", "double precision", "Entry price.", "USD", nullable=True),
        Column("exit_price_actual", "double precision", "Exit price.", "USD", nullable=True),
        Column("high_price_during_window", "double precision", "Highest price.", "USD", nullable=True),
        Column("low_price_during_window", "double precision", "Lowest price.", "USD", nullable=True),
        Column("days_held", "integer", "Sessions between entry and exit.", "sessions", nullable=True),
        Column("direction_correct", "boolean", "Whether the price went the predicted way.", nullable=True),
        Column("predicted_confidence", "double precision", "Confidence at the time.", "1", nullable=True),
        Column("directional_brier", "double precision", "(confidence − outcome)².", "1", nullable=True),
        Column("actual_return_pct", "double precision", "Return.", "%", nullable=True),
        Column("hit_profit_target", "boolean", "Whether the profit target was reached.", nullable=True),
        Column("hit_stop_loss", "boolean", "Whether the stop was reached.", nullable=True),
        Column("outcome_status", "text", "WIN, LOSS or NEUTRAL.", nullable=True),
        Column("notes", "text", "Free text.", nullable=True),
        _created_at(),
    ),
    key=("id",),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        TICKERS,
        WATCHLISTS,
        OHLCV,
        OPTIONS_CHAINS,
        DAILY_SNAPSHOTS,
        RECOMMENDATIONS,
        RECOMMENDATION_OUTCOMES,
    )
}
"""The contract: `public` holds these tables and nothing else."""


def ticker_id(symbol: str) -> str:
    """The id of a symbol, as text."""
    return str(uuid.uuid5(TICKER_NAMESPACE, symbol))
