"""Ratios as TA-Lib and `ta` guard them."""

import numpy as np

from kapman_metrics.rolling import Array

ZERO = 1e-14
"""TA-Lib's TA_IS_ZERO: denominators closer to zero than this count as zero."""


def percent(part: Array, whole: Array) -> Array:
    """100 · part / whole, and TA-Lib's 0 where the denominator counts as zero."""
    return np.where(np.abs(whole) < ZERO, 0.0, 100.0 * (part / whole))


def place(value: Array, bottom: Array, top: Array) -> Array:
    """Where a value lies in a band: 0 at the bottom, 1 at the top; not finite for a band without width."""
    return np.where(top != bottom, (value - bottom) / (top - bottom), np.nan)


def flag(holds: np.ndarray) -> Array:
    """1.0 where it holds, 0.0 where not."""
    return np.where(holds, 1.0, 0.0)
