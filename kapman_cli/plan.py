"""`kapman plan`: what a repave would do, told without doing it."""

import json
import os

import click
import dagster as dg

from kapman_assets.plan import plan_repave
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_resources.settings import PROJECT


@click.command()
@click.option(
    "--confirm", default="", metavar="DATABASE", help="As if the run config confirmed this database."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of sentences.")
def plan(confirm: str, as_json: bool) -> None:
    """Tell what a repave would drop, fetch and compute, and what would refuse it. Safe: changes nothing.

    Exit code 0 whether or not a guard would refuse: the plan says so (`refusals` in the JSON).
    """
    # As `make` and the activated environment have it: the records that say how long the last one took.
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT / "dagster_home"))
    with dg.DagsterInstance.get() as instance:
        found = plan_repave(instance, DatabaseResource(), VendorResource(), confirm)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
        return
    for line in found.lines():
        click.secho(line, fg="red" if line.startswith("WOULD BE REFUSED") else None)
