DROP TABLE public.ohlcv;
