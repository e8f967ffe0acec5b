"""technical_indicators_json: 89 indicator values and 61 candlestick patterns per ticker and date."""

import datetime
from collections.abc import Sequence

import numpy as np
import polars as pl

from kapman_metrics.catalogue import TECHNICAL
from kapman_metrics.rendering import json_column
from kapman_metrics.technical.candlesticks import candlesticks
from kapman_metrics.technical.engine import technical_kernel
from kapman_metrics.windows import HISTORY_SESSIONS, BarWindows

__all__ = ["HISTORY_SESSIONS", "technical_indicators"]

_COMPUTED = [metric for metric in TECHNICAL if metric.output]


def technical_indicators(bars: pl.DataFrame, sessions: Sequence[datetime.date]) -> pl.DataFrame:
    """All technical indicators for every ticker that has a bar on one of `sessions`.

    bars: ticker_id (String), date (Date), open, high, low, close (Float64, price units), volume (Float64,
    shares), in any order, unique by (ticker_id, date); each ticker's last `HISTORY_SESSIONS` bars up to
    each session are what its values are made of. A null volume counts as 0.

    Returns ticker_id, date, technical_indicators_json (String), sorted by ticker_id, date. The JSON is
    compact, with every key of `kapman_metrics.catalogue.TECHNICAL` in its order; a value that cannot be
    computed is null, patterns are integers. Formulas, parameters and their sources: that catalogue and
    the kernels' docstrings.

    Raises ValueError for bars that break the rules above (`BarWindows.of`).
    """
    windows = BarWindows.of(bars, sessions)
    numbers = windows.evaluate(technical_kernel(), len(_COMPUTED))
    values: dict[tuple[str, ...], np.ndarray | pl.Series] = {
        **{metric.path: numbers[:, column] for column, metric in enumerate(_COMPUTED)},
        **{("pattern_recognition", name): column for name, column in candlesticks(windows).items()},
    }
    return windows.keys.with_columns(json_column(values).alias("technical_indicators_json"))
