"""Rounding of what goes into JSON."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIGITS = 12
"""Significant digits kept: beyond what the data means, short of the bits in which processors differ."""

_POWERS = np.array([float(f"1e{power}") for power in range(301)])


def significant(values: ArrayLike) -> NDArray[np.float64]:
    """Values rounded to DIGITS significant decimal digits, elementwise; zero has no sign, NaN stays NaN."""
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array) & (array != 0)
    magnitude = np.floor(np.log10(np.abs(array), out=np.zeros_like(array), where=finite))
    places = np.clip(DIGITS - 1 - magnitude, -300, 300).astype(np.int64)
    # Multiplying or dividing by a positive power keeps the result the double nearest to the decimal.
    up, down = _POWERS[np.maximum(places, 0)], _POWERS[np.maximum(-places, 0)]
    return np.rint(array * up / down) / up * down + 0.0


def nullable(values: ArrayLike) -> list[float | None]:
    """Values as JSON takes them: rounded to DIGITS, None for what is not a finite number."""
    return [value if math.isfinite(value) else None for value in significant(values).tolist()]
