"""What a trader may rely on in technical_indicators_json: every number equals an independent library's,
never looks ahead, and never depends on when or in which batch it was computed."""

import datetime
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import talib.abstract

from kapman_metrics import reference
from kapman_metrics.catalogue import CANDLESTICKS, TECHNICAL
from kapman_metrics.technical import HISTORY_SESSIONS, technical_indicators
from tests.conftest import PROJECT, dataset
from tests.unit.generated_bars import bars
from tests.unit.indicator_oracles import candlesticks_from_talib, from_ta, from_talib

SHAPES = ("walk", "flat", "halted", "gaps", "split", "quiet", "dead", "penny", "steady")
LENGTHS = (1, 2, 5, 16, 30, 33, 60, 250, 400, 505)


def flat(document: str) -> dict[str, float | None]:
    """Output name → value, patterns included; json refuses NaN and Infinity here."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} in JSON")

    tree = json.loads(document, parse_constant=refuse)
    patterns = tree.pop("pattern_recognition")
    return {
        name: value
        for group in tree.values()
        for outputs in group.values()
        for name, value in outputs.items()
    } | patterns


def window(ticker: pl.DataFrame, end: int) -> list[np.ndarray]:
    """open, high, low, close, volume of the last 400 bars before index `end`."""
    part = ticker[max(0, end - HISTORY_SESSIONS) : end]
    return [part[name].to_numpy().copy() for name in ("open", "high", "low", "close", "volume")]


def assert_equals_oracles(values: dict[str, float | None], at: list[np.ndarray]) -> None:
    """All outputs the oracles know, at their tolerances: TA-Lib 1e-9, `ta` 1e-6 relative.

    The absolute term is rounding: differences of prices that cancel are compared at the prices' scale.
    """
    open_, high, low, close, volume = at
    noise = 1e-12 * max(100.0, float(high.max()))
    for oracle, tolerance in (
        (from_talib(*at), 1e-9),
        (from_ta(high, low, close, volume), 1e-6),
    ):
        for name, expected in oracle.items():
            actual = values[name]
            if not np.isfinite(expected):
                assert actual is None, f"{name} with {len(close)} bars is {actual}; the oracle has none"
            else:
                assert actual == pytest.approx(expected, rel=tolerance, abs=noise), (
                    f"{name}, {len(close)} bars"
                )
    patterns = candlesticks_from_talib(open_, high, low, close)
    assert {name: values[name] for name in patterns} == patterns


def test_every_value_equals_talib_or_ta_on_generated_bars() -> None:
    """Ordinary and degenerate shapes, from one bar to more than the window, at the last and earlier bars."""
    tickers = {
        f"{shape}-{size}": bars(f"{shape}-{size}", size, seed, shape)
        for seed, (shape, size) in enumerate((shape, size) for shape in SHAPES for size in LENGTHS)
    }
    everything = pl.concat(tickers.values())
    result = technical_indicators(everything, everything["date"].unique().to_list())
    assert result.height == everything.height
    documents = {(ticker, date): document for ticker, date, document in result.iter_rows()}
    random = np.random.default_rng(0)
    for name, ticker in tickers.items():
        for end in {ticker.height, int(random.integers(1, ticker.height + 1))}:
            values = flat(documents[name, ticker["date"][end - 1]])
            assert_equals_oracles(values, window(ticker, end))


def test_every_value_equals_talib_or_ta_on_real_bars() -> None:
    """Real prices with their splits, ties and gaps: three dozen tickers, the last close and an earlier one."""
    some = real_bars(420)
    dates = some["date"].unique().sort()
    result = technical_indicators(some, [dates[-1], dates[-150]])
    assert result.height > 2 * some["ticker_id"].n_unique() - 3
    for ticker, date, document in result.iter_rows():
        history = some.filter((pl.col("ticker_id") == ticker) & (pl.col("date") <= date)).sort("date")
        assert_equals_oracles(flat(document), window(history, history.height))


def real_bars(sessions: int) -> pl.DataFrame:
    """The last sessions of every seventh real ticker."""
    days = sorted((dataset("market_2026") / "flatfiles").rglob("*.csv.gz"))[-sessions:]
    everything = pl.concat(
        pl.read_csv(day, columns=["ticker", "open", "high", "low", "close", "volume"]).select(
            pl.col("ticker").alias("ticker_id"),
            pl.lit(datetime.date.fromisoformat(day.name[:10])).alias("date"),
            pl.col("open", "high", "low", "close", "volume").cast(pl.Float64),
        )
        for day in days
    )
    names = everything["ticker_id"].unique().sort().gather_every(7)
    return everything.filter(pl.col("ticker_id").is_in(names.implode()))


def assert_history_rule(bars: pl.DataFrame, dates: list[datetime.date]) -> None:
    """All outputs of some dates, computed at once, are bit for bit those of each date by itself: with the
    last 400 bars alone, with all that came before, every ticker for itself, and in single sessions of a
    range with holes."""
    at_once = technical_indicators(bars.sample(fraction=1.0, shuffle=True, seed=4), dates)
    assert technical_indicators(bars, dates[::3]).equals(
        at_once.filter(pl.col("date").is_in(pl.Series(dates[::3]).implode()))
    )
    for date in (dates[0], dates[len(dates) // 2], dates[-1]):
        expected = at_once.filter(pl.col("date") == date)
        known = bars.filter(pl.col("date") <= date).sort("date")
        last = known.group_by("ticker_id").tail(HISTORY_SESSIONS)
        assert technical_indicators(last, [date]).equals(expected)
        assert technical_indicators(known, [date]).equals(expected)
        single = [technical_indicators(ticker, [date]) for ticker in last.partition_by("ticker_id")]
        assert pl.concat(single).sort("ticker_id").equals(expected)


def test_a_date_alone_in_a_range_with_more_history_or_shuffled_is_the_same_text() -> None:
    """The history rule: recomputing one date next year gives the bytes that the repave wrote, whatever
    shape the bars have: splits, gaps, constant prices, no volume, listed yesterday."""
    sizes = (90, 395, 405, 450, 700)
    tickers = pl.concat(
        bars(f"{shape}-{size}", size, seed, shape)
        for seed, (shape, size) in enumerate((shape, size) for shape in SHAPES for size in sizes)
    )
    dates = tickers["date"].unique().sort().to_list()
    assert_history_rule(tickers, dates[60:460])
    assert_history_rule(tickers, dates[-40:])


def test_the_history_rule_holds_for_real_bars() -> None:
    """A year of real sessions in one pass, and days of it by themselves."""
    tickers = real_bars(500)
    assert_history_rule(tickers, tickers["date"].unique().sort().to_list()[-252:])


def test_the_future_and_the_warm_up_never_leak() -> None:
    """No value is filled from later bars or from a mean of the series, as `ta` fills its warm-up rows:
    what is known on day D stays when the days after it turn out differently."""
    ticker = bars("a", 120, 5)
    crash = ticker.with_columns(
        pl.when(pl.int_range(pl.len()) < 80).then(pl.col(name)).otherwise(pl.col(name) * 0.1).alias(name)
        for name in ("open", "high", "low", "close", "volume")
    )
    known = ticker["date"][:80].to_list()
    assert technical_indicators(ticker, known).equals(technical_indicators(crash, known))


def test_values_begin_exactly_where_the_catalogue_says() -> None:
    """The documents' column of bars is what the code does, for all outputs and patterns."""
    ticker = bars("a", 260, 6)
    rows = [
        flat(document)
        for document in technical_indicators(ticker, ticker["date"].to_list())["technical_indicators_json"]
    ]
    one_sided = {"psar_up", "psar_down"}  # null also while the trend is on the other side
    begins = {
        metric.path[-1]: metric.minimum_bars for metric in TECHNICAL if metric.path[-1] not in one_sided
    }
    first = {name: next(i for i, row in enumerate(rows, 1) if row[name] is not None) for name in begins}
    assert first == begins
    assert all((row["psar_up"] is None) != (row["psar_down"] is None) for row in rows[1:])


def test_every_row_has_every_key_in_the_catalogue_s_order() -> None:
    """SQL and Grafana may name any key for any ticker, listed yesterday or two years ago."""
    young = bars("young", 1, 7)
    document = json.loads(
        technical_indicators(young, young["date"].to_list())["technical_indicators_json"][0]
    )

    def paths(tree: dict) -> list[tuple[str, ...]]:
        return [
            (key, *rest)
            for key, value in tree.items()
            for rest in (paths(value) if isinstance(value, dict) else [()])
        ]

    assert paths(document) == [metric.path for metric in TECHNICAL]
    assert len(TECHNICAL) == 89 + 61
    assert {
        name.lower(): talib.abstract.Function(name).lookback + 1
        for name in talib.get_function_groups()["Pattern Recognition"]
    } == CANDLESTICKS


def test_bars_and_flags_of_one_row_agree_with_each_other() -> None:
    """The outputs that no library returns: Keltner's width and flags, the two sides of the SAR."""
    ticker = bars("a", 300, 8)
    result = technical_indicators(ticker, ticker["date"][60:].to_list())["technical_indicators_json"]
    rows = [flat(document) for document in result]
    for row, close in zip(rows, ticker["close"][60:], strict=True):
        top, bottom = row["keltner_channel_hband"], row["keltner_channel_lband"]
        assert row["keltner_channel_pband"] == pytest.approx((close - bottom) / (top - bottom))
        assert row["keltner_channel_wband"] == pytest.approx(
            100 * (top - bottom) / row["keltner_channel_mband"]
        )
        assert row["keltner_channel_hband_indicator"] == float(close > top)
        assert row["keltner_channel_lband_indicator"] == float(close < bottom)
    for before, row in pairwise(rows):
        assert row["psar_up"] in (None, row["psar"])
        assert row["psar_up_indicator"] == float(before["psar_up"] is None and row["psar_up"] is not None)
        assert row["psar_down_indicator"] == float(
            before["psar_down"] is None and row["psar_down"] is not None
        )


def test_bars_that_break_the_rules_are_refused_with_a_sentence() -> None:
    ticker = bars("a", 5, 9)
    with pytest.raises(ValueError, match="lack the column 'volume'"):
        technical_indicators(ticker.drop("volume"), [])
    with pytest.raises(ValueError, match=r"bars\.close is Float32, not Float64"):
        technical_indicators(ticker.with_columns(pl.col("close").cast(pl.Float32)), [])
    with pytest.raises(ValueError, match=r"5 bars repeat a .*first a on 2024-01-01"):
        technical_indicators(pl.concat([ticker, ticker]), [])
    with pytest.raises(ValueError, match="1 bars have a missing key"):
        technical_indicators(ticker.with_columns(pl.col("high").replace(ticker["high"][2], np.nan)), [])


def test_nothing_in_nothing_out_and_a_missing_volume_is_no_trade() -> None:
    ticker = bars("a", 40, 10)
    schema = {"ticker_id": pl.String, "date": pl.Date, "technical_indicators_json": pl.String}
    assert technical_indicators(ticker.clear(), [ticker["date"][0]]).schema == schema
    assert technical_indicators(ticker, []).schema == schema
    untraded, unknown = (ticker.with_columns(pl.lit(v, pl.Float64).alias("volume")) for v in (0.0, None))
    last = [ticker["date"][-1]]
    assert technical_indicators(unknown, last).equals(technical_indicators(untraded, last))


def test_the_reference_page_is_in_step_with_the_catalogue() -> None:
    page: Path = PROJECT / "docs" / "metrics.md"
    assert page.read_text() == reference.page(), "run python -m kapman_metrics.reference > docs/metrics.md"
