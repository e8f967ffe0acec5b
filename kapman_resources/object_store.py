"""Where the platform keeps files that outlive the database: a folder (`file://`) or a bucket (`s3://`)."""

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from obstore.store import LocalStore, ObjectStore, S3Store
from pydantic import SecretStr

_PATIENCE = dt.timedelta(seconds=60)


@dataclass(frozen=True)
class S3Access:
    """How an S3 service is reached; None leaves a value to AWS and its usual AWS_* variables.

    endpoint: address of an S3-compatible service; None means AWS's own.
    """

    endpoint: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    region: str | None = None


class UnusableUrl(ValueError):
    """A URL that no store can be at; the text has its scheme alone, because the rest may hold credentials."""


def local_folder(url: str) -> Path | None:
    """The folder that a `file:///folder` URL names; None of any other URL. Nothing is made."""
    parts = urlsplit(url)
    folder = Path(url2pathname(parts.path)) if parts.scheme == "file" and not parts.netloc else None
    return folder if folder is not None and folder.is_absolute() else None


def open_store(url: str, s3: S3Access) -> tuple[ObjectStore, Path | None]:
    """The store at `file:///folder` or `s3://bucket/prefix`, and its folder if it is one; made if absent.

    Raises:
        UnusableUrl: another form of URL, or one that holds credentials.
        obstore.exceptions.BaseError, OSError: the folder can't be made.
    """
    if folder := local_folder(url):
        return LocalStore(folder, mkdir=True), folder
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        return _bucket(parts.netloc, parts.path.strip("/"), s3), None
    raise UnusableUrl(f"a URL with scheme {parts.scheme!r} of this form")


def flush(path: Path, *, up_to: Path) -> None:
    """Make a file and the names that lead to it survive a power cut."""
    while True:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == up_to:
            return
        path = path.parent


def _bucket(bucket: str, prefix: str, s3: S3Access) -> S3Store:
    given: dict[str, Any] = {
        "endpoint": s3.endpoint,
        "region": s3.region or ("us-east-1" if s3.endpoint else None),
        "access_key_id": s3.access_key_id and s3.access_key_id.get_secret_value(),
        "secret_access_key": s3.secret_access_key and s3.secret_access_key.get_secret_value(),
    }
    plain_http = (s3.endpoint or "").startswith("http://")
    return S3Store(
        bucket,
        prefix=prefix or None,
        config={name: value for name, value in given.items() if value},  # type: ignore[arg-type]
        client_options={"allow_http": plain_http},
        retry_config={"max_retries": 5, "retry_timeout": _PATIENCE},
    )
