DROP TABLE public.watchlists;
