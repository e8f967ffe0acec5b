"""The declared list of technical and price metrics: the order of the JSON keys, their units, the documents.

`TECHNICAL` and `PRICE` are flat, in the order in which the kernels write their columns and the JSON
lists its keys; `docs/metrics.md` is generated from them (`python -m kapman_metrics.reference`).

Formulas: C, H, L, V of the bar; X[−k] k bars back; SMAn, MAXn, MINn, Σn over the last n bars; EMAn with
weight 2/(n+1), seeded with the mean of its first n values; TP = (H+L+C)/3; TR the true range;
CLV = ((C−L)−(H−C))/(H−L).
"""

from dataclasses import dataclass
from typing import Literal

OWN = "definition"

ValueType = Literal["number", "integer", "text", "date", "time"]
"""What a value is in the JSON: a number that may have a fraction, one that is written without, words, ISO 8601."""


@dataclass(frozen=True)
class Metric:
    """One number in a metrics column: where it stands, what it means, when it is null, who can check it."""

    group: str
    indicator: str
    output: str
    parameters: str
    formula: str
    units: str
    minimum_bars: int
    null_rule: str
    oracle: str
    type: ValueType = "number"

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to the value inside its JSON column."""
        return tuple(key for key in (self.group, self.indicator, self.output) if key)


@dataclass(frozen=True)
class _Output:
    name: str
    formula: str
    units: str
    minimum_bars: int
    null_rule: str = ""
    oracle: str = ""


@dataclass(frozen=True)
class _Indicator:
    """An indicator's outputs; `oracle` holds for those that name none."""

    name: str
    parameters: str
    oracle: str
    outputs: tuple[_Output, ...]

    def metrics(self, group: str) -> list[Metric]:
        return [
            Metric(
                group=group,
                indicator=self.name,
                output=output.name,
                parameters=self.parameters,
                formula=output.formula,
                units=output.units,
                minimum_bars=output.minimum_bars,
                null_rule=output.null_rule,
                oracle=output.oracle or self.oracle,
            )
            for output in self.outputs
        ]


def _single(
    name: str, parameters: str, formula: str, units: str, minimum: int, oracle: str, null_rule: str = ""
) -> _Indicator:
    """An indicator with one output of its own name."""
    return _Indicator(name, parameters, oracle, (_Output(name, formula, units, minimum, null_rule),))


_PRICE, _PERCENT, _SHARES, _FLAG, _FRACTION = "price", "%", "shares", "0 or 1", "0 to 1 inside the band"
_NO_WIDTH = "the band has no width"

_MOMENTUM = (
    _single("awesome_oscillator", "5, 34", "SMA5 − SMA34 of (H+L)/2", _PRICE, 34, "TA-Lib AO"),
    _single("kama", "10, 2, 30", "k += s²·(C−k), s = ER·(2/3−2/31)+2/31, ER = |C−C[−10]|/Σ10|ΔC|", _PRICE, 11, "TA-Lib KAMA"),
    _Indicator("ppo", "12, 26, 9", "TA-Lib PPO", (
        _Output("ppo", "100·(EMA12−EMA26)/EMA26 of C", _PERCENT, 26),
        _Output("ppo_signal", "EMA9 of ppo", _PERCENT, 34, oracle="TA-Lib EMA of PPO"),
        _Output("ppo_hist", "ppo − ppo_signal", _PERCENT, 34, oracle="TA-Lib EMA of PPO"),
    )),
    _Indicator("pvo", "12, 26, 9", "TA-Lib PVO", (
        _Output("pvo", "100·(EMA12−EMA26)/EMA26 of V; 0 if EMA26 is 0", _PERCENT, 26),
        _Output("pvo_signal", "EMA9 of pvo", _PERCENT, 34, oracle="TA-Lib EMA of PVO"),
        _Output("pvo_hist", "pvo − pvo_signal", _PERCENT, 34, oracle="TA-Lib EMA of PVO"),
    )),
    _single("roc", "12", "100·(C/C[−12] − 1)", _PERCENT, 13, "TA-Lib ROC"),
    _single("rsi", "14", "100·G/(G+L), Wilder's means of gains and losses; 0 if nothing moved", "0 to 100", 15, "TA-Lib RSI"),
    _Indicator("stochrsi", "14, 3, 3", "TA-Lib STOCHRSI(14, 14, 3)", (
        _Output("stochrsi", "100·(RSI−MIN14 RSI)/(MAX14 RSI−MIN14 RSI); 0 if equal", "0 to 100", 30),
        _Output("stochrsi_k", "SMA3 of stochrsi", "0 to 100", 30),
        _Output("stochrsi_d", "SMA3 of stochrsi_k", "0 to 100", 32, oracle="TA-Lib SMA of STOCHRSI"),
    )),
    _Indicator("stoch", "14, 3", "TA-Lib STOCHF", (
        _Output("stoch", "100·(C−MIN14 L)/(MAX14 H−MIN14 L); 0 if equal", "0 to 100", 16),
        _Output("stoch_signal", "SMA3 of stoch", "0 to 100", 16),
    )),
    _single("tsi", "25, 13", "100·EMA13(EMA25 ΔC)/EMA13(EMA25 |ΔC|); 0 if nothing moved", "−100 to 100", 38, "TA-Lib TSI"),
    _single("ultimate_oscillator", "7, 14, 28", "100·(4·A7+2·A14+A28)/7, An = Σn(C−min(L,C[−1]))/Σn TR", "0 to 100", 29, "TA-Lib ULTOSC"),
    _single("williams_r", "14", "−100·(MAX14 H−C)/(MAX14 H−MIN14 L); 0 if equal", "−100 to 0", 14, "TA-Lib WILLR"),
)  # fmt: skip

_VOLATILITY = (
    _Indicator("atr", "14", "TA-Lib ATR", (
        _Output("average_true_range", "mean of the first 14 TR, then (13·ATR+TR)/14", _PRICE, 15),
    )),
    _Indicator("bbands", "20, 2", "TA-Lib BBANDS", (
        _Output("bollinger_hband", "SMA20 + 2·population standard deviation", _PRICE, 20),
        _Output("bollinger_lband", "SMA20 − 2·population standard deviation", _PRICE, 20),
        _Output("bollinger_mavg", "SMA20", _PRICE, 20),
        _Output("bollinger_pband", "(C−lband)/(hband−lband)", _FRACTION, 20, _NO_WIDTH, "ta"),
        _Output("bollinger_wband", "100·(hband−lband)/mavg", _PERCENT, 20, oracle="ta"),
        _Output("bollinger_hband_indicator", "1 if C > hband", _FLAG, 20, oracle="ta"),
        _Output("bollinger_lband_indicator", "1 if C < lband", _FLAG, 20, oracle="ta"),
    )),
    _Indicator("donchian", "20", "TA-Lib DONCHIAN", (
        _Output("donchian_channel_hband", "MAX20 H", _PRICE, 20),
        _Output("donchian_channel_lband", "MIN20 L", _PRICE, 20),
        _Output("donchian_channel_mband", "(hband+lband)/2", _PRICE, 20),
        _Output("donchian_channel_pband", "(C−lband)/(hband−lband)", "0 to 1", 20, _NO_WIDTH, "ta"),
        _Output("donchian_channel_wband", "100·(hband−lband)/SMA20 C", _PERCENT, 20, oracle="ta"),
    )),
    _Indicator("keltner", "20, ATR 10, 2", "TA-Lib KC", (
        _Output("keltner_channel_hband", "EMA20 TP + 2·ATR10, the ATR seeded by bars 11 to 20", _PRICE, 20),
        _Output("keltner_channel_lband", "EMA20 TP − 2·ATR10", _PRICE, 20),
        _Output("keltner_channel_mband", "EMA20 TP", _PRICE, 20),
        _Output("keltner_channel_pband", "(C−lband)/(hband−lband)", _FRACTION, 20, _NO_WIDTH, "ta on TA-Lib KC"),
        _Output("keltner_channel_wband", "100·(hband−lband)/mband", _PERCENT, 20, oracle="ta on TA-Lib KC"),
        _Output("keltner_channel_hband_indicator", "1 if C > hband", _FLAG, 20, oracle="ta on TA-Lib KC"),
        _Output("keltner_channel_lband_indicator", "1 if C < lband", _FLAG, 20, oracle="ta on TA-Lib KC"),
    )),
    _single("ulcer_index", "14", "√(Σ14 r²/14), r = 100·(C−M)/M, M = highest of the last ≤ 14 C", _PERCENT, 14, "ta"),
)  # fmt: skip

_TREND = (
    _Indicator("adx", "14", "TA-Lib ADX", (
        _Output("adx", "mean of the first 14 DX, then (13·ADX+DX)/14, DX = 100·|pos−neg|/(pos+neg)", "0 to 100", 28),
        _Output("adx_pos", "100·S(+DM)/S(TR), S = 13 bars' sum, then S−S/14+x", "0 to 100", 15, oracle="TA-Lib PLUS_DI"),
        _Output("adx_neg", "100·S(−DM)/S(TR)", "0 to 100", 15, oracle="TA-Lib MINUS_DI"),
    )),
    _Indicator("aroon", "25", "TA-Lib AROON", (
        _Output("aroon_up", "100·(25 − bars since the highest H of 26)/25", "0 to 100", 26),
        _Output("aroon_down", "100·(25 − bars since the lowest L of 26)/25", "0 to 100", 26),
        _Output("aroon_indicator", "aroon_up − aroon_down", "−100 to 100", 26, oracle="TA-Lib AROONOSC"),
    )),
    _single("cci", "20", "(TP−SMA20 TP)/(0.015·mean20 |TP−SMA20 TP|); 0 if flat", "index", 20, "TA-Lib CCI"),
    _single("dpo", "20", "C[−11] − SMA20", _PRICE, 20, "TA-Lib DPO"),
    _Indicator("ema", "12, 14, 26", "TA-Lib EMA", (
        _Output("ema_12", "EMA12", _PRICE, 12),
        _Output("ema_14", "EMA14", _PRICE, 14),
        _Output("ema_26", "EMA26", _PRICE, 26),
    )),
    _Indicator("ichimoku", "9, 26, 52, not displaced", "ta", (
        _Output("ichimoku_conversion_line", "(MAX9 H + MIN9 L)/2", _PRICE, 9),
        _Output("ichimoku_base_line", "(MAX26 H + MIN26 L)/2", _PRICE, 26),
        _Output("ichimoku_a", "(conversion_line + base_line)/2", _PRICE, 26),
        _Output("ichimoku_b", "(MAX52 H + MIN52 L)/2", _PRICE, 52),
    )),
    _Indicator("kst", "10, 15, 20, 30; 10, 10, 10, 15; 9", "ta", (
        _Output("kst", "100·(SMA10 R10+2·SMA10 R15+3·SMA10 R20+4·SMA15 R30), Rk = C/C[−k]−1", _PERCENT, 45),
        _Output("kst_sig", "SMA9 of kst", _PERCENT, 53),
        _Output("kst_diff", "kst − kst_sig", _PERCENT, 53),
    )),
    _Indicator("macd", "12, 26, 9", "TA-Lib MACD", (
        _Output("macd", "EMA12 − EMA26, both starting on bar 26", _PRICE, 34),
        _Output("macd_signal", "EMA9 of macd", _PRICE, 34),
        _Output("macd_diff", "macd − macd_signal", _PRICE, 34),
    )),
    _single("mass_index", "9, 25", "Σ25 e/EMA9(e), e = EMA9(H−L); a ratio of zeros counts 1", "index around 25", 41, "TA-Lib MASSI"),
    _Indicator("psar", "0.02, 0.2", "TA-Lib SAR", (
        _Output("psar", "Wilder's stop and reverse, direction from the window's first two bars", _PRICE, 2),
        _Output("psar_up", "psar while rising", _PRICE, 2, "the trend is falling"),
        _Output("psar_down", "psar while falling", _PRICE, 2, "the trend is rising"),
        _Output("psar_up_indicator", "1 on the first bar of a rise", _FLAG, 2),
        _Output("psar_down_indicator", "1 on the first bar of a fall", _FLAG, 2),
    )),
    _Indicator("sma", "14, 20, 50, 200", "TA-Lib SMA", (
        _Output("sma_14", "SMA14", _PRICE, 14),
        _Output("sma_20", "SMA20", _PRICE, 20),
        _Output("sma_50", "SMA50", _PRICE, 50),
        _Output("sma_200", "SMA200", _PRICE, 200),
    )),
    _Indicator("stc", "23, 50, 10, 3, 3", "ta", (
        _Output("stc", "E(P(E(P(EMA23−EMA50)))), P = place in the range of 10 in %, E = EMA3, seeds: first values",
                "0 to 100", 72, "a stochastic never had a range"),
    )),
    _single("trix", "15", "100·(T/T[−1] − 1), T = EMA15 of EMA15 of EMA15", _PERCENT, 44, "TA-Lib TRIX"),
    _Indicator("vortex", "14", "TA-Lib VORTEX", (
        _Output("vortex_indicator_pos", "Σ14 |H−L[−1]| / Σ14 TR; 0 if nothing moved", "ratio", 15),
        _Output("vortex_indicator_neg", "Σ14 |L−H[−1]| / Σ14 TR; 0 if nothing moved", "ratio", 15),
        _Output("vortex_indicator_diff", "pos − neg", "ratio", 15),
    )),
    _single("wma", "9", "Σ i·C / 45, i = 1 (oldest) to 9", _PRICE, 9, "TA-Lib WMA"),
)  # fmt: skip

_VOLUME = (
    _single("adi", "cumulative", "Σ CLV·V over the window; a bar with H = L adds 0", _SHARES, 1, "TA-Lib AD"),
    _single("cmf", "20", "Σ20 CLV·V / Σ20 V; 0 without volume", "−1 to 1", 20, "TA-Lib CMF"),
    _Indicator("eom", "14", "ta", (
        _Output("ease_of_movement", "10⁸·((H−H[−1])+(L−L[−1]))·(H−L)/(2V)", "price²/share·10⁸", 2, "no volume"),
        _Output("sma_ease_of_movement", "SMA14 of ease_of_movement", "price²/share·10⁸", 15, "a bar of the 14 without volume"),
    )),
    _single("fi", "13", "EMA13 of (C−C[−1])·V", "price·shares", 14, "TA-Lib EFI"),
    _single("mfi", "14", "100·Σ14 TP·V where TP rose / where it moved; 0 if that is under 1", "0 to 100", 15, "TA-Lib MFI"),
    _single("nvi", "cumulative", "1000 at the window's start, times C/C[−1] where V < V[−1]", "index", 1, "TA-Lib NVI"),
    _single("obv", "cumulative", "first V, then +V where C rose, −V where it fell", _SHARES, 1, "TA-Lib OBV"),
    _single("vpt", "cumulative", "Σ V·(C/C[−1] − 1) over the window", _SHARES, 1, "TA-Lib PVT"),
    _single("vwap", "14, rolling", "Σ14 TP·V / Σ14 V", _PRICE, 14, "ta", "no volume in 14 bars"),
)  # fmt: skip

_OTHERS = (
    _single("cr", "cumulative", "100·(C/first C of the window − 1)", _PERCENT, 1, "ta"),
    _single("dlr", "1", "100·ln(C/C[−1])", _PERCENT, 2, "ta"),
    _single("dr", "1", "100·(C/C[−1] − 1)", _PERCENT, 2, "ta"),
)

CANDLESTICKS: dict[str, int] = {
    "cdl2crows": 13, "cdl3blackcrows": 14, "cdl3inside": 13, "cdl3linestrike": 9, "cdl3outside": 4,
    "cdl3starsinsouth": 13, "cdl3whitesoldiers": 13, "cdlabandonedbaby": 13, "cdladvanceblock": 13,
    "cdlbelthold": 11, "cdlbreakaway": 15, "cdlclosingmarubozu": 11, "cdlconcealbabyswall": 14,
    "cdlcounterattack": 12, "cdldarkcloudcover": 12, "cdldoji": 11, "cdldojistar": 12,
    "cdldragonflydoji": 11, "cdlengulfing": 3, "cdleveningdojistar": 13, "cdleveningstar": 13,
    "cdlgapsidesidewhite": 8, "cdlgravestonedoji": 11, "cdlhammer": 12, "cdlhangingman": 12,
    "cdlharami": 12, "cdlharamicross": 12, "cdlhighwave": 11, "cdlhikkake": 6, "cdlhikkakemod": 11,
    "cdlhomingpigeon": 12, "cdlidentical3crows": 13, "cdlinneck": 12, "cdlinvertedhammer": 12,
    "cdlkicking": 12, "cdlkickingbylength": 12, "cdlladderbottom": 15, "cdllongleggeddoji": 11,
    "cdllongline": 11, "cdlmarubozu": 11, "cdlmatchinglow": 7, "cdlmathold": 15,
    "cdlmorningdojistar": 13, "cdlmorningstar": 13, "cdlonneck": 12, "cdlpiercing": 12,
    "cdlrickshawman": 11, "cdlrisefall3methods": 15, "cdlseparatinglines": 12, "cdlshootingstar": 12,
    "cdlshortline": 11, "cdlspinningtop": 11, "cdlstalledpattern": 13, "cdlsticksandwich": 8,
    "cdltakuri": 11, "cdltasukigap": 8, "cdlthrusting": 12, "cdltristar": 13, "cdlunique3river": 13,
    "cdlupsidegap2crows": 13, "cdlxsidegap3methods": 3,
}  # fmt: skip
"""Pattern → bars it needs: TA-Lib's lookback plus the bar itself."""

TECHNICAL: tuple[Metric, ...] = (
    *(
        metric
        for group, indicators in (
            ("momentum", _MOMENTUM),
            ("volatility", _VOLATILITY),
            ("trend", _TREND),
            ("volume", _VOLUME),
            ("others", _OTHERS),
        )
        for indicator in indicators
        for metric in indicator.metrics(group)
    ),
    *(
        Metric(
            group="pattern_recognition",
            indicator=name,
            output="",
            parameters="TA-Lib's defaults",
            formula=f"TA-Lib {name.upper()}",
            units="−200 to 200, 0 = none, negative = bearish",
            minimum_bars=minimum,
            null_rule="",
            oracle=f"TA-Lib {name.upper()}",
            type="integer",
        )
        for name, minimum in CANDLESTICKS.items()
    ),
)
"""technical_indicators_json, in the order of its keys; candlestick patterns have no output level."""


def _price(
    name: str, parameters: str, formula: str, units: str, minimum: int, null_rule: str = "", oracle: str = OWN
) -> Metric:
    return Metric("", name, "", parameters, formula, units, minimum, null_rule, oracle)


_NO_BASE = "the denominator is zero"

PRICE: tuple[Metric, ...] = (
    _price("close", "", "C", _PRICE, 1),
    _price("change_pct", "1", "100·(C/C[−1] − 1)", _PERCENT, 2, _NO_BASE),
    _price("gap_pct", "1", "100·(O/C[−1] − 1)", _PERCENT, 2, _NO_BASE),
    _price("rvol", "20", "V / mean of the 20 volumes before", "ratio", 21, "no volume in 20 bars", "TA-Lib RVOL"),
    _price("vsi", "20", "(V − mean)/population standard deviation of the same 20 volumes", "deviations", 21, "the 20 volumes are equal"),
    _price("hv_20", "20", "population standard deviation of 20 log returns · √252", "per year, 0.2 = 20 %", 21, "a price ≤ 0"),
    _price("hv_60", "60", "population standard deviation of 60 log returns · √252", "per year, 0.2 = 20 %", 61, "a price ≤ 0"),
    _price("hv", "20", "hv_20", "per year, 0.2 = 20 %", 21, "a price ≤ 0"),
    _price("price_vs_sma20", "20", "100·(C/SMA20 − 1)", _PERCENT, 20, _NO_BASE),
    _price("price_vs_sma50", "50", "100·(C/SMA50 − 1)", _PERCENT, 50, _NO_BASE),
    _price("price_vs_sma200", "200", "100·(C/SMA200 − 1)", _PERCENT, 200, _NO_BASE),
    _price("high_52w", "252", "MAX252 H", _PRICE, 252),
    _price("low_52w", "252", "MIN252 L", _PRICE, 252),
    _price("distance_from_high_52w", "252", "100·(C/high_52w − 1)", _PERCENT, 252, _NO_BASE),
    _price("distance_from_low_52w", "252", "100·(C/low_52w − 1)", _PERCENT, 252, _NO_BASE),
    _price("dollar_volume_20", "20", "mean of the last 20 C·V", "price·shares", 20),
    _price("atr_pct", "14", "100·ATR14/C", _PERCENT, 15, _NO_BASE, "TA-Lib NATR"),
)  # fmt: skip
"""price_metrics_json, in the order of its keys."""


_TYPES: dict[str, ValueType] = {
    "text": "text",
    "YYYY-MM-DD": "date",
    "ISO 8601": "time",
    "contracts": "integer",
    "days": "integer",
    "sessions": "integer",
    "bars": "integer",
    "walls": "integer",
}
"""Type by unit, for metrics of chains that name none: what is counted is whole."""


def chain_metric(
    name: str,
    formula: str,
    units: str,
    null_rule: str = "",
    *,
    parameters: str = "",
    oracle: str = OWN,
    type: ValueType | None = None,
) -> Metric:
    """A value of a column that rests on option chains instead of bars.

    `name` is its path, keys joined by dots, elements of a list marked []. Without a `type` the units tell it.
    """
    keys = name.split(".")
    return Metric(
        group=keys[0] if len(keys) > 1 else "",
        indicator=keys[min(len(keys) - 1, 1)],
        output=keys[2] if len(keys) > 2 else "",
        parameters=parameters,
        formula=formula,
        units=units,
        minimum_bars=0,
        null_rule=null_rule,
        oracle=oracle,
        type=type or _TYPES.get(units, "number"),
    )
