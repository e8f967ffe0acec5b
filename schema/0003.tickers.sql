-- Reference universe. The loader computes id itself (one COPY, no round trip), and the CHECK holds it
-- to the definition; a generated column would refuse the loader's value. The namespace is
-- kapman_resources.tables.TICKER_NAMESPACE.
-- depends: 0002.bookkeeping
CREATE TABLE public.tickers (
    id               uuid        NOT NULL,
    symbol           text        NOT NULL,
    name             text,
    type             text,
    primary_exchange text,
    currency         text,
    cik              text,
    composite_figi   text,
    share_class_figi text,
    active           boolean     NOT NULL,
    last_updated_utc timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tickers_pkey PRIMARY KEY (id),
    CONSTRAINT tickers_symbol_key UNIQUE (symbol),
    CONSTRAINT tickers_symbol_check CHECK (symbol <> ''),
    CONSTRAINT tickers_id_check CHECK (
        id = public.uuid_generate_v5('6f1b3b2e-5a0c-5f6e-9d0a-6b61706d616e'::uuid, symbol)
    )
);
