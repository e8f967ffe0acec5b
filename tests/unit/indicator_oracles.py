"""Independent values for the technical indicators: TA-Lib where it has them, `ta` 0.11 for the rest.

Every function takes the bars of one window, oldest first, and gives output name → value at the last bar
(NaN = null). `ta` is only asked for indicators whose last bar is free of its look-ahead fills, and only
from the number of bars at which that holds.
"""

import warnings

import numpy as np
import pandas as pd
import ta
import talib
import talib.abstract

from kapman_metrics.catalogue import CANDLESTICKS

Values = dict[str, float]


def _last(series: "np.ndarray | pd.Series") -> float:
    return float(np.asarray(series)[-1])


def from_talib(o: np.ndarray, h: np.ndarray, l: np.ndarray, c: np.ndarray, v: np.ndarray) -> Values:  # noqa: E741
    """All outputs that TA-Lib 0.8 computes itself."""
    ppo, pvo = talib.PPO(c, 12, 26, 1), talib.PVO(v, 12, 26, 1)
    stochrsi = talib.STOCHRSI(c, 14, 14, 3, 0)
    stoch = talib.STOCHF(h, l, c, 14, 3, 0)
    bands = talib.BBANDS(c, 20, 2.0, 2.0, 0)
    donchian, keltner = talib.DONCHIAN(h, l, 20), talib.KC(h, l, c, 20, 10, 2.0)
    aroon, macd = talib.AROON(h, l, 25), talib.MACD(c, 12, 26, 9)
    vortex = talib.VORTEX(h, l, c, 14)
    series = {
        "awesome_oscillator": talib.AO(h, l, 5, 34),
        "kama": talib.KAMA(c, 10),
        "ppo": ppo,
        "ppo_signal": talib.EMA(ppo, 9),
        "ppo_hist": ppo - talib.EMA(ppo, 9),
        "pvo": pvo,
        "pvo_signal": talib.EMA(pvo, 9),
        "pvo_hist": pvo - talib.EMA(pvo, 9),
        "roc": talib.ROC(c, 12),
        "rsi": talib.RSI(c, 14),
        "stochrsi": stochrsi[0],
        "stochrsi_k": stochrsi[1],
        "stochrsi_d": talib.SMA(stochrsi[1], 3),
        "stoch": stoch[0],
        "stoch_signal": stoch[1],
        "tsi": talib.TSI(c, 25, 13),
        "ultimate_oscillator": talib.ULTOSC(h, l, c, 7, 14, 28),
        "williams_r": talib.WILLR(h, l, c, 14),
        "average_true_range": talib.ATR(h, l, c, 14),
        "bollinger_hband": bands[0],
        "bollinger_mavg": bands[1],
        "bollinger_lband": bands[2],
        "donchian_channel_hband": donchian[0],
        "donchian_channel_mband": donchian[1],
        "donchian_channel_lband": donchian[2],
        "keltner_channel_hband": keltner[0],
        "keltner_channel_mband": keltner[1],
        "keltner_channel_lband": keltner[2],
        "adx": talib.ADX(h, l, c, 14),
        "adx_pos": talib.PLUS_DI(h, l, c, 14),
        "adx_neg": talib.MINUS_DI(h, l, c, 14),
        "aroon_down": aroon[0],
        "aroon_up": aroon[1],
        "aroon_indicator": talib.AROONOSC(h, l, 25),
        "cci": talib.CCI(h, l, c, 20),
        "dpo": talib.DPO(c, 20),
        **{f"ema_{n}": talib.EMA(c, n) for n in (12, 14, 26)},
        "macd": macd[0],
        "macd_signal": macd[1],
        "macd_diff": macd[2],
        "mass_index": talib.MASSI(h, l, 9, 25),
        "psar": talib.SAR(h, l, 0.02, 0.2),
        **{f"sma_{n}": talib.SMA(c, n) for n in (14, 20, 50, 200)},
        "trix": talib.TRIX(c, 15),
        "vortex_indicator_pos": vortex[0],
        "vortex_indicator_neg": vortex[1],
        "vortex_indicator_diff": vortex[0] - vortex[1],
        "wma": talib.WMA(c, 9),
        "adi": talib.AD(h, l, c, v),
        "cmf": talib.CMF(h, l, c, v, 20),
        "fi": talib.EFI(c, v, 13),
        "mfi": talib.MFI(h, l, c, v, 14),
        "nvi": talib.NVI(c, v),
        "obv": talib.OBV(c, v),
        "vpt": talib.PVT(c, v),
    }
    return {name: _last(values) for name, values in series.items()}


def candlesticks_from_talib(o: np.ndarray, h: np.ndarray, l: np.ndarray, c: np.ndarray) -> dict[str, int]:  # noqa: E741
    """TA-Lib's pattern at the last bar, where the window has TA-Lib's lookback."""
    return {
        name: int(getattr(talib, name.upper())(o, h, l, c)[-1])
        for name in CANDLESTICKS
        if len(c) > talib.abstract.Function(name.upper()).lookback
    }


def from_ta(h: np.ndarray, l: np.ndarray, c: np.ndarray, v: np.ndarray) -> Values:  # noqa: E741
    """Outputs that only `ta` computes, with the number of bars from which it looks at nothing else."""
    high, low, close, volume = (pd.Series(values) for values in (h, l, c, v))
    size = len(c)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        kst = ta.trend.KSTIndicator(close)
        stc = ta.trend.STCIndicator(close)
        ichimoku = ta.trend.IchimokuIndicator(high, low, 9, 26, 52)
        eom = ta.volume.EaseOfMovementIndicator(high, low, volume, 14)
        bollinger = ta.volatility.BollingerBands(close, 20, 2)
        donchian = ta.volatility.DonchianChannel(high, low, close, 20)
        values = {
            "bollinger_pband": (bollinger.bollinger_pband(), 20),
            "bollinger_wband": (bollinger.bollinger_wband(), 20),
            "bollinger_hband_indicator": (bollinger.bollinger_hband_indicator(), 20),
            "bollinger_lband_indicator": (bollinger.bollinger_lband_indicator(), 20),
            "donchian_channel_pband": (donchian.donchian_channel_pband(), 20),
            "donchian_channel_wband": (donchian.donchian_channel_wband(), 20),
            "ulcer_index": (ta.volatility.UlcerIndex(close, 14).ulcer_index(), 14),
            "ichimoku_conversion_line": (ichimoku.ichimoku_conversion_line(), 9),
            "ichimoku_base_line": (ichimoku.ichimoku_base_line(), 26),
            "ichimoku_a": (ichimoku.ichimoku_a(), 26),
            "ichimoku_b": (ichimoku.ichimoku_b(), 52),
            "kst": (kst.kst(), 45),
            "kst_sig": (kst.kst_sig(), 53),
            "kst_diff": (kst.kst_diff(), 53),
            "stc": (stc.stc(), 72),
            "ease_of_movement": (eom.ease_of_movement(), 2),
            "sma_ease_of_movement": (eom.sma_ease_of_movement(), 15),
            "vwap": (
                ta.volume.VolumeWeightedAveragePrice(
                    high, low, close, volume, 14
                ).volume_weighted_average_price(),
                14,
            ),
            "cr": (ta.others.CumulativeReturnIndicator(close).cumulative_return(), 1),
            "dlr": (ta.others.DailyLogReturnIndicator(close).daily_log_return(), 2),
            "dr": (ta.others.DailyReturnIndicator(close).daily_return(), 2),
        }
        return {
            name: _last(series) if size >= minimum else np.nan for name, (series, minimum) in values.items()
        }
