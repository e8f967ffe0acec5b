"""The generated market: a function of its options, and of the clock only where no `today` is given."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from functools import lru_cache

from kapman_simulator.chains import MODEL, chain
from kapman_simulator.flat_files import files
from kapman_simulator.implied import Mood, moods
from kapman_simulator.listings import Listing, universe
from kapman_simulator.market import Market
from kapman_simulator.objects import key_of
from kapman_simulator.options import MarketOptions
from kapman_simulator.prices import Bars, daily_bars
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
    chains = _Chains(options, listings, sessions, bars)
    # The files are written by Polars and zlib outside the interpreter's lock, while it makes the chains.
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(
            lambda: {key_of(session): body for session, body in files(listings, sessions, bars)}
        )
        todays = {symbol: chains.at(symbol, today) for symbol in UNDERLYINGS[: options.underlyings]}
        return Market(
            # What decides a past session's chain; not the window, so that tomorrow's demo goes on from today's.
            f"simulated-{options.seed}-{options.contracts}-v{MODEL}",
            today,
            writing.result(),
            tickers(listings, today),
            todays,
            splits(listings, today),
            notes,
            chains.past,
        )


class _Chains:
    """The chains of every session of the window."""

    def __init__(
        self, options: MarketOptions, listings: list[Listing], sessions: tuple[date, ...], bars: Bars
    ) -> None:
        symbols = {row.symbol: index for index, row in enumerate(listings)}
        columns = [symbols[symbol] for symbol in UNDERLYINGS[: options.underlyings]]
        self._seed, self._contracts = options.seed, options.contracts
        self._listings = [listings[index] for index in columns]
        self._column = {row.symbol: index for index, row in enumerate(self._listings)}
        self._row = {session: index for index, session in enumerate(sessions)}
        self._close = bars.close[:, columns]
        self._moods = moods(options.seed, self._listings, sessions)
        # The pages of a chain are asked for one after the other, those of some chains at a time.
        self.past = lru_cache(maxsize=64)(self._past)

    def at(self, symbol: str, session: date) -> list[bytes]:
        """The chain of a symbol at the close of a session."""
        row, column = self._row[session], self._column[symbol]
        return chain(
            self._seed,
            self._listings[column],
            session,
            spot=float(self._close[row, column]),
            mood=Mood(float(self._moods.level[row, column]), float(self._moods.skew[row, column])),
            contracts=self._contracts,
        )

    def _past(self, symbol: str, session: date) -> list[bytes] | None:
        if session not in self._row:
            return None
        return self.at(symbol, session) if symbol in self._column else []
