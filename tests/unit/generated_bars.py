"""Seeded daily bars of odd and ordinary shapes for the tests of the metrics."""

import datetime

import numpy as np
import polars as pl

from kapman_metrics.windows import BAR_SCHEMA

FIRST_DAY = datetime.date(2024, 1, 1)


def bars(ticker: str, size: int, seed: int, shape: str = "walk") -> pl.DataFrame:
    """`size` daily bars of one ticker.

    shape: walk, flat, halted (moves, then stands), gaps, split (1 : 20, then 15 : 1), quiet (mostly without
    volume), dead (never any volume), penny, steady.
    """
    random = np.random.default_rng(seed)
    spread = 0.008
    close = 50.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, size)))
    volume = np.floor(random.lognormal(13.0, 0.7, size))
    digits = 2
    if shape == "gaps":
        close = close * np.exp(np.cumsum(random.choice([0.0, 0.0, 0.0, 0.2, -0.2], size)))
    elif shape == "split":
        day = np.arange(size)
        close = close * np.where(day < size // 3, 20.0, 1.0) * np.where(day < 2 * size // 3, 1.0, 15.0)
    elif shape == "penny":
        close, digits = close / 5000.0, 4
    elif shape == "steady":
        close = 20.0 * 1.01 ** np.arange(size)
    elif shape == "quiet":
        volume = np.where(random.random(size) < 0.7, 0.0, volume)
    elif shape == "dead":
        volume = np.zeros(size)
    still = np.zeros(size, dtype=bool)
    if shape == "flat":
        still[:] = True
    elif shape == "halted":
        still[size // 2 :] = True
    close = np.where(still, 123.45, close)
    spread = np.where(still, 0.0, spread)
    open_ = close * np.exp(random.normal(0.0, 1.0, size) * spread)
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, 1.0, size)) * spread)
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, 1.0, size)) * spread)
    return pl.DataFrame(
        {
            "ticker_id": [ticker] * size,
            "date": [FIRST_DAY + datetime.timedelta(days=day) for day in range(size)],
            **{
                name: np.round(values, digits)
                for name, values in (("open", open_), ("high", high), ("low", low), ("close", close))
            },
            "volume": volume,
        },
        schema=BAR_SCHEMA,
    )
