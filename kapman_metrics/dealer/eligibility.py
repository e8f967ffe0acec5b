"""Which contracts count: the filters of the dealer metrics and what each of them removes."""

import numpy as np

from kapman_metrics.chain import Chain, IntArray, first_failure
from kapman_metrics.dealer.settings import DealerSettings

FILTERS = (
    "invalid_terms",
    "expired",
    "dte_exceeded",
    "missing_gamma",
    "negative_gamma",
    "low_open_interest",
    "low_volume",
)
"""The filters in the order in which they are asked; a contract is counted under the first that removes it."""

ELIGIBLE = len(FILTERS)
"""The verdict of a contract that no filter removes; the others carry their filter's index in FILTERS."""


def verdicts(chain: Chain, settings: DealerSettings) -> IntArray:
    """Index in FILTERS of the first filter that removes each contract, or ELIGIBLE.

    A missing or unusable value fails its filter: no gamma is `missing_gamma`, no open interest
    `low_open_interest`, no volume `low_volume`; a strike or a deliverable that is not a positive number is
    `invalid_terms`.
    """
    failures = [
        ~chain.valid,
        chain.days < 0,
        chain.days > settings.max_dte,
        ~np.isfinite(chain.gamma),
        chain.gamma < 0,
        ~(np.isfinite(chain.open_interest) & (chain.open_interest >= settings.min_open_interest)),
        ~(np.isfinite(chain.volume) & (chain.volume >= settings.min_volume)),
    ]
    return first_failure(failures)
