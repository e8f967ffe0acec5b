"""Nobody between the platform and its servers can read or change what is said, unless somebody asked for that.

Against real servers on loopback with a certificate that nobody has vouched for, and with none at all. A name
that is not this machine's is what makes a database remote: `host` names it, `hostaddr` leads to loopback.
"""

import datetime as dt
import http.server
import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from kapman_resources import vendor_api
from kapman_resources.database import Database
from kapman_resources.embedded import EmbeddedServer
from kapman_resources.errors import DatabaseError, KapmanError
from kapman_resources.flat_files import FlatFiles
from kapman_resources.hosts import is_local, is_loopback, verified
from kapman_resources.settings import PROJECT, SettingsError, settings
from kapman_resources.vault import Vault
from kapman_resources.vendor_api import VendorApi
from tests.integration.authority import HOST, Certificates, make_certificates

KEY = "key-of-a-test"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libpq and TLS libraries would take from this machine's environment."""
    for name in (
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "PGSERVICE",
        "PGHOST",
        "PGHOSTADDR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Web:
    """An HTTPS server, and the paths that it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def web(certificates: Certificates) -> Iterator[Web]:
    """The vendor's API and its buckets in one: an empty page, and an empty listing."""
    asked: list[str] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            listing = "list-type=2" in self.path
            body = b"<ListBucketResult/>" if listing else b'{"results":[],"status":"OK"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield Web(f"https://127.0.0.1:{server.server_port}", asked)
    server.shutdown()
    server.server_close()


def ask_vendor(url: str) -> object:
    return VendorApi(url, KEY).reference_tickers()


def list_files(url: str) -> object:
    return FlatFiles(url, "flatfiles", KEY, KEY).list_sessions(dt.date(2026, 11, 2), dt.date(2026, 11, 20))


def list_vault(url: str) -> object:
    key = SecretStr(KEY)
    return Vault(
        "s3://vault/pages", "test", s3_endpoint=url, s3_access_key_id=key, s3_secret_access_key=key
    ).sessions("options")


CLIENTS = pytest.mark.parametrize("ask", [ask_vendor, list_files, list_vault])


@CLIENTS
def test_a_certificate_that_nobody_vouches_for_ends_it(
    web: Web, ask: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence and before anything is said, whatever another program's variables allow."""
    monkeypatch.setenv("AWS_ALLOW_INVALID_CERTIFICATES", "true")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    web.asked.clear()
    with pytest.raises(
        KapmanError, match=r"can't be trusted: its certificate is not signed .* SSL_CERT_FILE"
    ):
        ask(web.url)
    assert web.asked == []


@CLIENTS
def test_an_authority_of_ones_own_is_trusted_by_all_clients(
    web: Web, certificates: Certificates, ask: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    vendor_api._ssl_context.cache_clear()
    try:
        ask(web.url)
    finally:
        vendor_api._ssl_context.cache_clear()
    assert web.asked


@pytest.mark.parametrize(
    "variable",
    ["KAPMAN_API_URL", "KAPMAN_S3_ENDPOINT", "KAPMAN_VAULT_S3_ENDPOINT", "KAPMAN_BACKUP_S3_ENDPOINT"],
)
def test_plain_http_leaves_this_machine_only_where_somebody_said_so(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(url: str) -> str:
        monkeypatch.setenv(variable, url)
        settings.cache_clear()
        try:
            settings()
        except SettingsError as error:
            return str(error)
        finally:
            settings.cache_clear()
        return ""

    assert f"{variable}: http:// to 'minio.internal'" in refusal("http://minio.internal:9000")
    assert "KAPMAN_PLAIN_HTTP_HOSTS=minio.internal" in refusal("http://minio.internal:9000")
    assert "no user" in refusal("https://somebody:word@minio.internal")
    for sound in ("https://minio.internal", "http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:1"):
        assert refusal(sound) == ""
    monkeypatch.setenv("KAPMAN_PLAIN_HTTP_HOSTS", "simulator, MinIO.internal")
    assert refusal("http://minio.internal:9000") == ""
    assert "http:// to 'minio.example'" in refusal("http://minio.example:9000")


@pytest.fixture(scope="module")
def tls_url(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database server of its own with ssl = on, as a remote host: by name, and by certificate of that name."""
    server = EmbeddedServer(
        tmp_path_factory.mktemp("tls"), durable=False, packages=PROJECT / ".kapman" / "packages"
    )
    try:
        url = server.ensure()
        data = server.status().data
        for file in (certificates.certificate, certificates.key):
            shutil.copy(file, data)
            os.chown(data / file.name, data.stat().st_uid, data.stat().st_gid)
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET ssl_cert_file = 'server.pem'")
            admin.execute("ALTER SYSTEM SET ssl_key_file = 'server.key'")
            admin.execute("ALTER SYSTEM SET ssl = on")
            admin.execute("SELECT pg_reload_conf()")
        yield make_conninfo(url, host=HOST, hostaddr="127.0.0.1")
    finally:
        server.remove()


def is_encrypted(url: str) -> bool:
    with Database(url, "tests").connect() as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        return bool(row and row[0])


def test_a_remote_database_shows_a_certificate_that_is_trusted(
    tls_url: str, certificates: Certificates
) -> None:
    with pytest.raises(DatabaseError, match=r"not signed by an authority .* Name the file .* sslrootcert"):
        is_encrypted(tls_url)
    assert is_encrypted(make_conninfo(tls_url, sslrootcert=str(certificates.authority)))


def test_the_system_authorities_are_those_of_ssl_cert_file(
    tls_url: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    assert is_encrypted(tls_url)


def test_another_servers_certificate_is_refused(tls_url: str, certificates: Certificates) -> None:
    elsewhere = make_conninfo(tls_url, host="other.example.com", sslrootcert=str(certificates.authority))
    with pytest.raises(DatabaseError, match=r"other\.example\.com:\d+ is another server's"):
        is_encrypted(elsewhere)


def test_who_says_sslmode_is_taken_at_their_word(tls_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_encrypted(make_conninfo(tls_url, sslmode="require"))
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert not is_encrypted(tls_url)


def test_a_remote_database_without_tls_is_refused(server_url: str) -> None:
    """Before the password is said."""
    target = conninfo_to_dict(server_url)
    remote = make_conninfo(server_url, host=HOST, hostaddr=target.get("host", "127.0.0.1"))
    with psycopg.connect(server_url) as connection:
        if connection.pgconn.ssl_in_use:
            pytest.skip("KAPMAN_TEST_DATABASE_URL names a server with TLS")
    with pytest.raises(DatabaseError, match=rf"{HOST}:\d+ doesn't offer TLS.*sslmode=disable"):
        is_encrypted(remote)
    assert not is_encrypted(make_conninfo(remote, sslmode="disable"))


def test_which_databases_are_this_machine() -> None:
    here = [
        "",
        "dbname=kapman",
        "postgresql:///kapman",
        "host=/run/postgresql",
        "host=@abstract",
        "host=localhost",
    ]
    here += ["postgresql://k:p@127.0.0.1:5432/k", "postgresql://k@[::1]/k", "host=localhost,127.0.0.9"]
    away = [
        "postgresql://k@db/k",
        "host=10.0.0.1",
        "host=localhost,db.example.com",
        f"host={HOST} hostaddr=127.0.0.1",
    ]
    away += ["service=market", "host=localhost.example.com", "hostaddr=192.0.2.1"]
    assert [url for url in here if not is_local(url)] == []
    assert [url for url in away if is_local(url)] == []
    assert [
        host for host in ("127.1.2.3", "LOCALHOST", "localhost.", "::ffff:127.0.0.1") if not is_loopback(host)
    ] == []


def test_libpqs_own_variables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    assert not is_local("dbname=kapman")
    assert conninfo_to_dict(verified("dbname=kapman"))["sslmode"] == "verify-full"
    monkeypatch.setenv("PGSSLROOTCERT", "own.pem")
    assert "sslrootcert" not in conninfo_to_dict(verified("dbname=kapman"))
    assert verified("host=localhost dbname=kapman") == "host=localhost dbname=kapman"
    assert verified("postgresql://k:a/b@db/k") == "postgresql://k:a/b@db/k", "misread: left for the sentence"


def test_the_url_of_a_remote_database_keeps_its_password() -> None:
    url = "postgresql://k:p%40%2F%3A%3F%23%25%20%27%5C%C3%A9@db.example.com:5433/market?application_name=x"
    before, after = conninfo_to_dict(url), conninfo_to_dict(Database(url).url)
    assert {name: after[name] for name in before} == before
    assert Path(str(after["sslrootcert"])).is_file()
