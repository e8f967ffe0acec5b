"""The Dash app: one callback from the address to the page, one for the checks, and a CSV behind every chart."""

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

import flask
import polars as pl
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from kapman_market import numbers, pages, reading
from kapman_market.address import TABS, Address
from kapman_market.connections import ReadOnlyDatabase
from kapman_market.downloads import serve_csv
from kapman_market.health import HealthChecks
from kapman_market.health_page import health_board, health_page
from kapman_market.markup import aria, data, notice, trouble
from kapman_resources.database import Connection
from kapman_resources.errors import KapmanError

log = logging.getLogger(__name__)

_KEYS = (
    ("j / k", "next, previous symbol"),
    ("← / →", "previous, next session"),
    ("1 to 5", "the tabs"),
    ("/", "filter the watchlist, or pick a symbol"),
    ("Tab, Enter", "walk through links, headers and rows; open"),
    ("?", "this list"),
    ("Esc", "close it, leave a field"),
)


def make_app(database: ReadOnlyDatabase) -> Dash:
    """The market page of this database; its `server` is the WSGI application."""
    app = Dash(
        __name__,
        title="KapMan market",
        update_title="",
        health_endpoint="health",  # answers without the database, whose state is the page's to tell
        serve_locally=True,
        suppress_callback_exceptions=True,  # the parts of a tab are there only while it is shown
    )
    app.layout = _layout()
    checks = HealthChecks(database)
    _answer_addresses(app, database, checks)
    _answer_health(app, database, checks)
    serve_csv(app.server, database, checks)
    _protect(app)
    return app


def _layout() -> html.Div:
    keys = [part for key, what in _KEYS for part in (html.Dt(html.Kbd(key)), html.Dd(what))]
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="place"),
            html.A("Skip to content", href="#content", className="skip"),
            html.Header(
                [
                    html.Div("KapMan", className="brand"),
                    _picker("symbol", "Symbol"),
                    _picker("session", "Session"),
                    html.Button("?", id="help-button", className="button", title="Keyboard shortcuts (?)",
                        **aria(label="Keyboard shortcuts")),
                ]
            ),
            html.Nav(id="tabs", **aria(label="Views")),
            html.Main(id="content", tabIndex=-1),
            html.Footer(id="footer"),
            html.Dialog(
                [html.H2("Keyboard"), html.Dl(keys), html.Button("Close", id="help-close", className="button")],
                id="help",
            ),
        ]
    )  # fmt: skip


def _picker(name: str, label: str) -> html.Div:
    return html.Div(
        [
            html.Span(id=f"previous-{name}"),
            html.Label(label, htmlFor=name, className="unseen"),
            dcc.Dropdown(id=name, clearable=False, placeholder=label, optionHeight=32, maxHeight=420),
            html.Span(id=f"next-{name}"),
        ],
        className=f"picker {name}",
        role="group",
        **aria(label=label),
    )


def _answer_addresses(app: Dash, database: ReadOnlyDatabase, checks: HealthChecks) -> None:
    parts = [
        Output("content", "children"),
        Output("tabs", "children"),
        Output("footer", "children"),
        Output("symbol", "options"),
        Output("symbol", "value"),
        Output("session", "options"),
        Output("session", "value"),
        Output("previous-symbol", "children"),
        Output("next-symbol", "children"),
        Output("previous-session", "children"),
        Output("next-session", "children"),
        Output("place", "data"),
    ]

    @app.callback(*parts, Input("url", "search"))
    def show(search: str | None) -> tuple[Any, ...]:
        """The whole page of an address."""
        address = Address.parse(search)
        try:
            with database.snapshot() as connection:
                content, *others = _page(connection, address, checks)
                # What a page is of: a test, or a benchmark, knows by it that the page has arrived.
                return html.Div(content, **data(search=search or "")), *others
        except KapmanError as error:
            return _without_database(address, trouble(error))
        except Exception:
            log.exception("The page %s could not be made.", address.href)
            return _without_database(
                address,
                notice(
                    "This page could not be made; nothing was changed.",
                    "The log of `kapman market` says why.",
                ),
            )

    # Declared without an output: the address leads to the pickers' values, and they back to the address.
    app.clientside_callback(
        "window.dash_clientside.market.go",
        Input("symbol", "value"),
        Input("session", "value"),
        State("place", "data"),
    )
    app.clientside_callback("window.dash_clientside.market.title", Input("place", "data"))


def _page(connection: Connection, address: Address, checks: HealthChecks) -> tuple[Any, ...]:
    published = reading.sessions(connection)
    state = reading.state(connection)
    symbols = reading.active_symbols(connection)
    scene = pages.find_scene(connection, address, published, symbols)
    here = scene.address
    blocked = None if here.tab == "health" and scene.published else pages.obstacle(scene)
    if blocked is not None:
        content = [blocked]
    elif here.tab == "health":
        content = health_page(connection, here, checks.board(state["content"] if state else ""))
    else:
        show: Callable[[Connection, pages.Scene], pages.Content] = getattr(pages, here.tab)
        content = show(connection, scene)
    # A watchlist may name a symbol that the vendor doesn't list: it has its place among the others.
    listed = here.symbol if here.symbol in dict(symbols) else None
    ticker = scene.ticker["symbol"] if scene.ticker else listed
    return (
        content,
        _tabs(here),
        _footer(state, connection.info.dbname),
        _symbol_options(symbols, scene.ticker),
        ticker,
        _session_options(published, scene.session),
        scene.session.isoformat() if scene.session else None,
        *_steps("symbol", here, [symbol for symbol, _ in symbols], ticker, ("k", "j")),
        *_steps("session", here, sorted(published["session"].to_list()), scene.session, ("←", "→")),
        {
            "search": here.search,
            "symbol": ticker,
            "session": scene.session.isoformat() if scene.session else None,
            "title": _title(here, ticker, scene.session),
        },
    )


def _without_database(address: Address, what: Any) -> tuple[Any, ...]:
    place = {"search": address.search, "symbol": None, "session": None, "title": "KapMan market"}
    return [what], _tabs(address), [], [], None, [], None, [], [], [], [], place


def _title(address: Address, symbol: str | None, session: dt.date | None) -> str:
    said = symbol if address.tab not in ("watchlist", "health") else None
    return " · ".join(str(part) for part in (said, TABS[address.tab], session, "KapMan") if part)


def _tabs(address: Address) -> list[Any]:
    return [
        dcc.Link(
            name,
            id=f"tab-{number}",
            href=address.to(tab=tab).href,
            className="view current" if tab == address.tab else "view",
            title=f"{name} ({number})",
        )
        for number, (tab, name) in enumerate(TABS.items(), start=1)
    ]


def _footer(state: reading.Row | None, database: str) -> list[Any]:
    if state is None:
        return [f"Database {database}: nothing is published."]
    run = (state["run_id"] or "")[:8]
    return [
        html.Span(f"As of repave {run or 'unknown'}, {numbers.moment(state['paved_at'])}"),
        html.Span(f"last published {numbers.moment(state['published_at'])}"),
        html.Span(
            f"content {state['content'][:12]}", title="Digest of the content hashes of all that is published"
        ),
        html.Span(f"database {database}, read-only"),
    ]


def _symbol_options(
    symbols: list[tuple[str, str | None]], ticker: reading.Row | None
) -> list[dict[str, str]]:
    known = dict(symbols)
    if ticker and ticker["symbol"] not in known:
        known[ticker["symbol"]] = ticker["name"]
    return [
        {"value": symbol, "label": symbol, "search": f"{symbol} {name or ''}", "title": name or symbol}
        for symbol, name in sorted(known.items())
    ]


def _session_options(published: pl.DataFrame, session: dt.date | None) -> list[dict[str, str]]:
    days = dict(published.iter_rows())
    if session and session not in days:
        days[session] = []
    return [
        {
            "value": day.isoformat(),
            "label": f"{day:%Y-%m-%d %a}{' · chains' if 'options_chains' in days[day] else ''}",
        }
        for day in sorted(days, reverse=True)
    ]


def _steps(
    name: str, address: Address, all_of: list[Any], current: Any, keys: tuple[str, str]
) -> tuple[Any, Any]:
    """Links to what comes before and after the current symbol or session; at either end there is none."""
    earlier = max((one for one in all_of if current is not None and one < current), default=None)
    later = min((one for one in all_of if current is not None and one > current), default=None)
    return _step(name, address, earlier, ("‹", "Previous", keys[0])), _step(
        name, address, later, ("›", "Next", keys[1])
    )


def _step(name: str, address: Address, to: Any, how: tuple[str, str, str]) -> Any:
    sign, word, key = how
    if to is None:
        return html.Span(sign, className="step", **aria(hidden="true"))
    tab = "symbol" if name == "symbol" and address.tab in ("watchlist", "health") else address.tab
    said = {"said_date": ""} if name == "session" else {}
    return dcc.Link(
        sign,
        href=address.to(**{name: to, **said}, tab=tab).href,
        className="step",
        title=f"{word} {name}: {to} ({key})",
    )


def _answer_health(app: Dash, database: ReadOnlyDatabase, checks: HealthChecks) -> None:
    @app.callback(
        Output("health-board", "children"),
        Output("health-clock", "disabled"),
        Input("health-clock", "n_intervals"),
        Input("ask-again", "n_clicks"),
        prevent_initial_call=True,
    )
    def watch(_: int | None, clicks: int | None) -> tuple[Any, Any]:
        """The checks as far as they have been asked."""
        again = ctx.triggered_id == "ask-again" and bool(clicks)
        if not again and not ctx.triggered_id:
            return no_update, no_update
        try:
            with database.snapshot() as connection:
                state = reading.state(connection)
            board = checks.board(state["content"] if state else "", again=again)
        except KapmanError as error:
            return [trouble(error)], True
        return health_board(board), not board.running


def _protect(app: Dash) -> None:
    """Nothing is loaded from elsewhere, and the page can't be put into another's frame."""
    scripts = " ".join(["'self'", *app.csp_hashes()])
    policy = (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )

    @app.server.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response
