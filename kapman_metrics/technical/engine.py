"""The one compiled entry into the indicator kernels, cached on disk until any of them changes.

Numba's cache notices an edit of the file of the cached function, not of the functions that it calls in
other files: after an upgrade it would go on serving the old formulas. So nothing but the entry is cached,
and the sources of everything it calls are part of the cache's key: a closure variable, which Numba
hashes into it.
"""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numba

from kapman_metrics.technical import averages, momentum, parabolic, trend, volatility, volume
from kapman_metrics.windows import KERNEL_SIGNATURE


def fingerprint(*modules: ModuleType) -> str:
    """One digest of the modules' source text."""
    text = "\0".join(inspect.getsource(module) for module in modules)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def technical_kernel() -> Callable[..., None]:
    """The kernel `(starts, ends, open, high, low, close, volume, out)`; `out` is float64 [rows × 89].

    Compiled when first asked for, for its one signature, and only when the cache has none.
    """
    sources = fingerprint(averages, momentum, parabolic, trend, volatility, volume)

    @numba.njit(KERNEL_SIGNATURE, nogil=True, cache=True, error_model="numpy")
    def fill(starts, ends, opens, highs, lows, closes, volumes, out):  # type: ignore[no-untyped-def]  # noqa: PLR0913
        sources  # noqa: B018 - referred to so that it is a closure variable, see above
        for row in range(len(ends)):
            window = slice(starts[row], ends[row])
            high = highs[window]
            low = lows[window]
            close = closes[window]
            traded = volumes[window]
            momentum.momentum(high, low, close, traded, out[row, 0:18])
            volatility.volatility(high, low, close, out[row, 18:39])
            trend.trend(high, low, close, out[row, 39:76])
            volume.flows(high, low, close, traded, out[row, 76:86])
            volume.returns(close, out[row, 86:89])

    return fill
