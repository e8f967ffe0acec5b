"""From what was asked for to a vendor that is ready to start."""

from collections.abc import Iterable
from pathlib import Path

from kapman_simulator.dataset import read_dataset
from kapman_simulator.generated import generate
from kapman_simulator.options import MarketOptions
from kapman_simulator.vendor import Address, Vendor


def open_vendor(
    options: MarketOptions,
    *,
    faults: Iterable[str] = (),
    dataset: Path | None = None,
    address: Address | None = None,
) -> Vendor:
    """Make or read the market, apply the faults and bind the ports; `Unservable` says what can't be."""
    market = read_dataset(dataset, options.today) if dataset else generate(options)
    vendor = Vendor(market, address or Address())
    vendor.set_faults(faults)
    return vendor
