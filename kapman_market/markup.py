"""Parts that every tab is made of: sentences about what is missing, charts on a card, buttons for CSV."""

from typing import Any

from dash import dcc, html

from kapman_market import charts
from kapman_market.address import Address
from kapman_resources.errors import KapmanError

_GRAPH: Any = {
    "displaylogo": False,
    "responsive": True,
    # Named one by one: Plotly's own choice has a button that sends the chart to its makers' cloud.
    "modeBarButtons": [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    "toImageButtonOptions": {"scale": 2},
}


def aria(**names: str) -> dict[str, Any]:
    """Attributes `aria-…` of a component."""
    return {f"aria-{name}": value for name, value in names.items()}


def data(**names: str) -> dict[str, Any]:
    """Attributes `data-…` of a component."""
    return {f"data-{name}": value for name, value in names.items()}


def notice(what: str, fix: str = "") -> html.Div:
    """A sentence about what is missing, and the command or change that mends it; text in backticks is code."""
    parts = [html.P(prose(what))]
    if fix:
        command = fix.startswith(("make ", "kapman ", "dagster "))
        parts.append(html.P(["To mend it: ", html.Code(fix)] if command else prose(fix)))
    return html.Div(parts, className="notice", role="status")


def trouble(error: KapmanError) -> html.Div:
    """An error as its sentence."""
    return notice(error.what, error.fix)


def prose(text: str) -> list[Any]:
    """Text with what stands between backticks as code."""
    return [html.Code(part) if place % 2 else part for place, part in enumerate(text.split("`"))]


def csv_button(address: Address, dataset: str, what: str) -> html.A:
    """A link that downloads the rows behind `what`."""
    return html.A(
        "CSV",
        href=address.csv(dataset),
        download="",
        className="button",
        title=f"Download {what} as CSV",
        **aria(label=f"Download {what} as CSV"),
        **data(csv=dataset),
    )


def chart(
    address: Address, dataset: str, title: str, figure: charts.Figure, says: str, size: str = ""
) -> html.Figure:
    """A chart on a card: title, CSV, key, and what it says in words, which is its accessible name too."""
    return html.Figure(
        [
            html.Div([html.H2(title), csv_button(address, dataset, title)], className="head"),
            html.Ul(
                [
                    html.Li([html.Span(className=f"swatch {style}", style={"color": color}), name])
                    for name, color, style in charts.key(figure)
                ],
                className="key",
            ),
            html.Div(dcc.Graph(figure=figure, config=_GRAPH, responsive=True), className="graph"),
            html.Figcaption(says),
        ],
        className=f"card {size}".strip(),
        role="group",
        **aria(label=f"{title}: {says}"),
    )


def no_chart(title: str, why: str, fix: str = "", size: str = "") -> html.Div:
    """The card of a chart that can't be drawn, with the reason in its place."""
    return html.Div([html.H2(title), notice(why, fix)], className=f"card {size}".strip())
