"""What the web interface shows beside the numbers: complete, true to the database, and small.

The promise: whoever clicks on an asset sees what it is, what it is made of, who runs it and what its checks mean; the
newest materialization has ten rows and a picture; and neither bloats the event log, whatever the range.
"""

import base64
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from PIL import Image

from kapman_assets import defs, ohlcv, pictures, previews
from kapman_assets.column_lineage import column_lineage
from kapman_assets.order import CHAIN
from kapman_assets.presentation import presented, runbook_steps
from kapman_assets.resources import DatabaseResource
from kapman_cli import ui
from kapman_resources.bars import BARS, CONTRACTS
from kapman_resources.settings import PROJECT, settings
from kapman_resources.tables import DAILY_SNAPSHOTS, TABLES
from tests.integration.conftest import Platform

TABLE_ASSETS = tuple(asset for asset in CHAIN if asset != "schema")
PICTURED = ("ohlcv", "options_chains", "daily_snapshots", "dealer_metrics", "volatility_metrics")
GRAPH = defs.resolve_asset_graph()


def node(asset: str) -> Any:
    return GRAPH.get(dg.AssetKey(asset))


def test_groups_read_in_the_order_of_the_contract() -> None:
    """Dagster sorts them by name."""
    groups = [node(asset).group_name for asset in CHAIN]
    assert groups == sorted(groups)
    assert tuple(dict.fromkeys(groups)) == ui.GROUPS


@pytest.mark.parametrize("asset", CHAIN)
def test_every_asset_says_what_it_is(asset: str) -> None:
    """Description with jobs, checks and the runbook's step; owners, kinds, tags; code that opens."""
    found = node(asset)
    assert found.owners
    assert found.kinds
    assert found.tags["contract"] in ("A0", "A6")
    description = found.description
    assert "`repave`" in description
    assert f"runbook, step {CHAIN.index(asset) + 1}" in description
    for key in found.check_keys:
        assert f"- `{key.name}`" in description
    references = found.metadata["dagster/code_references"].code_references
    for reference, line in zip(references, (f"def {asset}(", f"asset `{asset}`"), strict=True):
        lines = Path(reference.file_path).read_text().splitlines()[reference.line_number - 1 :]
        assert any(line in text for text in lines[:40]), reference


@pytest.mark.parametrize("asset", TABLE_ASSETS)
def test_every_column_is_described(asset: str) -> None:
    """Type, meaning, and what it is made from, in words: the free edition of Dagster draws no column lineage."""
    metadata = node(asset).metadata
    assert metadata["dagster/table_name"] in {f"public.{table}" for table in TABLES}
    for column in metadata["dagster/column_schema"].columns:
        assert column.type
        assert column.description
    sources = metadata.get("dagster/column_lineage")
    for column, of in (sources.deps_by_column if sources else {}).items():
        said = next(c.description for c in metadata["dagster/column_schema"].columns if c.name == column)
        assert all(f"`{one.asset_key.to_user_string()}.{one.column_name}`" in said for one in of), said


def test_constraints_are_those_of_the_database(repaved: Platform) -> None:
    """A column says what a CHECK or a foreign key holds it to exactly where the database has one."""
    with repaved.connect() as connection:
        rows = connection.execute(
            """
            SELECT c.contype::text, r.relname, a.attname FROM pg_constraint c
            JOIN pg_class r ON r.oid = c.conrelid JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = ANY (c.conkey)
            WHERE r.relnamespace = 'public'::regnamespace AND c.contype IN ('c', 'f')
            """
        ).fetchall()
    for kind, said in (("c", "checks"), ("f", "references")):
        held = {
            (table, column) for of_kind, table, column in rows if of_kind == kind and table in TABLE_ASSETS
        }
        told = {
            (table, column.name)
            for table in TABLE_ASSETS
            if table in TABLES
            for column in TABLES[table].columns
            if getattr(column, said)
        }
        assert held == told, said


def test_the_lineage_names_columns_that_exist() -> None:
    """Every arrow starts at a column that its asset shows."""
    shown = {
        asset: {column.name for column in node(asset).metadata["dagster/column_schema"].columns}
        for asset in TABLE_ASSETS
    }
    with_lineage = set()
    for asset in TABLE_ASSETS:
        lineage = node(asset).metadata.get("dagster/column_lineage")
        for column, sources in (lineage.deps_by_column if lineage else {}).items():
            with_lineage.add(asset)
            assert column in shown[asset]
            for source in sources:
                assert source.column_name in shown[source.asset_key.to_user_string()], (asset, column, source)
    assert with_lineage == set(PICTURED)


@pytest.mark.parametrize(
    ("asset", "column", "read"),
    [
        ("daily_snapshots", "technical_indicators_json", ["ohlcv." + c for c in BARS]),
        ("dealer_metrics", "dealer_metrics_json", ["options_chains." + c for c in CONTRACTS]),
        ("volatility_metrics", "volatility_metrics_json", ["options_chains." + c for c in CONTRACTS]),
    ],
)
def test_the_lineage_is_what_is_read(asset: str, column: str, read: Sequence[str]) -> None:
    """Every column that the step's query reads is in the lineage, but for the row's own key."""
    lineage = column_lineage(asset, DAILY_SNAPSHOTS.only(column))
    named = {f"{s.asset_key.to_user_string()}.{s.column_name}" for s in lineage.deps_by_column[column]}
    assert {one for one in read if not one.endswith(".ticker_id")} <= named


def test_every_check_shows_threshold_and_query(repaved: Platform) -> None:
    """The specs say when they fail and what follows; a result has the numbers to compare with."""
    specs = [spec for one in defs.asset_checks for spec in one.check_specs]  # type: ignore[union-attr]
    audited = [spec for spec in specs if "threshold_violations" in spec.metadata]
    assert len(specs) - len(audited) == 2  # files and backups aren't asked of the database
    for spec in audited:
        assert "A failure " in (spec.description or "")
        assert "```sql" in (spec.description or "")
        assert spec.metadata["severity"] in ("ERROR", "WARN")
    for result in repaved.run("validate").get_asset_check_evaluations():
        if result.check_name in {spec.name for spec in audited}:
            assert result.metadata["threshold_violations"].value == 0


def materializations(platform: Platform, asset: str) -> list[dg.AssetMaterialization]:
    """Newest first."""
    records = platform.instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records
    return [record.asset_materialization for record in records if record.asset_materialization]


@pytest.mark.parametrize("asset", TABLE_ASSETS)
def test_a_run_adds_one_preview_and_one_picture(repaved: Platform, asset: str) -> None:
    """On the newest event, with at most ten rows, and a picture that is one; all of it small."""
    newest, *others = materializations(repaved, asset)
    table = newest.metadata["preview"]
    assert isinstance(table, dg.TableMetadataValue)
    assert 0 < len(table.records) <= previews.ROWS
    assert {type(value) for record in table.records for value in record.data.values()} == {str}
    assert sum(len(str(record.data)) for record in table.records) < 8_000
    assert newest.metadata["dagster/row_count"].value > 0
    assert newest.metadata["rows_quarantined"].value is not None
    assert ("picture" in newest.metadata) is (asset in PICTURED)
    if asset in PICTURED:
        assert newest.metadata["sessions_published"].value == len(others) + 1
        assert newest.metadata["rows_per_second"].value > 0
        text = newest.metadata["picture"].value
        assert len(text) < pictures.MAX_BYTES + 200
        image = image_of(text)
        assert image.format == "PNG"
        assert image.width == 840
    assert not any({"preview", "picture"} & set(other.metadata) for other in others)


def image_of(markdown: str) -> Image.Image:
    """The image inside of the Markdown."""
    encoded = re.fullmatch(r"!\[[^\]]+\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert encoded, markdown[:200]
    return Image.open(io.BytesIO(base64.b64decode(encoded[1])))


def test_the_same_data_give_the_same_picture(repaved: Platform) -> None:
    """Byte by byte; and a session that went missing shows."""
    sessions = pl.DataFrame({"session": DatabaseResource().audit_parameters()["sessions"]})
    whole = sessions.with_columns(rows=pl.lit(11_000, pl.Int64))
    first = pictures.calendar("ohlcv", whole)
    assert pictures.calendar("ohlcv", whole) == first
    gap = whole.with_columns(rows=pl.when(pl.int_range(pl.len()) == 300).then(None).otherwise("rows"))
    assert "1 missing (red)" in pictures.calendar("ohlcv", gap)
    assert not shows_red(first)
    assert shows_red(pictures.calendar("ohlcv", gap))


def shows_red(picture: str) -> bool:
    """Whether a colour in it is red beyond doubt."""
    colours = image_of(picture).convert("RGB").getcolors() or []
    return any(r > 180 and g < 80 and b < 90 for _, (r, g, b) in colours)


def test_a_picture_that_cannot_be_drawn_fails_nothing(
    repaved: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The load counts; the log says what is missing and why."""
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    monkeypatch.setitem(previews.TABLES, "ohlcv", "SELECT * FROM public.no_such_table")  # type: ignore[arg-type]
    result = repaved.materialize("ohlcv", partition="2026-11-19")
    assert result.success
    newest = materializations(repaved, "ohlcv")[0]
    assert newest.partition == "2026-11-19"
    assert not {"preview", "picture"} & set(newest.metadata)
    said = [entry.user_message for entry in repaved.instance.all_logs(result.run_id)]
    assert any("No picture of 'ohlcv'" in message for message in said)
    assert any("No preview of 'ohlcv'" in message and "no_such_table" in message for message in said)


def test_code_references_lead_to_the_web_where_the_source_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """With KAPMAN_SOURCE_URL nothing names a file of this machine."""
    monkeypatch.setenv("KAPMAN_SOURCE_URL", "https://git.example/kapman/blob/main/")
    settings.cache_clear()
    try:
        (asset,) = presented([ohlcv.ohlcv], [ohlcv.CHECKS], [])
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    code, runbook = asset.metadata_by_key[asset.key]["dagster/code_references"].code_references
    assert re.fullmatch(r"https://git\.example/kapman/blob/main/kapman_assets/ohlcv\.py#L\d+", code.url)
    assert runbook.url.endswith(f"/docs/runbook.md#L{runbook_steps()['ohlcv'][0]}")
    description = asset.descriptions_by_key[asset.key]
    assert "(https://git.example/kapman/blob/main/docs/runbook.md#4-ohlcv--asset-ohlcv)" in description
    assert str(PROJECT) not in description


def test_matplotlib_is_not_part_of_the_definitions() -> None:
    """It takes as long to import as all that the definitions need: only a step that draws pays for it."""
    code = "import sys, kapman_assets; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
