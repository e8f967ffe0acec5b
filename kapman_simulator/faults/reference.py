"""Faults in the reference list and in the list of splits."""

from collections.abc import Callable
from typing import Any

import msgspec

from kapman_simulator.faults.stage import Stage, fault
from kapman_simulator.market import Split, Ticker

Fields = dict[str, Any]


def _edit(stage: Stage, symbol: str, change: Callable[[Fields], object]) -> None:
    """Change one row; the list stays in its place."""
    index = next(i for i, row in enumerate(stage.market.tickers) if row.symbol == symbol)
    row = stage.market.tickers[index]
    fields = msgspec.json.decode(row.json)
    change(fields)
    active = bool(fields.get("active", True))
    stage.market.tickers[index] = row._replace(active=active, json=msgspec.json.encode(fields))


@fault("none")
def empty_reference(stage: Stage, _: str) -> None:
    """The reference list is empty."""
    stage.market.tickers.clear()


@fault("symbol")
def unlisted_symbol(stage: Stage, symbol: str) -> None:
    """A symbol that trades is absent from the reference list."""
    stage.market.tickers[:] = [row for row in stage.market.tickers if row.symbol != symbol]


@fault("symbol")
def delisted_symbol(stage: Stage, symbol: str) -> None:
    """A symbol is no longer active."""
    _edit(stage, symbol, lambda row: row.update(active=False, delisted_utc=f"{stage.market.today}T04:00:00Z"))


@fault("symbol")
def reused_symbol(stage: Stage, symbol: str) -> None:
    """The symbol now belongs to another company: other name, CIK and FIGI."""
    other = {"name": "Somebody Else Corp.", "cik": "0009999999"}
    figis = {"composite_figi": "BBG00REUSED1", "share_class_figi": "BBG00REUSED2"}
    _edit(stage, symbol, lambda row: row.update(other | figis))


@fault("symbol")
def blank_reference_fields(stage: Stage, symbol: str) -> None:
    """The row has nothing but ticker, market and active; its type is an empty string."""
    kept = {"ticker", "market", "active"}

    def blank(row: Fields) -> None:
        for name in row.keys() - kept:
            del row[name]
        row["type"] = ""

    _edit(stage, symbol, blank)


@fault("symbol")
def duplicate_reference_ticker(stage: Stage, symbol: str) -> None:
    """The symbol's row comes once more on the last page."""
    stage.market.tickers.extend([row for row in stage.market.tickers if row.symbol == symbol])


@fault("none")
def garbage_reference(stage: Stage, _: str) -> None:
    """Rows whose ticker is SQL, %, quotes, NUL, lower case, empty, null or absent."""
    tickers = ("'; DROP TABLE tickers; --", "100%s", '"QUOTED"', "NU\x00L", "aapl", "", None)
    rows: list[Fields] = [
        {"ticker": ticker, "name": "Garbage", "market": "stocks", "active": True} for ticker in tickers
    ]
    rows.append({"name": "No ticker at all", "market": "stocks", "active": True})
    stage.market.tickers += [
        Ticker(str(row.get("ticker") or ""), "stocks", "CS", True, msgspec.json.encode(row)) for row in rows
    ]


@fault("none")
def duplicate_splits(stage: Stage, _: str) -> None:
    """Every split comes twice, the second time under another id."""

    def twin(split: Split) -> Split:
        fields = msgspec.json.decode(split.json)
        return split._replace(json=msgspec.json.encode(fields | {"id": fields["id"][::-1]}))

    stage.market.splits[:] = [row for split in stage.market.splits for row in (split, twin(split))]


@fault("none")
def float_split_ratio(stage: Stage, _: str) -> None:
    """Split ratios come as floats, like 2e+06 to 1e+05."""
    for index, split in enumerate(stage.market.splits):
        fields = msgspec.json.decode(split.json)
        # Written by hand: an encoder would turn the number into 2000000.0.
        numbers = {name: f"{fields.pop(name) * 100_000:.0e}" for name in ("split_from", "split_to")}
        extra = "".join(f',"{name}":{number}' for name, number in numbers.items())
        body = msgspec.json.encode(fields)[:-1] + extra.encode() + b"}"
        stage.market.splits[index] = split._replace(json=body)
