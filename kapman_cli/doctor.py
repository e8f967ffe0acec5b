"""`kapman doctor`: what the platform stands on, line by line, each with its fix."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict

import click

from kapman_resources.diagnosis import Finding, Probe, diagnose
from kapman_resources.settings import PROJECT, Settings, settings

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def doctor(as_json: bool) -> None:
    """Look at everything the platform stands on. Safe: starts nothing, changes nothing.

    One line a finding: ok, warn or FAIL, what was found, and how to mend it. The vault's probe writes an object
    of its own and deletes it. Exit code 0 when nothing fails, else 1.
    """
    # Imported late: start-up time.
    from kapman_resources.diagnosis import database, machine, vendor  # noqa: PLC0415

    # As `make` and the activated environment have it: the records that `kapman ui` shows.
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT / "dagster_home"))
    configured = settings()
    probes = {
        **machine.probes(configured),
        **database.probes(configured),
        **vendor.probes(configured),
        **_dagster_probes(configured),
    }
    findings = []
    for finding in diagnose(probes):
        findings.append(finding)
        if as_json:
            continue
        word = click.style(
            f"{'FAIL' if finding.status == 'fail' else finding.status:<6}", fg=_COLORS[finding.status]
        )
        click.echo(f"{word}{finding.name}: {finding.found}")
        if finding.fix:
            click.echo(f"      -> {finding.fix}")
    failed = sum(finding.status == "fail" for finding in findings)
    warned = sum(finding.status == "warn" for finding in findings)
    if as_json:
        document = {
            "healthy": not failed,
            "failed": failed,
            "warned": warned,
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(document, indent=1))
    else:
        click.secho(
            f"{len(findings)} findings: {failed} fail, {warned} warn.", fg="red" if failed else "green"
        )
    sys.exit(1 if failed else 0)


def _dagster_probes(configured: Settings) -> Mapping[str, Probe]:
    """Dagster's probes; where the code location can't even be loaded, that is the finding, and the others go on."""
    # Here and not in the probes, whose time is short: importing Dagster takes a second or more.
    try:
        from kapman_assets import diagnosis  # noqa: PLC0415
    except Exception as error:
        found = f"kapman_assets can't be loaded: {type(error).__name__}: {error}"
        finding = Finding(
            "Dagster", "fail", found, "dagster definitions validate -m kapman_assets shows where."
        )
        return {"Dagster": lambda: [finding]}
    return diagnosis.probes(configured)
