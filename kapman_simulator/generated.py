"""The generated market: a function of its options, and of the clock only where no `today` is given."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from kapman_simulator.chains import chain
from kapman_simulator.flat_files import files
from kapman_simulator.listings import universe
from kapman_simulator.market import Market
from kapman_simulator.objects import key_of
from kapman_simulator.options import MarketOptions
from kapman_simulator.prices import daily_bars
from kapman_simulator.reference import splits, tickers
from kapman_simulator.sessions import last_completed_session, session_on_or_before, window
from kapman_simulator.underlyings import UNDERLYINGS


def generate(options: MarketOptions) -> Market:
    """Make the market of `options`; Unservable where they ask for what can't be."""
    asked = options.today
    today = session_on_or_before(asked) if asked else last_completed_session(datetime.now(UTC))
    notes = [f"{asked} is not a trading session: today is {today}."] if asked and asked != today else []
    listings = universe(options.symbols, options.underlyings)
    sessions = window(today, options.sessions)
    bars = daily_bars(options.seed, listings, sessions)
    column = {row.symbol: index for index, row in enumerate(listings)}
    # The files are written by Polars and zlib outside the interpreter's lock, while it makes the chains.
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(
            lambda: {key_of(session): body for session, body in files(listings, sessions, bars)}
        )
        chains = {
            symbol: chain(
                options.seed,
                listings[column[symbol]],
                today,
                spot=float(bars.close[-1, column[symbol]]),
                contracts=options.contracts,
            )
            for symbol in UNDERLYINGS[: options.underlyings]
        }
        return Market(
            # What decides a past session's chain; not the window, so that tomorrow's demo goes on from today's.
            f"simulated-{options.seed}-{options.contracts}",
            today,
            writing.result(),
            tickers(listings, today),
            chains,
            splits(listings, today),
            notes,
        )
