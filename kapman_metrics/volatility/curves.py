"""The volatility surface as people look at it: IV at the money by expiry, and IV by strike of each expiry.

The points that `volatility_metrics_json` is read off (`surface`), each with its place on an axis.
"""

import numpy as np
import polars as pl

from kapman_metrics.chain import OptionSnapshot
from kapman_metrics.volatility.surface import at_the_money, surface_of

TERM_STRUCTURE = pl.Schema({"ticker_id": pl.String(), "days": pl.Int64(), "atm_iv": pl.Float64()})
"""What `term_structure` returns: calendar days to the expiry, IV at spot as a fraction per year."""

SMILE = pl.Schema(
    {
        "ticker_id": pl.String(),
        "days": pl.Int64(),
        "strike": pl.Float64(),
        "option_type": pl.String(),
        "implied_volatility": pl.Float64(),
        "delta": pl.Float64(),
    }
)
"""What `smile` returns: strike in dollars, option_type C or P, IV as a fraction per year, delta Black–Scholes
at the contract's own IV, null without a spot."""


def term_structure(snapshot: OptionSnapshot, max_strike_distance: float) -> pl.DataFrame:
    """At-the-money IV of each expiry that has one, a row each as `TERM_STRUCTURE` says, by ticker and days.

    `atm_iv_30d` and `atm_iv_90d` of volatility_metrics_json are interpolated between these very points
    (`surface.at_the_money` says how one comes about, and what `max_strike_distance` means).
    """
    surface = surface_of(snapshot.chain, snapshot.spot)
    iv = at_the_money(surface, max_strike_distance)
    known = np.isfinite(iv)
    owners = snapshot.underlyings["ticker_id"].to_numpy()[surface.owner[known]]
    return pl.DataFrame(
        {"ticker_id": owners.tolist(), "days": surface.days[known], "atm_iv": iv[known]},
        schema=TERM_STRUCTURE,
    )


def smile(snapshot: OptionSnapshot) -> pl.DataFrame:
    """IV of every contract that has one and at least a day to live, a row each as `SMILE` says, in key order."""
    chain = snapshot.chain
    iv = surface_of(chain, snapshot.spot).iv
    known = np.flatnonzero(np.isfinite(iv))
    owners = snapshot.underlyings["ticker_id"].to_numpy()[chain.underlying[known]]
    return pl.DataFrame(
        {
            "ticker_id": owners.tolist(),
            "days": chain.days[known],
            "strike": chain.strike[known],
            "option_type": np.where(chain.call[known], "C", "P").tolist(),
            "implied_volatility": iv[known],
            "delta": chain.model[known].delta(chain.call[known]),
        },
        schema=SMILE,
    ).with_columns(pl.col("delta").fill_nan(None))
