"""The charts: Plotly figures as plain dictionaries, each from the rows that its CSV has.

Sessions are categories, so that nights and weekends take no room; a session without a row is a gap. Texts,
grid and background follow the browser's dark or light scheme (assets/market.css); the colors here are legible
on both.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from kapman_market import numbers
from kapman_resources.sessions import sessions_between

Figure = dict[str, Any]
Trace = dict[str, Any]

UP, DOWN = "#1a9e8f", "#e0483e"
CALL, PUT = "#2f81f7", "#db6d28"
SPOT, FLIP, QUIET = "#1a9e8f", "#a371f7", "#7d8590"
BAND = "rgba(125, 133, 144, 0.16)"

_SESSIONS_SHOWN = 126
_SKEW_AROUND = 0.4
"""The skew opens on the strikes within 40 % of spot."""
_TERMS = (1, 2, 4, 7, 14, 30, 60, 90, 180, 365, 730, 1095)


def price(rows: pl.DataFrame, session: dt.date) -> Figure:
    """Candles with Bollinger bands, volume below; half a year is shown, the year can be zoomed out to."""
    days, of = _by_session(rows, session)
    bars = {name: of(name) for name in ("open", "high", "low", "close", "volume")}
    bands = {name: of(f"bollinger_{name}") for name in ("hband", "lband", "mavg")}
    rising = [c is None or c >= o for o, c in zip(bars["open"], bars["close"], strict=True)]
    line = {"type": "scatter", "mode": "lines", "x": days, "hovertemplate": "%{y:,.2f}"}
    traces: list[Trace] = [
        {**line, "name": "Upper band", "y": bands["hband"], "line": _line(QUIET, 1), "showlegend": False},
        {
            **line, "name": "Lower band", "y": bands["lband"], "line": _line(QUIET, 1), "fill": "tonexty",
            "fillcolor": BAND, "showlegend": False,
        },
        {**line, "name": "20-day mean, bands at 2 deviations", "y": bands["mavg"], "line": _line(QUIET, 1.5, "dash")},
        {
            "type": "candlestick", "name": "Price", "x": days,
            **{name: bars[name] for name in ("open", "high", "low", "close")},
            "increasing": {"line": {"color": UP, "width": 1}, "fillcolor": UP},
            "decreasing": {"line": {"color": DOWN, "width": 1}, "fillcolor": DOWN},
            "yhoverformat": ",.2f",
        },
        {
            "type": "bar", "name": "Volume", "x": days, "y": bars["volume"], "yaxis": "y2",
            "marker": {"color": [UP if up else DOWN for up in rising], "opacity": 0.6},
            "customdata": [numbers.amount(volume) for volume in bars["volume"]],
            "hovertemplate": "%{customdata} shares",
        },
    ]  # fmt: skip
    shown = max(len(days) - _SESSIONS_SHOWN, 0)
    values = [
        value
        for name in ("high", "low", "hband", "lband")
        for value in (bars | bands)[name][shown:]
        if value is not None
    ]
    return _figure(
        traces,
        xaxis=_session_axis(days, shown, anchor="y2"),
        yaxis=_axis("Price ($)", domain=[0.26, 1], range=_around(values)),
        yaxis2=_axis("Shares", domain=[0, 0.2], exponentformat="B", nticks=3),
    )


def gamma_profile(rows: pl.DataFrame, metrics: Mapping[str, Any]) -> Figure:
    """Gamma exposure of calls and puts by strike, net as points, with spot, flip and the first walls."""
    strikes = rows["strike"].to_list()
    texts = [numbers.strike(strike) for strike in strikes]
    bar = {"type": "bar", "x": strikes, "hovertemplate": "%{customdata}"}
    traces: list[Trace] = [
        {
            **bar, "name": name, "y": rows[column].to_list(), "marker": {"color": color},
            "customdata": [numbers.dollars(value) for value in rows[column]],
        }
        for name, column, color in (("Calls", "call_gex", CALL), ("Puts", "put_gex", PUT))
    ]  # fmt: skip
    traces.append(
        {
            "type": "scatter", "mode": "lines+markers", "name": "Net", "x": strikes, "y": rows["net_gex"].to_list(),
            "line": _line(QUIET, 1), "marker": {"size": 4, "color": QUIET},
            "customdata": [numbers.dollars(value, sign=True) for value in rows["net_gex"]],
            "hovertemplate": "%{customdata}",
        }
    )  # fmt: skip
    low, high = _span([*rows["call_gex"].to_list(), *rows["put_gex"].to_list(), 0.0])
    traces += [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": [value, value], "y": [low, high],
            "line": _line(color, 1.5, dash), "hoverinfo": "skip",
        }
        for name, value, color, dash in _levels(metrics)
    ]  # fmt: skip
    return _figure(
        traces,
        barmode="relative",
        bargap=0.15,
        xaxis=_axis(
            "Strike ($)",
            unifiedhovertitle={"text": "Strike %{x}"},
            range=_strikes_shown(rows, metrics),
            **_ticks(strikes, texts),
            showgrid=False,
        ),
        yaxis=_axis("GEX ($ per 1 % move)", range=[low, high], exponentformat="B", zeroline=True),
    )


def term_structure(rows: pl.DataFrame, metrics: Mapping[str, Any]) -> Figure:
    """IV at the money by days to expiry, with the volatilities at 30 and 90 days that the metrics have."""
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": "At the money, by expiry",
            "x": rows["days"].to_list(), "y": _in_percent(rows["atm_iv"]), "line": _line(CALL, 2),
            "customdata": [f"{expiration:%Y-%m-%d}" for expiration in rows["expiration"]],
            "hovertemplate": "%{customdata}: %{y:.1f}%",
        }
    ]  # fmt: skip
    points = [
        (days, metrics[f"atm_iv_{days}d"]) for days in (30, 90) if metrics[f"atm_iv_{days}d"] is not None
    ]
    if points:
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "30 and 90 days, interpolated",
                "x": [days for days, _ in points], "y": [100 * iv for _, iv in points],
                "marker": {"symbol": "diamond", "size": 10, "color": PUT}, "hovertemplate": "%{x} days: %{y:.1f}%",
            }
        )  # fmt: skip
    return _figure(
        traces,
        hovermode="closest",
        # A logarithm gives the near expiries, where the money is, as much room as the far ones.
        xaxis=_axis(
            "Days to expiry", type="log", tickvals=list(_TERMS), ticktext=[str(term) for term in _TERMS]
        ),
        yaxis=_axis("Implied volatility", ticksuffix="%"),
    )


_SKEW_TERMS = (7, 30, 90)


def skew(rows: pl.DataFrame, metrics: Mapping[str, Any]) -> Figure:
    """IV by strike, out of the money (puts below spot, calls above), of the expiries nearest to 7, 30 and 90 days."""
    spot = metrics["spot"]
    outside = rows.filter(
        ((pl.col("option_type") == "P") & (pl.col("strike") <= spot))
        | ((pl.col("option_type") == "C") & (pl.col("strike") >= spot))
    ).sort("days", "strike")
    listed = outside["days"].unique().sort().to_list()
    chosen = sorted(
        {min(listed, key=lambda days: (abs(days - term), days)) for term in _SKEW_TERMS} if listed else ()
    )
    traces: list[Trace] = []
    for days, color in zip(chosen, (PUT, CALL, FLIP), strict=False):
        own = outside.filter(pl.col("days") == days)
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": f"{own['expiration'][0]:%Y-%m-%d} ({days} days)",
                "x": own["strike"].to_list(), "y": _in_percent(own["implied_volatility"]),
                "line": _line(color, 1.5), "marker": {"size": 4},
                "customdata": [
                    f"{numbers.strike(strike)} {'call' if kind == 'C' else 'put'}, Δ {delta:.2f}"
                    for strike, kind, delta in own.select("strike", "option_type", "delta").iter_rows()
                ],
                "hovertemplate": "%{customdata}: %{y:.1f}%",
            }
        )  # fmt: skip
    near = ((outside["strike"] - spot).abs() <= _SKEW_AROUND * spot) & outside["days"].is_in(chosen)
    ivs = _in_percent(outside.filter(near)["implied_volatility"])
    low, high = _around(ivs) or (0, 1)
    traces.append(
        {
            "type": "scatter", "mode": "lines", "name": f"Spot {numbers.price(spot)}", "x": [spot, spot],
            "y": [low, high], "line": _line(SPOT, 2), "hoverinfo": "skip",
        }
    )  # fmt: skip
    return _figure(
        traces,
        hovermode="closest",
        xaxis=_axis("Strike ($)", range=[(1 - _SKEW_AROUND) * spot, (1 + _SKEW_AROUND) * spot]),
        yaxis=_axis("Implied volatility", ticksuffix="%", range=[low, high]),
    )


def volatility_history(rows: pl.DataFrame, session: dt.date) -> Figure:
    """Implied volatility at 30 and 90 days against realized; below, where it stands in its own history."""
    days, of = _by_session(rows, session)
    traces = [
        *(
            _over_time(
                days,
                [None if v is None else 100 * v for v in of(column)],
                name,
                color,
                "%{y:.1f}%",
                dash=dash,
            )
            for column, name, color, dash in (
                ("atm_iv_30d", "IV 30 days", CALL, "solid"),
                ("atm_iv_90d", "IV 90 days", FLIP, "solid"),
                ("hv_20", "Realized, 20 sessions", QUIET, "dash"),
            )
        ),
        _over_time(days, of("iv_rank"), "IV rank", PUT, "%{y:.0f}", axis="y2"),
    ]
    return _figure(
        traces,
        xaxis=_session_axis(days, 0, anchor="y2"),
        yaxis=_axis("Volatility", domain=[0.42, 1], ticksuffix="%"),
        yaxis2=_axis("IV rank", domain=[0, 0.34], range=[-4, 104], tickvals=[0, 50, 100]),
    )


def dealer_history(rows: pl.DataFrame, session: dt.date) -> Figure:
    """Net GEX, DGPI, and spot against the gamma flip and the walls, session by session."""
    days, of = _by_session(rows, session)
    net = of("gex_net")
    traces = [
        {
            "type": "bar", "name": "Net GEX", "x": days, "y": net,
            "marker": {"color": [DOWN if value is not None and value < 0 else UP for value in net]},
            "customdata": [numbers.dollars(value, sign=True) for value in net],
            "hovertemplate": "%{customdata}",
        },
        _over_time(days, of("dgpi"), "DGPI", FLIP, "%{y:.1f}", axis="y2"),
        *(
            _over_time(days, of(column), name, color, "%{y:,.2f}", axis="y3", dash=dash)
            for column, name, color, dash in (
                ("spot", "Spot", SPOT, "solid"),
                ("gamma_flip", "Gamma flip", FLIP, "dash"),
                ("call_wall", "Call wall", CALL, "dot"),
                ("put_wall", "Put wall", PUT, "dot"),
            )
        ),
    ]  # fmt: skip
    return _figure(
        traces,
        xaxis=_session_axis(days, 0, anchor="y3"),
        yaxis=_axis("Net GEX ($ per 1 %)", domain=[0.72, 1], exponentformat="B", zeroline=True),
        yaxis2=_axis("DGPI", domain=[0.46, 0.66], zeroline=True),
        yaxis3=_axis("Price ($)", domain=[0, 0.4]),
    )


def key(figure: Figure) -> list[tuple[str, str, str]]:
    """Name, color and line style (solid, dash, dot; bar, mark) of the traces, for the key beside the chart."""
    found: dict[str, tuple[str, str, str]] = {}
    for trace in figure["data"]:
        line, marker = trace.get("line", {}), trace.get("marker", {})
        if not trace.get("showlegend", True):
            continue
        if trace["type"] == "scatter" and "lines" in trace["mode"]:
            found[trace["name"]] = (trace["name"], line["color"], line["dash"])
        elif isinstance(marker.get("color"), str):
            found[trace["name"]] = (
                trace["name"],
                marker["color"],
                "bar" if trace["type"] == "bar" else "mark",
            )
    return list(found.values())


def _figure(traces: Sequence[Trace], **layout: Any) -> Figure:
    return {
        "data": list(traces),
        "layout": {
            "autosize": True,
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "paper_bgcolor": "#ffffff",
            "plot_bgcolor": "#ffffff",
            "hovermode": "x unified",
            # A finger scrolls the page; zooming is a button of the tool bar.
            "dragmode": False,
            "showlegend": False,  # the key is HTML beside the chart: it wraps on a phone and can be read aloud
            **layout,
        },
    }


def _axis(title: str, **settings: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 6},
        "automargin": True,
        "gridcolor": "#d8dee4",
        "zeroline": False,
        "zerolinecolor": QUIET,
        "spikethickness": 1,
        "spikedash": "dot",
        "spikecolor": QUIET,
        **settings,
    }


def _session_axis(days: Sequence[str], shown: int, *, anchor: str) -> dict[str, Any]:
    """Sessions from `shown` on, with a tick at the first of each month, or of each week where they are few."""
    dates = [dt.date.fromisoformat(day) for day in days]
    weekly = len(days) - shown <= 45
    period = (lambda day: day.isocalendar()[:2]) if weekly else (lambda day: (day.year, day.month))
    firsts = [later for earlier, later in pairwise(dates) if period(earlier) != period(later)]
    firsts = dates[:1] + firsts if len(dates) <= 5 else firsts
    opening = next((day for day in firsts if day >= dates[shown]), None)
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(days),
        "range": [shown - 0.5, len(days) - 0.5],
        "tickvals": [day.isoformat() for day in firsts],
        "ticktext": [
            f"{day:%b %-d}"
            if weekly
            else f"{day:%b}<br>{day:%Y}"
            if day == opening or day.month == 1
            else f"{day:%b}"
            for day in firsts
        ],
        "tickangle": 0,
        "anchor": anchor,
        "automargin": True,
        "gridcolor": "#d8dee4",
        "spikethickness": 1,
        "spikedash": "dot",
        "spikecolor": QUIET,
        "rangeslider": {"visible": False},
    }


def _by_session(rows: pl.DataFrame, session: dt.date) -> tuple[list[str], Callable[[str], list[Any]]]:
    """Every session from the first that has a row to the one looked at, and a column's values there, else None."""
    present = rows["session"].to_list()
    days = sessions_between(present[0] if present else session, session)

    def of(column: str) -> list[Any]:
        known = dict(zip(present, rows[column].to_list(), strict=True))
        return [known.get(day) for day in days]

    return [day.isoformat() for day in days], of


def _over_time(
    days: Sequence[str], values: Sequence[float | None], name: str, color: str, hover: str, *,
    axis: str = "y", dash: str = "solid",
) -> Trace:  # fmt: skip
    """A line over sessions that shows a lone point too, and breaks where a value is missing."""
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": list(days), "y": list(values),
        "yaxis": axis, "line": _line(color, 2, dash), "marker": {"size": 5}, "hovertemplate": hover,
        "connectgaps": False,
    }  # fmt: skip


def _line(color: str, width: float, dash: str = "solid") -> dict[str, Any]:
    return {"color": color, "width": width, "dash": dash}


def _in_percent(values: pl.Series) -> list[float]:
    return (100 * values).to_list()


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest with a little room."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 1.0
    return low - room if low < 0 else 0.0, high + room if high > 0 else 0.0


def _around(values: Sequence[float]) -> list[float] | None:
    """A range with 5 % of room on either side; None without values."""
    if not values:
        return None
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return [low - room, high + room]


def _levels(metrics: Mapping[str, Any]) -> list[tuple[str, float, str, str]]:
    """Name, price, color and line style of what the gamma profile marks."""
    spot, flip, call, put = (metrics[name] for name in _LEVELS)
    found = [
        ("Spot", spot, SPOT, "solid", numbers.price),
        ("Gamma flip", flip, FLIP, "dash", numbers.price),
        ("Call wall", call if call != put else None, CALL, "dot", numbers.strike),
        ("Put wall", put if call != put else None, PUT, "dot", numbers.strike),
        ("Call and put wall", call if call == put else None, QUIET, "dot", numbers.strike),
    ]
    return [
        (f"{name} {text(at)}", at, color, dash) for name, at, color, dash, text in found if at is not None
    ]


_LEVELS = ("spot", "gamma_flip", "call_wall_strike", "put_wall_strike")


def _strikes_shown(rows: pl.DataFrame, metrics: Mapping[str, Any]) -> list[float]:
    """From where to where 99 % of the exposure lies, and every level that is marked."""
    sizes = (rows["call_gex"] - rows["put_gex"]).cum_sum()
    within = (sizes > 0.005 * sizes[-1]) & (sizes.shift(1, fill_value=0.0) < 0.995 * sizes[-1])
    marked = [metrics[name] for name in _LEVELS if metrics[name] is not None]
    ends = [*rows["strike"].filter(within).to_list(), *marked] or rows["strike"].to_list()
    half_a_bar = 0.6 * (rows["strike"].diff().min() or 0.0)  # type: ignore[operator]
    room = max(0.04 * (max(ends) - min(ends)), half_a_bar) or 1.0
    return [min(ends) - room, max(ends) + room]


def _ticks(strikes: Sequence[float], texts: Sequence[str]) -> dict[str, Any]:
    """Ticks at listed strikes only where they are few; else Plotly's."""
    return {"tickvals": list(strikes), "ticktext": list(texts)} if len(strikes) <= 12 else {}
