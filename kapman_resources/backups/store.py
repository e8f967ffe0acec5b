"""The store of backups, a folder or a bucket.

Layout:

    full_YYYYMMDD_HHMM.dump      what pg_dump wrote; appears whole, under this name, when it is complete
    full_YYYYMMDD_HHMM.json      its manifest, published last: what has no manifest is no backup
    full_YYYYMMDD_HHMM.claim     the name is being written or deleted; made first, so that no name is used twice
    drill_YYYYMMDD_HHMM.json     what a restore drill found
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from kapman_resources.backups.records import FORMAT, Backup, BackupError, Claim, Drill
from kapman_resources.object_store import S3Access, UnusableUrl, flush, open_store
from kapman_resources.redaction import Redaction
from kapman_resources.settings import Settings

# S3 takes 10,000 parts at most, so these allow for dumps of 160 GB.
_PART_BYTES = 16 * 1024 * 1024
_PARTS_AT_ONCE = 4
_READ_BYTES = 4 * 1024 * 1024
_NAME = r"full_\d{8}_\d{4}(_\d+)?"
_LIST = "`kapman backup --list` shows those that are there; KAPMAN_BACKUP_URL says where it looks."

Record = TypeVar("Record", Backup, Claim, Drill)


@dataclass(frozen=True)
class BackupStore:
    """The backups of one platform.

    url: `file:///folder` or `s3://bucket/prefix`; credentials never belong into it.
    """

    url: str
    s3: S3Access = field(default=S3Access(), repr=False)
    _store: ObjectStore = field(init=False, repr=False, compare=False)
    _folder: Path | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises BackupError when the URL can't be a store."""
        try:
            with self._explained("opened", UnusableUrl):
                store, folder = open_store(self.url, self.s3)
        except UnusableUrl as error:
            raise BackupError(
                f"The backups can't be at {error}.",
                fix="Set KAPMAN_BACKUP_URL to file:///folder or s3://bucket/prefix, without credentials.",
            ) from None
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_folder", folder)

    @classmethod
    def from_settings(cls, settings: Settings, url: str | None = None) -> "BackupStore":
        """The store that the settings name, or the one at `url` with their access to S3.

        Raises:
            BackupError: its URL can't be a store's.
        """
        access = S3Access(
            settings.backup_s3_endpoint,
            settings.backup_s3_access_key_id,
            settings.backup_s3_secret_access_key,
            settings.backup_s3_region,
        )
        return cls(url or settings.backups, access)

    def location(self, name: str) -> str:
        """Path or URL of a backup's dump."""
        if self._folder is not None:
            return str(self._folder / f"{name}.dump")
        return f"{self.url.rstrip('/')}/{name}.dump"

    def backups(self) -> list[Backup]:
        """The backups, oldest first; a manifest that can't be read is none."""
        found = [self._record(f"{name}.json", Backup) for name in self._names(_NAME, ".json")]
        return sorted((one for one in found if one), key=lambda one: (one.taken_at, one.name))

    def backup(self, name: str) -> Backup:
        """The manifest of the backup of that name.

        Raises:
            BackupError: there is none, or it is damaged.
        """
        backup = self._record(f"{name}.json", Backup)
        if backup is None or backup.name != name:
            damaged = f"{name}.json" in self._sizes()
            raise BackupError(
                f"The manifest of backup {name} at {self.url} "
                + ("is damaged." if damaged else "is not there, and a dump without one is no backup."),
                fix=f"Use another backup: {_LIST}",
            )
        return backup

    def newest(self) -> Backup:
        """The newest backup.

        Raises:
            BackupError: there is none.
        """
        backups = self.backups()
        if not backups:
            raise BackupError(f"There is no backup at {self.url}.", fix="Take one: `kapman backup`.")
        return backups[-1]

    def dump_bytes(self, name: str) -> int | None:
        """Size of a dump; None if it isn't there."""
        return self._sizes().get(f"{name}.dump")

    def claim(self, claim: Claim) -> bool:
        """Take the claim's name, which nobody has had; whether it was free."""
        if not self._create(f"{claim.name}.claim", claim):
            return False
        sizes = self._sizes()
        if f"{claim.name}.dump" in sizes or f"{claim.name}.json" in sizes:
            self._delete(f"{claim.name}.claim")
            return False
        return True

    def claims(self) -> list[Claim]:
        """The names that are being written or deleted, or were when a process was killed."""
        found = [self._record(f"{name}.claim", Claim) for name in self._names(_NAME, ".claim")]
        return [one for one in found if one]

    def write_dump(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store a dump while it arrives; it appears under its name when it is whole, or not at all."""
        path = f"{name}.dump"
        with self._explained("written", BackupError):
            obstore.put(
                self._store, path, chunks, use_multipart=True,
                chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE,
            )  # fmt: skip
            if self._folder is not None:
                flush(self._folder / path, up_to=self._folder)

    def publish(self, backup: Backup) -> None:
        """Write the manifest, by which the dump becomes a backup, and give the claim back."""
        if not self._create(f"{backup.name}.json", backup):
            raise BackupError(
                f"Backup {backup.name} is there already; it was not overwritten.", fix="Take another one."
            )
        self._delete(f"{backup.name}.claim")

    def read_dump(self, name: str) -> Iterator[bytes]:
        """The bytes of a dump, a few megabytes at a time.

        Raises:
            BackupError: it isn't there, or the store can't be reached.
        """
        with self._explained("read", FileNotFoundError, GeneratorExit):
            try:
                stream = obstore.get(self._store, f"{name}.dump").stream(min_chunk_size=_READ_BYTES)
            except FileNotFoundError:
                raise BackupError(
                    f"The dump of backup {name} is not at {self.url}, although its manifest is.",
                    fix=f"Restore the file from where it was copied to, or use another backup: {_LIST}",
                ) from None
            for chunk in stream:
                yield bytes(chunk)

    def remove(self, claim: Claim) -> None:
        """Delete a backup; killed in the middle, it leaves the claim, and the next backup completes it."""
        self._create(f"{claim.name}.claim", claim)
        self._delete(f"{claim.name}.json")
        self.remove_claimed(claim.name)

    def remove_claimed(self, name: str) -> None:
        """Delete what a claimed name has without a manifest, or only the claim if the manifest is there."""
        if f"{name}.json" not in self._sizes():
            self._delete(f"{name}.dump")
            # A killed process leaves the part that it wrote under a name which listings leave out.
            for part in self._folder.glob(f"{name}.dump#*") if self._folder else ():
                part.unlink(missing_ok=True)
        self._delete(f"{name}.claim")

    def unclaimed(self) -> list[str]:
        """Names of dumps that have neither a manifest nor a claim: somebody else's, so they are left alone."""
        names = set(self._sizes())
        return sorted(
            name
            for name in names
            if re.fullmatch(rf"{_NAME}\.dump", name)
            and not {name.replace(".dump", ".json"), name.replace(".dump", ".claim")} & names
        )

    def record_drill(self, drill: Drill) -> str:
        """Write down what a drill found, under its name or the next one that is free; returns that."""
        for name in _numbered(drill.name):
            if self._create(f"{name}.json", msgspec.structs.replace(drill, name=name)):
                return name
        raise AssertionError  # the names never end

    def drills(self) -> Iterator[Drill]:
        """The drills, newest first."""
        for name in reversed(self._names(r"drill_\d{8}_\d{4}(_\d+)?", ".json")):
            if drill := self._record(f"{name}.json", Drill):
                yield drill

    def _names(self, pattern: str, suffix: str) -> list[str]:
        names = (path.removesuffix(suffix) for path in self._sizes() if path.endswith(suffix))
        return sorted(name for name in names if re.fullmatch(pattern, name))

    def _sizes(self) -> dict[str, int]:
        """Everything in the store, by name."""
        with self._explained("listed"):
            listing = obstore.list_with_delimiter(self._store)
        return {entry["path"].rpartition("/")[2]: entry["size"] for entry in listing["objects"]}

    def _record(self, path: str, type_: type[Record]) -> Record | None:
        """A record, or None if it isn't there, or is damaged, or of a version to come."""
        try:
            with self._explained("read", FileNotFoundError):
                text = bytes(obstore.get(self._store, path).bytes())
            record = msgspec.json.decode(text, type=type_)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return record if getattr(record, "format", FORMAT) == FORMAT else None

    def _create(self, path: str, record: Backup | Claim | Drill) -> bool:
        text = msgspec.json.format(msgspec.json.encode(record), indent=1)
        try:
            self._put(path, text, "create")
        except AlreadyExistsError:
            return False
        return True

    def _put(self, path: str, content: bytes, mode: Literal["create", "overwrite"]) -> None:
        with self._explained("written", AlreadyExistsError):
            obstore.put(self._store, path, content, mode=mode, use_multipart=False)
            if self._folder is not None:
                flush(self._folder / path, up_to=self._folder)

    def _delete(self, path: str) -> None:
        try:
            with self._explained("cleared", FileNotFoundError):
                obstore.delete(self._store, path)
        except FileNotFoundError:
            pass

    @contextmanager
    def _explained(self, done: str, *expected: type[BaseException]) -> Iterator[None]:
        """Turn a store's error into a sentence; the expected ones are the caller's to judge."""
        try:
            yield
        except expected:
            raise
        except (BaseError, OSError, ValueError) as error:
            # The first line is the message; the rest is the library's debug dump of requests.
            hidden = Redaction(self.s3.access_key_id, self.s3.secret_access_key)
            reason = hidden.text(next(iter(str(error).splitlines()), type(error).__name__))[:300]
            raise BackupError(
                f"The backups at {self.url} can't be {done}: {reason}.",
                fix="Check KAPMAN_BACKUP_URL, free space and permissions, and for s3:// the endpoint and the "
                "key pair; then run it again: what is not complete doesn't count.",
            ) from None


def backup_names(at: dt.datetime) -> Iterator[str]:
    """The names that a backup taken at that moment (aware) may have, in the order of preference."""
    return _numbered(f"full_{at.astimezone(dt.UTC):%Y%m%d_%H%M}")


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1
