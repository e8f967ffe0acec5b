"""Pictures for the web interface: a data frame in, an image inside of Markdown out.

The images travel in Dagster's event log, so they are small: PNG of few colours, at most `MAX_BYTES` as text. The
same data give the same bytes. Figures are made as objects, without pyplot's global state, so that steps may draw
in threads. Whoever imports this module pays half a second for matplotlib.
"""

import base64
import datetime as dt
import io

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from PIL import Image

MAX_BYTES = 40_000
BIGGEST = 20
"""Underlyings in one bar chart."""
PROFILES = 6
"""Underlyings whose gamma profile is drawn."""
_DOTS_PER_INCH = 100
_COLOURS = 48
_CALLS, _PUTS, _MISSING, _TEXT, _MUTED = "#2b6cb0", "#c05621", "#d6293e", "#1a202c", "#718096"
_STATUSES = {"FULL": "#2f855a", "LIMITED": "#d69e2e", "INVALID": "#d6293e"}


def calendar(title: str, sessions: pl.DataFrame) -> str:
    """Heat map of months × days: how many rows each session has; sessions without any are red.

    sessions: session (Date, ascending), rows (Int64; null: missing).
    """
    months = sessions["session"].dt.truncate("1mo").unique().sort().to_list()
    height = 1.1 + 0.17 * len(months)
    figure = _figure(8.4, height)
    axes = figure.add_axes((0.085, 0.36 / height, 0.80, (height - 0.8) / height))
    loaded = np.full((len(months), 31), np.nan)
    missing = np.full((len(months), 31), np.nan)
    row_of = {month: row for row, month in enumerate(months)}
    for session, rows in sessions.iter_rows():
        cell = row_of[session.replace(day=1)], session.day - 1
        if rows is None:
            missing[cell] = 1
        else:
            loaded[cell] = rows
    most = float(np.nanmax(loaded, initial=1.0, where=~np.isnan(loaded)))
    axes.pcolormesh(loaded, cmap="Blues", vmin=-0.35 * most, vmax=most, edgecolors="white", linewidth=1)
    axes.pcolormesh(missing, cmap=ListedColormap([_MISSING]), edgecolors="white", linewidth=1)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(0.5, 31, 2), labels=[str(day) for day in range(1, 32, 2)])
    axes.set_yticks(np.arange(0.5, len(months)), labels=[f"{month:%Y-%m}" for month in months])
    axes.set_xlabel("day of the month", fontsize=7, color=_MUTED)
    scale = figure.add_axes((0.90, 0.36 / height, 0.014, (height - 0.8) / height))
    scale.imshow(np.linspace(0, most, 33)[:, None], cmap="Blues", vmin=-0.35 * most, vmax=most, aspect="auto",
                 origin="lower", extent=(0, 1, 0, most))  # fmt: skip
    scale.set_xticks([])
    scale.set_yticks([0, most / 2, most], labels=[f"{part:,.0f}" for part in (0, most / 2, most)])
    scale.yaxis.tick_right()
    for one in (axes, scale):
        one.tick_params(length=0, labelsize=7)
        _without_frame(one)
    count, gaps = sessions["rows"].count(), sessions["rows"].null_count()
    said = f"{title}: {sessions['rows'].sum():,} rows of {count} sessions"
    said += f", {gaps} missing (red)" if gaps else ", none missing"
    _title(figure, said)
    return _markdown(figure, said)


def chains(session: dt.date, underlyings: pl.DataFrame) -> str:
    """Contracts and open interest of the biggest underlyings, calls and puts.

    underlyings: symbol (String), calls, puts (contracts), call_interest, put_interest (open interest); Int64.
    """
    biggest = underlyings.sort(
        pl.col("call_interest") + pl.col("put_interest"), "symbol", descending=[True, False]
    ).head(BIGGEST)
    height = 0.95 + 0.19 * len(biggest)
    figure = _figure(8.4, height)
    bottom, tall = 0.4 / height, (height - 0.85) / height
    places = np.arange(len(biggest))
    panels = (
        ("open interest, contracts", "call_interest", "put_interest", (0.085, bottom, 0.42, tall)),
        ("listed contracts", "calls", "puts", (0.56, bottom, 0.42, tall)),
    )
    for label, calls, puts, place in panels:
        axes = figure.add_axes(place)
        ends = biggest[calls].to_numpy()
        axes.hlines(places, 0, ends, color=_CALLS, linewidth=9)
        axes.hlines(places, ends, ends + biggest[puts].to_numpy(), color=_PUTS, linewidth=9)
        axes.set_xlim(left=0)
        axes.set_ylim(len(biggest) - 0.4, -0.6)
        axes.set_yticks(places, labels=biggest["symbol"].to_list())
        axes.set_xlabel(label, fontsize=7, color=_MUTED)
        _short_numbers(axes)
        _without_frame(axes)
    _sides(figure)
    shown = (
        f"the {len(biggest)} biggest of {len(underlyings)}"
        if len(underlyings) > len(biggest)
        else f"all {len(biggest)}"
    )
    said = f"Option chains of {session}: {shown} underlyings"
    _title(figure, said)
    return _markdown(figure, said)


def gamma_profiles(session: dt.date, profiles: pl.DataFrame, statuses: pl.DataFrame) -> str:
    """Gamma exposure by strike of the biggest names, with spot, flip and walls; and the statuses by session.

    profiles: symbol (String), spot, gamma_flip, call_wall, put_wall, gex_net (Float64, dollars), and the lists
        strike, call_gex, put_gex (List(Float64)); the biggest first.
    statuses: session (Date), status (String), rows (Int64); of one session at least.
    """
    shown = profiles.head(PROFILES)
    figure = _figure(8.4, 5.2)
    for place, row in enumerate(shown.iter_rows(named=True)):
        axes = figure.add_axes((0.065 + 0.32 * (place % 3), 0.64 - 0.33 * (place // 3), 0.275, 0.235))
        _profile(axes, row)
    _status_bars(figure, (0.065, 0.065, 0.915, 0.11), statuses)
    named = (
        f"gamma exposure by strike of the {len(shown)} biggest names" if len(shown) else "no gamma exposure"
    )
    said = f"{session}: {named}"
    _sides(figure, "spot: line, flip: dashes, walls: dots; M$ per 1 % move")
    _title(figure, said)
    return _markdown(figure, said)


def _profile(axes: Axes, row: dict[str, object]) -> None:
    """One underlying: bars around spot, from 15 % below it to 15 % above."""
    spot = float(row["spot"])  # type: ignore[arg-type]
    strike, calls, puts = (np.array(row[name], dtype=float) for name in ("strike", "call_gex", "put_gex"))
    near = np.abs(strike / spot - 1) <= 0.15
    strike, calls, puts = strike[near], calls[near] / 1e6, puts[near] / 1e6
    # One line a bar, in one collection: twenty times quicker than rectangles. The axes are 166 points wide.
    apart = float(np.median(np.diff(strike))) if len(strike) > 1 else 0.02 * spot
    width = min(8.0, max(0.8, 0.8 * apart / (0.3 * spot) * 166))
    axes.vlines(strike, 0, calls, color=_CALLS, linewidth=width)
    axes.vlines(strike, puts, 0, color=_PUTS, linewidth=width)
    axes.axhline(0, color=_MUTED, linewidth=0.5)
    axes.axvline(spot, color=_TEXT, linewidth=0.9)
    for name, style in (("gamma_flip", "--"), ("call_wall", ":"), ("put_wall", ":")):
        at = row[name]
        if isinstance(at, float) and abs(at / spot - 1) <= 0.15:
            axes.axvline(at, color=_TEXT, linewidth=0.9, linestyle=style)
    axes.set_xlim(0.85 * spot, 1.15 * spot)
    net = float(row["gex_net"]) / 1e6  # type: ignore[arg-type]
    axes.set_title(f"{row['symbol']}  net {net:+,.1f}", fontsize=8, color=_TEXT, loc="left", pad=3)
    axes.tick_params(labelsize=6.5, length=2)
    axes.locator_params(nbins=4)
    _without_frame(axes)


def volatilities(session: dt.date, symbols: pl.DataFrame, statuses: pl.DataFrame) -> str:
    """Distribution of IV rank and of the 30-day IV at the money, and the statuses by session.

    symbols: symbol (String), atm_iv_30d (Float64, per year), iv_rank (Float64, 0 to 100; null: not known).
    statuses: session (Date), status (String), rows (Int64); of one session at least.
    """
    figure = _figure(8.4, 3.4)
    ranks = symbols["iv_rank"].drop_nulls()
    ivs = symbols["atm_iv_30d"].drop_nulls() * 100
    left = figure.add_axes((0.055, 0.47, 0.42, 0.37))
    right = figure.add_axes((0.56, 0.47, 0.42, 0.37))
    if len(ranks):
        left.hist(ranks.to_numpy(), bins=list(range(0, 101, 10)), color=_CALLS, rwidth=0.9)
        left.set_xlabel("IV rank (0 to 100), symbols", fontsize=7, color=_MUTED)
        left.locator_params(axis="y", integer=True, nbins=5)
    else:
        left.text(0.5, 0.5, "no IV rank yet: under 20 sessions of history", fontsize=8, color=_MUTED, ha="center",
                  transform=left.transAxes)  # fmt: skip
        left.set_xticks([])
        left.set_yticks([])
    if len(ivs):
        right.hist(ivs.to_numpy(), bins=20, color=_PUTS, rwidth=0.9)
        right.locator_params(axis="y", integer=True, nbins=5)
    right.set_xlabel("30-day IV at the money (% a year), symbols", fontsize=7, color=_MUTED)
    for axes in (left, right):
        axes.tick_params(labelsize=7, length=2)
        _without_frame(axes)
    _status_bars(figure, (0.055, 0.1, 0.925, 0.16), statuses)
    said = f"{session}: IV ranks of {len(ranks)}, 30-day IVs of {len(ivs)} of {len(symbols)} symbols"
    _title(figure, said)
    return _markdown(figure, said)


def _status_bars(figure: Figure, place: tuple[float, float, float, float], statuses: pl.DataFrame) -> None:
    """How many rows were FULL, LIMITED, INVALID in each of the sessions (one at least), stacked."""
    axes = figure.add_axes(place)
    sessions = statuses["session"].unique().sort()
    base: np.ndarray = np.zeros(len(sessions))
    totals = []
    for status, colour in _STATUSES.items():
        of_status = statuses.filter(status=status)
        rows = dict(zip(of_status["session"], of_status["rows"], strict=True))
        counts = np.array([float(rows.get(session, 0)) for session in sessions])
        # A step for each session, as one area; the ends go half a session beyond.
        steps = np.concatenate(
            ([-0.5], np.repeat(np.arange(0.5, len(sessions) - 1), 2), [len(sessions) - 0.5])
        )
        axes.fill_between(steps, np.repeat(base, 2), np.repeat(base + counts, 2), color=colour, linewidth=0)
        base = base + counts
        totals.append((status, colour, int(counts[-1])))
    ends = sorted({0, len(sessions) // 2, len(sessions) - 1})
    axes.set_xticks(ends, labels=[f"{sessions[end]:%m-%d}" for end in ends])
    axes.set_xlim(-0.6, max(len(sessions), 12) - 0.4)
    axes.tick_params(labelsize=6.5, length=2)
    axes.locator_params(axis="y", integer=True, nbins=3)
    _without_frame(axes)
    x0, y0, _, height = place
    figure.text(x0, y0 + height + 0.025, "status by session; the newest:", fontsize=7, color=_MUTED)
    at = x0 + 0.205
    for status, colour, count in totals:
        figure.text(at, y0 + height + 0.025, f"{count} {status}", fontsize=7, color=colour, fontweight="bold")
        at += 0.1


def _figure(width: float, height: float) -> Figure:
    """A white sheet, in inches. Axes are placed by hand: laying them out automatically takes longer than drawing."""
    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, facecolor="white")


def _title(figure: Figure, text: str) -> None:
    top = 1 - 0.2 / figure.get_figheight()
    figure.text(0.012, top, text, fontsize=9, color=_TEXT, fontweight="bold", va="center")


def _sides(figure: Figure, before: str = "") -> None:
    """The legend of calls and puts, at the right of the title."""
    top = 1 - 0.2 / figure.get_figheight()
    for at, word, colour in ((0.985, "calls", _CALLS), (0.945, "puts", _PUTS)):
        figure.text(at, top, word, color=colour, fontsize=7, ha="right", va="center", fontweight="bold")
    figure.text(0.905, top, before, color=_MUTED, fontsize=7, ha="right", va="center")


def _without_frame(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=_TEXT)


def _short_numbers(axes: Axes) -> None:
    """Ticks as 2 M, 500 k."""
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.tick_params(labelsize=7, length=2)
    axes.locator_params(axis="x", nbins=5)


def _markdown(figure: Figure, alternative: str) -> str:
    """The figure as an image in Markdown.

    Raises:
        ValueError: it is larger than an event should be.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    file = io.BytesIO()
    # No metadata: a date or a version would make other bytes of the same data.
    pixels.quantize(_COLOURS).save(file, "PNG", optimize=True)
    text = base64.b64encode(file.getvalue()).decode()
    if len(text) > MAX_BYTES:
        raise ValueError(f"the picture has {len(text):,} bytes, more than {MAX_BYTES:,}")
    return f"![{alternative}](data:image/png;base64,{text})"
