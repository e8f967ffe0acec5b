"""Statuses and reasons of the metrics in words, as docs/metrics.md defines them."""

from collections.abc import Mapping
from typing import Any

from kapman_market.numbers import count

POSITIONS = {
    "long_gamma": "Long gamma: dealers' hedging dampens moves.",
    "short_gamma": "Short gamma: dealers' hedging amplifies moves.",
    "neutral": "Neutral: dealers' exposure is too small to move the price.",
    "unknown": "Unknown: there is no exposure to judge by.",
}
SHORT_POSITIONS = {
    "long_gamma": "long γ",
    "short_gamma": "short γ",
    "neutral": "neutral",
    "unknown": "unknown",
}

REASONS = {
    "no_options": "the snapshot has no contract of the symbol",
    "no_spot": "neither the session's bar nor the vendor gives a price of the underlying",
    "all_contracts_filtered": "no contract is left after the filters",
    "zero_gex": "the contracts that are left have no gamma exposure at all",
    "no_iv": "no live contract has an implied volatility",
    "few_contracts": "fewer than 25 live contracts have an implied volatility",
    "no_atm_iv_30d": "no two expiries around 30 days have an implied volatility at the money",
}
FLIPS = {
    "no_crossing": "net exposure has one sign over the whole grid around spot",
    "no_iv": "no contract that counts has an implied volatility to reprice it with",
    "not_computed": "there is no spot, or no contract that counts",
}
RANKS = {
    "no_iv": "no IV in this session",
    "history_too_short": "takes 20 earlier sessions",
    "flat_history": "the same in all sessions",
}
FLAGS = {
    "thin_chain": "the chain has fewer than 25 live contracts",
    "without_greeks": "more than half of the contracts lack greeks",
    "without_iv": "more than half of the contracts lack an implied volatility",
    "stale_greeks": "many gammas are those of another day",
    "split_like_jump": "the price has jumped as in a split, and prices are not adjusted",
    "stale_bar": "the last bar repeats the one before, without volume",
    "zero_volume": "the last bar has no volume",
    "missing_bars": "more than a week lies between the last two bars",
}
FILTERS = {
    "invalid_terms": "with invalid terms",
    "expired": "expired",
    "dte_exceeded": "expiring too late",
    "missing_gamma": "without gamma",
    "negative_gamma": "with negative gamma",
    "low_open_interest": "with little open interest",
    "low_volume": "with little volume",
    "missing_iv": "without implied volatility",
}


def said(words: Mapping[str, str], key: str | None) -> str:
    """The words of a key; a key without any is shown as it is, underscores as spaces."""
    return words.get(key, key.replace("_", " ")) if key else ""


def dealer_status(row: Mapping[str, Any]) -> str:
    """One sentence on how far the dealer metrics of a session can be trusted."""
    used = f"{count(row['eligible_options_count'])} of {count(row['total_options_count'])} contracts count"
    left_out = filtered(row)
    return _status("Dealer metrics", row, used + (f"; left out: {left_out}" if left_out else ""))


def volatility_status(row: Mapping[str, Any]) -> str:
    """The same for volatility metrics."""
    used = f"{count(row['iv_options_count'])} of {count(row['total_options_count'])} contracts have an IV"
    return _status("Volatility metrics", row, used)


def _status(name: str, row: Mapping[str, Any], used: str) -> str:
    reason, flags = row["status_reason"], row["quality_flags"] or []
    if row["status"] == "INVALID":
        text = f"{name} can't be computed: {said(REASONS, reason)}."
    elif reason:
        text = f"{name} are limited: {said(REASONS, reason)}."
    elif row["status"] == "LIMITED":
        text = f"{name} are limited: few contracts count."
    else:
        text = f"{name} are complete."
    text += f" {used[:1].upper()}{used[1:]}."
    warned = ", and ".join(said(FLAGS, flag) for flag in flags)
    return f"{text} Beware: {warned}." if warned else text


def filtered(row: Mapping[str, Any]) -> str:
    """How many contracts which filter has removed: `120 expiring too late, 14 with little volume`."""
    return ", ".join(
        f"{count(number)} {words}"
        for name, words in FILTERS.items()
        if (number := row.get(f"filters_{name}"))
    )
