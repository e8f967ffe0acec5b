DROP TABLE public.recommendation_outcomes;
DROP TABLE public.recommendations;
