"""The tables: native HTML, so that keyboard, screen reader and phone know what to do with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import polars as pl
from dash import dcc, html

from kapman_market import numbers, words
from kapman_market.address import Address
from kapman_market.health import Board, Check
from kapman_market.markup import aria, data, prose

Cell = Any


@dataclass(frozen=True)
class Column:
    """A column of the watchlist: its key, header, what the header explains, and how a value is written.

    descending: the order that the first click gives. key: what rows are sorted by, if not the value.
    """

    name: str
    header: str
    meaning: str
    text: Callable[[Any], str] = str
    descending: bool = True
    key: Callable[[pl.Expr], pl.Expr] = lambda value: value
    colored: bool = False
    words: bool = False


COLUMNS = (
    Column("symbol", "Symbol", "Symbol; a click opens its charts", words=True, descending=False),
    Column("close", "Close", "Close of the session, dollars", numbers.price),
    Column("change_pct", "Change", "Change since the close before", numbers.percent, colored=True),
    Column("dgpi", "DGPI", "Dealer gamma pressure index, −100 to 100", numbers.index, colored=True),
    Column(
        "distance_to_flip_pct", "To flip", "Move of spot that leads to the gamma flip; sorted by its size, nearest first",
        numbers.percent, descending=False, key=lambda value: value.abs(),
    ),
    Column(
        "iv_rank", "IV rank", "Average IV between the least and the greatest of up to 252 sessions, 0 to 100", numbers.index
    ),
    Column("gex_net", "Net GEX", "Net gamma exposure, dollars per 1 % move of spot", numbers.dollars, colored=True),
    Column("gamma_flip", "Flip", "Spot at which net gamma exposure changes sign, dollars", numbers.price),
    Column("call_wall", "Call wall", "Strike of the first call wall", numbers.strike),
    Column("put_wall", "Put wall", "Strike of the first put wall", numbers.strike),
    Column("atm_iv_30d", "IV 30d", "Implied volatility at the money in 30 days", numbers.volatility),
    Column("iv_skew_25d", "Skew 25Δ", "IV of the 25-delta put minus that of the call, vol points", numbers.points),
    Column("expected_move_30d", "Exp. move", "One standard deviation over 30 days, dollars", numbers.price),
    Column("rvol", "RVol", "Volume over the mean of the 20 volumes before", numbers.multiple),
    Column("position", "Dealers", "Long gamma dampens moves, short gamma amplifies them", words=True, descending=False),
    Column("dealer_status", "Status", "FULL, LIMITED or INVALID, with the reason", words=True, descending=False),
)  # fmt: skip
_BY_NAME = {column.name: column for column in COLUMNS}


def sorted_watchlist(rows: pl.DataFrame, sort: str) -> pl.DataFrame:
    """The rows in the order that `sort` names, those without a value last; by symbol if it names no column."""
    column = _BY_NAME.get(sort.removeprefix("-"))
    if column is None:
        return rows.sort("symbol")
    descending = sort.startswith("-")
    by = column.key(pl.col(column.name))
    return rows.sort(by, pl.col("symbol"), descending=[descending, False], nulls_last=True)


def filtered_watchlist(rows: pl.DataFrame, address: Address) -> pl.DataFrame:
    """The rows of the address's list whose symbol or name contains its text."""
    if address.watchlist:
        rows = rows.filter(pl.col("watchlists").str.split(", ").list.contains(address.watchlist))
    return rows.filter(matches(rows, address.text)) if address.text else rows


def matches(rows: pl.DataFrame, text: str) -> pl.Series:
    """Whether symbol or name contains the text, in whatever case."""
    return rows.select(_searched().str.contains(text.lower(), literal=True)).to_series()


def _searched() -> pl.Expr:
    return pl.concat_str("symbol", pl.lit(" "), pl.col("name").fill_null("")).str.to_lowercase()


def watchlist_table(rows: pl.DataFrame, address: Address) -> html.Div:
    """A row for each symbol; headers sort, rows open the symbol. Rows that the text leaves out are there, hidden."""
    searched = rows.select(_searched()).to_series().to_list()
    text = address.text.lower()
    body = [
        html.Tr(
            [_watchlist_cell(column, row, address) for column in COLUMNS],
            hidden=bool(text) and text not in found,
            className="current" if row["symbol"] == address.symbol else "",
            **data(text=found),
        )
        for row, found in zip(rows.iter_rows(named=True), searched, strict=True)
    ]
    head = html.Tr([_header(column, address) for column in COLUMNS])
    return _table(head, body, "watchlist-table", "Watchlist: the symbols with their metrics of the session")


def _header(column: Column, address: Address) -> html.Th:
    sort = address.sort or "symbol"
    active, descending = sort.removeprefix("-") == column.name, sort.startswith("-")
    turned = (not descending) if active else column.descending
    arrow = (" ▾" if descending else " ▴") if active else ""
    order = ("descending" if descending else "ascending") if active else "none"
    link = dcc.Link(
        f"{column.header}{arrow}",
        href=address.to(sort=f"{'-' if turned else ''}{column.name}").href,
        title=f"{column.meaning}. Click to sort.",
    )
    return html.Th(link, scope="col", className="text" if column.words else "", **aria(sort=order))


def _watchlist_cell(column: Column, row: Mapping[str, Any], address: Address) -> html.Td | html.Th:
    value = row[column.name]
    if column.name == "symbol":
        link = dcc.Link(value, href=address.to(symbol=value, tab="symbol").href, className="row-link")
        return html.Th([link, html.Span(row["name"] or "not listed", className="name")], scope="row")
    if column.name == "dealer_status":
        return html.Td(status_pill(value, row["dealer_status_reason"]), className="text")
    if column.name == "position":
        return html.Td(words.said(words.SHORT_POSITIONS, value) or numbers.MISSING, className="text")
    why = words.said(words.RANKS, row["iv_rank_status"]) if column.name == "iv_rank" and value is None else ""
    tone = (
        ("up" if value > 0 else "down" if value < 0 else "") if column.colored and value is not None else ""
    )
    return html.Td(column.text(value), className=tone, title=why or None)


def status_pill(status: str | None, reason: str | None = None) -> html.Span:
    """A metric's status as a colored word, with its reason."""
    if status is None:
        return html.Span("no chain", className="pill")
    kind = {"FULL": "good", "LIMITED": "warn", "INVALID": "bad"}.get(status, "")
    return html.Span(status, className=f"pill {kind}", title=words.said(words.REASONS, reason) or None)


def assets_table(rows: pl.DataFrame) -> html.Div:
    """What is loaded, by asset."""
    headers = ("Asset", "Sessions", "First", "Newest", "Read", "Written", "Ignored", "Quarantined", "Loaded")
    body = [
        html.Tr(
            [
                html.Th(row["asset"], scope="row"),
                *_right(numbers.count(row["sessions"]) if row["first_session"] else numbers.MISSING),
                *_right(*(str(row[name] or numbers.MISSING) for name in ("first_session", "last_session"))),
                *_right(
                    *(
                        numbers.count(row[f"rows_{name}"])
                        for name in ("read", "written", "ignored", "quarantined")
                    )
                ),
                html.Td(numbers.moment(row["last_loaded_at"])),
            ]
        )
        for row in rows.iter_rows(named=True)
    ]
    return _table(_plain_head(headers, words=(0, 8)), body, "assets-table", "What is loaded, by asset")


def checks_list(board: Board) -> html.Div:
    """Each check with its plain description, verdict and numbers, by asset; examples and the query unfold."""
    parts: list[Any] = []
    for asset, checks in groupby(board.checks, key=lambda check: check.asset):
        parts += [html.H3(asset), *map(_check, checks)]
    return html.Div(parts, className="checks", id="checks")


def _check(check: Check) -> html.Details:
    kind = {"passed": "good", "warns": "warn", "failed": "bad", "not asked": "warn"}.get(check.status, "")
    found = (
        f"{numbers.count(check.violations)} violation{'' if check.violations == 1 else 's'}. "
        if check.violations
        else ""
    )
    summary = [
        html.Span(check.status, className=f"pill {kind}"),
        html.Span(
            [
                html.Span(check.audit.name.replace("_", " "), className="check-name"),
                html.Span([" ", *prose(check.audit.description), " "]),
                html.Span(found, className="down"),
                html.Span(_shortened(f"{check.numbers[:1].upper()}{check.numbers[1:]}"), className="quiet"),
            ]
        ),
    ]
    seconds = "" if check.seconds is None else f", asked in {check.seconds:.2f} s"
    rest = [
        _examples(check.examples) if check.examples else None,
        html.P(
            [
                html.Code(check.audit.name),
                f", {_KINDS[check.kind]}{seconds}. The query selects what violates it:",
            ],
            className="quiet",
        ),
        html.Pre(check.query, tabIndex=0) if check.query else None,
    ]
    return html.Details(
        [html.Summary(summary), *(part for part in rest if part is not None)],
        open=check.status == "failed",
        **data(check=check.audit.name, status=check.status),
    )


def _shortened(text: str) -> str:
    """Some audits list every session; the CSV has it all."""
    return text if len(text) <= _NUMBERS_SHOWN else f"{text[:_NUMBERS_SHOWN].rpartition(', ')[0]}, …"


_NUMBERS_SHOWN = 300
_KINDS = {
    "blocking": "an error that stops the next step of a run",
    "error": "an error that stops nothing",
    "warning": "a warning",
}


def _examples(rows: Sequence[Mapping[str, Any]]) -> html.Div:
    names = list(rows[0])
    body = [html.Tr([html.Td(str(row[name])) for name in names]) for row in rows]
    return _table(_plain_head(names, words=range(len(names))), body, "", "Rows that violate it, up to ten")


def _table(head: html.Tr, body: list[html.Tr], name: str, caption: str) -> html.Div:
    """A table that scrolls within itself, by keyboard too."""
    table = html.Table([html.Caption(caption, className="unseen"), html.Thead(head), html.Tbody(body)])
    named: dict[str, Any] = {**aria(label=caption), **({"id": name} if name else {})}
    return html.Div(table, className="scroll", tabIndex=0, role="region", **named)


def _plain_head(names: Sequence[str], words: Sequence[int]) -> html.Tr:
    return html.Tr(
        [html.Th(name, scope="col", className="text" if i in words else "") for i, name in enumerate(names)]
    )


def _right(*texts: str) -> list[html.Td]:
    return [html.Td(text, className="number") for text in texts]
