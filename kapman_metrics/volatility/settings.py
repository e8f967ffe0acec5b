"""What the volatility metrics may be told."""

import math
from dataclasses import dataclass

from kapman_metrics.chain import Carry


@dataclass(frozen=True)
class VolatilitySettings(Carry):
    """Model inputs of the volatility metrics; every one of them is stored in the row's `inputs`.

    Raises ValueError for a value outside its range.
    """

    max_strike_distance: float = 0.20
    """|strike − spot| / spot beyond which a strike doesn't count as spot's neighbour: between strikes that far
    apart the smile is anything but the straight line that at-the-money volatility is read off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.max_strike_distance) and self.max_strike_distance > 0):
            raise ValueError(
                "VolatilitySettings.max_strike_distance must be a finite number > 0, "
                f"not {self.max_strike_distance}."
            )
