DROP TABLE public.tickers;
