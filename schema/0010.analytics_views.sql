-- The views of daily_snapshots in typed columns. Generated; edit kapman_metrics/views.py instead:
-- python -m kapman_metrics.views 0009.analytics > this file
-- depends: 0009.analytics
DROP VIEW IF EXISTS analytics.technical_indicators, analytics.candlestick_patterns,
    analytics.candlestick_signals, analytics.price_metrics, analytics.dealer_metrics, analytics.dealer_walls,
    analytics.gex_profile, analytics.volatility_metrics;

CREATE VIEW analytics.technical_indicators AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       (d.momentum->'awesome_oscillator'->>'awesome_oscillator')::double precision AS awesome_oscillator,
       (d.momentum->'kama'->>'kama')::double precision AS kama,
       (d.momentum->'ppo'->>'ppo')::double precision AS ppo,
       (d.momentum->'ppo'->>'ppo_signal')::double precision AS ppo_signal,
       (d.momentum->'ppo'->>'ppo_hist')::double precision AS ppo_hist,
       (d.momentum->'pvo'->>'pvo')::double precision AS pvo,
       (d.momentum->'pvo'->>'pvo_signal')::double precision AS pvo_signal,
       (d.momentum->'pvo'->>'pvo_hist')::double precision AS pvo_hist,
       (d.momentum->'roc'->>'roc')::double precision AS roc,
       (d.momentum->'rsi'->>'rsi')::double precision AS rsi,
       (d.momentum->'stochrsi'->>'stochrsi')::double precision AS stochrsi,
       (d.momentum->'stochrsi'->>'stochrsi_k')::double precision AS stochrsi_k,
       (d.momentum->'stochrsi'->>'stochrsi_d')::double precision AS stochrsi_d,
       (d.momentum->'stoch'->>'stoch')::double precision AS stoch,
       (d.momentum->'stoch'->>'stoch_signal')::double precision AS stoch_signal,
       (d.momentum->'tsi'->>'tsi')::double precision AS tsi,
       (d.momentum->'ultimate_oscillator'->>'ultimate_oscillator')::double precision AS ultimate_oscillator,
       (d.momentum->'williams_r'->>'williams_r')::double precision AS williams_r,
       (d.volatility->'atr'->>'average_true_range')::double precision AS average_true_range,
       (d.volatility->'bbands'->>'bollinger_hband')::double precision AS bollinger_hband,
       (d.volatility->'bbands'->>'bollinger_lband')::double precision AS bollinger_lband,
       (d.volatility->'bbands'->>'bollinger_mavg')::double precision AS bollinger_mavg,
       (d.volatility->'bbands'->>'bollinger_pband')::double precision AS bollinger_pband,
       (d.volatility->'bbands'->>'bollinger_wband')::double precision AS bollinger_wband,
       (d.volatility->'bbands'->>'bollinger_hband_indicator')::double precision AS bollinger_hband_indicator,
       (d.volatility->'bbands'->>'bollinger_lband_indicator')::double precision AS bollinger_lband_indicator,
       (d.volatility->'donchian'->>'donchian_channel_hband')::double precision AS donchian_channel_hband,
       (d.volatility->'donchian'->>'donchian_channel_lband')::double precision AS donchian_channel_lband,
       (d.volatility->'donchian'->>'donchian_channel_mband')::double precision AS donchian_channel_mband,
       (d.volatility->'donchian'->>'donchian_channel_pband')::double precision AS donchian_channel_pband,
       (d.volatility->'donchian'->>'donchian_channel_wband')::double precision AS donchian_channel_wband,
       (d.volatility->'keltner'->>'keltner_channel_hband')::double precision AS keltner_channel_hband,
       (d.volatility->'keltner'->>'keltner_channel_lband')::double precision AS keltner_channel_lband,
       (d.volatility->'keltner'->>'keltner_channel_mband')::double precision AS keltner_channel_mband,
       (d.volatility->'keltner'->>'keltner_channel_pband')::double precision AS keltner_channel_pband,
       (d.volatility->'keltner'->>'keltner_channel_wband')::double precision AS keltner_channel_wband,
       (d.volatility->'keltner'->>'keltner_channel_hband_indicator')::double precision AS keltner_channel_hband_indicator,
       (d.volatility->'keltner'->>'keltner_channel_lband_indicator')::double precision AS keltner_channel_lband_indicator,
       (d.volatility->'ulcer_index'->>'ulcer_index')::double precision AS ulcer_index,
       (d.trend->'adx'->>'adx')::double precision AS adx,
       (d.trend->'adx'->>'adx_pos')::double precision AS adx_pos,
       (d.trend->'adx'->>'adx_neg')::double precision AS adx_neg,
       (d.trend->'aroon'->>'aroon_up')::double precision AS aroon_up,
       (d.trend->'aroon'->>'aroon_down')::double precision AS aroon_down,
       (d.trend->'aroon'->>'aroon_indicator')::double precision AS aroon_indicator,
       (d.trend->'cci'->>'cci')::double precision AS cci,
       (d.trend->'dpo'->>'dpo')::double precision AS dpo,
       (d.trend->'ema'->>'ema_12')::double precision AS ema_12,
       (d.trend->'ema'->>'ema_14')::double precision AS ema_14,
       (d.trend->'ema'->>'ema_26')::double precision AS ema_26,
       (d.trend->'ichimoku'->>'ichimoku_conversion_line')::double precision AS ichimoku_conversion_line,
       (d.trend->'ichimoku'->>'ichimoku_base_line')::double precision AS ichimoku_base_line,
       (d.trend->'ichimoku'->>'ichimoku_a')::double precision AS ichimoku_a,
       (d.trend->'ichimoku'->>'ichimoku_b')::double precision AS ichimoku_b,
       (d.trend->'kst'->>'kst')::double precision AS kst,
       (d.trend->'kst'->>'kst_sig')::double precision AS kst_sig,
       (d.trend->'kst'->>'kst_diff')::double precision AS kst_diff,
       (d.trend->'macd'->>'macd')::double precision AS macd,
       (d.trend->'macd'->>'macd_signal')::double precision AS macd_signal,
       (d.trend->'macd'->>'macd_diff')::double precision AS macd_diff,
       (d.trend->'mass_index'->>'mass_index')::double precision AS mass_index,
       (d.trend->'psar'->>'psar')::double precision AS psar,
       (d.trend->'psar'->>'psar_up')::double precision AS psar_up,
       (d.trend->'psar'->>'psar_down')::double precision AS psar_down,
       (d.trend->'psar'->>'psar_up_indicator')::double precision AS psar_up_indicator,
       (d.trend->'psar'->>'psar_down_indicator')::double precision AS psar_down_indicator,
       (d.trend->'sma'->>'sma_14')::double precision AS sma_14,
       (d.trend->'sma'->>'sma_20')::double precision AS sma_20,
       (d.trend->'sma'->>'sma_50')::double precision AS sma_50,
       (d.trend->'sma'->>'sma_200')::double precision AS sma_200,
       (d.trend->'stc'->>'stc')::double precision AS stc,
       (d.trend->'trix'->>'trix')::double precision AS trix,
       (d.trend->'vortex'->>'vortex_indicator_pos')::double precision AS vortex_indicator_pos,
       (d.trend->'vortex'->>'vortex_indicator_neg')::double precision AS vortex_indicator_neg,
       (d.trend->'vortex'->>'vortex_indicator_diff')::double precision AS vortex_indicator_diff,
       (d.trend->'wma'->>'wma')::double precision AS wma,
       (d.volume->'adi'->>'adi')::double precision AS adi,
       (d.volume->'cmf'->>'cmf')::double precision AS cmf,
       (d.volume->'eom'->>'ease_of_movement')::double precision AS ease_of_movement,
       (d.volume->'eom'->>'sma_ease_of_movement')::double precision AS sma_ease_of_movement,
       (d.volume->'fi'->>'fi')::double precision AS fi,
       (d.volume->'mfi'->>'mfi')::double precision AS mfi,
       (d.volume->'nvi'->>'nvi')::double precision AS nvi,
       (d.volume->'obv'->>'obv')::double precision AS obv,
       (d.volume->'vpt'->>'vpt')::double precision AS vpt,
       (d.volume->'vwap'->>'vwap')::double precision AS vwap,
       (d.others->'cr'->>'cr')::double precision AS cr,
       (d.others->'dlr'->>'dlr')::double precision AS dlr,
       (d.others->'dr'->>'dr')::double precision AS dr
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_to_record(s.technical_indicators_json) AS d (
    momentum jsonb, volatility jsonb, trend jsonb, volume jsonb, others jsonb
)
WHERE s.technical_indicators_json IS NOT NULL;
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.technical_indicators IS 'Technical indicators: a row for each symbol and session.';
    COMMENT ON COLUMN analytics.technical_indicators.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.technical_indicators.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.technical_indicators.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.technical_indicators.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.technical_indicators.awesome_oscillator IS 'SMA5 − SMA34 of (H+L)/2; parameters: 5, 34; bars: 34 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.kama IS 'k += s²·(C−k), s = ER·(2/3−2/31)+2/31, ER = |C−C[−10]|/Σ10|ΔC|; parameters: 10, 2, 30; bars: 11 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ppo IS '100·(EMA12−EMA26)/EMA26 of C; parameters: 12, 26, 9; bars: 26 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.ppo_signal IS 'EMA9 of ppo; parameters: 12, 26, 9; bars: 34 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.ppo_hist IS 'ppo − ppo_signal; parameters: 12, 26, 9; bars: 34 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.pvo IS '100·(EMA12−EMA26)/EMA26 of V; 0 if EMA26 is 0; parameters: 12, 26, 9; bars: 26 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.pvo_signal IS 'EMA9 of pvo; parameters: 12, 26, 9; bars: 34 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.pvo_hist IS 'pvo − pvo_signal; parameters: 12, 26, 9; bars: 34 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.roc IS '100·(C/C[−12] − 1); parameters: 12; bars: 13 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.rsi IS '100·G/(G+L), Wilder''s means of gains and losses; 0 if nothing moved; parameters: 14; bars: 15 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.stochrsi IS '100·(RSI−MIN14 RSI)/(MAX14 RSI−MIN14 RSI); 0 if equal; parameters: 14, 3, 3; bars: 30 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.stochrsi_k IS 'SMA3 of stochrsi; parameters: 14, 3, 3; bars: 30 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.stochrsi_d IS 'SMA3 of stochrsi_k; parameters: 14, 3, 3; bars: 32 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.stoch IS '100·(C−MIN14 L)/(MAX14 H−MIN14 L); 0 if equal; parameters: 14, 3; bars: 16 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.stoch_signal IS 'SMA3 of stoch; parameters: 14, 3; bars: 16 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.tsi IS '100·EMA13(EMA25 ΔC)/EMA13(EMA25 |ΔC|); 0 if nothing moved; parameters: 25, 13; bars: 38 [−100 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.ultimate_oscillator IS '100·(4·A7+2·A14+A28)/7, An = Σn(C−min(L,C[−1]))/Σn TR; parameters: 7, 14, 28; bars: 29 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.williams_r IS '−100·(MAX14 H−C)/(MAX14 H−MIN14 L); 0 if equal; parameters: 14; bars: 14 [−100 to 0]';
    COMMENT ON COLUMN analytics.technical_indicators.average_true_range IS 'mean of the first 14 TR, then (13·ATR+TR)/14; parameters: 14; bars: 15 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.bollinger_hband IS 'SMA20 + 2·population standard deviation; parameters: 20, 2; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.bollinger_lband IS 'SMA20 − 2·population standard deviation; parameters: 20, 2; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.bollinger_mavg IS 'SMA20; parameters: 20, 2; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.bollinger_pband IS '(C−lband)/(hband−lband); parameters: 20, 2; bars: 20; null when: the band has no width [0 to 1 inside the band]';
    COMMENT ON COLUMN analytics.technical_indicators.bollinger_wband IS '100·(hband−lband)/mavg; parameters: 20, 2; bars: 20 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.bollinger_hband_indicator IS '1 if C > hband; parameters: 20, 2; bars: 20 [0 or 1]';
    COMMENT ON COLUMN analytics.technical_indicators.bollinger_lband_indicator IS '1 if C < lband; parameters: 20, 2; bars: 20 [0 or 1]';
    COMMENT ON COLUMN analytics.technical_indicators.donchian_channel_hband IS 'MAX20 H; parameters: 20; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.donchian_channel_lband IS 'MIN20 L; parameters: 20; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.donchian_channel_mband IS '(hband+lband)/2; parameters: 20; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.donchian_channel_pband IS '(C−lband)/(hband−lband); parameters: 20; bars: 20; null when: the band has no width [0 to 1]';
    COMMENT ON COLUMN analytics.technical_indicators.donchian_channel_wband IS '100·(hband−lband)/SMA20 C; parameters: 20; bars: 20 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.keltner_channel_hband IS 'EMA20 TP + 2·ATR10, the ATR seeded by bars 11 to 20; parameters: 20, ATR 10, 2; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.keltner_channel_lband IS 'EMA20 TP − 2·ATR10; parameters: 20, ATR 10, 2; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.keltner_channel_mband IS 'EMA20 TP; parameters: 20, ATR 10, 2; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.keltner_channel_pband IS '(C−lband)/(hband−lband); parameters: 20, ATR 10, 2; bars: 20; null when: the band has no width [0 to 1 inside the band]';
    COMMENT ON COLUMN analytics.technical_indicators.keltner_channel_wband IS '100·(hband−lband)/mband; parameters: 20, ATR 10, 2; bars: 20 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.keltner_channel_hband_indicator IS '1 if C > hband; parameters: 20, ATR 10, 2; bars: 20 [0 or 1]';
    COMMENT ON COLUMN analytics.technical_indicators.keltner_channel_lband_indicator IS '1 if C < lband; parameters: 20, ATR 10, 2; bars: 20 [0 or 1]';
    COMMENT ON COLUMN analytics.technical_indicators.ulcer_index IS '√(Σ14 r²/14), r = 100·(C−M)/M, M = highest of the last ≤ 14 C; parameters: 14; bars: 14 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.adx IS 'mean of the first 14 DX, then (13·ADX+DX)/14, DX = 100·|pos−neg|/(pos+neg); parameters: 14; bars: 28 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.adx_pos IS '100·S(+DM)/S(TR), S = 13 bars'' sum, then S−S/14+x; parameters: 14; bars: 15 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.adx_neg IS '100·S(−DM)/S(TR); parameters: 14; bars: 15 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.aroon_up IS '100·(25 − bars since the highest H of 26)/25; parameters: 25; bars: 26 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.aroon_down IS '100·(25 − bars since the lowest L of 26)/25; parameters: 25; bars: 26 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.aroon_indicator IS 'aroon_up − aroon_down; parameters: 25; bars: 26 [−100 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.cci IS '(TP−SMA20 TP)/(0.015·mean20 |TP−SMA20 TP|); 0 if flat; parameters: 20; bars: 20 [index]';
    COMMENT ON COLUMN analytics.technical_indicators.dpo IS 'C[−11] − SMA20; parameters: 20; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ema_12 IS 'EMA12; parameters: 12, 14, 26; bars: 12 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ema_14 IS 'EMA14; parameters: 12, 14, 26; bars: 14 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ema_26 IS 'EMA26; parameters: 12, 14, 26; bars: 26 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ichimoku_conversion_line IS '(MAX9 H + MIN9 L)/2; parameters: 9, 26, 52, not displaced; bars: 9 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ichimoku_base_line IS '(MAX26 H + MIN26 L)/2; parameters: 9, 26, 52, not displaced; bars: 26 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ichimoku_a IS '(conversion_line + base_line)/2; parameters: 9, 26, 52, not displaced; bars: 26 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.ichimoku_b IS '(MAX52 H + MIN52 L)/2; parameters: 9, 26, 52, not displaced; bars: 52 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.kst IS '100·(SMA10 R10+2·SMA10 R15+3·SMA10 R20+4·SMA15 R30), Rk = C/C[−k]−1; parameters: 10, 15, 20, 30; 10, 10, 10, 15; 9; bars: 45 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.kst_sig IS 'SMA9 of kst; parameters: 10, 15, 20, 30; 10, 10, 10, 15; 9; bars: 53 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.kst_diff IS 'kst − kst_sig; parameters: 10, 15, 20, 30; 10, 10, 10, 15; 9; bars: 53 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.macd IS 'EMA12 − EMA26, both starting on bar 26; parameters: 12, 26, 9; bars: 34 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.macd_signal IS 'EMA9 of macd; parameters: 12, 26, 9; bars: 34 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.macd_diff IS 'macd − macd_signal; parameters: 12, 26, 9; bars: 34 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.mass_index IS 'Σ25 e/EMA9(e), e = EMA9(H−L); a ratio of zeros counts 1; parameters: 9, 25; bars: 41 [index around 25]';
    COMMENT ON COLUMN analytics.technical_indicators.psar IS 'Wilder''s stop and reverse, direction from the window''s first two bars; parameters: 0.02, 0.2; bars: 2 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.psar_up IS 'psar while rising; parameters: 0.02, 0.2; bars: 2; null when: the trend is falling [price]';
    COMMENT ON COLUMN analytics.technical_indicators.psar_down IS 'psar while falling; parameters: 0.02, 0.2; bars: 2; null when: the trend is rising [price]';
    COMMENT ON COLUMN analytics.technical_indicators.psar_up_indicator IS '1 on the first bar of a rise; parameters: 0.02, 0.2; bars: 2 [0 or 1]';
    COMMENT ON COLUMN analytics.technical_indicators.psar_down_indicator IS '1 on the first bar of a fall; parameters: 0.02, 0.2; bars: 2 [0 or 1]';
    COMMENT ON COLUMN analytics.technical_indicators.sma_14 IS 'SMA14; parameters: 14, 20, 50, 200; bars: 14 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.sma_20 IS 'SMA20; parameters: 14, 20, 50, 200; bars: 20 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.sma_50 IS 'SMA50; parameters: 14, 20, 50, 200; bars: 50 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.sma_200 IS 'SMA200; parameters: 14, 20, 50, 200; bars: 200 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.stc IS 'E(P(E(P(EMA23−EMA50)))), P = place in the range of 10 in %, E = EMA3, seeds: first values; parameters: 23, 50, 10, 3, 3; bars: 72; null when: a stochastic never had a range [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.trix IS '100·(T/T[−1] − 1), T = EMA15 of EMA15 of EMA15; parameters: 15; bars: 44 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.vortex_indicator_pos IS 'Σ14 |H−L[−1]| / Σ14 TR; 0 if nothing moved; parameters: 14; bars: 15 [ratio]';
    COMMENT ON COLUMN analytics.technical_indicators.vortex_indicator_neg IS 'Σ14 |L−H[−1]| / Σ14 TR; 0 if nothing moved; parameters: 14; bars: 15 [ratio]';
    COMMENT ON COLUMN analytics.technical_indicators.vortex_indicator_diff IS 'pos − neg; parameters: 14; bars: 15 [ratio]';
    COMMENT ON COLUMN analytics.technical_indicators.wma IS 'Σ i·C / 45, i = 1 (oldest) to 9; parameters: 9; bars: 9 [price]';
    COMMENT ON COLUMN analytics.technical_indicators.adi IS 'Σ CLV·V over the window; a bar with H = L adds 0; parameters: cumulative [shares]';
    COMMENT ON COLUMN analytics.technical_indicators.cmf IS 'Σ20 CLV·V / Σ20 V; 0 without volume; parameters: 20; bars: 20 [−1 to 1]';
    COMMENT ON COLUMN analytics.technical_indicators.ease_of_movement IS '10⁸·((H−H[−1])+(L−L[−1]))·(H−L)/(2V); parameters: 14; bars: 2; null when: no volume [price²/share·10⁸]';
    COMMENT ON COLUMN analytics.technical_indicators.sma_ease_of_movement IS 'SMA14 of ease_of_movement; parameters: 14; bars: 15; null when: a bar of the 14 without volume [price²/share·10⁸]';
    COMMENT ON COLUMN analytics.technical_indicators.fi IS 'EMA13 of (C−C[−1])·V; parameters: 13; bars: 14 [price·shares]';
    COMMENT ON COLUMN analytics.technical_indicators.mfi IS '100·Σ14 TP·V where TP rose / where it moved; 0 if that is under 1; parameters: 14; bars: 15 [0 to 100]';
    COMMENT ON COLUMN analytics.technical_indicators.nvi IS '1000 at the window''s start, times C/C[−1] where V < V[−1]; parameters: cumulative [index]';
    COMMENT ON COLUMN analytics.technical_indicators.obv IS 'first V, then +V where C rose, −V where it fell; parameters: cumulative [shares]';
    COMMENT ON COLUMN analytics.technical_indicators.vpt IS 'Σ V·(C/C[−1] − 1) over the window; parameters: cumulative [shares]';
    COMMENT ON COLUMN analytics.technical_indicators.vwap IS 'Σ14 TP·V / Σ14 V; parameters: 14, rolling; bars: 14; null when: no volume in 14 bars [price]';
    COMMENT ON COLUMN analytics.technical_indicators.cr IS '100·(C/first C of the window − 1); parameters: cumulative [%]';
    COMMENT ON COLUMN analytics.technical_indicators.dlr IS '100·ln(C/C[−1]); parameters: 1; bars: 2 [%]';
    COMMENT ON COLUMN analytics.technical_indicators.dr IS '100·(C/C[−1] − 1); parameters: 1; bars: 2 [%]';
END $comments$;

CREATE VIEW analytics.candlestick_patterns AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       p.cdl2crows,
       p.cdl3blackcrows,
       p.cdl3inside,
       p.cdl3linestrike,
       p.cdl3outside,
       p.cdl3starsinsouth,
       p.cdl3whitesoldiers,
       p.cdlabandonedbaby,
       p.cdladvanceblock,
       p.cdlbelthold,
       p.cdlbreakaway,
       p.cdlclosingmarubozu,
       p.cdlconcealbabyswall,
       p.cdlcounterattack,
       p.cdldarkcloudcover,
       p.cdldoji,
       p.cdldojistar,
       p.cdldragonflydoji,
       p.cdlengulfing,
       p.cdleveningdojistar,
       p.cdleveningstar,
       p.cdlgapsidesidewhite,
       p.cdlgravestonedoji,
       p.cdlhammer,
       p.cdlhangingman,
       p.cdlharami,
       p.cdlharamicross,
       p.cdlhighwave,
       p.cdlhikkake,
       p.cdlhikkakemod,
       p.cdlhomingpigeon,
       p.cdlidentical3crows,
       p.cdlinneck,
       p.cdlinvertedhammer,
       p.cdlkicking,
       p.cdlkickingbylength,
       p.cdlladderbottom,
       p.cdllongleggeddoji,
       p.cdllongline,
       p.cdlmarubozu,
       p.cdlmatchinglow,
       p.cdlmathold,
       p.cdlmorningdojistar,
       p.cdlmorningstar,
       p.cdlonneck,
       p.cdlpiercing,
       p.cdlrickshawman,
       p.cdlrisefall3methods,
       p.cdlseparatinglines,
       p.cdlshootingstar,
       p.cdlshortline,
       p.cdlspinningtop,
       p.cdlstalledpattern,
       p.cdlsticksandwich,
       p.cdltakuri,
       p.cdltasukigap,
       p.cdlthrusting,
       p.cdltristar,
       p.cdlunique3river,
       p.cdlupsidegap2crows,
       p.cdlxsidegap3methods
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_to_record(s.technical_indicators_json->'pattern_recognition') AS p (
    cdl2crows integer, cdl3blackcrows integer, cdl3inside integer, cdl3linestrike integer,
    cdl3outside integer, cdl3starsinsouth integer, cdl3whitesoldiers integer, cdlabandonedbaby integer,
    cdladvanceblock integer, cdlbelthold integer, cdlbreakaway integer, cdlclosingmarubozu integer,
    cdlconcealbabyswall integer, cdlcounterattack integer, cdldarkcloudcover integer, cdldoji integer,
    cdldojistar integer, cdldragonflydoji integer, cdlengulfing integer, cdleveningdojistar integer,
    cdleveningstar integer, cdlgapsidesidewhite integer, cdlgravestonedoji integer, cdlhammer integer,
    cdlhangingman integer, cdlharami integer, cdlharamicross integer, cdlhighwave integer, cdlhikkake integer,
    cdlhikkakemod integer, cdlhomingpigeon integer, cdlidentical3crows integer, cdlinneck integer,
    cdlinvertedhammer integer, cdlkicking integer, cdlkickingbylength integer, cdlladderbottom integer,
    cdllongleggeddoji integer, cdllongline integer, cdlmarubozu integer, cdlmatchinglow integer,
    cdlmathold integer, cdlmorningdojistar integer, cdlmorningstar integer, cdlonneck integer,
    cdlpiercing integer, cdlrickshawman integer, cdlrisefall3methods integer, cdlseparatinglines integer,
    cdlshootingstar integer, cdlshortline integer, cdlspinningtop integer, cdlstalledpattern integer,
    cdlsticksandwich integer, cdltakuri integer, cdltasukigap integer, cdlthrusting integer,
    cdltristar integer, cdlunique3river integer, cdlupsidegap2crows integer, cdlxsidegap3methods integer
)
WHERE s.technical_indicators_json IS NOT NULL;
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.candlestick_patterns IS 'Candlestick patterns, a column for each; candlestick_signals lists those that occurred.';
    COMMENT ON COLUMN analytics.candlestick_patterns.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.candlestick_patterns.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.candlestick_patterns.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.candlestick_patterns.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdl2crows IS 'TA-Lib CDL2CROWS; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdl3blackcrows IS 'TA-Lib CDL3BLACKCROWS; parameters: TA-Lib''s defaults; bars: 14 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdl3inside IS 'TA-Lib CDL3INSIDE; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdl3linestrike IS 'TA-Lib CDL3LINESTRIKE; parameters: TA-Lib''s defaults; bars: 9 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdl3outside IS 'TA-Lib CDL3OUTSIDE; parameters: TA-Lib''s defaults; bars: 4 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdl3starsinsouth IS 'TA-Lib CDL3STARSINSOUTH; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdl3whitesoldiers IS 'TA-Lib CDL3WHITESOLDIERS; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlabandonedbaby IS 'TA-Lib CDLABANDONEDBABY; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdladvanceblock IS 'TA-Lib CDLADVANCEBLOCK; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlbelthold IS 'TA-Lib CDLBELTHOLD; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlbreakaway IS 'TA-Lib CDLBREAKAWAY; parameters: TA-Lib''s defaults; bars: 15 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlclosingmarubozu IS 'TA-Lib CDLCLOSINGMARUBOZU; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlconcealbabyswall IS 'TA-Lib CDLCONCEALBABYSWALL; parameters: TA-Lib''s defaults; bars: 14 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlcounterattack IS 'TA-Lib CDLCOUNTERATTACK; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdldarkcloudcover IS 'TA-Lib CDLDARKCLOUDCOVER; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdldoji IS 'TA-Lib CDLDOJI; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdldojistar IS 'TA-Lib CDLDOJISTAR; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdldragonflydoji IS 'TA-Lib CDLDRAGONFLYDOJI; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlengulfing IS 'TA-Lib CDLENGULFING; parameters: TA-Lib''s defaults; bars: 3 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdleveningdojistar IS 'TA-Lib CDLEVENINGDOJISTAR; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdleveningstar IS 'TA-Lib CDLEVENINGSTAR; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlgapsidesidewhite IS 'TA-Lib CDLGAPSIDESIDEWHITE; parameters: TA-Lib''s defaults; bars: 8 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlgravestonedoji IS 'TA-Lib CDLGRAVESTONEDOJI; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlhammer IS 'TA-Lib CDLHAMMER; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlhangingman IS 'TA-Lib CDLHANGINGMAN; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlharami IS 'TA-Lib CDLHARAMI; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlharamicross IS 'TA-Lib CDLHARAMICROSS; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlhighwave IS 'TA-Lib CDLHIGHWAVE; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlhikkake IS 'TA-Lib CDLHIKKAKE; parameters: TA-Lib''s defaults; bars: 6 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlhikkakemod IS 'TA-Lib CDLHIKKAKEMOD; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlhomingpigeon IS 'TA-Lib CDLHOMINGPIGEON; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlidentical3crows IS 'TA-Lib CDLIDENTICAL3CROWS; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlinneck IS 'TA-Lib CDLINNECK; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlinvertedhammer IS 'TA-Lib CDLINVERTEDHAMMER; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlkicking IS 'TA-Lib CDLKICKING; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlkickingbylength IS 'TA-Lib CDLKICKINGBYLENGTH; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlladderbottom IS 'TA-Lib CDLLADDERBOTTOM; parameters: TA-Lib''s defaults; bars: 15 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdllongleggeddoji IS 'TA-Lib CDLLONGLEGGEDDOJI; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdllongline IS 'TA-Lib CDLLONGLINE; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlmarubozu IS 'TA-Lib CDLMARUBOZU; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlmatchinglow IS 'TA-Lib CDLMATCHINGLOW; parameters: TA-Lib''s defaults; bars: 7 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlmathold IS 'TA-Lib CDLMATHOLD; parameters: TA-Lib''s defaults; bars: 15 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlmorningdojistar IS 'TA-Lib CDLMORNINGDOJISTAR; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlmorningstar IS 'TA-Lib CDLMORNINGSTAR; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlonneck IS 'TA-Lib CDLONNECK; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlpiercing IS 'TA-Lib CDLPIERCING; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlrickshawman IS 'TA-Lib CDLRICKSHAWMAN; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlrisefall3methods IS 'TA-Lib CDLRISEFALL3METHODS; parameters: TA-Lib''s defaults; bars: 15 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlseparatinglines IS 'TA-Lib CDLSEPARATINGLINES; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlshootingstar IS 'TA-Lib CDLSHOOTINGSTAR; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlshortline IS 'TA-Lib CDLSHORTLINE; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlspinningtop IS 'TA-Lib CDLSPINNINGTOP; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlstalledpattern IS 'TA-Lib CDLSTALLEDPATTERN; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlsticksandwich IS 'TA-Lib CDLSTICKSANDWICH; parameters: TA-Lib''s defaults; bars: 8 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdltakuri IS 'TA-Lib CDLTAKURI; parameters: TA-Lib''s defaults; bars: 11 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdltasukigap IS 'TA-Lib CDLTASUKIGAP; parameters: TA-Lib''s defaults; bars: 8 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlthrusting IS 'TA-Lib CDLTHRUSTING; parameters: TA-Lib''s defaults; bars: 12 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdltristar IS 'TA-Lib CDLTRISTAR; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlunique3river IS 'TA-Lib CDLUNIQUE3RIVER; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlupsidegap2crows IS 'TA-Lib CDLUPSIDEGAP2CROWS; parameters: TA-Lib''s defaults; bars: 13 [−200 to 200, 0 = none, negative = bearish]';
    COMMENT ON COLUMN analytics.candlestick_patterns.cdlxsidegap3methods IS 'TA-Lib CDLXSIDEGAP3METHODS; parameters: TA-Lib''s defaults; bars: 3 [−200 to 200, 0 = none, negative = bearish]';
END $comments$;

CREATE VIEW analytics.candlestick_signals AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       p.pattern,
       p.value::integer AS value
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_each_text(s.technical_indicators_json->'pattern_recognition') AS p (pattern, value)
WHERE s.technical_indicators_json IS NOT NULL AND p.value <> '0';
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.candlestick_signals IS 'Candlestick patterns that occurred: a row for each symbol, session and pattern whose value is not 0.';
    COMMENT ON COLUMN analytics.candlestick_signals.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.candlestick_signals.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.candlestick_signals.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.candlestick_signals.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.candlestick_signals.pattern IS 'Name of the pattern (docs/metrics.md).';
    COMMENT ON COLUMN analytics.candlestick_signals.value IS 'Strength and direction [−200 to 200, 0 = none, negative = bearish]';
END $comments$;

CREATE VIEW analytics.price_metrics AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       d.close,
       d.change_pct,
       d.gap_pct,
       d.rvol,
       d.vsi,
       d.hv_20,
       d.hv_60,
       d.hv,
       d.price_vs_sma20,
       d.price_vs_sma50,
       d.price_vs_sma200,
       d.high_52w,
       d.low_52w,
       d.distance_from_high_52w,
       d.distance_from_low_52w,
       d.dollar_volume_20,
       d.atr_pct,
       d.quality->'flags' AS quality_flags,
       (d.quality->>'bars_in_window')::bigint AS quality_bars_in_window,
       (d.quality->>'split_like_jumps')::bigint AS quality_split_like_jumps,
       (d.quality->>'last_jump_date')::date AS quality_last_jump_date,
       (d.quality->>'last_jump_ratio')::double precision AS quality_last_jump_ratio,
       (d.quality->>'stale_bars')::bigint AS quality_stale_bars,
       (d.quality->>'zero_volume_bars')::bigint AS quality_zero_volume_bars,
       (d.quality->>'days_since_bar_before')::bigint AS quality_days_since_bar_before
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_to_record(s.price_metrics_json) AS d (
    close double precision, change_pct double precision, gap_pct double precision, rvol double precision,
    vsi double precision, hv_20 double precision, hv_60 double precision, hv double precision,
    price_vs_sma20 double precision, price_vs_sma50 double precision, price_vs_sma200 double precision,
    high_52w double precision, low_52w double precision, distance_from_high_52w double precision,
    distance_from_low_52w double precision, dollar_volume_20 double precision, atr_pct double precision,
    quality jsonb
)
WHERE s.price_metrics_json IS NOT NULL;
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.price_metrics IS 'Price metrics: a row for each symbol and session.';
    COMMENT ON COLUMN analytics.price_metrics.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.price_metrics.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.price_metrics.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.price_metrics.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.price_metrics.close IS 'C [price]';
    COMMENT ON COLUMN analytics.price_metrics.change_pct IS '100·(C/C[−1] − 1); parameters: 1; bars: 2; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.gap_pct IS '100·(O/C[−1] − 1); parameters: 1; bars: 2; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.rvol IS 'V / mean of the 20 volumes before; parameters: 20; bars: 21; null when: no volume in 20 bars [ratio]';
    COMMENT ON COLUMN analytics.price_metrics.vsi IS '(V − mean)/population standard deviation of the same 20 volumes; parameters: 20; bars: 21; null when: the 20 volumes are equal [deviations]';
    COMMENT ON COLUMN analytics.price_metrics.hv_20 IS 'population standard deviation of 20 log returns · √252; parameters: 20; bars: 21; null when: a price ≤ 0 [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.price_metrics.hv_60 IS 'population standard deviation of 60 log returns · √252; parameters: 60; bars: 61; null when: a price ≤ 0 [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.price_metrics.hv IS 'hv_20; parameters: 20; bars: 21; null when: a price ≤ 0 [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.price_metrics.price_vs_sma20 IS '100·(C/SMA20 − 1); parameters: 20; bars: 20; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.price_vs_sma50 IS '100·(C/SMA50 − 1); parameters: 50; bars: 50; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.price_vs_sma200 IS '100·(C/SMA200 − 1); parameters: 200; bars: 200; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.high_52w IS 'MAX252 H; parameters: 252; bars: 252 [price]';
    COMMENT ON COLUMN analytics.price_metrics.low_52w IS 'MIN252 L; parameters: 252; bars: 252 [price]';
    COMMENT ON COLUMN analytics.price_metrics.distance_from_high_52w IS '100·(C/high_52w − 1); parameters: 252; bars: 252; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.distance_from_low_52w IS '100·(C/low_52w − 1); parameters: 252; bars: 252; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.dollar_volume_20 IS 'mean of the last 20 C·V; parameters: 20; bars: 20 [price·shares]';
    COMMENT ON COLUMN analytics.price_metrics.atr_pct IS '100·ATR14/C; parameters: 14; bars: 15; null when: the denominator is zero [%]';
    COMMENT ON COLUMN analytics.price_metrics.quality_flags IS 'List: split_like_jump: split_like_jumps > 0; stale_bar: stale_bars > 0; zero_volume: zero_volume_bars > 0; missing_bars: days_since_bar_before > 7';
    COMMENT ON COLUMN analytics.price_metrics.quality_bars_in_window IS 'bars that the row rests on, 400 at most [bars]';
    COMMENT ON COLUMN analytics.price_metrics.quality_split_like_jumps IS 'bars in the window whose O and C are both ≥ 1.4·C[−1], or both ≤ C[−1]/1.4 [bars]';
    COMMENT ON COLUMN analytics.price_metrics.quality_last_jump_date IS 'session of the latest of them; null when: there is none [YYYY-MM-DD]';
    COMMENT ON COLUMN analytics.price_metrics.quality_last_jump_ratio IS 'C/C[−1] of it: near 0.5 after a 2:1 split; null when: there is none [ratio]';
    COMMENT ON COLUMN analytics.price_metrics.quality_stale_bars IS 'bars in a row, the last included, without volume and with the prices of the one before [bars]';
    COMMENT ON COLUMN analytics.price_metrics.quality_zero_volume_bars IS 'bars in a row, the last included, without volume [bars]';
    COMMENT ON COLUMN analytics.price_metrics.quality_days_since_bar_before IS 'calendar days between the last two bars; null when: the window has one bar [days]';
END $comments$;

CREATE VIEW analytics.dealer_metrics AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       d.status,
       d.status_reason,
       d.gex_total,
       d.gex_net,
       d.gex_call,
       d.gex_put,
       d.gamma_flip,
       d.gamma_flip_status,
       d.gex_slope,
       d.dgpi,
       d.position,
       d.confidence,
       d.vex,
       d.cex,
       d.zero_dte_share,
       d.spot,
       d.spot_source,
       d.eligible_options_count,
       d.repriced_options_count,
       d.total_options_count,
       d.max_pain,
       (d.call_wall->>'strike')::double precision AS call_wall_strike,
       (d.call_wall->>'gex')::double precision AS call_wall_gex,
       (d.call_wall->>'open_interest')::double precision AS call_wall_open_interest,
       (d.call_wall->>'contracts')::bigint AS call_wall_contracts,
       (d.call_wall->>'moneyness')::double precision AS call_wall_moneyness,
       (d.call_wall->>'distance_from_spot')::double precision AS call_wall_distance_from_spot,
       (d.put_wall->>'strike')::double precision AS put_wall_strike,
       (d.put_wall->>'gex')::double precision AS put_wall_gex,
       (d.put_wall->>'open_interest')::double precision AS put_wall_open_interest,
       (d.put_wall->>'contracts')::bigint AS put_wall_contracts,
       (d.put_wall->>'moneyness')::double precision AS put_wall_moneyness,
       (d.put_wall->>'distance_from_spot')::double precision AS put_wall_distance_from_spot,
       (d.filters->>'invalid_terms')::bigint AS filters_invalid_terms,
       (d.filters->>'expired')::bigint AS filters_expired,
       (d.filters->>'dte_exceeded')::bigint AS filters_dte_exceeded,
       (d.filters->>'missing_gamma')::bigint AS filters_missing_gamma,
       (d.filters->>'negative_gamma')::bigint AS filters_negative_gamma,
       (d.filters->>'low_open_interest')::bigint AS filters_low_open_interest,
       (d.filters->>'low_volume')::bigint AS filters_low_volume,
       d.quality->'flags' AS quality_flags,
       (d.quality->>'live_options_count')::bigint AS quality_live_options_count,
       (d.quality->>'without_greeks_share')::double precision AS quality_without_greeks_share,
       (d.quality->>'without_iv_share')::double precision AS quality_without_iv_share,
       (d.quality->>'compared_gammas')::bigint AS quality_compared_gammas,
       (d.quality->>'stale_greeks_share')::double precision AS quality_stale_greeks_share,
       d.wall_definition->>'gex' AS wall_definition_gex,
       d.wall_definition->>'rank' AS wall_definition_rank,
       (d.wall_definition->>'max_moneyness')::double precision AS wall_definition_max_moneyness,
       d.wall_definition->'proximity_weights' AS wall_definition_proximity_weights,
       (d.wall_definition->>'walls')::bigint AS wall_definition_walls,
       (d.inputs->>'max_dte')::bigint AS inputs_max_dte,
       (d.inputs->>'min_open_interest')::double precision AS inputs_min_open_interest,
       (d.inputs->>'min_volume')::double precision AS inputs_min_volume,
       (d.inputs->>'walls')::bigint AS inputs_walls,
       (d.inputs->>'max_moneyness')::double precision AS inputs_max_moneyness,
       (d.inputs->>'rate')::double precision AS inputs_rate,
       (d.inputs->>'dividend_yield')::double precision AS inputs_dividend_yield,
       (d.inputs->>'grid_width')::double precision AS inputs_grid_width,
       (d.inputs->>'grid_step')::double precision AS inputs_grid_step,
       (d.inputs->>'neutral_gex')::double precision AS inputs_neutral_gex,
       d.inputs->>'sign_convention' AS inputs_sign_convention,
       (d.inputs->>'snapshot_time')::timestamptz AS inputs_snapshot_time,
       d.inputs->>'model_version' AS inputs_model_version
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_to_record(s.dealer_metrics_json) AS d (
    status text, status_reason text, gex_total double precision, gex_net double precision,
    gex_call double precision, gex_put double precision, gamma_flip double precision, gamma_flip_status text,
    gex_slope double precision, dgpi double precision, position text, confidence text, vex double precision,
    cex double precision, zero_dte_share double precision, spot double precision, spot_source text,
    eligible_options_count bigint, repriced_options_count bigint, total_options_count bigint,
    max_pain double precision, call_wall jsonb, put_wall jsonb, filters jsonb, quality jsonb,
    wall_definition jsonb, inputs jsonb
)
WHERE s.dealer_metrics_json IS NOT NULL;
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.dealer_metrics IS 'Dealer metrics: a row for each symbol and session; lists are in dealer_walls and gex_profile.';
    COMMENT ON COLUMN analytics.dealer_metrics.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.dealer_metrics.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.dealer_metrics.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.dealer_metrics.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.dealer_metrics.status IS 'FULL: 25 or more eligible; LIMITED: 1 to 24; INVALID: see status_reason';
    COMMENT ON COLUMN analytics.dealer_metrics.status_reason IS 'the first that holds of no_options, no_spot, all_contracts_filtered, zero_gex; null when: status is not INVALID';
    COMMENT ON COLUMN analytics.dealer_metrics.gex_total IS 'Σ|γ·OI·shares·S²·0.01|, γ the vendor''s; null when: no spot or no eligible contract [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.gex_net IS 'gex_call + gex_put; null when: no spot or no eligible contract [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.gex_call IS 'Σ γ·OI·shares·S²·0.01 of calls, ≥ 0; null when: no spot or no eligible contract [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.gex_put IS '−Σ γ·OI·shares·S²·0.01 of puts, ≤ 0; null when: no spot or no eligible contract [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.gamma_flip IS 'spot at which net GEX of Black–Scholes gammas at each contract''s own IV changes sign: the change nearest spot on the grid by linear interpolation, then the exact zero between its two points; parameters: grid_width, grid_step, rate, dividend_yield; null when: gamma_flip_status is not found [dollars]';
    COMMENT ON COLUMN analytics.dealer_metrics.gamma_flip_status IS 'found; no_crossing on the grid; no_iv on any eligible contract; not_computed without spot or eligible contracts';
    COMMENT ON COLUMN analytics.dealer_metrics.gex_slope IS '(net GEX repriced at 1.01·S − at 0.99·S)/2; parameters: rate, dividend_yield; null when: no spot or no eligible contract with an IV [dollars per 1 % of spot, per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.dgpi IS 'sign(net)·log10(|net|+1)·10·(1+clamp(gex_slope/gex_total, −0.3, 0.3))·(0.7+iv_rank/333 if known), clamped to ±100; null when: gex_slope is null or gex_total is 0 [−100 to 100]';
    COMMENT ON COLUMN analytics.dealer_metrics.position IS 'neutral if |gex_net| < neutral_gex, else long_gamma or short_gamma by its sign; unknown without gex_net; parameters: neutral_gex';
    COMMENT ON COLUMN analytics.dealer_metrics.confidence IS 'of eligible contracts: high ≥ 50, medium ≥ 10, low ≥ 1, else invalid';
    COMMENT ON COLUMN analytics.dealer_metrics.vex IS 'Σ ±vanna·OI·shares·S·0.01, + calls, − puts; parameters: rate, dividend_yield; null when: no spot or no eligible contract with an IV [dollars of delta per vol point]';
    COMMENT ON COLUMN analytics.dealer_metrics.cex IS 'Σ ±charm/365·OI·shares·S, + calls, − puts; parameters: rate, dividend_yield; null when: no spot or no eligible contract with an IV [dollars of delta per calendar day]';
    COMMENT ON COLUMN analytics.dealer_metrics.zero_dte_share IS 'Σ|GEX| of contracts that expire this session / gex_total; null when: gex_total is 0 or null [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.spot IS 'close of the session, else the vendor''s underlying price; null when: neither is known [dollars]';
    COMMENT ON COLUMN analytics.dealer_metrics.spot_source IS 'ohlcv or vendor_underlying_price; null when: spot is null';
    COMMENT ON COLUMN analytics.dealer_metrics.eligible_options_count IS 'contracts that no filter removed [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.repriced_options_count IS 'eligible contracts with an IV: those behind flip, slope, vex, cex [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.total_options_count IS 'contracts in the snapshot [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.max_pain IS 'listed strike with the least Σ OI·shares·intrinsic value over all live contracts; ties to the lowest; null when: no open interest [dollars]';
    COMMENT ON COLUMN analytics.dealer_metrics.call_wall_strike IS 'strike of the first of call_walls; null when: no call wall [dollars]';
    COMMENT ON COLUMN analytics.dealer_metrics.call_wall_gex IS 'gex of the first of call_walls; null when: no call wall [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.call_wall_open_interest IS 'open_interest of the first of call_walls; null when: no call wall [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.call_wall_contracts IS 'contracts of the first of call_walls; null when: no call wall [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.call_wall_moneyness IS 'moneyness of the first of call_walls; null when: no call wall [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.call_wall_distance_from_spot IS 'distance_from_spot of the first of call_walls; null when: no call wall [dollars]';
    COMMENT ON COLUMN analytics.dealer_metrics.put_wall_strike IS 'strike of the first of put_walls; null when: no put wall [dollars]';
    COMMENT ON COLUMN analytics.dealer_metrics.put_wall_gex IS 'gex of the first of put_walls; null when: no put wall [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.put_wall_open_interest IS 'open_interest of the first of put_walls; null when: no put wall [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.put_wall_contracts IS 'contracts of the first of put_walls; null when: no put wall [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.put_wall_moneyness IS 'moneyness of the first of put_walls; null when: no put wall [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.put_wall_distance_from_spot IS 'distance_from_spot of the first of put_walls; null when: no put wall [dollars]';
    COMMENT ON COLUMN analytics.dealer_metrics.filters_invalid_terms IS 'strike or shares per contract not a positive number; a contract counts under the first filter that removes it [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.filters_expired IS 'expired before the session; a contract counts under the first filter that removes it [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.filters_dte_exceeded IS 'calendar days to expiry above max_dte; a contract counts under the first filter that removes it; parameters: max_dte [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.filters_missing_gamma IS 'no gamma; a contract counts under the first filter that removes it [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.filters_negative_gamma IS 'gamma below 0; a contract counts under the first filter that removes it [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.filters_low_open_interest IS 'open interest missing or below min_open_interest; a contract counts under the first filter that removes it; parameters: min_open_interest [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.filters_low_volume IS 'volume missing or below min_volume; a contract counts under the first filter that removes it; parameters: min_volume [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.quality_flags IS 'List: thin_chain: 1 to 24 live contracts; without_greeks: without_greeks_share > 0.5; without_iv: without_iv_share > 0.5; stale_greeks: stale_greeks_share > 0.15';
    COMMENT ON COLUMN analytics.dealer_metrics.quality_live_options_count IS 'contracts whose strike and deliverable are positive and whose expiry is not before the session [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.quality_without_greeks_share IS 'live contracts without a gamma ≥ 0 / live contracts; null when: no live contract [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.quality_without_iv_share IS 'live contracts without an IV / live contracts; null when: no live contract [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.quality_compared_gammas IS 'live contracts with gamma and IV, 7 days or more to expiry, strike within 10 % of spot, the vendor''s gamma or Black–Scholes'' ≥ 0.001 [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.quality_stale_greeks_share IS 'of these, contracts whose gamma is off Black–Scholes'' at its own IV by more than a factor of 2; parameters: rate, dividend_yield; null when: fewer than 20 of them [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.wall_definition_gex IS 'what a wall''s gex sums';
    COMMENT ON COLUMN analytics.dealer_metrics.wall_definition_rank IS 'what walls are ranked by: gex × proximity weight, ties to the lower strike';
    COMMENT ON COLUMN analytics.dealer_metrics.wall_definition_max_moneyness IS 'farthest a wall may be: |strike − spot| / spot [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.wall_definition_proximity_weights IS 'List of objects: max_moneyness: upper bound of the band, inclusive [fraction]; weight: weight of the band [factor]';
    COMMENT ON COLUMN analytics.dealer_metrics.wall_definition_walls IS 'most walls that a side lists [walls]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_max_dte IS 'filter: most calendar days to expiry [days]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_min_open_interest IS 'filter: least open interest [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_min_volume IS 'filter: least volume of the session [contracts]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_walls IS 'most walls that a side lists [walls]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_max_moneyness IS 'farthest a wall may be: |strike − spot| / spot [fraction]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_rate IS 'risk-free rate, continuously compounded [fraction per year]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_dividend_yield IS 'dividend yield, continuously compounded [fraction per year]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_grid_width IS 'reach of the flip''s grid on either side of spot [fraction of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_grid_step IS 'step of the flip''s grid [fraction of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_neutral_gex IS '|gex_net| below which the position is neutral [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_sign_convention IS 'calls_long_puts_short: dealers are assumed long calls and short puts';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_snapshot_time IS 'close of the session, UTC [ISO 8601]';
    COMMENT ON COLUMN analytics.dealer_metrics.inputs_model_version IS 'version of the model that computed the row';
END $comments$;

CREATE VIEW analytics.dealer_walls AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       side.name AS side,
       w.rank,
       w.strike,
       w.gex,
       w.open_interest,
       w.contracts,
       w.moneyness,
       w.distance_from_spot
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_to_record(s.dealer_metrics_json) AS d (call_walls jsonb, put_walls jsonb)
CROSS JOIN LATERAL (VALUES ('call', d.call_walls), ('put', d.put_walls)) AS side (name, walls)
CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(side.walls) AS (
    strike double precision, gex double precision, open_interest double precision, contracts bigint,
    moneyness double precision, distance_from_spot double precision
)) WITH ORDINALITY AS w (strike, gex, open_interest, contracts, moneyness, distance_from_spot, rank)
WHERE s.dealer_metrics_json IS NOT NULL;
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.dealer_walls IS 'Call and put walls: a row for each symbol, session, side and rank.';
    COMMENT ON COLUMN analytics.dealer_walls.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.dealer_walls.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.dealer_walls.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.dealer_walls.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.dealer_walls.side IS 'call or put.';
    COMMENT ON COLUMN analytics.dealer_walls.rank IS 'Place among the walls of the side, 1 is the first.';
    COMMENT ON COLUMN analytics.dealer_walls.strike IS 'strike; parameters: walls, max_moneyness [dollars]';
    COMMENT ON COLUMN analytics.dealer_walls.gex IS 'Σ|GEX| of the side at the strike, all expiries; parameters: walls, max_moneyness [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.dealer_walls.open_interest IS 'ΣOI of the side''s eligible contracts at the strike; parameters: walls, max_moneyness [contracts]';
    COMMENT ON COLUMN analytics.dealer_walls.contracts IS 'number of the side''s eligible contracts at the strike; parameters: walls, max_moneyness [contracts]';
    COMMENT ON COLUMN analytics.dealer_walls.moneyness IS '|strike − spot| / spot; parameters: walls, max_moneyness [fraction]';
    COMMENT ON COLUMN analytics.dealer_walls.distance_from_spot IS 'strike − spot; parameters: walls, max_moneyness [dollars]';
END $comments$;

CREATE VIEW analytics.gex_profile AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       e.strike,
       e.call_gex,
       e.put_gex,
       e.call_gex + e.put_gex AS net_gex
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_to_record(s.dealer_metrics_json->'profile') AS p (
    strike double precision[], call_gex double precision[], put_gex double precision[]
)
CROSS JOIN LATERAL unnest(p.strike, p.call_gex, p.put_gex) AS e (strike, call_gex, put_gex)
WHERE s.dealer_metrics_json IS NOT NULL;
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.gex_profile IS 'Gamma exposure by strike: a row for each symbol, session and strike.';
    COMMENT ON COLUMN analytics.gex_profile.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.gex_profile.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.gex_profile.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.gex_profile.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.gex_profile.strike IS 'strikes with eligible contracts, ascending [dollars]';
    COMMENT ON COLUMN analytics.gex_profile.call_gex IS 'Σ GEX of the calls at the strike, ≥ 0 [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.gex_profile.put_gex IS 'Σ GEX of the puts at the strike, ≤ 0 [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.gex_profile.net_gex IS 'call_gex + put_gex; their sum over the strikes is gex_net [dollars per 1 % of spot]';
END $comments$;

CREATE VIEW analytics.volatility_metrics AS
SELECT t.symbol,
       (s.time AT TIME ZONE 'America/New_York')::date AS session,
       s.time,
       s.ticker_id,
       d.status,
       d.status_reason,
       d.avg_iv,
       d.avg_call_iv,
       d.avg_put_iv,
       d.iv_stddev,
       d.iv_skew_call_put,
       d.front_month_iv,
       d.back_month_iv,
       d.spot,
       d.spot_source,
       d.atm_iv_30d,
       d.atm_iv_30d_status,
       d.atm_iv_90d,
       d.atm_iv_90d_status,
       d.iv_term_structure,
       d.iv_term_structure_slope,
       d.expected_move_30d,
       d.iv_hv_spread,
       d.iv_skew_25d,
       d.iv_skew_25d_status,
       d.iv_skew_25d_days,
       d.put_call_oi_ratio,
       d.put_call_volume_ratio,
       d.oi_ratio,
       d.iv_rank,
       d.iv_rank_status,
       d.iv_percentile,
       d.iv_history_sessions,
       d.iv_options_count,
       d.iv_call_options_count,
       d.iv_put_options_count,
       d.total_options_count,
       (d.filters->>'invalid_terms')::bigint AS filters_invalid_terms,
       (d.filters->>'expired')::bigint AS filters_expired,
       (d.filters->>'missing_iv')::bigint AS filters_missing_iv,
       d.quality->'flags' AS quality_flags,
       (d.quality->>'live_options_count')::bigint AS quality_live_options_count,
       (d.quality->>'without_greeks_share')::double precision AS quality_without_greeks_share,
       (d.quality->>'without_iv_share')::double precision AS quality_without_iv_share,
       (d.quality->>'compared_gammas')::bigint AS quality_compared_gammas,
       (d.quality->>'stale_greeks_share')::double precision AS quality_stale_greeks_share,
       (d.inputs->>'rate')::double precision AS inputs_rate,
       (d.inputs->>'dividend_yield')::double precision AS inputs_dividend_yield,
       (d.inputs->>'max_strike_distance')::double precision AS inputs_max_strike_distance,
       (d.inputs->>'hv_20')::double precision AS inputs_hv_20,
       (d.inputs->>'snapshot_time')::timestamptz AS inputs_snapshot_time,
       d.inputs->>'model_version' AS inputs_model_version
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL jsonb_to_record(s.volatility_metrics_json) AS d (
    status text, status_reason text, avg_iv double precision, avg_call_iv double precision,
    avg_put_iv double precision, iv_stddev double precision, iv_skew_call_put double precision,
    front_month_iv double precision, back_month_iv double precision, spot double precision, spot_source text,
    atm_iv_30d double precision, atm_iv_30d_status text, atm_iv_90d double precision, atm_iv_90d_status text,
    iv_term_structure double precision, iv_term_structure_slope double precision,
    expected_move_30d double precision, iv_hv_spread double precision, iv_skew_25d double precision,
    iv_skew_25d_status text, iv_skew_25d_days bigint, put_call_oi_ratio double precision,
    put_call_volume_ratio double precision, oi_ratio double precision, iv_rank double precision,
    iv_rank_status text, iv_percentile double precision, iv_history_sessions bigint, iv_options_count bigint,
    iv_call_options_count bigint, iv_put_options_count bigint, total_options_count bigint, filters jsonb,
    quality jsonb, inputs jsonb
)
WHERE s.volatility_metrics_json IS NOT NULL;
DO $comments$ BEGIN
    COMMENT ON VIEW analytics.volatility_metrics IS 'Volatility metrics: a row for each symbol and session.';
    COMMENT ON COLUMN analytics.volatility_metrics.symbol IS 'Symbol of the ticker.';
    COMMENT ON COLUMN analytics.volatility_metrics.session IS 'Trading session: the date of time in New York.';
    COMMENT ON COLUMN analytics.volatility_metrics.time IS 'Close of the session; the filter with an index behind it.';
    COMMENT ON COLUMN analytics.volatility_metrics.ticker_id IS 'Ticker that the row belongs to (public.tickers.id).';
    COMMENT ON COLUMN analytics.volatility_metrics.status IS 'FULL: 25 or more live contracts with an IV, a spot and an ATM IV at 30 days; LIMITED: some IV, but not all that; INVALID: no IV';
    COMMENT ON COLUMN analytics.volatility_metrics.status_reason IS 'the first that holds of no_options, all_contracts_filtered, no_iv (INVALID); no_spot, few_contracts, no_atm_iv_30d (LIMITED); null when: status is FULL';
    COMMENT ON COLUMN analytics.volatility_metrics.avg_iv IS 'Σ IV·OI / ΣOI of all live contracts with an IV; their plain mean if ΣOI is 0; null when: no live contract with an IV [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.avg_call_iv IS 'the same of the calls; null when: no live call with an IV [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.avg_put_iv IS 'the same of the puts; null when: no live put with an IV [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_stddev IS 'population standard deviation of the IVs, not weighted; null when: no live contract with an IV [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_skew_call_put IS '100·(avg_put_iv − avg_call_iv); null when: one of them is null [vol points, 1.5 = 0.015]';
    COMMENT ON COLUMN analytics.volatility_metrics.front_month_iv IS 'plain mean of the IVs with |days to expiry − 30| ≤ 15; null when: no such contract [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.back_month_iv IS 'plain mean of the IVs with |days to expiry − 90| ≤ 30; null when: no such contract [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.spot IS 'close of the session, else the vendor''s underlying price; null when: neither is known [dollars]';
    COMMENT ON COLUMN analytics.volatility_metrics.spot_source IS 'ohlcv or vendor_underlying_price; null when: spot is null';
    COMMENT ON COLUMN analytics.volatility_metrics.atm_iv_30d IS 'IV at spot in 30 calendar days, linear in total variance σ²·days between the expiries around; an expiry''s IV at spot: mean of calls and puts, each linear in strike between spot''s neighbours; nothing is extrapolated; parameters: max_strike_distance; null when: no spot; no expiry with an ATM IV on one side of the term [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.atm_iv_30d_status IS 'known; no_spot; no_bracket: on one side of 30 days no expiry has an ATM IV';
    COMMENT ON COLUMN analytics.volatility_metrics.atm_iv_90d IS 'the same in 90 calendar days; parameters: max_strike_distance; null when: no spot; no expiry with an ATM IV on one side of the term [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.atm_iv_90d_status IS 'known; no_spot; no_bracket: on one side of 90 days no expiry has an ATM IV';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_term_structure IS '100·(atm_iv_90d − atm_iv_30d); null when: one of them is null [vol points, 1.5 = 0.015]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_term_structure_slope IS 'iv_term_structure / 60; null when: iv_term_structure is null [vol points per calendar day]';
    COMMENT ON COLUMN analytics.volatility_metrics.expected_move_30d IS 'atm_iv_30d·√(30/365)·spot, one standard deviation; null when: atm_iv_30d is null [dollars]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_hv_spread IS '100·(atm_iv_30d − hv_20), hv_20 from price_metrics_json; null when: one of them is null [vol points, 1.5 = 0.015]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_skew_25d IS '100·(IV of the put − of the call at |Δ| = 0.25) on the expiry nearest 30 days: linear in |Δ| between the two contracts around, else the nearest contract within 0.15; Δ is Black–Scholes at the contract''s own IV; parameters: rate, dividend_yield; null when: iv_skew_25d_status is neither interpolated nor nearest_contract [vol points, 1.5 = 0.015]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_skew_25d_status IS 'interpolated; nearest_contract on a side; no_spot; no_expiry with calls and puts; no_25_delta contract on a side';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_skew_25d_days IS 'calendar days to the expiry used: of those with an IV of a call and of a put the nearest to 30, the earlier of two; null when: no such expiry or no spot [days]';
    COMMENT ON COLUMN analytics.volatility_metrics.put_call_oi_ratio IS 'ΣOI of live puts / of live calls; null when: calls have none [ratio]';
    COMMENT ON COLUMN analytics.volatility_metrics.put_call_volume_ratio IS 'Σvolume of live puts / of live calls; null when: calls have none [ratio]';
    COMMENT ON COLUMN analytics.volatility_metrics.oi_ratio IS 'Σvolume / ΣOI of all live contracts; null when: no open interest [ratio]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_rank IS '100·(IV − min)/(max − min), clamped to 0 to 100: today''s avg_iv among those of up to 252 prior sessions; null when: iv_rank_status is not known [0 to 100]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_rank_status IS 'known; no_iv today; history_too_short: under 20 sessions; flat_history: max = min';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_percentile IS 'share of those sessions with an avg_iv at or below today''s; null when: no_iv today or history_too_short [%]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_history_sessions IS 'prior sessions of the 252 with an avg_iv [sessions]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_options_count IS 'contracts that no filter removed: live, with an IV [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_call_options_count IS 'of these the calls [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.iv_put_options_count IS 'of these the puts [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.total_options_count IS 'contracts in the snapshot [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.filters_invalid_terms IS 'strike or shares per contract not a positive number; a contract counts under the first filter that removes it [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.filters_expired IS 'expired before the session [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.filters_missing_iv IS 'no IV above 0 [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.quality_flags IS 'List: thin_chain: 1 to 24 live contracts; without_greeks: without_greeks_share > 0.5; without_iv: without_iv_share > 0.5; stale_greeks: stale_greeks_share > 0.15';
    COMMENT ON COLUMN analytics.volatility_metrics.quality_live_options_count IS 'contracts whose strike and deliverable are positive and whose expiry is not before the session [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.quality_without_greeks_share IS 'live contracts without a gamma ≥ 0 / live contracts; null when: no live contract [fraction]';
    COMMENT ON COLUMN analytics.volatility_metrics.quality_without_iv_share IS 'live contracts without an IV / live contracts; null when: no live contract [fraction]';
    COMMENT ON COLUMN analytics.volatility_metrics.quality_compared_gammas IS 'live contracts with gamma and IV, 7 days or more to expiry, strike within 10 % of spot, the vendor''s gamma or Black–Scholes'' ≥ 0.001 [contracts]';
    COMMENT ON COLUMN analytics.volatility_metrics.quality_stale_greeks_share IS 'of these, contracts whose gamma is off Black–Scholes'' at its own IV by more than a factor of 2; parameters: rate, dividend_yield; null when: fewer than 20 of them [fraction]';
    COMMENT ON COLUMN analytics.volatility_metrics.inputs_rate IS 'risk-free rate, continuously compounded [fraction per year]';
    COMMENT ON COLUMN analytics.volatility_metrics.inputs_dividend_yield IS 'dividend yield, continuously compounded [fraction per year]';
    COMMENT ON COLUMN analytics.volatility_metrics.inputs_max_strike_distance IS 'farthest a strike may be to count as spot''s neighbour: |strike − spot| / spot [fraction]';
    COMMENT ON COLUMN analytics.volatility_metrics.inputs_hv_20 IS 'the session''s hv_20; null when: price_metrics_json has none [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.volatility_metrics.inputs_snapshot_time IS 'close of the session, UTC [ISO 8601]';
    COMMENT ON COLUMN analytics.volatility_metrics.inputs_model_version IS 'version of the model that computed the row';
END $comments$;
