"""The vault: every raw page of the vendor, archived before it is parsed.

Layout, on any object store (`file://` or `s3://`):

    <vendor>/objects/<first two digits>/<sha256>.jsonl.gz    all pages of one query
    <vendor>/<kind>/<session>/<subject>.json                 its manifest

An object holds the pages' bodies one after the other, each followed by a line feed: with the vendor's
one-line pages it is a JSON Lines file that `zcat` shows. A page that came as gzip is stored as it came, as a
member of the file; compressing it again would take longer than all else that is done here. The object is named by
the SHA-256 of its uncompressed content. The manifest says where each page begins and ends, so that bodies with line feeds of their own come
back byte for byte. The object is stored first and the manifest last: what has no manifest isn't there.

Snapshots are now or never, and open interest differs between two calls on one day: the first complete
archive decides, unless it is replaced on purpose; the manifest then remembers what it superseded.
"""

import datetime as dt
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, get_args

import msgspec
import obstore
from isal import igzip
from isal.igzip_lib import IsalError
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore
from pydantic import SecretStr

from kapman_resources.errors import SourceError
from kapman_resources.hosts import TRUST, UNTRUSTED
from kapman_resources.object_store import S3Access, UnusableUrl, flush, open_store
from kapman_resources.redaction import Redaction
from kapman_resources.settings import Settings
from kapman_resources.vendor_pages import RawPage

Found = TypeVar("Found")
Kind = Literal["options", "tickers"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MANIFEST_VERSION = 1

# Level 1 packs 800 MB/s to 11 % of the size; level 3 gains half a point for four times the time.
_COMPRESSION_LEVEL = 1
# An object store answers in 10 to 50 ms whatever is asked: a session's subjects are read side by side.
_READERS = 16


class PageRecord(msgspec.Struct, frozen=True):
    """Where a page lies in its object: `bytes` long, `offset` from the start; `url` without any key."""

    number: int
    url: str
    fetched_at: dt.datetime
    offset: int
    bytes: int


class Version(msgspec.Struct, frozen=True):
    """One archived answer to a query: the SHA-256 that names its object, and its pages in order."""

    sha256: str
    bytes: int
    pages: tuple[PageRecord, ...]


class Manifest(msgspec.Struct, frozen=True):
    """What is archived for a subject of a session; `superseded` holds earlier versions, oldest first."""

    version: int
    vendor: str
    kind: str
    session: dt.date
    subject: str
    current: Version
    superseded: tuple[Version, ...] = ()


@dataclass(frozen=True)
class Archived:
    """What `Vault.archive` did.

    outcome: `written` (new), `unchanged` (the same content was there), `kept` (other content was there and
        decides: read it back instead of using the new pages), `replaced` (asked for by `overwrite`).
    """

    outcome: Literal["written", "unchanged", "kept", "replaced"]
    manifest: Manifest


@dataclass(frozen=True)
class Damage:
    """A manifest, or an object it names, that can't be used; `reason` and `fix` are sentences."""

    kind: Kind
    session: dt.date
    subject: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Contents:
    """What is archived of a session: its sound manifests by subject, ascending, and those that can't be read."""

    kind: Kind
    session: dt.date
    manifests: tuple[Manifest, ...]
    damaged: tuple[Damage, ...]


@dataclass(frozen=True)
class VaultReport:
    """Result of a verification: how many subjects and pages are sound, superseded ones too, and what isn't."""

    subjects: int
    pages: int
    damaged: tuple[Damage, ...]


class VaultError(SourceError):
    """The vault can't be reached or written."""


@dataclass(frozen=True)
class Vault:
    """The archive of one vendor.

    url: `file:///folder` or `s3://bucket/prefix`; credentials never belong into it.
    vendor: namespace; pages of different vendors or simulated markets never mix.
    s3_endpoint: address of an S3-compatible service; None means AWS's own.
    s3_access_key_id, s3_secret_access_key, s3_region: None leaves them to the usual AWS_* variables.
    since: `sessions` names none before that day; what is archived of them stays.
    """

    url: str
    vendor: str
    s3_endpoint: str | None = None
    s3_access_key_id: SecretStr | None = None
    s3_secret_access_key: SecretStr | None = None
    s3_region: str | None = None
    since: dt.date | None = None
    _store: ObjectStore = field(init=False, repr=False, compare=False)
    _folder: Path | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises VaultError when the URL can't be a vault."""
        s3 = S3Access(self.s3_endpoint, self.s3_access_key_id, self.s3_secret_access_key, self.s3_region)
        try:
            with self._explained("opened", UnusableUrl):
                store, folder = open_store(self.url, s3)
        except UnusableUrl as error:
            raise VaultError(
                f"The vault can't be at {error}.",
                fix="Set KAPMAN_VAULT_URL to file:///folder or s3://bucket/prefix, without credentials.",
            ) from None
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_folder", folder)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Vault":
        """The vault that the settings name.

        Raises:
            VaultError: its URL can't be a vault's.
        """
        return cls(
            settings.vault,
            settings.vendor,
            s3_endpoint=settings.vault_s3_endpoint,
            s3_access_key_id=settings.vault_s3_access_key_id,
            s3_secret_access_key=settings.vault_s3_secret_access_key,
            s3_region=settings.vault_s3_region,
            since=settings.vault_since,
        )

    def archive(
        self,
        *,
        kind: Kind,
        session: dt.date,
        subject: str,
        pages: Sequence[RawPage],
        overwrite: bool = False,
    ) -> Archived:
        """Store the pages of one query; once this returns they survive a crash of the process.

        Raises:
            VaultError: the store can't be written; nothing of these pages is visible then.
            ValueError: there are no pages, or their numbers are not 1, 2, 3, …
        """
        if not pages or [page.number for page in pages] != list(range(1, len(pages) + 1)):
            raise ValueError(f"pages of {subject!r} must be numbered from 1 without gaps")
        version = _version(pages)
        path = self._manifest_path(kind, session, subject)
        try:
            existing = self._manifest(kind, session, subject)
        except VaultError:
            raise
        except SourceError:
            if not overwrite:
                raise
            existing = None
        if existing is not None and existing.current.sha256 != version.sha256 and not overwrite:
            return Archived("kept", existing)
        # The object goes out even if the manifest names it already: that mends a damaged one.
        self._put(self._object_path(version.sha256), b"".join(_members(pages)))
        if existing is not None and existing.current.sha256 == version.sha256:
            return Archived("unchanged", existing)
        superseded = (*existing.superseded, existing.current) if existing else ()
        manifest = Manifest(MANIFEST_VERSION, self.vendor, kind, session, subject, version, superseded)
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        try:
            self._put(path, text, mode="overwrite" if overwrite else "create")
        except AlreadyExistsError:  # another run was faster: its archive is the first one
            return Archived("kept", self._required_manifest(kind, session, subject))
        return Archived("replaced" if existing else "written", manifest)

    def has(self, kind: Kind, session: dt.date, subject: str) -> bool:
        """Whether pages of that subject are archived."""
        try:
            with self._explained("read", FileNotFoundError):
                obstore.head(self._store, self._manifest_path(kind, session, subject))
        except FileNotFoundError:
            return False
        return True

    def sessions(self, kind: Kind) -> list[dt.date]:
        """The sessions of which anything is archived, ascending, none before `since`."""
        with self._explained("listed"):
            listing = obstore.list_with_delimiter(self._store, f"{self.vendor}/{kind}")
        names = (prefix.rpartition("/")[2] for prefix in listing["common_prefixes"])
        earliest = self.since.isoformat() if self.since else ""
        found = sorted(
            dt.date.fromisoformat(name)
            for name in names
            if re.fullmatch(r"\d{4}-\d\d-\d\d", name) and name >= earliest
        )
        if self._folder is None:
            return found
        # A crash may leave a folder without a manifest; in S3 a prefix exists only by its objects.
        return [session for session in found if self.subjects(kind, session)]

    def subjects(self, kind: Kind, session: dt.date) -> list[str]:
        """The subjects archived for a session, ascending."""
        with self._explained("listed"):
            listing = obstore.list_with_delimiter(self._store, f"{self.vendor}/{kind}/{session.isoformat()}")
        names = (entry["path"].rpartition("/")[2] for entry in listing["objects"])
        return sorted(_unquoted(name.removesuffix(".json")) for name in names if name.endswith(".json"))

    def manifest(self, kind: Kind, session: dt.date, subject: str) -> Manifest:
        """The manifest of a subject.

        Raises:
            SourceError: nothing is archived under that name, or the manifest is damaged.
        """
        return self._required_manifest(kind, session, subject)

    def read(self, kind: Kind, session: dt.date, subject: str) -> list[RawPage]:
        """The archived pages, byte for byte, in order; their hash is verified.

        Raises:
            SourceError: nothing is archived under that name, or what is there is damaged; names the object.
            VaultError: the store can't be reached.
        """
        return self._pages(subject, self._required_manifest(kind, session, subject).current)

    def contents(self, kind: Kind, session: dt.date) -> Contents:
        """The manifests of a session; no page is read, and damage is reported, not raised."""
        found, damaged = self._each(kind, session, lambda subject: self.manifest(kind, session, subject))
        return Contents(kind, session, tuple(found), damaged)

    def verify(self, kind: Kind, session: dt.date | None = None) -> VaultReport:
        """Read all of a kind, or of one session, and compare hashes; damage is reported, not raised."""

        def pages_of(day: dt.date, subject: str) -> int:
            manifest = self.manifest(kind, day, subject)
            versions = (*manifest.superseded, manifest.current)
            return sum(len(self._pages(subject, version)) for version in versions)

        pages: list[int] = []
        damaged: list[Damage] = []
        for day in [session] if session else self.sessions(kind):
            sound, broken = self._each(kind, day, partial(pages_of, day))
            pages += sound
            damaged += broken
        return VaultReport(len(pages), sum(pages), tuple(damaged))

    def _each(
        self, kind: Kind, session: dt.date, look: Callable[[str], Found]
    ) -> tuple[list[Found], tuple[Damage, ...]]:
        """What `look` finds at each of the session's subjects, in their order, and where it meets damage."""

        def guarded(subject: str) -> Found | Damage:
            try:
                return look(subject)
            except VaultError:
                raise
            except SourceError as error:
                return Damage(kind, session, subject, error.what, error.fix)

        with ThreadPoolExecutor(_READERS, "vault") as readers:
            results = list(readers.map(guarded, self.subjects(kind, session)))
        found = [result for result in results if not isinstance(result, Damage)]
        return found, tuple(result for result in results if isinstance(result, Damage))

    def _pages(self, subject: str, version: Version) -> list[RawPage]:
        """The pages of a version; their hash is verified."""
        path = self._object_path(version.sha256)
        fix = "Restore that object from a backup of the vault, or archive the session again if it is today's."
        try:
            packed = self._get(path)
        except FileNotFoundError:
            raise SourceError(f"The vault lacks {path}, which {subject}'s manifest names.", fix=fix) from None
        try:
            content = igzip.decompress(packed)
        except (EOFError, OSError, IsalError) as error:  # type: ignore[misc]  # its stub declares no class
            raise SourceError(f"The vault's object {path} is damaged: {error}.", fix=fix) from None
        if hashlib.sha256(content).hexdigest() != version.sha256:
            raise SourceError(f"The vault's object {path} is damaged: its content has another hash.", fix=fix)
        return [
            RawPage(page.number, page.url, page.fetched_at, content[page.offset : page.offset + page.bytes])
            for page in version.pages
        ]

    def _manifest_path(self, kind: Kind, session: dt.date, subject: str) -> str:
        return f"{self.vendor}/{kind}/{session.isoformat()}/{_quoted(subject)}.json"

    def _object_path(self, sha256: str) -> str:
        return f"{self.vendor}/objects/{sha256[:2]}/{sha256}.jsonl.gz"

    def _required_manifest(self, kind: Kind, session: dt.date, subject: str) -> Manifest:
        manifest = self._manifest(kind, session, subject)
        if manifest is None:
            raise SourceError(
                f"The vault has no {kind} of {subject} for {session.isoformat()}.",
                fix="Past snapshots exist only in an archive: restore one, or leave the session out.",
            )
        return manifest

    def _manifest(self, kind: Kind, session: dt.date, subject: str) -> Manifest | None:
        path = self._manifest_path(kind, session, subject)
        try:
            text = self._get(path)
        except FileNotFoundError:
            return None
        try:
            manifest = msgspec.json.decode(text, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(
                f"The vault's manifest {path} is damaged: {error}.",
                fix="Restore it from a backup of the vault.",
            ) from None
        # On a file system that ignores case, TpC's manifest would answer for TPC.
        if (manifest.version, manifest.subject, manifest.session) != (MANIFEST_VERSION, subject, session):
            raise SourceError(
                f"The vault's manifest {path} is version {manifest.version} for {manifest.subject} of "
                f"{manifest.session.isoformat()}.",
                fix="Keep the vault on a file system that tells upper from lower case, and use the version "
                "of KapMan that wrote it, or a later one.",
            )
        return manifest

    def prove_writable(self) -> None:
        """Write a small object beside the archives, read it back, and delete it.

        Raises:
            VaultError: one of the three doesn't work.
        """
        path, content = f"{self.vendor}/probe-{secrets.token_hex(8)}", b"kapman doctor"
        self._put(path, content, mode="create")
        try:
            with self._explained("read"):
                found = bytes(obstore.get(self._store, path).bytes())
        finally:
            with self._explained("cleared"):
                obstore.delete(self._store, path)
        if found != content:
            raise VaultError(
                f"The vault at {self.url} doesn't give back what was written to it.",
                fix="Look at the store that KAPMAN_VAULT_URL names before anything is archived there.",
            )

    def _get(self, path: str) -> bytes:
        with self._explained("read", FileNotFoundError):
            return bytes(obstore.get(self._store, path).bytes())

    def _put(self, path: str, content: bytes, mode: Literal["create", "overwrite"] = "overwrite") -> None:
        with self._explained("written", AlreadyExistsError):
            obstore.put(self._store, path, content, mode=mode, use_multipart=False)
            if self._folder is not None:
                flush(self._folder / path, up_to=self._folder)

    @contextmanager
    def _explained(self, done: str, *expected: type[Exception]) -> Iterator[None]:
        """Turn a store's error into a sentence; the expected ones are the caller's to judge."""
        try:
            yield
        except expected:
            raise
        except (BaseError, OSError, ValueError) as error:
            # The first line is the message; the rest is the library's debug dump of requests. A server may
            # have repeated the key that it doesn't accept.
            if "InvalidCertificate" in str(error):
                raise VaultError(
                    f"The vault at {self.url} can't be trusted: {UNTRUSTED}.", fix=TRUST
                ) from None
            hidden = Redaction(self.s3_access_key_id, self.s3_secret_access_key)
            reason = hidden.text(next(iter(str(error).splitlines()), type(error).__name__))[:300]
            raise VaultError(
                f"The vault at {self.url} can't be {done}: {reason}.",
                fix="Check KAPMAN_VAULT_URL, free space and permissions, and for s3:// the endpoint and the "
                "key pair; then start the run again, nothing was half-written.",
            ) from None


def _version(pages: Sequence[RawPage]) -> Version:
    records, offset, content = [], 0, hashlib.sha256()
    for page in pages:
        records.append(PageRecord(page.number, page.url, page.fetched_at, offset, len(page.body)))
        offset += len(page.body) + 1
        content.update(page.body)
        content.update(b"\n")
    return Version(content.hexdigest(), offset, tuple(records))


def _members(pages: Sequence[RawPage]) -> Iterator[bytes]:
    """The object's gzip members: each page, and the line feed after it."""
    for page in pages:
        yield page.packed or _compressed(page.body)
        yield _LINE_FEED


def _compressed(content: bytes) -> bytes:
    return igzip.compress(content, _COMPRESSION_LEVEL, mtime=0)


_LINE_FEED = _compressed(b"\n")


def _quoted(subject: str) -> str:
    """A subject as a file name: `=` and two digits for what names shouldn't have (`I:SPX` is `I=3ASPX`)."""
    if not subject:
        raise ValueError("a subject can't be empty")
    return "".join(
        chr(byte)
        if re.match(rb"[A-Za-z0-9_-]", bytes([byte])) or (byte == ord(".") and at > 0)
        else f"={byte:02X}"
        for at, byte in enumerate(subject.encode())
    )


def _unquoted(name: str) -> str:
    return re.sub(rb"=([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), name.encode()).decode()
