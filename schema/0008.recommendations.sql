-- Recommendations and their outcomes; structure only. The sets of words are CHECKs and not enum types:
-- they read the same, and a word can be added or withdrawn in a transaction.
-- depends: 0007.daily_snapshots
CREATE TABLE public.recommendations (
    id                  uuid             NOT NULL,
    snapshot_time       timestamptz      NOT NULL,
    ticker_id           uuid             NOT NULL,
    recommendation_date date             NOT NULL,
    direction           text             NOT NULL,
    action              text             NOT NULL,
    confidence          double precision NOT NULL,
    justification       text,
    entry_price_target  double precision,
    stop_loss           double precision,
    profit_target       double precision,
    option_strike       numeric(12,4),
    option_expiration   date,
    option_type         character(1),
    option_strategy     text,
    status              text             NOT NULL DEFAULT 'active',
    model_version       text,
    created_at          timestamptz      NOT NULL DEFAULT now(),
    CONSTRAINT recommendations_pkey PRIMARY KEY (id),
    CONSTRAINT recommendations_ticker_id_fkey FOREIGN KEY (ticker_id) REFERENCES public.tickers (id),
    CONSTRAINT recommendations_snapshot_fkey
        FOREIGN KEY (snapshot_time, ticker_id) REFERENCES public.daily_snapshots (time, ticker_id),
    CONSTRAINT recommendations_direction_check CHECK (direction IN ('LONG', 'SHORT', 'NEUTRAL')),
    CONSTRAINT recommendations_action_check CHECK (action IN ('BUY', 'SELL', 'HOLD', 'HEDGE')),
    CONSTRAINT recommendations_confidence_check CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT recommendations_option_type_check CHECK (option_type IN ('C', 'P')),
    CONSTRAINT recommendations_option_strategy_check CHECK (
        option_strategy IN ('LONG_CALL', 'LONG_PUT', 'CSP', 'VERTICAL_SPREAD')
    ),
    CONSTRAINT recommendations_status_check CHECK (status IN ('active', 'closed', 'expired'))
);
CREATE INDEX recommendations_snapshot_idx ON public.recommendations (snapshot_time, ticker_id);

CREATE TABLE public.recommendation_outcomes (
    id                       uuid        NOT NULL,
    recommendation_id        uuid        NOT NULL,
    evaluation_date          date        NOT NULL,
    entry_price_actual       double precision,
    exit_price_actual        double precision,
    high_price_during_window double precision,
    low_price_during_window  double precision,
    days_held                integer,
    direction_correct        boolean,
    predicted_confidence     double precision,
    directional_brier        double precision,
    actual_return_pct        double precision,
    hit_profit_target        boolean,
    hit_stop_loss            boolean,
    outcome_status           text,
    notes                    text,
    created_at               timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT recommendation_outcomes_pkey PRIMARY KEY (id),
    CONSTRAINT recommendation_outcomes_recommendation_id_fkey
        FOREIGN KEY (recommendation_id) REFERENCES public.recommendations (id),
    CONSTRAINT recommendation_outcomes_days_held_check CHECK (days_held >= 0),
    CONSTRAINT recommendation_outcomes_predicted_confidence_check CHECK (predicted_confidence BETWEEN 0 AND 1),
    CONSTRAINT recommendation_outcomes_directional_brier_check CHECK (directional_brier BETWEEN 0 AND 1),
    CONSTRAINT recommendation_outcomes_outcome_status_check CHECK (outcome_status IN ('WIN', 'LOSS', 'NEUTRAL'))
);
CREATE INDEX recommendation_outcomes_recommendation_id_idx
    ON public.recommendation_outcomes (recommendation_id);
