"""Nobody misses that the platform has failed: every failed run, failed check and overdue table reaches people, with
the sentence that says what to do, through a real webhook or a real mail server. A sink that is down delays an
alert and never loses it; secrets are in none of them. The digest tells of the session once a day.
"""

import datetime as dt
import json
import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from kapman_assets import defs
from kapman_assets.alerts import alerts, overdue_tables
from kapman_assets.failures import fails_in_a_sentence, vendor_retries
from kapman_assets.freshness import AFTER_DAILY_LOAD, AFTER_SNAPSHOT, DEADLINES
from kapman_assets.operations import digest_schedule
from kapman_resources import notifications
from kapman_resources.errors import EntitlementError, Refused, SourceError, VendorError
from kapman_resources.flat_files import FlatFiles
from kapman_resources.notifications import DeliveryError, Message, deliver
from kapman_resources.settings import settings
from kapman_resources.vendor_api import Patience, VendorApi
from tests.integration.conftest import TODAY, Platform
from tests.integration.test_schedules import evaluate

SECRET = "marker-secret-5c1d"
NEW_YORK = ZoneInfo("America/New_York")


@dataclass
class Receiver:
    """A webhook on loopback: what it was told, and the status that it answers with."""

    url: str
    status: int = 204
    told: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook that takes everything until it is told not to."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if there.status < 300:
                there.told.append(json.loads(body))
                there.authorizations.append(self.headers["Authorization"])
            self.send_response(there.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    there = Receiver(f"http://127.0.0.1:{server.server_port}/hooks/{SECRET}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield there
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attempts follow each other at once; settings are read anew by each test."""
    monkeypatch.setattr(notifications, "BACKOFF", 0.0)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def hooked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The webhook as the platform's sink."""
    monkeypatch.setenv("KAPMAN_ALERTS", receiver.url)
    monkeypatch.setenv("KAPMAN_ALERTS_SECRET", SECRET)
    monkeypatch.setenv("KAPMAN_UI_URL", "http://kapman.example:3000/")
    settings.cache_clear()
    return receiver


def tick(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    """One evaluation of the sensor."""
    found = alerts(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(found, dg.SensorResult)
    return found


def fail(platform: Platform) -> str:
    """A run that fails with a sentence; its id."""
    result = platform.materialize("tickers", raise_on_error=False)
    assert not result.success
    return str(result.run_id)


def test_a_failed_run_is_told_once_with_its_sentence(platform: Platform, hooked: Receiver) -> None:
    """Job, run, step, what happened and the command that mends it, and a link; what was before isn't told."""
    platform.materialize("schema")
    with platform.connect() as connection:
        connection.execute("DELETE FROM kapman_meta.load_manifest")
    fail(platform)
    began = tick(platform.instance, None)
    assert hooked.told == []
    run_id = fail(platform)
    first = tick(platform.instance, began.cursor)
    tick(platform.instance, first.cursor)
    (told,) = hooked.told
    assert told["title"] == "__ASSET_JOB failed at tickers"
    assert f"run {run_id}" in told["text"]
    assert "'schema', on which it stands, has not passed in this database." in told["text"]
    assert "dagster job execute -m kapman_assets -j repave" in told["text"]
    assert told["severity"] == "error"
    assert told["link"] == f"http://kapman.example:3000/runs/{run_id}"
    assert hooked.authorizations == [f"Bearer {SECRET}"]


def test_a_sink_that_is_down_loses_nothing(
    platform: Platform, hooked: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """The tick is red, the text is in the log, and the next ticks deliver what has waited, in order."""
    cursor = tick(platform.instance, None).cursor
    runs = [fail(platform), fail(platform)]
    hooked.status = 503
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(dg.Failure, match="not taken by the webhook at"),
    ):
        tick(platform.instance, cursor)
    assert f"run {runs[0]}" in caplog.text
    assert SECRET not in caplog.text
    hooked.status = 200
    tick(platform.instance, cursor)
    assert [run in told["text"] for run, told in zip(runs, hooked.told, strict=True)] == [True, True]


def test_what_was_delivered_before_the_sink_broke_is_not_told_again(
    platform: Platform, hooked: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick keeps its place between the two."""
    cursor = tick(platform.instance, None).cursor
    runs = [fail(platform), fail(platform)]
    sent = notifications.Webhook.send

    def once(self: notifications.Webhook, message: Message) -> None:
        sent(self, message)
        hooked.status = 500

    with monkeypatch.context() as patched:
        patched.setattr(notifications.Webhook, "send", once)
        broken = tick(platform.instance, cursor)
    assert broken.skip_reason.skip_message.startswith("1 delivered, then: The message was not taken")
    hooked.status = 200
    tick(platform.instance, broken.cursor)
    assert [run in told["text"] for run, told in zip(runs, hooked.told, strict=True)] == [True, True]


def test_a_failed_check_is_told_although_its_run_succeeded(repaved: Platform, hooked: Receiver) -> None:
    """Warnings are not."""
    cursor = tick(repaved.instance, None).cursor
    with repaved.connect() as connection:
        connection.execute("ALTER VIEW analytics.loads RENAME TO gone")
    try:
        assert repaved.materialize("schema", raise_on_error=False).success
    finally:
        with repaved.connect() as connection:
            connection.execute("ALTER VIEW analytics.gone RENAME TO loads")
    tick(repaved.instance, cursor)
    (told,) = hooked.told
    assert told["title"] == "__ASSET_JOB found 1 failed checks"
    assert "check analytics_views_exist of schema: 1 violations" in told["text"]
    assert "columnstore" not in told["text"]


def test_an_overdue_table_is_told_once_and_a_holiday_is_no_alarm(hooked: Receiver) -> None:
    """Dagster's policies know weekdays only: on the day after Thanksgiving they are wrong, and nobody is woken."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance._report_runless_asset_event(
            FreshnessStateChange(
                key=dg.AssetKey("ohlcv"),
                new_state=FreshnessState.FAIL,
                previous_state=FreshnessState.PASS,
                state_change_timestamp=0.0,
            )
        )
        for day, expected in (("2026-11-24 13:01", ["ohlcv"]), ("2026-11-27 13:01", [])):
            now = dt.datetime.fromisoformat(day).replace(tzinfo=NEW_YORK)
            assert overdue_tables(instance, now) == expected, day
        assert overdue_tables(instance, now, before=["ohlcv"]) == ["ohlcv"]
        # The clock of this test is a Saturday's or any other day's: the sensor is told what is overdue already.
        cursor = json.dumps({"failed": 0, "succeeded": 0, "overdue": ["ohlcv"]})
        assert json.loads(tick(instance, cursor).cursor or "")["overdue"] == ["ohlcv"]
    assert hooked.told == []


@pytest.mark.parametrize(
    ("now", "bars", "chains"),
    [
        ("2026-11-24 12:59", None, "2026-11-23"),  # Tuesday before the deadline: Saturday's is the last one
        ("2026-11-24 13:00", "2026-11-23", "2026-11-23"),
        ("2026-11-28 13:00", "2026-11-27", "2026-11-27"),
        ("2026-11-29 20:00", "2026-11-27", "2026-11-27"),  # Sunday
        ("2026-11-27 13:00", None, None),  # after Thanksgiving; that evening's chains are not yet due
        ("2026-11-27 18:30", None, "2026-11-27"),
    ],
)
def test_deadlines_follow_the_calendar(now: str, bars: str | None, chains: str | None) -> None:
    """Which session's rows should be there; none on the day after a holiday."""
    at = dt.datetime.fromisoformat(now).replace(tzinfo=NEW_YORK)
    if now == "2026-11-24 12:59":
        bars = "2026-11-20"
    assert str(AFTER_DAILY_LOAD.session(at)) == str(bars and dt.date.fromisoformat(bars))
    assert str(AFTER_SNAPSHOT.session(at)) == str(chains and dt.date.fromisoformat(chains))


def test_every_table_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a policy that Dagster accepts, unless time stands still."""
    tables = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()} - {"schema"}
    assert set(DEADLINES) == tables
    assert {deadline.policy for deadline in DEADLINES.values()} == {None}
    monkeypatch.setenv("KAPMAN_AS_OF", "")
    settings.cache_clear()
    policies = {name: deadline.policy for name, deadline in DEADLINES.items()}
    assert (policies["ohlcv"].deadline_cron, policies["options_chains"].deadline_cron) == (  # type: ignore[union-attr]
        "0 13 * * 2-6",
        "30 18 * * 1-5",
    )


# --- the mail server -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate of 127.0.0.1 and its key."""

    chain: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """Of a server that shows it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.chain, self.key)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Made for this module."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    found = Certificate(folder / "chain.pem", folder / "key.pem")
    found.chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    found.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return found


class Mailbox:
    """What a mail server has taken."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], str]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  (aiosmtpd's name)
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
        return "250 taken"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    """One user, one password."""
    good = (data.login, data.password) == (b"kapman", SECRET.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def mail_server(certificate: Certificate | None, *, implicit: bool = False) -> Iterator[tuple[int, Mailbox]]:
    """A mail server on loopback: with STARTTLS and a login, or with TLS from the first byte, or with neither."""
    mailbox = Mailbox()
    options: dict[str, Any] = {}
    if certificate and not implicit:
        options = {"tls_context": certificate.context, "require_starttls": True}
    if certificate:
        options |= {
            "authenticator": authenticate,
            "auth_required": not implicit,
            "auth_require_tls": not implicit,
        }

    class OnAnyPort(Controller):
        def factory(self) -> SMTP:
            return SMTP(mailbox, **options)

        def _trigger_server(self) -> None:
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    context = certificate.context if certificate and implicit else None
    controller = OnAnyPort(mailbox, hostname="127.0.0.1", port=0, ssl_context=context)
    controller.start()
    try:
        yield controller.port, mailbox
    finally:
        controller.stop()


def configure(monkeypatch: pytest.MonkeyPatch, url: str, secret: str = "") -> None:
    """The sink."""
    monkeypatch.setenv("KAPMAN_ALERTS", url)
    monkeypatch.setenv("KAPMAN_ALERTS_SECRET", secret)
    settings.cache_clear()


PEOPLE = "from=kapman@example.com&to=one@example.com,two@example.com"
MESSAGE = Message("ohlcv failed: €", "It happened.\nDo this.", link="http://kapman.example/runs/1")


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mail_goes_over_verified_tls_with_a_login(
    scheme: str, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STARTTLS or TLS from the first byte; a certificate nobody vouches for, or a wrong password: not delivered."""
    with mail_server(certificate, implicit=scheme == "smtps") as (port, mailbox):
        url = f"{scheme}://kapman@localhost:{port}?{PEOPLE}"
        configure(monkeypatch, url, SECRET)
        with pytest.raises(DeliveryError, match="SSLCertVerificationError"):
            deliver(MESSAGE, settings())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
        configure(monkeypatch, url, "marker-wrong-9")
        with pytest.raises(DeliveryError, match="SMTPAuthenticationError") as refused:
            deliver(MESSAGE, settings())
        assert "marker-wrong-9" not in str(refused.value)
        assert mailbox.taken == []
        configure(monkeypatch, url, SECRET)
        deliver(MESSAGE, settings())
    ((sender, recipients, text),) = mailbox.taken
    assert (sender, recipients) == ("kapman@example.com", ["one@example.com", "two@example.com"])
    assert "Subject: KapMan: ohlcv failed:" in text or "Subject: =?utf-8?" in text
    assert "http://kapman.example/runs/1" in text


def test_a_password_is_never_said_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without TLS is told nothing; without a password, on this machine, it is enough."""
    with mail_server(None) as (port, mailbox):
        configure(monkeypatch, f"smtp://kapman@127.0.0.1:{port}?{PEOPLE}", SECRET)
        with pytest.raises(DeliveryError, match="offers no TLS"):
            deliver(MESSAGE, settings())
        assert mailbox.taken == []
        configure(monkeypatch, f"smtp://127.0.0.1:{port}?{PEOPLE}")
        deliver(MESSAGE, settings())
        assert len(mailbox.taken) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"smtp://kapman:{SECRET}@mail.example?{PEOPLE}", "it holds a password"),
        ("smtp://mail.example", "mail needs from="),
        (f"smtp://kapman@mail.example?{PEOPLE}", "belong together"),
        (f"http://hooks.example/{SECRET}", "begins with none of"),
        ("https:///nowhere", "it names no host"),
        ("pager", "it names no host"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(
    url: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saying what is wrong with it, not what it is."""
    configure(monkeypatch, url)
    with pytest.raises(DeliveryError, match=why) as refused:
        deliver(MESSAGE, settings())
    assert SECRET not in str(refused.value)


def test_secrets_and_floods_are_kept_out(
    hooked: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever an error repeats: the settings' secrets are blotted out, in the log as well; a hundred lines at most."""
    monkeypatch.setenv("MASSIVE_API_KEY", "marker-key-77")
    settings.cache_clear()
    with caplog.at_level(logging.INFO):
        deliver(Message("failed", "said marker-key-77\n" * 500), settings())
    (told,) = hooked.told
    assert "marker-key-77" not in told["text"] + caplog.text
    assert "... and 400 more lines" in told["text"]


# --- the digest ------------------------------------------------------------------------------------------


def test_the_digest_tells_of_the_session(repaved: Platform, hooked: Receiver) -> None:
    """Rows, checks, runs, size; from the second time on, growth. It changes nothing."""
    job = defs.resolve_job_def("daily_digest")
    assert job.execute_in_process(instance=repaved.instance).success
    (told,) = hooked.told
    assert told["title"] == f"{TODAY}: all checks passed"
    for line in (f"Session {TODAY}", "  ohlcv: ", "  volatility_metrics: ", "warn watchlists.", "database: "):
        assert line in told["text"], line
    assert "since the digest" not in told["text"]
    assert job.execute_in_process(instance=repaved.instance).success
    assert "MB since the digest of " in hooked.told[1]["text"]


def test_the_digest_comes_after_the_session() -> None:
    """On Saturday of Friday's; on Sunday none."""
    found = evaluate(digest_schedule, "2026-11-21 13:15")
    assert isinstance(found, dg.RunRequest)
    assert found.run_key == "digest 2026-11-20"
    assert isinstance(evaluate(digest_schedule, "2026-11-22 13:15"), dg.SkipReason)


# --- retries ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (VendorError("The vendor doesn't answer.", fix="Wait.", may_pass=True), 3),
        (SourceError("The vendor has no file.", fix="Wait."), 1),
        (Refused("The database is in use.", fix="Wait."), 1),
        (EntitlementError("The plan doesn't include it.", fix="Buy."), 1),
        (KeyError("a bug"), 1),
    ],
    ids=["unanswered", "no-file", "refused", "no-entitlement", "bug"],
)
def test_a_step_is_retried_where_that_can_help(error: Exception, attempts: int) -> None:
    """The vendor's silence may pass; a refusal, a missing file and a bug don't."""
    tried: list[int] = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    @fails_in_a_sentence
    def step(context: dg.AssetExecutionContext) -> None:
        tried.append(1)
        raise error

    result = dg.materialize([step], raise_on_error=False)
    assert not result.success
    assert len(tried) == attempts


def test_clients_know_what_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers: it may; and the policy has backoff, jitter, and as many retries as the setting says."""
    address = "http://127.0.0.1:9"  # discard: nothing listens
    monkeypatch.setattr("kapman_resources.flat_files._RETRIES", {"max_retries": 0})
    with pytest.raises(VendorError) as api:
        VendorApi(address, "key", patience=Patience(attempts=1)).reference_tickers()
    with pytest.raises(SourceError) as files:
        FlatFiles(address, "flatfiles", "key", "secret").list_sessions(TODAY, TODAY)
    assert (api.value.may_pass, files.value.may_pass) == (True, True)
    monkeypatch.setenv("KAPMAN_VENDOR_RETRIES", "4")
    settings.cache_clear()
    policy = vendor_retries()
    assert policy is not None
    assert (policy.max_retries, policy.backoff, policy.jitter) == (
        4,
        dg.Backoff.EXPONENTIAL,
        dg.Jitter.PLUS_MINUS,
    )
