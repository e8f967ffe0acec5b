"""The data-health tab: what is loaded, and what the checks say of it."""

from typing import Any

from dash import dcc, html

from kapman_market import numbers, reading
from kapman_market.address import Address
from kapman_market.health import Board
from kapman_market.markup import csv_button, trouble
from kapman_market.tables import assets_table, checks_list
from kapman_resources.database import Connection

Content = list[Any]


def health_page(connection: Connection, address: Address, board: Board) -> Content:
    """What is loaded, and what the checks say of it."""
    return [
        html.Div(
            [html.H1("Data health"), csv_button(address, "assets", "the loads by asset")], className="head"
        ),
        assets_table(reading.assets(connection)),
        html.Div(
            [
                html.H2("Checks"),
                html.Div(
                    [
                        html.Button("Ask again", id="ask-again", n_clicks=0, className="button"),
                        csv_button(address, "checks", "the checks"),
                        html.A("Loads CSV", href=address.csv("loads"), download="", className="button"),
                    ],
                    className="buttons",
                ),
            ],
            className="head",
        ),
        html.Div(health_board(board), id="health-board"),
        dcc.Interval(id="health-clock", interval=700, disabled=not board.running),
    ]


def health_board(board: Board) -> Content:
    """The verdict in one line, and the checks."""
    tally = {
        status: sum(c.status == status for c in board.checks)
        for status in ("passed", "warns", "failed", "not asked", "waiting")
    }
    asked = len(board.checks) - tally["waiting"]
    said = ", ".join(
        f"{number} {'warn' if status == 'warns' else status}"
        for status, number in tally.items()
        if number and status != "waiting"
    )
    progress = f"Asking… {asked} of {len(board.checks)}: " if board.running else f"{asked} checks: "
    bad, doubtful = tally["failed"], tally["warns"] + tally["not asked"]
    tone = "bad" if bad else "warn" if doubtful or board.running else "good"
    verdict = (
        "failing" if bad else "asking" if board.running else "incomplete" if tally["not asked"]
        else "warnings" if doubtful else "healthy"
    )  # fmt: skip
    parts: Content = [
        html.P(
            [
                html.Span(verdict, className=f"pill {tone}"),
                f" {progress}{said or 'none yet'}. Asked of the database at {numbers.moment(board.begun)};"
                " the same queries as Dagster's checks and ",
                html.Code("kapman verify"),
                ".",
            ],
            role="status",
        )
    ]
    if board.trouble:
        parts.append(trouble(board.trouble))
    return [*parts, checks_list(board)]
