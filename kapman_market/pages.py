"""What the tabs show: words, charts and tables of one symbol, one session, or the whole watchlist.

A part that can't be shown says so in a sentence with what mends it; the others are shown all the same.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import polars as pl
from dash import dcc, html

from kapman_market import charts, numbers, reading, words
from kapman_market.address import Address
from kapman_market.markup import aria, chart, csv_button, no_chart, notice
from kapman_market.tables import (
    filtered_watchlist,
    sorted_watchlist,
    status_pill,
    watchlist_table,
)
from kapman_resources.database import Connection
from kapman_resources.sessions import is_session

Content = list[Any]
Card = html.Div | html.Figure


@dataclass(frozen=True)
class Scene:
    """What the address leads to in this database.

    session: the session looked at, None if nothing is published or the address names none that trades.
    held: the assets that are published of it. ticker: the symbol looked at, None if there is no such ticker.
    """

    address: Address
    session: dt.date | None
    held: frozenset[str]
    ticker: reading.Row | None
    lists: list[str]
    published: bool

    @property
    def shown(self) -> dt.date:
        """The session, where it is known that there is one."""
        assert self.session is not None  # noqa: S101  (pages ask `obstacle` first)
        return self.session


def find_scene(
    connection: Connection, address: Address, published: pl.DataFrame, symbols: list[tuple[str, str | None]]
) -> Scene:
    """What the address leads to; `published` and `symbols` as `reading.sessions` and `active_symbols` give them."""
    days = dict(published.iter_rows())
    session = address.session
    if session is None and not address.said_date and days:
        session = next(iter(days))
    if session is not None and not is_session(session):
        session = None
    name = address.symbol or (symbols[0][0] if symbols else "")
    ticker = reading.ticker(connection, name) if name else None
    return Scene(
        address=address.to(symbol=ticker["symbol"] if ticker and address.symbol else address.symbol),
        session=session,
        held=frozenset(days.get(session, ()) if session else ()),
        ticker=ticker,
        lists=reading.watchlist_names(connection),
        published=bool(days),
    )


def obstacle(scene: Scene) -> html.Div | None:
    """Why nothing can be shown at all, if so."""
    address = scene.address
    if not scene.published:
        return notice("Nothing has been published in this database yet.", "make repave")
    if address.said_date and address.session is None:
        return notice(
            f"“{address.said_date}” is not a date.", "Pick a session above, or write it like 2026-11-20."
        )
    if scene.session is None:
        said = numbers.day(address.session)
        return notice(
            f"{said} is not a trading session of the New York Stock Exchange.", "Pick a session above."
        )
    if not scene.held:
        return notice(
            f"Nothing of {numbers.day(scene.session)} is published.",
            f"dagster asset materialize -m kapman_assets --select ohlcv --partition {scene.session}",
        )
    if scene.ticker is None and address.tab != "watchlist":
        return notice(
            f"The vendor lists no ticker “{address.symbol}”."
            if address.symbol
            else "No watchlist has an active symbol.",
            "Pick a symbol above. The watchlists are the files in data/watchlists; a repave reads them anew.",
        )
    return None


def watchlist(connection: Connection, scene: Scene) -> Content:
    """The table of all active symbols."""
    address = scene.address
    everything = reading.watchlist(connection, scene.shown)
    if everything.is_empty():
        return [
            notice(
                "No watchlist has an active symbol.",
                "Add symbols to a file in data/watchlists, then: make repave",
            )
        ]
    rows = sorted_watchlist(filtered_watchlist(everything, address.to(text="")), address.sort)
    shown = filtered_watchlist(rows, address).height
    lists = [_chip(name, address) for name in ("", *scene.lists)]
    return [
        html.Div(
            [
                html.H1(f"Watchlist, {numbers.day(scene.shown)}"),
                csv_button(address, "watchlist", "the watchlist"),
            ],
            className="head",
        ),
        *_missing(scene),
        html.Div(
            [
                html.Nav(lists, className="chips", **aria(label="Lists")),
                dcc.Input(
                    id="filter", type="search", value=address.text, placeholder="Filter by symbol or name  ( / )",
                    autoComplete="off",
                ),
                html.Span(f"{shown} of {rows.height}", id="shown", className="quiet", role="status"),
            ],
            className="filters",
        ),
        watchlist_table(rows, address),
        html.P(
            "All columns are of this session; a dash means that there is none. GEX in dollars per 1 % move of spot;"
            " IV in percent a year; skew in vol points, put minus call.",
            className="quiet",
        ),
    ]  # fmt: skip


def symbol(connection: Connection, scene: Scene) -> Content:
    """Price with bands, gamma by strike, and the figures that traders ask for first."""
    address, session, ticker = scene.address, scene.shown, ticker_of(scene)
    bars = reading.price(connection, ticker["id"], session)
    prices = reading.price_metrics(connection, ticker["id"], session)
    dealer = reading.dealer(connection, ticker["id"], session)
    volatility = reading.volatility(connection, ticker["id"], session)
    return [
        _heading(scene, bars),
        _facts(prices, dealer, volatility),
        *_statuses(scene, dealer, volatility),
        html.Div(
            [_price_chart(scene, bars), _gamma_chart(connection, scene, dealer)],
            className="grid",
        ),
        *([_walls(reading.walls(connection, ticker["id"], session), address)] if dealer else []),
    ]


def volatility(connection: Connection, scene: Scene) -> Content:
    """Term structure, skew, and both over time."""
    session, ticker = scene.shown, ticker_of(scene)
    bars = reading.price(connection, ticker["id"], session)
    metrics = reading.volatility(connection, ticker["id"], session)
    history = reading.volatility_history(connection, ticker["id"], session)
    return [
        _heading(scene, bars),
        *_statuses(scene, None, metrics, only="volatility"),
        html.Div([*_curves(connection, scene, metrics), _volatility_chart(scene, history)], className="grid"),
    ]


def history(connection: Connection, scene: Scene) -> Content:
    """Dealer metrics session by session."""
    session, ticker = scene.shown, ticker_of(scene)
    bars = reading.price(connection, ticker["id"], session)
    dealer = reading.dealer(connection, ticker["id"], session)
    rows = reading.dealer_history(connection, ticker["id"], session)
    known = rows.filter(pl.col("gex_net").is_not_null())
    title = "Dealer metrics over time"
    if known.is_empty():
        drawn: Card = no_chart(
            title,
            f"No session up to {session} has dealer metrics of {ticker['symbol']}.",
            _chains_fix(session),
        )
    else:
        drawn = chart(
            scene.address, "dealer_history", title, charts.dealer_history(rows, session),
            f"{known.height} sessions with dealer metrics from {known['session'][0]} to {known['session'][-1]};"
            " the history grows by one with every archived chain. Gaps are sessions without chains.",
            "tall",
        )  # fmt: skip
    return [_heading(scene, bars), *_statuses(scene, dealer, None, only="dealer"), drawn]


def ticker_of(scene: Scene) -> reading.Row:
    """The ticker, where it is known that there is one."""
    assert scene.ticker is not None  # noqa: S101  (pages ask `obstacle` first)
    return scene.ticker


def _chip(name: str, address: Address) -> Any:
    current = name == address.watchlist
    return dcc.Link(
        name.replace("_", " ") or "all", href=address.to(watchlist=name).href,
        className="chip current" if current else "chip",
    )  # fmt: skip


def _heading(scene: Scene, bars: pl.DataFrame) -> html.Div:
    ticker, session = ticker_of(scene), scene.shown
    parts: Content = [html.H1([ticker["symbol"], html.Span(ticker["name"] or "", className="name")])]
    if not bars.is_empty() and bars["session"][-1] == session:
        close = bars["close"][-1]
        before = bars["close"][-2] if bars.height > 1 else None
        change = 100 * (close / before - 1) if before else None
        tone = "" if change is None else "up" if change > 0 else "down" if change < 0 else ""
        parts.append(
            html.P(
                [
                    html.Strong(f"${numbers.price(close)}"), " ",
                    html.Span(numbers.percent(change), className=tone),
                    html.Span(f"close of {numbers.day(session)}, New York", className="quiet"),
                ],
                className="quote",
            )
        )  # fmt: skip
    else:
        parts.append(html.P(f"no bar of {numbers.day(session)}", className="quote quiet"))
    return html.Div(parts, className="symbol-head")


def _facts(prices: Any, dealer: Any, volatility: Any) -> html.Dl:
    d, v, p = dealer or {}, volatility or {}, prices or {}
    spot, flip = d.get("spot"), d.get("gamma_flip")
    to_flip = 100 * (flip / spot - 1) if spot and flip else None
    rank = v.get("iv_rank_status") if v.get("iv_rank") is None else None
    facts = (
        ("Net GEX", numbers.dollars(d.get("gex_net"), sign=True), "per 1 % move", d.get("gex_net")),
        ("DGPI", numbers.index(d.get("dgpi")), "−100 to 100", d.get("dgpi")),
        (
            "Gamma flip", numbers.price(flip),
            f"{numbers.percent(to_flip)} from spot" if to_flip is not None else words.said(words.FLIPS, d.get("gamma_flip_status")),
            None,
        ),
        ("Call wall", numbers.strike(d.get("call_wall_strike")), "strike", None),
        ("Put wall", numbers.strike(d.get("put_wall_strike")), "strike", None),
        ("Max pain", numbers.strike(d.get("max_pain")), "strike", None),
        ("IV 30 days", numbers.volatility(v.get("atm_iv_30d")), f"realized {numbers.volatility(p.get('hv_20'))}", None),
        ("IV rank", numbers.index(v.get("iv_rank")), words.said(words.RANKS, rank) or (f"of {numbers.count(v['iv_history_sessions'])} sessions" if v else ""), None),
        ("Expected move", f"±{numbers.price(v['expected_move_30d'])}" if v.get("expected_move_30d") else numbers.MISSING, "30 days, 1 σ", None),
        ("Relative volume", numbers.multiple(p.get("rvol")), "of 20 sessions", None),
    )  # fmt: skip
    return html.Dl(
        [
            html.Div(
                [
                    html.Dt(name),
                    html.Dd(
                        value,
                        className="" if tone is None else "up" if tone > 0 else "down" if tone < 0 else "",
                    ),
                    html.Dd(unit, className="quiet"),
                ]
            )
            for name, value, unit, tone in facts
        ],
        className="facts",
    )


def _statuses(scene: Scene, dealer: Any, volatility: Any, only: str = "") -> Content:
    """Status and reasons in words, or why there are none."""
    lines: Content = []
    if dealer:
        position = words.said(words.POSITIONS, dealer["position"])
        lines.append(html.P([status_pill(dealer["status"]), f" {position} {words.dealer_status(dealer)}"]))
    if volatility:
        lines.append(html.P([status_pill(volatility["status"]), f" {words.volatility_status(volatility)}"]))
    if lines:
        return [html.Div(lines, className="status")]
    return _missing(scene) or [_no_metrics(scene, only or "dealer")]


def _missing(scene: Scene) -> Content:
    """What the session lacks for every symbol, as sentences."""
    session, held, found = scene.shown, scene.held, []
    if "ohlcv" not in held:
        found.append(
            notice(
                f"No bars of {numbers.day(session)} are published; the vendor's file appears about 11:00 New York on the next day.",
                f"dagster asset materialize -m kapman_assets --select ohlcv --partition {session}",
            )
        )
    if "options_chains" not in held:
        found.append(
            notice(
                f"No option chains of {numbers.day(session)} are published, so there is no gamma and no implied volatility.",
                _chains_fix(session),
            )
        )
    elif "dealer_metrics" not in held:
        found.append(
            notice(
                f"The option chains of {numbers.day(session)} are there, their metrics are not.",
                f"dagster asset materialize -m kapman_assets --select dealer_metrics --partition {session}",
            )
        )
    return found


def _chains_fix(session: dt.date) -> str:
    return (
        "Chains exist only where they were archived at the close: `kapman vault list` shows which, and"
        f" `kapman vault replay {session}` loads one."
    )


def _no_metrics(scene: Scene, kind: str) -> html.Div:
    name = ticker_of(scene)["symbol"]
    return notice(
        f"{name} has no {kind} metrics of {numbers.day(scene.shown)}: they are computed for the symbols of the watchlists.",
        f"Add {name} to a file in data/watchlists, then: dagster job execute -m kapman_assets -j refresh",
    )


def _price_chart(scene: Scene, bars: pl.DataFrame) -> Card:
    title, session, ticker = "Price, Bollinger bands and volume", scene.shown, ticker_of(scene)
    if bars.is_empty():
        return no_chart(title, f"{ticker['symbol']} has no bar in the year up to {session}.",
            "It may not have traded, or be listed under another symbol; `kapman quarantine list` shows refused rows.")  # fmt: skip
    last = bars["session"][-1]
    says = [f"{bars.height} daily bars up to {last}."]
    if last != session:
        says.append(
            f"There is no bar of {session}: {ticker['symbol']} did not trade, or its row was refused."
        )
    if bars["bollinger_mavg"].null_count() == bars.height:
        says.append("No bands: indicators are computed for the symbols of the watchlists, from 20 bars on.")
    return chart(scene.address, "price", title, charts.price(bars, session), " ".join(says))


def _gamma_chart(connection: Connection, scene: Scene, dealer: Any) -> Card:
    title, ticker = "Gamma exposure by strike", ticker_of(scene)
    if dealer is None:
        return no_chart(title, f"There are no dealer metrics of {ticker['symbol']} in this session.", "")
    rows = reading.gex(connection, ticker["id"], scene.shown)
    if rows.is_empty():
        return no_chart(
            title, words.dealer_status(dealer), "The next session with enough contracts will have it."
        )
    return chart(
        scene.address, "gex", title, charts.gamma_profile(rows, dealer),
        f"{rows.height} strikes, all expiries within {dealer['inputs_max_dte']} days; dealers are taken to be long calls and short puts."
        f" The bars add up to {numbers.dollars(float(rows['net_gex'].sum()), sign=True)}; stored net GEX is"
        f" {numbers.dollars(dealer['gex_net'], sign=True)}.",
    )  # fmt: skip


def _walls(rows: pl.DataFrame, address: Address) -> html.Details:
    items = [
        html.Li(
            f"{row['side'].capitalize()} wall {row['rank']}: {numbers.strike(row['strike'])}, GEX {numbers.dollars(row['gex'])},"
            f" open interest {numbers.amount(row['open_interest'])}"
        )
        for row in rows.iter_rows(named=True)
    ]
    return html.Details(
        [
            html.Summary("All walls"),
            html.Ul(items) if items else html.P("No strike near spot has enough gamma."),
            csv_button(address, "walls", "the walls"),
        ]
    )


def _curves(connection: Connection, scene: Scene, metrics: Any) -> Content:
    term_title, skew_title, ticker = "Term structure", "Skew", ticker_of(scene)
    if metrics is None or metrics["status"] == "INVALID" or metrics["spot"] is None:
        why = (
            words.volatility_status(metrics) if metrics and metrics["status"] == "INVALID"
            else "The price of the underlying is unknown in this session." if metrics
            else f"There are no volatility metrics of {ticker['symbol']} in this session."
        )  # fmt: skip
        return [no_chart(term_title, why, ""), no_chart(skew_title, why, "")]
    snapshot = reading.chain(connection, ticker, scene.shown, metrics)
    term, skew = reading.term(snapshot, metrics), reading.skew(snapshot)
    slope, smile = metrics["iv_term_structure"], metrics["iv_skew_25d"]
    return [
        chart(
            scene.address, "term", term_title, charts.term_structure(term, metrics),
            f"IV at the money of {term.height} expiries. 90 days minus 30 days: {numbers.points(slope)} vol points"
            f"{_shape(slope)}.",
        )
        if term.height
        else no_chart(term_title, "No expiry has strikes with an implied volatility on either side of spot.", ""),
        chart(
            scene.address, "skew", skew_title, charts.skew(skew, metrics),
            f"Out-of-the-money IV by strike. 25-delta put minus call: {numbers.points(smile)} vol points"
            + (f", {metrics['iv_skew_25d_days']} days to expiry." if smile is not None else "."),
        )
        if skew.height
        else no_chart(skew_title, "No contract with a day or more to live has an implied volatility.", ""),
    ]  # fmt: skip


def _shape(slope: float | None) -> str:
    return (
        ""
        if slope is None
        else " (upward: contango)"
        if slope > 0
        else " (downward: backwardation)"
        if slope < 0
        else ""
    )


def _volatility_chart(scene: Scene, rows: pl.DataFrame) -> Card:
    title, known = "Implied volatility over time", rows.filter(pl.col("atm_iv_30d").is_not_null())
    if known.is_empty():
        return no_chart(
            title,
            f"No session up to {scene.shown} has an implied volatility of {ticker_of(scene)['symbol']}.",
            _chains_fix(scene.shown),
            "wide",
        )
    ranked = known.filter(pl.col("iv_rank").is_not_null()).height
    return chart(
        scene.address, "volatility_history", title, charts.volatility_history(rows, scene.shown),
        f"{known.height} sessions from {known['session'][0]} to {known['session'][-1]}; {ranked} of them have an IV rank,"
        " which takes 20 sessions of history.",
        "wide",
    )  # fmt: skip
