"""Volatility metrics: level, skew, term structure and history of the volatility that option prices imply."""

from kapman_metrics.volatility.history import HISTORY_SESSIONS, MINIMUM_HISTORY
from kapman_metrics.volatility.metrics import SCHEMA, volatility_metrics, volatility_metrics_of
from kapman_metrics.volatility.reference import VOLATILITY_METRICS
from kapman_metrics.volatility.settings import VolatilitySettings

__all__ = [
    "HISTORY_SESSIONS",
    "MINIMUM_HISTORY",
    "SCHEMA",
    "VOLATILITY_METRICS",
    "VolatilitySettings",
    "volatility_metrics",
    "volatility_metrics_of",
]
