"""The documents that people operate by name what is there: a renamed check, asset, job or setting that
the runbook or the configuration page still calls by its old name fails here."""

import re

import dagster as dg
from pydantic import AliasChoices

from kapman_assets import backups, defs, flat_file_changes, verification
from kapman_resources.settings import Settings
from tests.conftest import PROJECT

RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()
AUDITS = {asset: {audit.name: audit for audit in found} for asset, (found, _) in verification.AUDITS.items()}
# What no query of the database can answer is a check of its own.
OTHER_CHECKS = {"schema": {backups.CHECK: ""}, "ohlcv": {flat_file_changes.CHECK: "W"}}
# The steps that rest on chains have a table of these too.
REASONS = {
    "no_options",
    "no_spot",
    "all_contracts_filtered",
    "zero_gex",
    "no_iv",
    "few_contracts",
    "no_atm_iv_30d",
}


def steps() -> dict[str, str]:
    """The runbook's text of each step, by the asset that its heading names."""
    parts = re.split(r"^### \d\. .* — asset `(\w+)`$", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_runbook_has_every_asset_in_the_order_of_the_chain() -> None:
    """Eight steps, one asset each, in the contract's order."""
    assert list(steps()) == list(AUDITS)
    assert {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()} == set(AUDITS)


def test_runbook_names_every_check_and_no_other() -> None:
    """Each check stands in its asset's table, marked as blocking or as a warning when it is one."""
    for asset, text in steps().items():
        rows = re.findall(r"^\| `(\w+)`(?: \*\*(B|W)\*\*)? \| .*\|$", text, flags=re.MULTILINE)
        expected = {
            name: "W" if audit.severity is dg.AssetCheckSeverity.WARN else "B" if audit.blocking else ""
            for name, audit in AUDITS[asset].items()
        } | OTHER_CHECKS.get(asset, {})
        assert {name: mark for name, mark in rows if name not in REASONS} == expected, asset
    defined = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert defined == {name for audits in (*AUDITS.values(), *OTHER_CHECKS.values()) for name in audits}


def test_runbook_names_every_job_schedule_and_sensor() -> None:
    """No job, schedule or sensor is without its line, and every `-j` in a command exists."""
    jobs = {job.name for job in defs.jobs or []}
    started_by = {one.name for one in (*(defs.schedules or []), *(defs.sensors or []))}
    assert {
        name for name in jobs | started_by if f"`{name}`" not in RUNBOOK and f"-j {name}" not in RUNBOOK
    } == set()
    assert set(re.findall(r"-j (\w+)", RUNBOOK)) <= jobs


def test_runbook_points_at_dashboards_that_exist() -> None:
    """Every dashboard is shown where it helps, and no other is named."""
    named = set(re.findall(r"dashboards/(\w+\.sql)", RUNBOOK))
    assert named == {path.name for path in (PROJECT / "dashboards").glob("*.sql")}


def variables() -> dict[str, str]:
    """Every environment variable of the settings, with its field's name."""
    found = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [alias]
        found.update({str(variable): name for variable in names})
    return found


def test_configuration_page_and_example_have_every_setting() -> None:
    """The table of docs/configuration.md is the list of settings; .env.example offers each, commented out."""
    page = (PROJECT / "docs" / "configuration.md").read_text().split("## Beside")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", page, flags=re.MULTILINE)
    assert {name for name, _ in rows} == set(variables())
    for name, default in rows:
        actual = Settings.model_fields[variables()[name]].default
        if isinstance(actual, str | float):
            assert default == f"`{actual:g}`" if isinstance(actual, float) else f"`{actual}`", name
    example = (PROJECT / ".env.example").read_text()
    assert set(re.findall(r"^#([A-Z]\w+)=", example, flags=re.MULTILINE)) >= set(variables())
    assert not re.findall(r"^[A-Z]", example, flags=re.MULTILINE), (
        "everything in the example is commented out"
    )
