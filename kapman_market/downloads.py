"""The rows behind each chart and table as CSV, read by the very queries that the page is made from."""

import datetime as dt
import io
from collections.abc import Callable, Mapping

import flask
import polars as pl

from kapman_market import pages, reading
from kapman_market.address import Address
from kapman_market.connections import ReadOnlyDatabase
from kapman_market.health import HealthChecks
from kapman_market.tables import filtered_watchlist, sorted_watchlist
from kapman_resources.database import Connection
from kapman_resources.errors import KapmanError


def serve_csv(server: flask.Flask, database: ReadOnlyDatabase, checks: HealthChecks) -> None:
    @server.route("/csv/<dataset>")
    def csv(dataset: str) -> flask.Response:
        """The rows behind a chart or table, every digit of them."""
        address = Address.parse(flask.request.query_string.decode())
        rows_of = _DATASETS.get(dataset)
        if rows_of is None and dataset != "checks":
            return _plain(
                f"There is no dataset {dataset!r}; there are: {', '.join([*_DATASETS, 'checks'])}.", 404
            )
        try:
            with database.snapshot() as connection:
                scene = pages.find_scene(
                    connection, address, reading.sessions(connection), reading.active_symbols(connection)
                )
                if rows_of is None:
                    state = reading.state(connection)
                    rows = checks.board(state["content"] if state else "").frame()
                elif scene.session is None or (scene.ticker is None and dataset not in _WITHOUT_SYMBOL):
                    return _plain("The address names no session, or no symbol, of this database.", 404)
                else:
                    rows = rows_of(connection, scene)
        except KapmanError as error:
            return _plain(str(error), 503)
        about = [] if dataset in _WITHOUT_SYMBOL or scene.ticker is None else [scene.ticker["symbol"]]
        name = "_".join(str(part) for part in (*about, scene.session, dataset) if part)
        return _csv_response(rows, name)


def _curve(
    of: Callable[..., pl.DataFrame], *, with_metrics: bool
) -> Callable[[Connection, pages.Scene], pl.DataFrame]:
    def rows(connection: Connection, scene: pages.Scene) -> pl.DataFrame:
        ticker, session = pages.ticker_of(scene), scene.shown
        metrics = reading.volatility(connection, ticker["id"], session)
        if metrics is None:
            return pl.DataFrame()
        snapshot = reading.chain(connection, ticker, session, metrics)
        return of(snapshot, metrics) if with_metrics else of(snapshot)

    return rows


def _of_symbol(
    read: Callable[[Connection, str, dt.date], pl.DataFrame],
) -> Callable[[Connection, pages.Scene], pl.DataFrame]:
    return lambda connection, scene: read(connection, pages.ticker_of(scene)["id"], scene.shown)


_DATASETS: Mapping[str, Callable[[Connection, pages.Scene], pl.DataFrame]] = {
    "watchlist": lambda connection, scene: sorted_watchlist(
        filtered_watchlist(reading.watchlist(connection, scene.shown), scene.address), scene.address.sort
    ),
    "price": _of_symbol(reading.price),
    "gex": _of_symbol(reading.gex),
    "walls": _of_symbol(reading.walls),
    "term": _curve(reading.term, with_metrics=True),
    "skew": _curve(reading.skew, with_metrics=False),
    "dealer_history": _of_symbol(reading.dealer_history),
    "volatility_history": _of_symbol(reading.volatility_history),
    "assets": lambda connection, _: reading.assets(connection),
    "loads": lambda connection, _: reading.loads(connection),
}
_WITHOUT_SYMBOL = ("watchlist", "assets", "loads", "checks")


def _csv_response(rows: pl.DataFrame, name: str) -> flask.Response:
    text = io.BytesIO()
    rows.write_csv(text, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    headers = {
        "Content-Disposition": f'attachment; filename="{_filename(name)}.csv"',
        "Cache-Control": "no-store",
    }
    return flask.Response(text.getvalue(), mimetype="text/csv", headers=headers)


def _filename(name: str) -> str:
    """Letters, digits and what symbols have besides; anything else would end the header's quotes."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)


def _plain(text: str, status: int) -> flask.Response:
    return flask.Response(f"{text}\n", status=status, mimetype="text/plain")
