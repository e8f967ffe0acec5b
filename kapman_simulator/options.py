"""What can be asked of the generated market."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class MarketOptions:
    """Size and seed of a generated market.

    symbols: listings, the odd ones included. sessions: daily files, the last of them for `today`. underlyings:
    how many of `UNDERLYINGS` have a chain. contracts: standard contracts per chain, about. today: the last session;
    None takes the last one that is over by the clock.
    """

    symbols: int = 1500
    sessions: int = 300
    underlyings: int = 40
    contracts: int = 500
    seed: int = 6
    today: date | None = None
