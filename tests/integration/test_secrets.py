"""A secret leaves the environment only towards the server that it is for, whatever goes wrong.

One platform is run as people run it, in processes of its own with logging at DEBUG, against a vendor
and a database that misbehave: they echo keys, refuse them, point to places with the key in the URL, don't
answer. Then everything that was written anywhere is searched for every secret: output, Dagster's records,
process lists, vault, database.
"""

import base64
import datetime as dt
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import obstore
import psycopg
import pytest
import yaml
from obstore.store import S3Store
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kapman_resources.database import Connection
from kapman_resources.embedded import EmbeddedServer
from kapman_resources.errors import DatabaseError
from kapman_resources.sessions import sessions_between
from kapman_resources.settings import PROJECT, Settings, settings
from kapman_simulator import MarketOptions, vendor
from kapman_simulator.answers import Answer, Page, PageRequest
from kapman_simulator.s3_server import VAULT_BUCKET
from kapman_simulator.serving import open_vendor
from tests.integration.command_line import kapman
from tests.integration.conftest import TODAY

MARKET = MarketOptions(symbols=60, sessions=3, underlyings=4, contracts=300, today=TODAY)
REFUSED, BROKEN = "MSFT", "NVDA"
"""Underlyings for which the vendor answers 403 and 500, repeating the request's key; the others are sound."""
ROLE = "kapman_test_secrets"
RESTORED = f"{ROLE}_restored"
COMMAND_SECONDS = 400

# The letters in the middle survive every kind of quoting; around them stands what quoting changes.
SECRETS = {
    "MASSIVE_API_KEY": "/mk+Api7hZ2v9LrT4xQ&=%",
    "KAPMAN_S3_ACCESS_KEY_ID": "mkS3id5Wb8NcY1eRjK",
    "KAPMAN_S3_SECRET_ACCESS_KEY": "/mk+S3secret3Vd6UgP0sHmF/=",
    "KAPMAN_VAULT_S3_ACCESS_KEY_ID": "mkVaultId4Xa9TqE2oBzJ",
    "KAPMAN_VAULT_S3_SECRET_ACCESS_KEY": "/mk+VaultSecret8Ky1IfC5wGnD/=",
    "KAPMAN_ALERTS_SECRET": "/mk+Alerts1Yp6OjU4vDxRz/=",
    "webhook": "mkWebhook3Fn7WkZ0bLgQe",
    "password": "p@:/?#&%'\"\\ $mkDatabase6Lu3MvS7iAxO é",
    "wrong password": "p@:/?#&%'\"\\ $mkWrong2Rt8QpZ5dWnH é",
}


def forms(secret: str) -> set[bytes]:
    """What betrays a secret: its letters, and base64 of them at whichever of the three offsets they stand."""
    core = max("".join(c if c.isascii() and c.isalnum() else " " for c in secret).split(), key=len).encode()
    assert len(core) >= 15
    encoded = {base64.b64encode(b"x" * shift + core)[4 * (shift > 0) : -4] for shift in range(3)}
    whole = {base64.b64encode(secret.encode()), quote(secret, safe="").encode()}
    return {core, *encoded, *whole}


MARKERS = {form: name for name, secret in SECRETS.items() for form in forms(secret)}


def found_in(text: bytes) -> set[str]:
    """The secrets that a text shows."""
    return {name for form, name in MARKERS.items() if form in text}


@dataclass(frozen=True)
class Scene:
    """A command, and the settings in which it differs from a sound platform's."""

    name: str
    settings: Mapping[str, str]
    command: list[str]


@dataclass
class Ended:
    """How a command ended, and everything it printed."""

    code: int
    output: bytes


@dataclass
class Story:
    """What was run, and what it has left behind."""

    ended: dict[str, Ended]
    dagster_home: Path
    home: Path
    database: str
    vault: S3Store
    command_lines: set[bytes] = field(default_factory=set)


class Watch:
    """Collects the command lines of all processes of this machine for as long as it lasts."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue  # it has ended


def echo(request: PageRequest, answer: Answer) -> Answer:
    """The vendor's refusals, which repeat what they were sent."""
    key = SECRETS["MASSIVE_API_KEY"]
    said = f'{{"status":"ERROR","error":{yaml.dump(key, default_style=chr(34)).strip()}}}'.encode()
    headers = {"content-type": "application/json", "x-authorization": f"Bearer {key}"}
    if request.subject in {REFUSED, "reference"}:
        return Answer(403, said, headers)
    if request.subject == BROKEN:
        return Answer(500, said, headers)
    answer.headers |= headers
    return answer


def key_in_next_url(_: PageRequest, page: Page) -> None:
    """Older answers of the vendor: the key is part of the next page's address."""
    if page.next_url:
        page.next_url += f"&apiKey={quote(SECRETS['MASSIVE_API_KEY'], safe='')}"


def run(environment: Mapping[str, str], *scenes: Scene) -> dict[str, Ended]:
    """The scenes one after the other in a process of their own (`command_process`), as they ended, by name."""
    order = [[scene.name, dict(scene.settings), list(scene.command)] for scene in scenes]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.command_process"],
        cwd=PROJECT,
        env=dict(environment),
        input=json.dumps(order).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
    *parts, rest = re.split(rb"^=== (.+): exit (\d+)\n", ended.stdout, flags=re.MULTILINE)
    found = {
        name.decode(): Ended(int(code), output)
        for output, name, code in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }
    return {scenes[-1].name: Ended(0, rest), **found}  # without a line of its own: it took over the process


def talkative(folder: Path) -> dict[str, str]:
    """An environment in which every logger of every Python process says all that it can, and Dagster keeps it."""
    home, site = folder / "dagster", folder / "site"
    home.mkdir()
    site.mkdir()
    configuration = yaml.safe_load((PROJECT / "dagster_home" / "dagster.yaml").read_text())
    configuration["python_logs"] = {
        "python_log_level": "DEBUG",
        "managed_python_loggers": ["root", "httpx", "httpcore", "psycopg", "asyncio"],
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(configuration))
    (site / "sitecustomize.py").write_text(
        "import logging, sys\n"
        "logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)\n"
        "for name in ('numba', 'matplotlib', 'tzlocal'):\n"
        "    logging.getLogger(name).setLevel(logging.WARNING)\n"
    )
    kept = {name: os.environ[name] for name in ("HOME", "NUMBA_CACHE_DIR", "TZ") if name in os.environ}
    path = os.environ["PATH"]
    with suppress(
        DatabaseError
    ):  # pg_dump of the server's version comes with it; an installed one may be older
        server = EmbeddedServer(folder / "none", packages=PROJECT / ".kapman" / "packages")
        path = f"{server.bin_folder()}:{path}"
    return {**kept, "PATH": path, "PYTHONPATH": str(site), "DAGSTER_HOME": str(home), "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def story(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Everything is run once; the tests look at what came of it."""
    folder = tmp_path_factory.mktemp("secrets")
    lists = folder / "watchlists"
    lists.mkdir()
    (lists / "test.txt").write_text("AAPL\n")
    with (
        psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin,
        pytest.MonkeyPatch.context() as m,
    ):
        _drop_databases(admin)
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(ROLE)))
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(
                sql.Identifier(ROLE), sql.Literal(SECRETS["password"])
            )
        )
        m.setattr(vendor, "API_KEY", SECRETS["MASSIVE_API_KEY"])
        m.setattr(vendor, "S3_ACCESS_KEY_ID", SECRETS["KAPMAN_S3_ACCESS_KEY_ID"])
        m.setattr(vendor, "S3_SECRET_ACCESS_KEY", SECRETS["KAPMAN_S3_SECRET_ACCESS_KEY"])
        serving = open_vendor(MARKET)
        serving.start()
        own = {"KAPMAN_HOME": str(folder / "home"), "KAPMAN_WATCHLISTS": str(lists), "KAPMAN_ENV": "test"}
        try:
            yield _told(serving, {**talkative(folder), **serving.environment, **own}, server_url)
        finally:
            serving.stop()
            _drop_databases(admin)
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(ROLE)))


def _drop_databases(admin: Connection) -> None:
    for name in (ROLE, RESTORED):
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def url_with(server_url: str, password: str, port: str | None = None) -> str:
    """A URL as a person writes it: the password quoted, in the middle of it."""
    target = conninfo_to_dict(server_url)
    host, own_port = target.get("host", "127.0.0.1"), port or target.get("port", "5432")
    return f"postgresql://{ROLE}:{quote(password, safe='')}@{host}:{own_port}/{ROLE}"


def _told(serving: vendor.Vendor, environment: dict[str, str], server_url: str) -> Story:
    s3_id, s3_secret = SECRETS["KAPMAN_S3_ACCESS_KEY_ID"], SECRETS["KAPMAN_S3_SECRET_ACCESS_KEY"]
    sound = {
        **environment,
        "DATABASE_URL": url_with(server_url, SECRETS["password"]),
        "KAPMAN_VAULT_URL": f"s3://{VAULT_BUCKET}/pages",
        "KAPMAN_VAULT_S3_ENDPOINT": environment["KAPMAN_S3_ENDPOINT"],
        "KAPMAN_VAULT_S3_ACCESS_KEY_ID": s3_id,
        "KAPMAN_VAULT_S3_SECRET_ACCESS_KEY": s3_secret,
        "KAPMAN_VENDOR_RETRIES": "0",
        "KAPMAN_ALERTS": f"{environment['KAPMAN_API_URL']}/{quote(SECRETS['webhook'], safe='')}",
        "KAPMAN_ALERTS_SECRET": SECRETS["KAPMAN_ALERTS_SECRET"],
    }
    story = Story(
        {},
        Path(environment["DAGSTER_HOME"]),
        Path(environment["KAPMAN_HOME"]),
        make_conninfo(server_url, dbname=ROLE),
        S3Store(
            VAULT_BUCKET,
            endpoint=environment["KAPMAN_S3_ENDPOINT"],
            region="us-east-1",
            access_key_id=s3_id,
            secret_access_key=s3_secret,
            client_options={"allow_http": True},
        ),
    )
    sessions = sessions_between(TODAY - dt.timedelta(days=14), TODAY)[-MARKET.sessions :]
    span = {
        "dagster/asset_partition_range_start": sessions[0].isoformat(),
        "dagster/asset_partition_range_end": sessions[-1].isoformat(),
    }
    repave = ["dagster", "job", "execute", "-m", "kapman_assets", "-j", "repave", "--tags", json.dumps(span)]
    with Watch() as watch, ThreadPoolExecutor(2) as two:
        serving._api.serve(serving.market, [key_in_next_url], [])
        story.ended |= run(sound, Scene("repave", {}, repave))
        serving._api.serve(serving.market, [key_in_next_url], [echo])
        both = in_dagster(server_url), on_the_line(server_url)
        for ended in two.map(lambda scenes: run(sound, *scenes), both):
            story.ended |= ended
    story.command_lines = watch.seen
    return story


def in_dagster(server_url: str) -> list[Scene]:
    """What goes wrong in a run, and in commands that load Dagster."""
    asset = ["dagster", "asset", "materialize", "-m", "kapman_assets", "--select"]
    archive = ["kapman", "vault", "archive", "--symbols"]
    nowhere = f"http://127.0.0.1:{port_of_nobody()}"
    begin = json.dumps({"failed": 0, "succeeded": 0, "overdue": []})
    other_secret = {"KAPMAN_S3_SECRET_ACCESS_KEY": SECRETS["KAPMAN_VAULT_S3_SECRET_ACCESS_KEY"]}
    wrong = {"DATABASE_URL": url_with(server_url, SECRETS["wrong password"])}
    restore = ["kapman", "restore", "latest", "--into", RESTORED, "--yes"]
    return [
        Scene("reference answered 403", {}, [*asset, "tickers"]),
        Scene("flat files refused", other_secret, [*asset, "ohlcv", "--partition", TODAY.isoformat()]),
        Scene("wrong password in a run", wrong, [*asset, "watchlists"]),
        Scene("key echoed in a header", {}, [*archive, "AAPL", "--refetch"]),
        Scene("chain answered 403", {}, [*archive, REFUSED]),
        Scene("chain answered 500", {}, [*archive, BROKEN]),
        Scene("vendor not there", {"KAPMAN_API_URL": nowhere}, [*archive, "AAPL", "--refetch"]),
        Scene("vault refused in an archive", unknown_to_the_vault(), [*archive, "AAPL"]),
        Scene(
            "alert not taken",
            {},
            ["dagster", "sensor", "preview", "-m", "kapman_assets", "alerts", "--cursor", begin],
        ),
        Scene("summary", {}, ["kapman", "summary"]),
        Scene("doctor", {}, ["kapman", "doctor", "--json"]),
        Scene("verify", {}, ["kapman", "verify", "--json"]),
        Scene("plan", {}, ["kapman", "plan"]),
        Scene("backup", {}, ["kapman", "backup"]),
        Scene("restore", {}, restore),
        Scene("wrong password in a restore", {"KAPMAN_RESTORE_URL": wrong["DATABASE_URL"]}, restore),
        Scene(
            "wrong password of the loader",
            {"KAPMAN_LOADER_URL": wrong["DATABASE_URL"]},
            [*asset, "watchlists"],
        ),
    ]


def on_the_line(server_url: str) -> list[Scene]:
    """What people type when something is wrong."""
    wrong = SECRETS["wrong password"]
    unquoted = f"postgresql://{ROLE}:{SECRETS['password']}@db.invalid/{ROLE}"
    split = f"postgresql://{ROLE}:p@{SECRETS['KAPMAN_S3_ACCESS_KEY_ID']}@db.invalid/{ROLE}"
    in_address = f"https://k:{SECRETS['KAPMAN_S3_SECRET_ACCESS_KEY']}@files.invalid"
    own_variable = {"DATABASE_URL": url_with(server_url, "").replace(":@", "@"), "PGPASSWORD": wrong}
    return [
        Scene("hash", {}, ["kapman", "hash"]),
        Scene("ready", {}, ["kapman", "ready"]),
        Scene("quarantine", {}, ["kapman", "quarantine", "list"]),
        Scene("vault sound", {}, ["kapman", "vault", "verify"]),
        Scene("vault refused", unknown_to_the_vault(), ["kapman", "vault", "list"]),
        Scene("wrong password", {"DATABASE_URL": url_with(server_url, wrong)}, ["kapman", "hash"]),
        Scene("password in PGPASSWORD", own_variable, ["kapman", "db", "status"]),
        Scene("password not quoted", {"DATABASE_URL": unquoted}, ["kapman", "hash"]),
        Scene("password cut at an @", {"DATABASE_URL": split}, ["kapman", "db", "status"]),
        Scene(
            "database not there",
            {"DATABASE_URL": url_with(server_url, SECRETS["password"], port_of_nobody())},
            ["kapman", "db", "status"],
        ),
        Scene("credentials in an address", {"KAPMAN_S3_ENDPOINT": in_address}, ["kapman", "ready"]),
        # The last: psql takes over the process.
        Scene("psql", {}, ["kapman", "db", "psql", "-c", "SELECT pg_sleep(0.5)"]),
    ]


def port_of_nobody() -> str:
    """A port that was free a moment ago."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return str(free.getsockname()[1])


def unknown_to_the_vault() -> dict[str, str]:
    """A key pair that the vault's server doesn't know, and says so by repeating it."""
    names = "KAPMAN_VAULT_S3_ACCESS_KEY_ID", "KAPMAN_VAULT_S3_SECRET_ACCESS_KEY"
    return {name: SECRETS[name] for name in names}


def test_the_story_is_what_it_claims_to_be(story: Story) -> None:
    """Else the search would find nothing because nothing happened."""
    failed = {name for name, ended in story.ended.items() if ended.code}
    assert story.ended["repave"].code == 0, story.ended["repave"].output.decode()[-3000:]
    for name, sentence in {
        "reference answered 403": "plan doesn't include reference tickers",
        "flat files refused": "does not accept the S3 secret",
        "wrong password in a run": "refused the password of role",
        "wrong password in a restore": "refused the password of role",
        "wrong password of the loader": "refused the password of role",
        "chain answered 403": "plan doesn't include option chain snapshot",
        "chain answered 500": "status 500",
        "vendor not there": "doesn't answer for option chain snapshot",
        "alert not taken": "The message was not taken by the webhook",
        "vault refused": "The vault at s3://",
        "wrong password": "refused the password of role",
        "database not there": "No database server answers",
        "password not quoted": "isn't a PostgreSQL connection URL",
        "password cut at an @": "isn't a PostgreSQL connection URL",
        "password in PGPASSWORD": "refused the password of role",
        "credentials in an address": "an address holds no user",
    }.items():
        said = story.ended[name].output.decode()
        assert sentence in said, (name, said[-2000:])
        assert name in failed or name == "alert not taken", name
    assert b"pg_sleep" in story.ended["psql"].output
    assert not failed & {"psql", "ready", "summary", "hash", "vault sound", "key echoed in a header"}, failed
    for name in ("backup", "restore"):
        assert name not in failed, story.ended[name].output.decode()[-2000:]
    assert b"DEBUG:httpcore" in story.ended["doctor"].output
    echoed = re.findall(rb"x-authorization.{0,30}", story.ended["doctor"].output)
    assert echoed, "httpcore shows the headers of answers"
    assert all(b"***" in header for header in echoed)


def test_no_command_prints_a_secret(story: Story) -> None:
    shown = {name: found_in(ended.output) for name, ended in story.ended.items()}
    assert {name: secrets for name, secrets in shown.items() if secrets} == {}


def test_no_command_line_shows_a_secret(story: Story) -> None:
    """Every user of the machine can read them."""
    assert any(b"command_process" in line for line in story.command_lines)
    assert any(b"pg_sleep" in line for line in story.command_lines)
    assert [line for line in story.command_lines if found_in(line)] == []


def test_dagsters_records_hold_no_secret(story: Story) -> None:
    """Events, run config, tracebacks, compute logs: every byte of every file."""
    files = {path: path.read_bytes() for path in story.dagster_home.rglob("*") if path.is_file()}
    everything = b"".join(files.values())
    assert b"refused the password of role" in everything
    assert b"Using selector" in everything, "Dagster has kept the libraries' log lines"
    assert {str(path): found for path, body in files.items() if (found := found_in(body))} == {}


def test_the_platforms_home_holds_no_secret(story: Story) -> None:
    files = {path: path.read_bytes() for path in story.home.rglob("*") if path.is_file()}
    assert {str(path): found for path, body in files.items() if (found := found_in(body))} == {}


def test_the_vault_holds_no_secret(story: Story) -> None:
    """Neither its manifests nor its pages, though the vendor has written the key into them."""
    pages = 0
    for batch in obstore.list(story.vault):
        for entry in batch:
            body = bytes(obstore.get(story.vault, entry["path"]).bytes())
            if entry["path"].endswith(".gz"):
                body = gzip.decompress(body)
                pages += b"apiKey=***" in body
            assert found_in(body) == set(), entry["path"]
            assert found_in(entry["path"].encode()) == set()
    assert pages, "the vendor's pages did hold the key"


def test_the_database_holds_no_secret(story: Story) -> None:
    """Manifest, quarantine, bookkeeping and the contract's tables, as bytes."""
    with psycopg.connect(story.database) as connection:
        tables = connection.execute(
            """
            SELECT schemaname, tablename FROM pg_tables
            WHERE schemaname IN ('kapman_meta', 'public', 'analytics') ORDER BY 1, 2
            """
        ).fetchall()
        assert ("kapman_meta", "load_manifest") in tables
        for schema, table in tables:
            copied = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT binary)").format(
                sql.Identifier(schema, table)
            )
            with connection.cursor().copy(copied) as copy:
                assert found_in(b"".join(bytes(block) for block in copy)) == set(), (schema, table)


def test_one_command_prints_the_password_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kapman db url` is for programs that need it all; people have `kapman db psql`."""
    url = f"postgresql://{ROLE}:{quote(SECRETS['password'], safe='')}@127.0.0.1/{ROLE}"
    monkeypatch.setenv("DATABASE_URL", url)
    assert kapman("db", "url").stdout.decode() == f"{url}\n"
    assert "password included" in " ".join(kapman("db", "url", "--help").text.split())
    settings.cache_clear()


def test_settings_print_as_asterisks() -> None:
    """All of them: a secret that somebody adds as plain text is found here by its name."""
    secret = {
        name
        for name, field_ in Settings.model_fields.items()
        if any(word in name for word in ("key", "secret", "password", "token", "database_url", "loader_url"))
    }
    assert {"api_key", "s3_secret_access_key", "database_url"} <= secret
    plain = {name for name in secret if "SecretStr" not in str(Settings.model_fields[name].annotation)}
    assert plain == set()
