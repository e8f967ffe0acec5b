"""Whatever README.md and docs/ tell people to type works as it is printed: every command is run on a small platform,
or, where that would take away, stay or need what tests don't have, read by the program that it is for. A command that
no rule here covers fails, so a new one can't be printed unseen.

docs/add-an-asset.md has a test of its own: tests/integration/test_add_an_asset.py.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import dagster as dg
import pytest
import yaml
from psycopg import sql

from kapman_assets import defs
from kapman_assets.partitions import SESSIONS
from kapman_cli.main import kapman as kapman_command
from tests.conftest import PROJECT
from tests.integration.command_line import dagster_home, kapman
from tests.integration.conftest import TODAY, Platform

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
PROGRAMS = ("kapman", "dagster", "make", "docker", "pytest", "python", "psql")
SHELL_BLOCKS, SQL_BLOCKS = ("sh", "bash", "console"), ("sql",)
# What surrounds the commands in a block; the block as a whole is read by bash.
SHELL_WORDS = {"source", ".", "export", "cat", "cp", "for", "do", "done", "echo", "xxd"}
OPERATORS, REDIRECTIONS = {"|", "&", "&&", ";", "||"}, {">", ">>", "<", "<<"}

FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(rf"(?<!`)`((?:{'|'.join(PROGRAMS)}) [^`]+)`(?!`)")

PLACEHOLDERS = {
    "…": TODAY.isoformat(),
    "2026-11-20": TODAY.isoformat(),
    "DIR": str(PROJECT / "data"),
    "NAME": "s3_500",
}
"""What people put their own values for."""

RUN = "run on a small platform"
RULES = {
    # -- kapman: whatever only looks, or can be repeated
    r"kapman (--help|verify|plan|hash|doctor( --json)?|simulator --list-faults)": RUN,
    r"kapman summary": RUN,
    r"kapman backup( --list| --verify| --json)*( full_\d+_\d+)?": RUN,
    r"kapman vault (list|verify)( [\d-]+)?": RUN,
    r"kapman vault replay( [\d-]+)+": RUN,
    r"kapman quarantine (list|replay)( --\S+( [a-z_]+| \d+| [\d-]+)?)*": RUN,
    r"kapman db (status|url|roles)": RUN,
    r"kapman db psql .*-f dashboards/\w+\.sql": RUN,
    r"kapman db psql( -1 -f schema/\S+)?": "a terminal; and a migration by hand, of a view that is missing",
    r"kapman db roles --apply": "makes roles of the server: tests/integration/test_roles.py",
    r"kapman db (start|stop)": "the embedded server: tests/integration/test_embedded.py",
    r"kapman (ready|stop)( --remove)?": "the demo: tests/integration/test_demo.py",
    r"kapman ui": "stays: tests/e2e/test_ui.py",
    r"kapman market( .*)?": "stays: tests/e2e/test_market_page.py",
    r"kapman simulator( .*)?": "stays: tests/integration/test_simulator.py",
    r"kapman restore( .*)?": "destructive: tests/integration/test_backup.py",
    r"kapman vault archive( .*)?": "the live session alone: tests/integration/test_vault_command.py",
    r"kapman quarantine show( \d+)?": "a row of somebody's own: tests/integration/test_quarantine.py",
    r"kapman (vault|db|quarantine|vault replay)": "a name alone",
    # -- dagster
    r"dagster job execute -m kapman_assets -j repave( -c \S+)?": "the fixture; typed: tests/faults/test_clock.py",
    r"dagster asset materialize -m kapman_assets .* --partition-range .*": "as the fixture, or a single partition does",
    r"dagster (job execute|asset materialize) -m kapman_assets .*": RUN,
    r"dagster (job|asset) .*-m desk .*": "tests/integration/test_add_an_asset.py",
    r"dagster (job execute|job backfill|code-server start|definitions validate)( -m desk)?": "a command's name",
    r"dagster schedule (start|stop) -m kapman_assets \w+": "needs a daemon: tests/integration/test_schedules.py",
    # -- what stands around them
    r"make [a-z-]+": "targets of the Makefile; CI runs `check`, `docs` and `test`",
    r"docker (compose|buildx) .*": "needs an engine: tests/integration/test_compose.py",
    r"pytest tests/\S+.*": "the tests themselves",
    r"python \S+\.py.*": "benchmarks and scripts",
    r"python -m \S+.*": "generators: tests/integration/test_analytics_views.py, tests/unit/test_technical_metrics.py",
    r"psql \$\(kapman db url\)": "what the page advises against",
}


@dataclass(frozen=True)
class Command:
    """A simple command, as words, and the page that has it."""

    page: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words with blanks between them."""
        return " ".join(self.words)

    @property
    def rule(self) -> str | None:
        """How it is tried; None if nothing is said about it."""
        return next((how for pattern, how in RULES.items() if re.fullmatch(pattern, self.text)), None)


def simple_commands(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line of shell, without redirections, assignments and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if word in OPERATORS:
            if words:
                yield tuple(words)
            words = []
        elif skip or word in REDIRECTIONS:
            skip = word in REDIRECTIONS
        elif words or not re.match(r"[A-Z_0-9]+=", word):
            words.append(word)


def in_blocks(text: str) -> Iterator[tuple[str, ...]]:
    """The commands of a page's shell blocks; what a here-document feeds to one is none."""
    for language, _, body in FENCE.findall(text):
        if language in SHELL_BLOCKS:
            script = re.sub(r"<<'(\w+)'(.*?)^\1$", "", body, flags=re.MULTILINE | re.DOTALL)
            for line in script.replace("\\\n", " ").splitlines():
                yield from simple_commands(line)


def in_sentences(text: str) -> Iterator[tuple[str, ...]]:
    """The commands in code letters, in tables and elsewhere."""
    for span in INLINE.findall(FENCE.sub("", text)):
        yield from simple_commands(re.sub(r"\s+", " ", span).replace("\\|", "|"))


def found() -> list[Command]:
    """Every command of every page, each page's once."""
    commands = {}
    for page in PAGES:
        text = page.read_text()
        for words in (*in_blocks(text), *in_sentences(text)):
            if words[0] not in SHELL_WORDS:
                commands[Command(page.name, words)] = None
    return list(commands)


COMMANDS = found()


def inner(words: Sequence[str]) -> tuple[str, ...]:
    """The command that `docker compose exec` runs in a service; any other as it is."""
    if words[:3] != ("docker", "compose", "exec"):
        return tuple(words)
    rest = list(words[3:])
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] == "-e" else 1]
    return tuple(rest[1:])


def filled_in(words: Sequence[str]) -> list[str]:
    """The words with values in the place of placeholders."""
    for placeholder, value in PLACEHOLDERS.items():
        words = [word.replace(placeholder, value) for word in words]
    return list(words)


TO_RUN = list(dict.fromkeys(shlex.join(filled_in(one.words)) for one in COMMANDS if one.rule == RUN))


def option(words: Sequence[str], *names: str) -> str | None:
    """The value that follows one of the options."""
    return next((words[n + 1] for n, word in enumerate(words) if word in names), None)


# -- everything that is printed --------------------------------------------------------------------


def test_every_command_has_a_rule() -> None:
    """A new command is run, or somebody says here why it isn't."""
    assert [f"{command.page}: {command.text}" for command in COMMANDS if command.rule is None] == []
    used = {pattern for pattern in RULES if any(re.fullmatch(pattern, command.text) for command in COMMANDS)}
    assert set(RULES) - used == set(), "rules that no command needs any more"
    named = {path for how in RULES.values() for path in re.findall(r"tests/\S+\.py", how)}
    assert [path for path in sorted(named) if not (PROJECT / path).is_file()] == []


def test_every_block_of_commands_says_what_it_is() -> None:
    """Nothing hides in a block without a language; bash reads the others."""
    for page in PAGES:
        for language, _, body in FENCE.findall(page.read_text()):
            if language in SHELL_BLOCKS:
                done = subprocess.run(["bash", "-n"], input=body, text=True, capture_output=True, check=False)
                assert done.returncode == 0, f"{page.name}: {done.stderr}"
            elif not language:
                hidden = re.findall(rf"^(?:{'|'.join(PROGRAMS)}|SELECT|GRANT) .*$", body, flags=re.MULTILINE)
                assert not hidden, page.name


def test_kapman_knows_its_commands_and_options() -> None:
    """Also those that are not run: a renamed option fails here."""
    for command in COMMANDS:
        words = filled_in(inner(command.words))
        if words[:1] != ["kapman"] or words[1] == "--help":
            continue
        group: click.Command = kapman_command
        context, rest = click.Context(group, info_name="kapman"), words[1:]
        while isinstance(group, click.Group) and rest:
            group, rest = group.get_command(context, rest[0]) or pytest.fail(command.text), rest[1:]
        # The name alone, in a sentence, is no call.
        named = isinstance(group, click.Group) or any(parameter.required for parameter in group.params)
        if rest or not named:
            try:
                group.make_context(words[1], list(rest))
            except click.UsageError as error:
                pytest.fail(f"{command.page}: {command.text}: {error.format_message()}")
            except click.exceptions.Exit:
                pass  # --list-faults and the like have told, and ended


def test_dagster_knows_jobs_assets_partitions_and_config() -> None:
    """Names, tags and run config of every `-m kapman_assets`."""
    assets = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    automations = {one.name for one in (*(defs.schedules or []), *(defs.sensors or []))}
    keys = SESSIONS.get_partition_keys()
    for command in COMMANDS:
        words = filled_in(inner(command.words))
        if words[:1] != ["dagster"] or option(words, "-m") != "kapman_assets":
            continue
        if words[1] == "schedule":
            assert words[-1] in automations, command
        if job := option(words, "-j"):
            assert defs.resolve_job_def(job), command
        selected = (option(words, "--select") or "").split(",")
        assert set(selected) <= assets | {""}, command
        partitions = [option(words, "--partition"), *(option(words, "--partition-range") or "").split("...")]
        partitions += json.loads(option(words, "--tags") or "{}").values()
        assert {partition for partition in partitions if partition} <= set(keys), command
        if config := option(words, "--config-json"):
            job_def = defs.resolve_implicit_global_asset_job_def()
            subset = job_def.get_subset(asset_selection={dg.AssetKey(name) for name in selected})
            assert dg.validate_run_config(subset, json.loads(config))


def test_run_config_files_that_are_printed_are_valid() -> None:
    """The YAML that a block writes is what job `repave` takes."""
    text = "".join(page.read_text() for page in PAGES)
    files = re.findall(r"^cat > \S+\.yaml <<'(\w+)'\n(.*?)^\1$", text, flags=re.MULTILINE | re.DOTALL)
    assert files
    for _, document in files:
        assert dg.validate_run_config(defs.resolve_job_def("repave"), yaml.safe_load(document))


def test_the_rest_names_what_there_is() -> None:
    """make targets, compose services, test files, scripts, modules."""
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    services = set(yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"])
    for command in COMMANDS:
        program, *arguments = command.words
        if program == "make":
            assert arguments[0] in targets, command
        elif program == "docker" and "exec" in arguments:
            assert services & set(arguments), command
        elif program == "pytest":
            assert (PROJECT / arguments[0]).exists(), command
        elif program == "python" and arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]), command
        elif program == "python":
            assert (PROJECT / arguments[0]).is_file(), command


# -- what can be run ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def operated(
    repaved: Platform, client_programs: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A repaved platform with a DAGSTER_HOME of its own, a backup that the pages' example names, and psql."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAGSTER_HOME", dagster_home(tmp_path_factory.mktemp("records")))
        patched.chdir(PROJECT)
        patched.setattr(os, "execve", _run_instead)
        taken = kapman("backup")
        assert taken.code == 0, taken.text
        name = taken.stdout.decode().split("/")[-1].strip().removesuffix(".dump")
        patched.setitem(PLACEHOLDERS, "full_20261121_1730", name)
        yield repaved


def _run_instead(program: str, arguments: list[str], environment: dict[str, str]) -> None:
    """`kapman db psql` becomes psql, and this process must not."""
    done = subprocess.run(
        [program, "-v", "ON_ERROR_STOP=1", *arguments[1:]],
        env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    click.echo(done.stdout + done.stderr)
    sys.exit(done.returncode)


def dagster_command(*arguments: str) -> tuple[int, str]:
    """Dagster's own command line, in this process."""
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="dagster")
    main: Callable[[], Any] = entry.load()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["dagster", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), ""
        except Exception as error:
            return 1, str(error)
    return 0, ""


@pytest.mark.parametrize("text", TO_RUN)
def test_the_command_works(operated: Platform, text: str) -> None:
    """As printed, placeholders filled in: exit code 0."""
    program, *arguments = filled_in(shlex.split(text))
    if program == "dagster":
        code, said = dagster_command(*arguments)
        assert code == 0, said
        return
    ended = kapman(*arguments)
    # Nothing is wrong with the command where doctor finds no daemon, and summary no repave of this DAGSTER_HOME.
    looked = arguments[0] in ("doctor", "summary")
    assert ended.code == 0 or (looked and ended.code == 1), ended.text
    assert ended.text.strip()


def queries() -> list[tuple[str, str]]:
    """(page, SQL) of every block of SQL, but for those that a file's name makes a file."""
    return [
        (page.name, body)
        for page in PAGES
        for language, title, body in FENCE.findall(page.read_text())
        if language in SQL_BLOCKS and not title and "desk." not in body
    ]


@pytest.mark.parametrize(
    ("page", "query"), queries(), ids=[f"{page} {n}" for n, (page, _) in enumerate(queries())]
)
def test_the_sql_works(repaved: Platform, page: str, query: str) -> None:
    """On a repaved platform; what it changes is rolled back. `reader` is a role of the reader's."""
    role = f"{repaved.database.name}_of_{page[:4]}"
    with repaved.connect() as connection:
        if "TO reader" in query:
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        connection.execute(query.replace("TO reader", f"TO {role}").encode())
        connection.rollback()
