-- No foreign key to tickers: a symbol that the vendor does not list is a named warning, not a refused file.
-- depends: 0003.tickers
CREATE TABLE public.watchlists (
    watchlist_id   text        NOT NULL,
    symbol         text        NOT NULL,
    active         boolean     NOT NULL,
    source         text        NOT NULL,
    effective_date date        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT watchlists_watchlist_id_symbol_key UNIQUE (watchlist_id, symbol),
    CONSTRAINT watchlists_watchlist_id_check CHECK (watchlist_id <> ''),
    CONSTRAINT watchlists_symbol_check CHECK (symbol <> '')
);
