"""Why a database server can't be used, as one sentence each; and what a server that can be used offers."""

import dataclasses
import re

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

from kapman_resources.errors import DatabaseError

MINIMUM_POSTGRESQL = 15
MINIMUM_TIMESCALEDB = (2, 19)
GET_TIMESCALEDB = (
    "Use a server with TimescaleDB: `docker compose up -d` starts one, and so does `kapman db start` if "
    "DATABASE_URL is unset; or install the package postgresql-<version>-timescaledb on that server."
)

NO_URL = "DATABASE_URL isn't a PostgreSQL connection URL."
WRITE_URL = (
    "Write it as postgresql://user:password@host:port/database, or unset it for the embedded server. In the "
    "password @ is %40, / is %2F, : is %3A, ? is %3F and % is %25; or leave it out and set PGPASSWORD."
)

# libpq knows no error codes before a session exists, so its text has to do: (pattern, what, fix), with the
# names of `_names` in braces.
SENTENCES = [
    (
        r"password authentication failed|no password supplied|Ident authentication|Peer authentication",
        "The server at {server} refused the password of role {role}.",
        "Correct user and password in DATABASE_URL.",
    ),
    (
        r'role ".*" does not exist',
        "The server at {server} has no role {role}.",
        "Correct the user in DATABASE_URL, or run `CREATE ROLE` there.",
    ),
    (
        r'database ".*" does not exist',
        "The server at {server} has no database {database}.",
        "Run `make repave`, which makes it, or correct the database in DATABASE_URL.",
    ),
    (
        r"failed to resolve host|could not translate host name",
        "The database host of {server} is unknown.",
        "Correct the host in DATABASE_URL.",
    ),
    (
        r"timeout expired|timed out",
        "The database server at {server} didn't answer in time.",
        "Check host and port in DATABASE_URL, and the network and firewall between here and there.",
    ),
    (
        r"Connection refused|No such file or directory|unreachable|No route to host",
        "No database server answers at {server}.",
        "Start it (`kapman db start` if DATABASE_URL is unset), or correct DATABASE_URL.",
    ),
    (
        r"starting up|shutting down|not yet accepting connections",
        "The database server at {server} is starting or stopping.",
        "Try again in a moment.",
    ),
    (
        r"server does not support SSL",
        "The database server at {server} doesn't offer TLS, without which passwords and data are not safe on "
        "the way there.",
        "Turn on ssl there; or, on a network that is yours alone, add sslmode=disable to DATABASE_URL.",
    ),
    (
        r"certificate verify failed",
        "The certificate of the database server at {server} is not signed by an authority that this machine "
        "trusts.",
        "Name the file of its authority as sslrootcert in DATABASE_URL; sslmode there says what is verified.",
    ),
    (
        r"server certificate for .* does not match host name",
        "The certificate of the database server at {server} is another server's.",
        "Use the name that the certificate has as the host in DATABASE_URL.",
    ),
    (
        r"root certificate file .* does not exist|could not read root certificate file",
        "The file of certificate authorities for the database server at {server} can't be read.",
        "Correct sslrootcert in DATABASE_URL (or PGSSLROOTCERT, or SSL_CERT_FILE).",
    ),
    (
        r"too many (clients|connections)|remaining connection slots",
        "The database server at {server} has no connection left.",
        "End other sessions, or raise max_connections there.",
    ),
    (
        r"no pg_hba.conf entry",
        "The database server at {server} doesn't let role {role} in from this machine.",
        "Add a line to its pg_hba.conf, or correct DATABASE_URL.",
    ),
]


@dataclasses.dataclass(frozen=True)
class ServerFacts:
    """What a usable server offers. Versions are like `17.12` and `2.19.3`."""

    version: str
    timescaledb_version: str
    edition: str | None
    """`timescale` (Community) or `apache`; None if the extension isn't in this database yet and the role
    may not load its library to ask."""
    is_superuser: bool


def parse(url: str) -> dict[str, str]:
    """The parts of a libpq URL or connection string, by parameter.

    Raises:
        DatabaseError: it can't be read, or what libpq reads there is not what was meant: a password with bare
            @ or / in it ends up in the host, the port or the database's name, and in the errors that name them.
    """
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.Error:  # its text would repeat the URL, password and all
        raise DatabaseError(NO_URL, fix=WRITE_URL) from None
    if "://" in url and (
        "@" in parts.get("host", "")[1:]  # as the first character it's an abstract Unix socket
        or "@" in parts.get("dbname", "")
        or not re.fullmatch(r"[0-9,]*", parts.get("port", ""))
    ):
        raise DatabaseError(NO_URL, fix=WRITE_URL)
    return parts


def explain(error: psycopg.Error, url: str) -> DatabaseError:
    """The sentence for a failed `psycopg.connect(url)`; it names the server, never the password."""
    try:
        parts = parse(url)
    except DatabaseError as unreadable:
        return unreadable
    port = f":{parts['port']}" if "port" in parts else ""
    names = {
        "server": f"{parts.get('host', 'localhost')}{port}",
        "role": parts.get("user", "(none named)"),
        "database": parts.get("dbname", parts.get("user", "(none named)")),
    }
    text = str(error)
    for pattern, what, fix in SENTENCES:
        if re.search(pattern, text, re.IGNORECASE):
            return DatabaseError(what.format(**names), fix=fix)
    for secret in ("password", "sslpassword"):
        if value := parts.get(secret):
            text = text.replace(value, "***")
    said = " ".join(text.split()).rstrip(".")
    return DatabaseError(
        f"The database server at {names['server']} can't be used: {said}.", fix="Correct DATABASE_URL."
    )


def require_timescaledb(conn: psycopg.Connection) -> ServerFacts:
    """The facts of a server that fits, asked over any of its databases.

    Raises:
        DatabaseError: PostgreSQL < 15, no TimescaleDB, TimescaleDB not preloaded, or TimescaleDB < 2.19.
    """
    number = conn.info.server_version
    server = f"The server at {conn.info.host}:{conn.info.port}"
    version = f"{number // 10000}.{number % 10000}"
    if number < MINIMUM_POSTGRESQL * 10000:
        raise DatabaseError(f"{server} is PostgreSQL {version}; 15 to 18 are needed.", fix=GET_TIMESCALEDB)
    asked = conn.cursor(row_factory=tuple_row).execute(
        """
        SELECT (SELECT coalesce(installed_version, default_version) FROM pg_available_extensions
                WHERE name = 'timescaledb'),
               (SELECT count(*) FROM pg_settings WHERE name LIKE 'timescaledb.%'),
               (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        """
    )
    [(timescaledb, loaded, is_superuser)] = asked.fetchall()
    if timescaledb is None:
        raise DatabaseError(
            f"{server} is plain PostgreSQL {version}, without TimescaleDB.", fix=GET_TIMESCALEDB
        )
    if not loaded:
        raise DatabaseError(
            f"{server} has TimescaleDB {timescaledb} installed but doesn't load it.",
            fix="Set shared_preload_libraries = 'timescaledb' in its postgresql.conf and restart it.",
        )
    if version_number(timescaledb) < MINIMUM_TIMESCALEDB:
        raise DatabaseError(
            f"{server} has TimescaleDB {timescaledb}; 2.19 or later is needed.",
            fix="Upgrade the package there and run `ALTER EXTENSION timescaledb UPDATE`.",
        )
    return ServerFacts(version, timescaledb, _edition(conn, timescaledb, is_superuser), is_superuser)


def version_number(version: str) -> tuple[int, int]:
    """(2, 19) of `2.19.3` or `2.19.3-dev`."""
    major, minor, *_ = [*re.findall(r"\d+", version), "0", "0"]
    return int(major), int(minor)


def _edition(conn: psycopg.Connection, timescaledb: str, is_superuser: bool) -> str | None:
    """The licence that the server runs TimescaleDB under.

    The setting exists where the extension does. Elsewhere a session of its own loads the library to ask,
    so that the caller's session stays as it was.
    """
    if edition := _license(conn):
        return edition
    if not is_superuser:
        return None
    parameters = {option.keyword.decode(): option.val.decode() for option in conn.pgconn.info if option.val}
    with psycopg.connect(make_conninfo("", **parameters)) as session:
        session.execute(sql.SQL("LOAD {}").format(sql.Literal(f"timescaledb-{timescaledb}")))
        return _license(session)


def _license(conn: psycopg.Connection) -> str | None:
    """`SHOW timescaledb.license`, None where the setting doesn't exist."""
    asked = conn.cursor(row_factory=tuple_row).execute("SELECT current_setting('timescaledb.license', true)")
    [(edition,)] = asked.fetchall()
    return edition
