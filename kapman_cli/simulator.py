"""`kapman simulator`: the vendor on loopback, until interrupted."""

import shlex
import signal
import tempfile
from datetime import datetime
from pathlib import Path

import click

from kapman_simulator.options import MarketOptions

_DEFAULTS = MarketOptions()


@click.command()
@click.option(
    "--dataset", type=click.Path(path_type=Path), help="Serve this folder in place of a generated market."
)
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="The session served as today.")
@click.option(
    "--symbols", default=_DEFAULTS.symbols, show_default=True, help="Symbols of the generated market."
)
@click.option(
    "--sessions", default=_DEFAULTS.sessions, show_default=True, help="Daily files that end with today's."
)
@click.option(
    "--underlyings", default=_DEFAULTS.underlyings, show_default=True, help="Symbols with an option chain."
)
@click.option(
    "--contracts", default=_DEFAULTS.contracts, show_default=True, help="Contracts of a chain, about."
)
@click.option("--seed", default=_DEFAULTS.seed, show_default=True, help="Another seed, another market.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME[=VALUE]...", help="Reproduce quirks: one or more names."
)
@click.argument("more_faults", nargs=-1, metavar="")
@click.option("--list-faults", is_flag=True, help="Print every fault with what it does.")
@click.option(
    "--env-file", type=click.Path(path_type=Path, dir_okay=False), help="Write the settings for `source`."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, help="Port of the API; 0 takes a free one.")
@click.option("--s3-port", default=0, help="Port of the S3 endpoint; 0 takes a free one.")
def simulator(  # noqa: PLR0913  (one argument per option)
    dataset: Path | None,
    today: datetime | None,
    symbols: int,
    sessions: int,
    underlyings: int,
    contracts: int,
    seed: int,
    faults: tuple[str, ...],
    list_faults: bool,
    env_file: Path | None,
    host: str,
    port: int,
    s3_port: int,
    more_faults: tuple[str, ...],
) -> None:
    """Serve the vendor's S3 bucket and REST API on loopback until interrupted. Safe.

    The first lines printed are the settings that point the platform here; `--env-file` writes them for `source`.
    """
    # Imported late: `kapman simulator --help` needs neither NumPy nor a web server.
    from kapman_simulator.market import Unservable  # noqa: PLC0415
    from kapman_simulator.serving import Address, open_vendor  # noqa: PLC0415

    if more_faults and not faults:
        raise click.UsageError(f"Unexpected arguments: {' '.join(more_faults)}. Faults follow --fault.")
    # `--fault A B,C --fault D`: however people write a list.
    faults = tuple(name for given in (*faults, *more_faults) for name in given.split(",") if name)
    if list_faults or "list" in faults:
        _print_faults()
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    if env_file:
        # A file of an earlier simulator must not be taken for this one's sign that it is ready.
        env_file.unlink(missing_ok=True)
    options = MarketOptions(symbols, sessions, underlyings, contracts, seed, today.date() if today else None)
    try:
        vendor = open_vendor(options, faults=faults, dataset=dataset, address=Address(host, port, s3_port))
    except Unservable as error:
        raise click.UsageError(str(error)) from error
    vendor.start()
    try:
        for name, value in vendor.environment.items():
            click.echo(f"{name}={value}")
        if env_file:
            _write_env_file(env_file, vendor.environment)
        for note in vendor.market.notes:
            click.echo(note)
        click.echo(f"Serving {dataset or 'a generated market'} of {vendor.market.today} until interrupted.")
        signal.pause()
    finally:
        vendor.stop()
        if env_file:
            env_file.unlink(missing_ok=True)


def _end(*_: object) -> None:
    raise SystemExit(0)


def _print_faults() -> None:
    from kapman_simulator.faults import FAULTS  # noqa: PLC0415
    from kapman_simulator.faults.stage import TARGETS  # noqa: PLC0415

    for entry in FAULTS.values():
        default = f", {entry.default} by default" if entry.default else ""
        click.echo(f"{entry.name}\n    {entry.what}\n    value: {TARGETS[entry.target][0]}{default}")


def _write_env_file(path: Path, environment: dict[str, str]) -> None:
    """Write `export NAME=value` lines in one step, so that who waits for the file never reads half of it."""
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    with tempfile.NamedTemporaryFile("w", dir=path.resolve().parent, prefix=path.name, delete=False) as file:
        file.write(lines)
    Path(file.name).replace(path)
