"""What a trader may rely on in price_metrics_json: the definitions of the design, recomputed here in plain
NumPy and by TA-Lib, null where a denominator is missing, the same whenever computed."""

import json

import numpy as np
import polars as pl
import pytest
import talib

from kapman_metrics.catalogue import PRICE
from kapman_metrics.price import HISTORY_SESSIONS, price_metrics
from tests.unit.generated_bars import bars


def documents(ticker: pl.DataFrame) -> list[dict[str, float | None]]:
    return [json.loads(row) for row in price_metrics(ticker, ticker["date"].to_list())["price_metrics_json"]]


def expected(ticker: pl.DataFrame, end: int) -> dict[str, float]:
    """The definitions in NumPy for the bar before `end`, which has at least 252 bars behind it."""
    o, h, l, c, v = (  # noqa: E741
        ticker[name].to_numpy()[max(0, end - HISTORY_SESSIONS) : end].copy()
        for name in ("open", "high", "low", "close", "volume")
    )
    returns = np.diff(np.log(c))
    before = v[-21:-1]
    hv_20, hv_60 = (np.std(returns[-n:]) * np.sqrt(252) for n in (20, 60))
    top, bottom = h[-252:].max(), l[-252:].min()
    return {
        "close": c[-1],
        "change_pct": 100 * (c[-1] / c[-2] - 1),
        "gap_pct": 100 * (o[-1] / c[-2] - 1),
        "rvol": talib.RVOL(v, 20)[-1],
        "vsi": (v[-1] - before.mean()) / before.std(),
        "hv_20": hv_20,
        "hv_60": hv_60,
        "hv": hv_20,
        **{f"price_vs_sma{n}": 100 * (c[-1] / c[-n:].mean() - 1) for n in (20, 50, 200)},
        "high_52w": top,
        "low_52w": bottom,
        "distance_from_high_52w": 100 * (c[-1] / top - 1),
        "distance_from_low_52w": 100 * (c[-1] / bottom - 1),
        "dollar_volume_20": (c * v)[-20:].mean(),
        "atr_pct": talib.NATR(h, l, c, 14)[-1],
    }


@pytest.mark.parametrize("shape", ["walk", "gaps", "penny", "steady"])
def test_every_metric_equals_its_definition(shape: str) -> None:
    ticker = bars("a", 460, 1, shape)
    rows = documents(ticker)
    for end in (252, 400, 460):
        values = expected(ticker, end)
        assert list(rows[end - 1]) == list(values) == [metric.indicator for metric in PRICE]
        assert rows[end - 1] == pytest.approx(values, rel=1e-9, abs=1e-10)


def test_values_begin_exactly_where_the_catalogue_says() -> None:
    rows = documents(bars("a", 260, 2))
    begins = {metric.indicator: metric.minimum_bars for metric in PRICE}
    assert {n: next(i for i, row in enumerate(rows, 1) if row[n] is not None) for n in begins} == begins


def test_missing_denominators_are_null_and_stillness_is_zero() -> None:
    """No trades, equal volumes, prices that stand: null where a ratio has no base, never NaN or a guess."""
    still = bars("a", 300, 3, "flat")
    untraded = documents(still.with_columns(pl.lit(0.0).alias("volume")))[-1]
    assert (untraded["rvol"], untraded["vsi"], untraded["dollar_volume_20"]) == (None, None, 0.0)
    even = documents(still.with_columns(pl.lit(7.1).alias("volume")))[-1]
    assert (even["rvol"], even["vsi"]) == (pytest.approx(1.0), None)
    assert (even["hv_20"], even["atr_pct"], even["price_vs_sma20"]) == (
        0.0,
        0.0,
        pytest.approx(0.0, abs=1e-12),
    )
    worthless = documents(still.with_columns(pl.lit(0.0).alias("close")))[-1]
    assert [worthless[name] for name in ("change_pct", "gap_pct", "hv_20", "price_vs_sma20", "atr_pct")] == [
        None
    ] * 5


def test_a_date_alone_in_a_range_with_more_history_or_shuffled_is_the_same_text() -> None:
    """The history rule, whatever shape the bars have."""
    shapes = ("walk", "flat", "halted", "gaps", "split", "quiet", "dead", "penny", "steady")
    tickers = pl.concat(
        bars(f"{shape}-{size}", size, seed, shape)
        for seed, shape in enumerate(shapes)
        for size in (90, 430, 600)
    )
    dates = tickers["date"].unique().sort().to_list()
    ranged = price_metrics(tickers.sample(fraction=1.0, shuffle=True, seed=6), dates[60:])
    for date in (dates[60], dates[300], dates[429], dates[-1]):
        expected = ranged.filter(pl.col("date") == date)
        last = (
            tickers.filter(pl.col("date") <= date).sort("date").group_by("ticker_id").tail(HISTORY_SESSIONS)
        )
        assert price_metrics(last, [date]).equals(expected)
        single = [price_metrics(ticker, [date]) for ticker in last.partition_by("ticker_id")]
        assert pl.concat(single).sort("ticker_id").equals(expected)
