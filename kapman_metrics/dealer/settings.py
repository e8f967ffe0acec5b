"""What the dealer metrics may be told: filters, rates and the repricing grid."""

import math
from dataclasses import dataclass

from kapman_metrics.chain import Carry

SIGN_CONVENTION = "calls_long_puts_short"
"""Dealers are assumed long every call (+1) and short every put (−1)."""

PROXIMITY_WEIGHTS = ((0.05, 1.0), (0.10, 0.7), (0.15, 0.4), (math.inf, 0.2))
"""Weight of a strike's |GEX| as a wall, by |strike − spot| / spot: the first bound that is not exceeded
counts. The last one reaches as far as `DealerSettings.max_moneyness`."""


@dataclass(frozen=True)
class DealerSettings(Carry):
    """Filters and model inputs of the dealer metrics; every one of them is stored in the row's `inputs`.

    Raises ValueError for a value outside its range.
    """

    max_dte: int = 90
    """Calendar days to expiry beyond which a contract is left out."""
    min_open_interest: float = 100.0
    """Open interest, in contracts, below which a contract is left out."""
    min_volume: float = 1.0
    """Volume of the session, in contracts, below which a contract is left out."""
    walls: int = 3
    """How many walls a side lists."""
    max_moneyness: float = 0.20
    """|strike − spot| / spot beyond which a strike is no wall."""
    grid_width: float = 0.20
    """How far from spot, as a fraction of it, net GEX is repriced in search of the gamma flip."""
    grid_step: float = 0.0025
    """Distance of the grid's points, as a fraction of spot."""
    neutral_gex: float = 1_000_000.0
    """|net GEX|, dollars per 1 %, below which the position is neutral."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero = ("max_dte", "min_open_interest", "min_volume", "max_moneyness", "neutral_gex")
        for name in at_least_zero:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"DealerSettings.{name} must be a finite number ≥ 0, not {value}.")
        if self.walls < 1:
            raise ValueError(f"DealerSettings.walls must be at least 1, not {self.walls}.")
        if not 0.0 < self.grid_step <= self.grid_width < 1.0:
            raise ValueError(
                "DealerSettings needs 0 < grid_step ≤ grid_width < 1; "
                f"got grid_step {self.grid_step}, grid_width {self.grid_width}."
            )
