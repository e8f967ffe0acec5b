"""The fault matrix as data: what is done to the platform, and what must come of it.

docs/reliability.md lists exactly these cases; tests/faults/test_documented.py holds it to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What a run makes of a fault. Whatever it is, nothing is partly visible."""

    HEALS = "converges by itself"
    """The run succeeds, with the content of an undisturbed run."""
    FAILS = "fails clearly, then converges"
    """The run fails with a sentence, publishes nothing; the next one without the fault converges."""
    COUNTED = "quarantined or ignored, and counted"
    """The run succeeds without the rows that are none; manifest and quarantine have their numbers."""
    NAMED = "goes on without it, naming it"
    """The run succeeds without one session or chain, which a check names; the next one adds it."""
    TAKEN = "taken as the vendor says"
    """It might be true: the run succeeds with it, and a later source replaces it."""
    REFUSED = "refused, naming the holder"
    """The second run is refused; the first one is not disturbed."""
    KEPT = "holds"
    """An edge that must make no difference, and makes none."""


@dataclass(frozen=True)
class Case:
    """One row of the matrix.

    name: in the documents, and the test's id. For faults of the vendor what `kapman simulator --fault` takes.
    step: the asset that is run, first with the fault and then without it.
    says: what the sentence of the failure, or the check's evidence, must name.
    counts: rows more than undisturbed, by reason; `counted` of them are not enough or too many.
    refetch: the archive has decided; the next run must be told to fetch again.
    repave: a later source alone doesn't remove what was taken; a repave does.
    visible: sessions published when a killed process is gone, counted from the first.
    """

    name: str
    outcome: Outcome
    step: str
    says: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    refetch: bool = False
    repave: bool = False
    visible: int = 0


_PRICE = "price is not positive and finite"

FILES = (
    Case("zero_byte_file", Outcome.FAILS, "ohlcv", ("2026-11-20.csv.gz is empty", "zero bytes")),
    Case("header_only_file", Outcome.FAILS, "ohlcv", ("2026-11-20.csv.gz holds no rows",)),
    Case("truncated_gzip", Outcome.FAILS, "ohlcv", ("2026-11-20.csv.gz is cut off",)),
    Case("corrupt_gzip", Outcome.FAILS, "ohlcv", ("2026-11-20.csv.gz is damaged", "CRC")),
    Case("not_gzip", Outcome.FAILS, "ohlcv", ("2026-11-20.csv.gz is not a gzip file",)),
    Case("missing_column", Outcome.FAILS, "ohlcv", ("2026-11-20.csv.gz has no column 'close'",)),
    Case("wrong_date_file", Outcome.FAILS, "ohlcv", ("file of 2026-11-20 by its name", "2026-11-21")),
    Case("missing_file", Outcome.NAMED, "ohlcv", ("ohlcv_has_the_newest_session", "2026-11-20")),
    Case("missing_file=2026-11-18", Outcome.NAMED, "ohlcv", ("ohlcv_covers_every_session", "2026-11-18")),
    Case("half_written_row", Outcome.COUNTED, "ohlcv", counts={"not as many fields as the header": 1}),
    Case("mixed_dates", Outcome.COUNTED, "ohlcv", counts={"another day's window_start": 6}),
    Case("duplicate_ticker_rows", Outcome.COUNTED, "ohlcv", counts={"duplicate row": 2}),
    Case(
        "garbage_tickers",
        Outcome.COUNTED,
        "ohlcv",
        counts={
            "control character in the line": 2,
            "not a symbol": 3,
            "not as many fields as the header": 1,
            "unknown symbol": 6,
        },
    ),
    Case("wrong_case_symbols", Outcome.COUNTED, "ohlcv", counts={"unknown symbol": 2}),
    Case("nan_price", Outcome.COUNTED, "ohlcv", counts={_PRICE: 2}),
    Case("blank_price", Outcome.COUNTED, "ohlcv", counts={_PRICE: 2}),
    Case("text_price", Outcome.COUNTED, "ohlcv", counts={_PRICE: 2}),
    Case("negative_price", Outcome.COUNTED, "ohlcv", counts={_PRICE: 2}),
    Case("zero_price", Outcome.COUNTED, "ohlcv", counts={_PRICE: 2}),
    Case("high_below_low", Outcome.COUNTED, "ohlcv", counts={"high is below low": 2}),
    Case("absurd_volume", Outcome.COUNTED, "ohlcv", counts={"volume is above 1e+12 shares": 2}),
    Case("negative_volume", Outcome.COUNTED, "ohlcv", counts={"volume is negative": 2}),
    Case("fractional_volume", Outcome.TAKEN, "ohlcv"),
    Case("reordered_columns", Outcome.HEALS, "ohlcv"),
    Case("extra_column", Outcome.HEALS, "ohlcv"),
)
"""What the newest daily file holds."""

BUCKET = (
    Case("s3_500=2", Outcome.HEALS, "ohlcv"),
    Case("s3_500=100", Outcome.FAILS, "ohlcv", ("answered 500", "also when asked again")),
    Case("s3_slow_down", Outcome.HEALS, "ohlcv"),
    Case("s3_timeout", Outcome.HEALS, "ohlcv"),
    Case("s3_slow=0.5", Outcome.HEALS, "ohlcv"),
    Case("s3_slow=3", Outcome.FAILS, "ohlcv", ("does not answer in time", "KAPMAN_S3_ENDPOINT")),
    Case("s3_cut_body", Outcome.HEALS, "ohlcv"),
    Case("republished_mid_read", Outcome.TAKEN, "ohlcv"),
    Case("republished_file", Outcome.HEALS, "ohlcv"),
    Case("s3_forbidden", Outcome.FAILS, "ohlcv", ("2026-11-20.csv.gz", "AccessDenied", "plan")),
)
"""How the bucket answers."""

_SNAPSHOT = "option chain snapshot of AAPL"
_COVERAGE = ("option_chains_cover_active_symbols", "AAPL")

PAGES = (
    Case("rate_limit", Outcome.HEALS, "options_chains"),
    Case("rate_limit_without_header", Outcome.HEALS, "options_chains"),
    Case(
        "rate_limit_without_header=1000",
        Outcome.FAILS,
        "tickers",
        ("too many requests", "429", "KAPMAN_RATE_LIMIT"),
    ),
    Case("server_error=2", Outcome.HEALS, "options_chains"),
    Case("server_error=100", Outcome.FAILS, "tickers", ("reference tickers", "status 500")),
    Case("api_timeout=options", Outcome.HEALS, "options_chains"),
    Case("slow_body=0.3", Outcome.HEALS, "options_chains"),
    Case("slow_body=3", Outcome.FAILS, "options_chains", ("doesn't answer", "no complete answer within")),
    Case("cut_body=options", Outcome.HEALS, "options_chains"),
    Case("changing_open_interest", Outcome.HEALS, "options_chains"),
    Case("forbidden=options", Outcome.FAILS, "options_chains", (_SNAPSHOT, "403", "MASSIVE_API_KEY")),
    Case("forbidden=reference", Outcome.FAILS, "tickers", ("reference tickers", "403", "MASSIVE_API_KEY")),
    Case("unauthorized=options", Outcome.FAILS, "options_chains", ("401", "MASSIVE_API_KEY")),
    Case("bad_json=options", Outcome.FAILS, "options_chains", (_SNAPSHOT, "not JSON")),
    Case("bad_json=AAPL", Outcome.NAMED, "options_chains", _COVERAGE),
    Case("bad_json=reference", Outcome.FAILS, "tickers", ("reference tickers", "not JSON")),
    Case("truncated_page=AAPL", Outcome.NAMED, "options_chains", _COVERAGE),
    Case("error_in_200=AAPL", Outcome.NAMED, "options_chains", _COVERAGE),
    Case("missing_results=AAPL", Outcome.NAMED, "options_chains", _COVERAGE),
    Case("missing_results=reference", Outcome.FAILS, "tickers", ("required field `results`",)),
    Case("looping_next_url=AAPL", Outcome.NAMED, "options_chains", _COVERAGE),
    Case("looping_next_url=reference", Outcome.FAILS, "tickers", ("page 2 repeats page 1",)),
    Case("duplicate_page=AAPL", Outcome.NAMED, "options_chains", _COVERAGE),
)
"""How the API answers."""

CHAINS = (
    Case("empty_chain", Outcome.NAMED, "options_chains", _COVERAGE, refetch=True),
    Case("duplicate_contract=MSFT", Outcome.COUNTED, "options_chains", counts={"duplicate contract": 3},
         refetch=True),
    Case("adjusted_contract", Outcome.COUNTED, "options_chains", counts={"adjusted contract": 10}, refetch=True),
    Case("other_contract_type=MSFT", Outcome.COUNTED, "options_chains", counts={"contract type other": 5},
         refetch=True),
    Case("expired_contract=MSFT", Outcome.COUNTED, "options_chains",
         counts={"expired before the session": 5}, refetch=True),
    Case("garbage_contracts=MSFT", Outcome.COUNTED, "options_chains", refetch=True,
         counts={"strike missing": 1, "strike not positive": 1, "expiration date is not a date": 1,
                 "contract type missing": 2, "wrong type": 1}),
    Case("stale_day_bar", Outcome.TAKEN, "options_chains", refetch=True),
    Case("missing_greeks", Outcome.TAKEN, "options_chains", ("most_contracts_have_greeks", "AAPL"), refetch=True),
    Case("missing_iv", Outcome.TAKEN, "options_chains", ("most_contracts_have_greeks", "AAPL"), refetch=True),
    Case("no_quotes", Outcome.TAKEN, "options_chains", refetch=True),
    Case("odd_shares_per_contract", Outcome.TAKEN, "options_chains", refetch=True),
    Case("wrong_underlying", Outcome.HEALS, "options_chains"),
)  # fmt: skip
"""What a chain holds; what is archived decides until somebody asks for it again."""

REFERENCE = (
    Case("empty_reference", Outcome.FAILS, "tickers", ("tickers_are_loaded", "no active ticker")),
    Case("unlisted_symbol", Outcome.TAKEN, "tickers"),
    Case("delisted_symbol", Outcome.TAKEN, "tickers"),
    Case("reused_symbol", Outcome.TAKEN, "tickers"),
    Case("blank_reference_fields", Outcome.TAKEN, "tickers"),
    Case("duplicate_reference_ticker", Outcome.COUNTED, "tickers", counts={"duplicate ticker": 1}),
    Case(
        "garbage_reference",
        Outcome.COUNTED,
        "tickers",
        counts={"symbol missing": 3, "symbol with blanks, control or non-ASCII characters": 2},
        repave=True,
    ),
)
"""What the reference list holds."""

VENDOR = FILES + BUCKET + PAGES + CHAINS + REFERENCE

NOT_READ = {"duplicate_splits", "float_split_ratio"}
"""The simulator's faults in the splits, which the platform doesn't read."""

KILLS = (
    Case("kill -9 before COPY", Outcome.FAILS, "ohlcv"),
    Case("kill -9 during COPY", Outcome.FAILS, "ohlcv"),
    Case("kill -9 between COPY and commit", Outcome.FAILS, "ohlcv"),
    Case("kill -9 between commit and Dagster's event", Outcome.FAILS, "ohlcv", visible=6),
    Case("kill -9 between two sessions", Outcome.FAILS, "ohlcv", visible=4),
    Case("kill -9 between two chains", Outcome.FAILS, "options_chains"),
    Case("kill -9 between archive and commit", Outcome.FAILS, "options_chains"),
    Case("kill -9 before the snapshots' commit", Outcome.FAILS, "daily_snapshots"),
    Case("kill -9 before the dealer metrics' commit", Outcome.FAILS, "dealer_metrics"),
    Case("kill -9 before the volatility metrics' commit", Outcome.FAILS, "volatility_metrics"),
    Case("kill -9 before the tickers' commit", Outcome.FAILS, "tickers"),
    Case("kill -9 before the watchlists' commit", Outcome.FAILS, "watchlists"),
    Case("Ctrl-C during COPY", Outcome.FAILS, "ohlcv"),
    Case("Ctrl-C between two sessions", Outcome.FAILS, "ohlcv", visible=4),
    Case("Ctrl-C between two chains", Outcome.FAILS, "options_chains"),
    Case("Ctrl-C before the snapshots' commit", Outcome.FAILS, "daily_snapshots"),
)

CONCURRENCY = (
    Case("repave or load during a repave", Outcome.REFUSED, "repave"),
    Case("repave during a load", Outcome.REFUSED, "ohlcv"),
    Case("two loads of the same sessions", Outcome.HEALS, "ohlcv"),
)

SERVER = (
    Case("database restarted in mid-COPY", Outcome.FAILS, "ohlcv", ("server went away", "run it again")),
    Case("database process killed in mid-COPY", Outcome.FAILS, "ohlcv", ("server went away", "run it again")),
    Case(
        "database restarted in a step's transaction",
        Outcome.FAILS,
        "daily_snapshots",
        ("server went away", "run it again"),
    ),
    Case("disk full in the database", Outcome.FAILS, "ohlcv", ("disk is full",)),
    Case("disk full while staging", Outcome.FAILS, "daily_snapshots", ("disk is full",)),
    Case("disk full on the vault", Outcome.FAILS, "options_chains", ("vault", "free space")),
)

CLOCK = (
    Case("half day", Outcome.KEPT, "repave"),
    Case("daylight saving begins", Outcome.KEPT, "repave"),
    Case("exchange closed unexpectedly", Outcome.KEPT, "ohlcv"),
    Case("21:00 UTC", Outcome.KEPT, "ohlcv"),
)

BACKUP_KILLS = (
    Case("kill -9 while pg_dump writes", Outcome.FAILS, "backup", ("left incomplete",)),
    Case("kill -9 before the manifest", Outcome.FAILS, "backup", ("left incomplete",)),
    Case("kill -9 while an old backup is deleted", Outcome.FAILS, "backup", ("left incomplete",)),
    Case("kill -9 before the new database is made", Outcome.FAILS, "restore"),
    Case("kill -9 while pg_restore reads", Outcome.FAILS, "restore", ("killed restore", "dropped")),
    Case("kill -9 before the content is compared", Outcome.FAILS, "restore", ("killed restore", "dropped")),
    Case(
        "kill -9 before the databases change names", Outcome.FAILS, "restore", ("killed restore", "dropped")
    ),
    Case(
        "kill -9 before the former database is dropped", Outcome.FAILS, "restore", ("was before", "dropped")
    ),
)

BACKUP_FAULTS = (
    Case("truncated dump", Outcome.FAILS, "restore", ("truncated",)),
    Case("changed dump", Outcome.FAILS, "restore", ("damaged",)),
    Case("missing dump", Outcome.FAILS, "restore", ("isn't there",)),
    Case("damaged manifest", Outcome.FAILS, "restore", ("damaged",)),
    Case("dump of other content than its manifest", Outcome.FAILS, "restore", ("rows instead of",)),
    Case("dump of a later PostgreSQL", Outcome.FAILS, "restore", ("PostgreSQL 99.1",)),
    Case("dump of another TimescaleDB", Outcome.FAILS, "restore", ("TimescaleDB 2.0.0",)),
    Case("dump of the Community edition", Outcome.FAILS, "restore", ("Apache edition",)),
    Case("dump of a later KapMan", Outcome.FAILS, "restore", ("9999.unknown",)),
    Case("no room for a second database", Outcome.FAILS, "restore", ("free",)),
    Case("disk full in the database during a restore", Outcome.FAILS, "restore"),
    Case("disk full in the store", Outcome.FAILS, "backup", ("can't be written",)),
)

MATRIX = {
    "test_vendor.py": VENDOR,
    "test_processes.py": KILLS + CONCURRENCY,
    "test_server.py": SERVER,
    "test_clock.py": CLOCK,
    "test_backup_faults.py": BACKUP_KILLS + BACKUP_FAULTS,
}
"""The cases by the file that tests them."""
