"""The vendor on loopback: a generated market, or a dataset, behind a real S3 API and a real HTTP API."""

from kapman_simulator.options import MarketOptions
from kapman_simulator.simulator import Simulator
from kapman_simulator.underlyings import UNDERLYINGS

__all__ = ["UNDERLYINGS", "MarketOptions", "Simulator"]
