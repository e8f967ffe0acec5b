DROP TABLE public.daily_snapshots;
