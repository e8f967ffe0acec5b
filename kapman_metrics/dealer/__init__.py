"""Dealer metrics: what dealers would have to hedge if they held the other side of an option chain."""

from kapman_metrics.dealer.metrics import SCHEMA, dealer_gamma_pressure, dealer_metrics, dealer_metrics_of
from kapman_metrics.dealer.reference import DEALER_METRICS
from kapman_metrics.dealer.settings import DealerSettings

__all__ = [
    "DEALER_METRICS",
    "SCHEMA",
    "DealerSettings",
    "dealer_gamma_pressure",
    "dealer_metrics",
    "dealer_metrics_of",
]
