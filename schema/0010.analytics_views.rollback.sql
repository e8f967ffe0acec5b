DROP VIEW analytics.technical_indicators, analytics.candlestick_patterns, analytics.candlestick_signals,
    analytics.price_metrics, analytics.dealer_metrics, analytics.dealer_walls, analytics.gex_profile,
    analytics.volatility_metrics;
