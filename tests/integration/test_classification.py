"""Nobody finds out by doing it whether something destroys: every job, command and make target says in its own help,
in the runbook's one table, and in Dagster's tags, whether it is safe or destructive, and all say the same."""

import re
from collections.abc import Iterator

import click

from kapman_assets import defs
from kapman_cli.main import COMMANDS, DESTRUCTIVE, kapman
from tests.conftest import PROJECT
from tests.integration.command_line import kapman as run_kapman

SECTION = "## Safe and destructive"


def table() -> dict[str, str]:
    """Operation to `safe` or `destructive`, as the runbook has them; several in a row share their words."""
    text = (PROJECT / "docs" / "runbook.md").read_text().split(SECTION)[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \| \**(safe|destructive)\** \|", text, flags=re.MULTILINE)
    return {name: kind for names, kind in rows for name in re.findall(r"`(.+?)`", names)}


def documented(prefix: str) -> dict[str, str]:
    found = {name: kind for name, kind in table().items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): kind for name, kind in found.items()}


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by the words that one types after `kapman`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def test_every_job_is_in_the_table_with_its_tag() -> None:
    jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    assert documented("job ") == {job.name: job.tags["kapman/operation"] for job in jobs}


def test_every_command_is_in_the_table_and_in_its_group_of_the_help() -> None:
    found = {
        name: "destructive" if name.split()[0] in DESTRUCTIVE else "safe" for name, _ in commands(kapman)
    }
    assert documented("kapman ") == found
    assert set(DESTRUCTIVE) < set(COMMANDS)
    safe, destructive = run_kapman("--help").text.split("Safe commands:")[1].split("Destructive commands:")
    for name in COMMANDS:
        shown = destructive if name in DESTRUCTIVE else safe
        assert re.search(rf"^  {name} ", shown, flags=re.MULTILINE), name


def test_every_command_says_it_in_its_own_help() -> None:
    for name, command in commands(kapman):
        assert re.search(r"\b(as )?safe\b|\bdestructive\b", command.help or "", flags=re.IGNORECASE), name
        if name.split()[0] in DESTRUCTIVE:
            options = " ".join(getattr(option, "help", None) or "" for option in command.params)
            assert "destructive" in f"{command.help} {options}".lower(), name


def test_every_make_target_is_in_the_table() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert set(documented("make ")) == set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))


def test_whatever_paves_is_destructive() -> None:
    """The rows that people must not miss."""
    assert {name for name, kind in table().items() if kind == "destructive"} >= {
        "job repave", "make repave", "kapman restore", "make clean",
    }  # fmt: skip
