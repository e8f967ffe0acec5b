-- Option-chain snapshots at the close of a session.
--
-- Chunks of 7 days: five sessions of 280,000 contracts, 1.4 million rows and 250 MB. A partition that is
-- loaded again touches one chunk, and once that chunk is in the columnstore it is decompressed whole: a
-- larger one would make every late correction dearer. The key leads with time, which serves the
-- per-session queries; nothing else is indexed (each further index costs 0.6 us a row).
--
-- The vendor may leave any number out, but a number that is there is finite: NaN and infinity would pass
-- through every later sum unseen.
-- depends: 0005.ohlcv
CREATE TABLE public.options_chains (
    time                timestamptz   NOT NULL,
    ticker_id           uuid          NOT NULL,
    expiration_date     date          NOT NULL,
    strike_price        numeric(12,4) NOT NULL,
    option_type         character(1)  NOT NULL,
    bid                 double precision,
    ask                 double precision,
    last                double precision,
    volume              bigint,
    open_interest       bigint,
    implied_volatility  double precision,
    delta               double precision,
    gamma               double precision,
    theta               double precision,
    vega                double precision,
    shares_per_contract double precision,
    created_at          timestamptz   NOT NULL DEFAULT now(),
    CONSTRAINT options_chains_key UNIQUE (time, ticker_id, expiration_date, strike_price, option_type),
    CONSTRAINT options_chains_ticker_id_fkey FOREIGN KEY (ticker_id) REFERENCES public.tickers (id),
    CONSTRAINT options_chains_option_type_check CHECK (option_type IN ('C', 'P')),
    CONSTRAINT options_chains_strike_price_check CHECK (strike_price > 0 AND strike_price <> 'NaN'::numeric),
    CONSTRAINT options_chains_quotes_check CHECK (
        bid >= 0 AND bid < 'Infinity'::double precision
        AND ask >= 0 AND ask < 'Infinity'::double precision
        AND last >= 0 AND last < 'Infinity'::double precision
    ),
    CONSTRAINT options_chains_counts_check CHECK (volume >= 0 AND open_interest >= 0),
    CONSTRAINT options_chains_implied_volatility_check CHECK (
        implied_volatility >= 0 AND implied_volatility < 'Infinity'::double precision
    ),
    CONSTRAINT options_chains_greeks_check CHECK (
        delta > '-Infinity'::double precision AND delta < 'Infinity'::double precision
        AND gamma > '-Infinity'::double precision AND gamma < 'Infinity'::double precision
        AND theta > '-Infinity'::double precision AND theta < 'Infinity'::double precision
        AND vega > '-Infinity'::double precision AND vega < 'Infinity'::double precision
    ),
    CONSTRAINT options_chains_shares_per_contract_check CHECK (
        shares_per_contract > 0 AND shares_per_contract < 'Infinity'::double precision
    )
);
SELECT public.create_hypertable(
    'public.options_chains', public.by_range('time', INTERVAL '7 days'), create_default_indexes => false
);
