DROP TABLE public.options_chains;
