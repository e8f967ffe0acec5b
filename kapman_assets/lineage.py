"""What each session of a derived table is made from, and whether the database still holds just that.

One query per derived asset says what its sessions would be made from now. The asset records the answer in the
load manifest when it publishes a session, leaves a session alone while the answer is the same, and the check
`…_are_current` compares the two: they can't drift apart.
"""

from typing import Any, LiteralString

import dagster as dg

from kapman_assets.audits import Audit
from kapman_resources.database import Connection

Sources = list[dict[str, Any]]
"""As in the manifest: `asset`, `partition`, `content_hash`, and what else of it counts."""

# A snapshot looks at the last 400 bars of each ticker. Those of a thinly traded one reach back over more than
# 400 sessions, so `history` covers every session that was ever published here, up to the session itself: also
# those that retention has dropped since, which makes no snapshot stale. A sum of hashes, so that one pass over
# the sessions gives all of them.
SNAPSHOT_SOURCES: LiteralString = """
    SELECT partition_key, jsonb_build_array(jsonb_build_object(
               'asset', 'ohlcv', 'partition', partition_key, 'content_hash', content_hash, 'history', history)) AS sources
    FROM (SELECT partition_key, content_hash, left(md5((sum(
                     ('x' || left(md5(partition_key || ' ' || coalesce(content_hash, '')), 16))::bit(64)::bigint)
                     OVER (ORDER BY partition_key))::text), 16) AS history
          FROM kapman_meta.load_manifest WHERE asset = 'ohlcv' AND partition_key <> '') o
"""

# The spot is the session's close, or else the underlying's price in the archived snapshot.
DEALER_SOURCES: LiteralString = """
    SELECT c.partition_key, jsonb_build_array(
               jsonb_build_object(
                   'asset', 'options_chains', 'partition', c.partition_key, 'content_hash', c.content_hash,
                   'underlying_prices', left(md5((c.details->'underlying_prices')::text), 16)),
               jsonb_build_object(
                   'asset', 'ohlcv', 'partition', c.partition_key, 'content_hash', o.content_hash)) AS sources
    FROM kapman_meta.load_manifest c
    LEFT JOIN kapman_meta.load_manifest o ON o.asset = 'ohlcv' AND o.partition_key = c.partition_key
    WHERE c.asset = 'options_chains' AND c.partition_key <> ''
"""

# Who gets a row: the active symbols that are tickers.
_WITH_WATCHLISTS: LiteralString = """
    SELECT d.partition_key, d.sources || jsonb_build_object('asset', 'watchlists', 'symbols', a.symbols) AS sources
    FROM data d CROSS JOIN (
        SELECT left(md5(coalesce(string_agg(symbol, ' ' ORDER BY symbol COLLATE "C"), '')), 16) AS symbols
        FROM (SELECT DISTINCT symbol FROM public.watchlists WHERE active) w JOIN public.tickers USING (symbol)) a
"""


def held_sources(connection: Connection, query: LiteralString) -> dict[str, Sources]:
    """By session: what the asset of that query would be made from now, for all active symbols.

    Ask before reading the data: what is published in between then counts as a change, not as known.
    """
    return dict(connection.execute("WITH data AS (" + query + ")" + _WITH_WATCHLISTS).fetchall())


def without_watchlists(sources: Sources) -> Sources:
    """The sources of a step that covers every ticker, whoever is on a watchlist."""
    return [source for source in sources if source["asset"] != "watchlists"]


def only_symbols(sources: Sources, symbols: list[str]) -> Sources:
    """The sources of a step that covers some of the active symbols: never those of a whole session."""
    return [*without_watchlists(sources), {"asset": "watchlists", "only": sorted(set(symbols))}]


def currency_audit(name: str, asset: str, query: LiteralString, code_version: str, description: str) -> Audit:
    """The check that an asset's published sessions were made from what the database holds now.

    A source that a load doesn't name (watchlists, where every ticker was asked for) can't make it stale.
    """
    return Audit(
        name,
        f"{description} The sessions that were not, and what has changed since, are listed; recompute them with"
        " `dagster job execute -m kapman_assets -j refresh` (sessions that are current are left alone).",
        violations="WITH data AS (" + query + "), held AS (" + _WITH_WATCHLISTS + ")" + _STALE,
        facts="""
            SELECT count(*) AS sessions_computed, count(*) FILTER (WHERE code_version = %(code_version)s) AS by_this_code,
                   max(loaded_at) AS last_computed
            FROM kapman_meta.load_manifest WHERE asset = %(asset)s AND partition_key <> ''
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
        parameters={"asset": asset, "code_version": code_version},
    )


# The loads behind a changed source are found by their time; without any (a symbol left its watchlist) the
# source is named alone.
_STALE: LiteralString = """
    SELECT session, changed, computed_at FROM (
        SELECT m.partition_key AS session, m.loaded_at AS computed_at, concat_ws(', ',
                   CASE WHEN m.code_version IS DISTINCT FROM %(code_version)s THEN 'formulas' END,
                   (SELECT string_agg(coalesce(newer.named, s.source->>'asset'), ', ')
                    FROM jsonb_array_elements(h.sources) s (source)
                    CROSS JOIN LATERAL (
                        SELECT s.source->>'asset' || ' of ' || min(o.partition_key)
                               || CASE WHEN count(*) > 1 THEN ' and ' || count(*) - 1 || ' more' ELSE '' END AS named
                        FROM kapman_meta.load_manifest o
                        WHERE o.asset = s.source->>'asset' AND o.loaded_at > m.loaded_at AND o.partition_key <> ''
                          AND (o.partition_key = m.partition_key
                               OR s.source ? 'history' AND o.partition_key < m.partition_key)) newer
                    WHERE NOT m.sources @> jsonb_build_array(s.source)
                      AND m.sources @> jsonb_build_array(jsonb_build_object('asset', s.source->'asset')))) AS changed
        FROM kapman_meta.load_manifest m JOIN held h USING (partition_key) WHERE m.asset = %(asset)s) c
    WHERE changed <> '' ORDER BY session
"""
