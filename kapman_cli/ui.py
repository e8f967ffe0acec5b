"""`kapman ui`: Dagster's webserver and daemon on one instance, until interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from kapman_resources.settings import PROJECT

GROUPS = ("1_structure", "2_reference", "3_market_data", "4_metrics")
"""Of the assets, in the order of the contract; the web interface shows them closed unless it is asked otherwise."""
LINEAGE = f"/asset-groups?expanded={','.join(f'global@global:{group}' for group in GROUPS)}"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, help="Port to listen on.")
def ui(host: str, port: int) -> None:
    """Serve Dagster's web interface and run its daemon, until interrupted. Safe."""
    # A shell's background job ignores SIGINT, and `dagster dev` would inherit that and never end: give
    # both signals a disposition of our own before it starts, and pass either on as the one it obeys.
    children: list[subprocess.Popen[bytes]] = []

    def interrupt(signum: int, frame: object) -> None:
        for child in children:
            child.send_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    dagster = Path(sys.executable).with_name("dagster")
    # As `make` and the activated environment have it: the records of every run there has been.
    environment = {"DAGSTER_HOME": str(PROJECT / "dagster_home"), **os.environ, "PYTHONWARNINGS": "ignore"}
    click.echo(f"Dagster: http://{host}:{port}  (Ctrl-C ends it)")
    click.echo(f"The chain, every group open: http://{host}:{port}{LINEAGE}")
    # A session of its own: the terminal's Ctrl-C reaches it once, through us.
    children.append(
        subprocess.Popen(
            [dagster, "dev", "-m", "kapman_assets", "--host", host, "--port", str(port), "--log-level", "warning"],
            cwd=PROJECT, start_new_session=True, env=environment,
        )
    )  # fmt: skip
    sys.exit(max(children[0].wait(), 0))
