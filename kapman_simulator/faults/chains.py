"""Faults in the content of option chains."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from kapman_simulator.faults.stage import Stage, fault
from kapman_simulator.sessions import midnight_ns

Contract = dict[str, Any]


def _edit(stage: Stage, underlyings: list[str], change: Callable[[Contract], None]) -> None:
    """Change every contract of the chains."""
    for name in underlyings:
        contracts = [json.loads(row) for row in stage.market.chains[name]]
        for contract in contracts:
            change(contract)
        stage.market.chains[name] = [msgspec.json.encode(contract) for contract in contracts]


@fault("chain")
def empty_chain(stage: Stage, underlyings: list[str]) -> None:
    """The chain has no contract: a 200 with empty results."""
    for name in underlyings:
        stage.market.chains[name] = []


@fault("chain")
def duplicate_contract(stage: Stage, underlyings: list[str]) -> None:
    """The first three contracts come once more on the last page."""
    for name in underlyings:
        stage.market.chains[name] += stage.market.chains[name][:3]


@fault("chain")
def adjusted_contract(stage: Stage, underlyings: list[str]) -> None:
    """Ten standard contracts get an adjusted twin: same expiration, strike and type, root with a digit."""
    for name in underlyings:
        twins = []
        for row in stage.market.chains[name][:10]:
            contract = json.loads(row)
            root = name.removeprefix("I:").replace(".", "")
            suffix = contract["details"]["ticker"].removeprefix(f"O:{root}").lstrip("1")
            contract["details"] |= {"ticker": f"O:{root}2{suffix}", "shares_per_contract": 33}
            contract["open_interest"] = 7
            twins.append(msgspec.json.encode(contract))
        stage.market.chains[name] += twins


@fault("chain")
def stale_day_bar(stage: Stage, underlyings: list[str]) -> None:
    """Every day bar is a week old, and says so in `last_updated`."""
    old = midnight_ns(stage.market.today - timedelta(days=7))

    def age(contract: Contract) -> None:
        if contract.get("day"):
            contract["day"]["last_updated"] = old

    _edit(stage, underlyings, age)


@fault("chain")
def missing_greeks(stage: Stage, underlyings: list[str]) -> None:
    """No contract has greeks: empty for one half of them, absent for the other."""
    odd = False

    def take(contract: Contract) -> None:
        nonlocal odd
        odd = not odd
        contract.pop("greeks", None)
        if odd:
            contract["greeks"] = {}

    _edit(stage, underlyings, take)


@fault("chain")
def missing_iv(stage: Stage, underlyings: list[str]) -> None:
    """No contract has an implied volatility."""
    _edit(stage, underlyings, lambda contract: contract.pop("implied_volatility", None))


@fault("chain", "all")
def no_quotes(stage: Stage, underlyings: list[str]) -> None:
    """A plan without quotes: no last_quote, no last_trade, no price of the underlying."""

    def take(contract: Contract) -> None:
        contract.pop("last_quote", None)
        contract.pop("last_trade", None)
        contract["underlying_asset"] = {"ticker": contract["underlying_asset"]["ticker"]}

    _edit(stage, underlyings, take)


@fault("chain")
def odd_shares_per_contract(stage: Stage, underlyings: list[str]) -> None:
    """Every contract delivers ten shares."""
    _edit(stage, underlyings, lambda contract: contract["details"].update(shares_per_contract=10))


@fault("chain")
def other_contract_type(stage: Stage, underlyings: list[str]) -> None:
    """The first five contracts are neither call nor put, but `other`."""
    _spoil(stage, underlyings, lambda contract: contract["details"].update(contract_type="other"), count=5)


@fault("chain")
def expired_contract(stage: Stage, underlyings: list[str]) -> None:
    """The first five contracts expired a week before the session."""
    day = (stage.market.today - timedelta(days=7)).isoformat()
    _spoil(stage, underlyings, lambda contract: contract["details"].update(expiration_date=day), count=5)


@fault("chain")
def wrong_underlying(stage: Stage, underlyings: list[str]) -> None:
    """The first five contracts say that they belong to another underlying."""
    _spoil(stage, underlyings, lambda contract: contract["underlying_asset"].update(ticker="WRONG"), count=5)


@fault("chain")
def garbage_contracts(stage: Stage, underlyings: list[str]) -> None:
    """Eight contracts that can't be: no strike, strike below zero, no date, no type, and the like."""
    spoilers: tuple[Callable[[Contract], object], ...] = (
        lambda contract: contract["details"].pop("strike_price"),
        lambda contract: contract["details"].update(strike_price=-5),
        lambda contract: contract["details"].update(expiration_date="2026-13-45"),
        lambda contract: contract["details"].update(contract_type=None),
        lambda contract: contract["details"].update(ticker="O:'; DROP TABLE options_chains; --\x00"),
        lambda contract: contract.update(open_interest=-1),
        lambda contract: contract.update(implied_volatility="1e999"),
        lambda contract: contract.pop("details"),
    )
    for name in underlyings:
        for index, spoil in enumerate(spoilers[: len(stage.market.chains[name])]):
            contract = json.loads(stage.market.chains[name][index])
            spoil(contract)
            stage.market.chains[name][index] = msgspec.json.encode(contract)


def _spoil(stage: Stage, underlyings: list[str], change: Callable[[Contract], None], count: int) -> None:
    for name in underlyings:
        for index, row in enumerate(stage.market.chains[name][:count]):
            contract = json.loads(row)
            change(contract)
            stage.market.chains[name][index] = msgspec.json.encode(contract)
