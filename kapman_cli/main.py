"""The `kapman` command. Subcommands are imported when they are called, so that `kapman --help` stays instant."""

import importlib
import sys

import click

COMMANDS = {
    "db": "kapman_cli.db:db",
    "simulator": "kapman_cli.simulator:simulator",
    "ready": "kapman_cli.demo:ready",
    "ui": "kapman_cli.ui:ui",
    "market": "kapman_cli.market:market",
    "stop": "kapman_cli.demo:stop",
    "doctor": "kapman_cli.doctor:doctor",
    "verify": "kapman_cli.verify:verify",
    "plan": "kapman_cli.plan:plan",
    "summary": "kapman_cli.summary:summary",
    "hash": "kapman_cli.hash:content_hashes",
    "backup": "kapman_cli.backup:backup",
    "restore": "kapman_cli.restore:restore",
    "vault": "kapman_cli.vault:vault",
    "quarantine": "kapman_cli.quarantine:quarantine",
}

DESTRUCTIVE = ("restore", "stop")
"""Commands that can take away what is there (of `stop`, with --remove); docs/runbook.md has them all."""


class LazyGroup(click.Group):
    """A group that knows its subcommands by name and imports only the one that is called."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List what is safe apart from what isn't."""
        safe = [name for name in COMMANDS if name not in DESTRUCTIVE]
        for heading, names in (("Safe commands", safe), ("Destructive commands", DESTRUCTIVE)):
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl([(name, one.get_short_help_str(90)) for name, one in found if one])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def kapman() -> None:
    """KapMan: one market database that can be destroyed and rebuilt to the same content.

    The repave itself is a job: `make repave`, or dagster job execute -m kapman_assets -j repave. DESTRUCTIVE:
    `kapman plan` tells what it would do.
    """


def main() -> None:
    """Run the command; an error made for people is printed as its sentence, without a traceback."""
    from kapman_resources.errors import KapmanError  # noqa: PLC0415  (imported late: start-up time)

    try:
        kapman()
    except KapmanError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
