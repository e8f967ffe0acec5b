"""The platform's public settings: environment variables, and `.env` in the project's folder.

Everything outside the code comes in here and nowhere else. Secrets are `SecretStr`: they print as
asterisks and leave this object only where a connection is made.
"""

import datetime as dt
import functools
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kapman_resources.errors import KapmanError
from kapman_resources.hosts import require_tls

PROJECT = Path(__file__).resolve().parents[1]


class SettingsError(KapmanError):
    """An environment variable has a value that can't be used."""


class Settings(BaseSettings):
    """One field per variable; the variable's name is the field's `validation_alias`."""

    model_config = SettingsConfigDict(
        env_file=PROJECT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Literal["dev", "test", "prod"] = Field("dev", validation_alias="KAPMAN_ENV")
    home: Path = Field(PROJECT / ".kapman", validation_alias="KAPMAN_HOME")
    as_of: dt.date | None = Field(None, validation_alias="KAPMAN_AS_OF")

    database_url: SecretStr | None = Field(None, validation_alias="DATABASE_URL")
    pave_hosts: str | None = Field(None, validation_alias="KAPMAN_PAVE_HOSTS")
    loader_url: SecretStr | None = Field(None, validation_alias="KAPMAN_LOADER_URL")
    loader_password: SecretStr | None = Field(None, validation_alias="KAPMAN_LOADER_PASSWORD")
    reader_url: SecretStr | None = Field(None, validation_alias="KAPMAN_READER_URL")

    api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("MASSIVE_API_KEY", "POLYGON_API_KEY")
    )
    plain_http_hosts: str = Field("", validation_alias="KAPMAN_PLAIN_HTTP_HOSTS")
    """Hosts beyond this machine that may be spoken to without TLS. Before the addresses, which it judges."""
    api_url: str = Field("https://api.massive.com", validation_alias="KAPMAN_API_URL")
    rate_limit: float = Field(50.0, ge=0, validation_alias="KAPMAN_RATE_LIMIT")

    s3_endpoint: str = Field("https://files.massive.com", validation_alias="KAPMAN_S3_ENDPOINT")
    s3_bucket: str = Field("flatfiles", validation_alias="KAPMAN_S3_BUCKET")
    s3_access_key_id: SecretStr | None = Field(None, validation_alias="KAPMAN_S3_ACCESS_KEY_ID")
    s3_secret_access_key: SecretStr | None = Field(None, validation_alias="KAPMAN_S3_SECRET_ACCESS_KEY")

    vendor: str = Field("massive", pattern=r"^[a-z0-9][a-z0-9._-]*$", validation_alias="KAPMAN_VENDOR")
    """Namespace of the vault: pages of different vendors (or simulated markets) never mix."""
    vault_url: str | None = Field(None, validation_alias="KAPMAN_VAULT_URL")
    vault_s3_endpoint: str | None = Field(None, validation_alias="KAPMAN_VAULT_S3_ENDPOINT")
    vault_s3_access_key_id: SecretStr | None = Field(None, validation_alias="KAPMAN_VAULT_S3_ACCESS_KEY_ID")
    vault_s3_secret_access_key: SecretStr | None = Field(
        None, validation_alias="KAPMAN_VAULT_S3_SECRET_ACCESS_KEY"
    )
    vault_s3_region: str | None = Field(None, validation_alias="KAPMAN_VAULT_S3_REGION")
    vault_since: dt.date | None = Field(None, validation_alias="KAPMAN_VAULT_SINCE")
    backup_url: str | None = Field(None, validation_alias="KAPMAN_BACKUP_URL")
    backup_keep: int = Field(14, ge=1, validation_alias="KAPMAN_BACKUP_KEEP")
    backup_s3_endpoint: str | None = Field(None, validation_alias="KAPMAN_BACKUP_S3_ENDPOINT")
    backup_s3_access_key_id: SecretStr | None = Field(None, validation_alias="KAPMAN_BACKUP_S3_ACCESS_KEY_ID")
    backup_s3_secret_access_key: SecretStr | None = Field(
        None, validation_alias="KAPMAN_BACKUP_S3_SECRET_ACCESS_KEY"
    )
    backup_s3_region: str | None = Field(None, validation_alias="KAPMAN_BACKUP_S3_REGION")
    restore_url: SecretStr | None = Field(None, validation_alias="KAPMAN_RESTORE_URL")
    """A superuser's way to the same server; TimescaleDB restores for nobody else."""
    watchlists: Path = Field(PROJECT / "data" / "watchlists", validation_alias="KAPMAN_WATCHLISTS")

    alerts: SecretStr | None = Field(None, validation_alias="KAPMAN_ALERTS")
    """Where alerts go, see `notifications`: secret, because a webhook's address is; None for the log alone."""
    alerts_secret: SecretStr | None = Field(None, validation_alias="KAPMAN_ALERTS_SECRET")
    ui_url: str | None = Field(None, validation_alias="KAPMAN_UI_URL")
    source_url: str | None = Field(None, pattern=r"^https?://", validation_alias="KAPMAN_SOURCE_URL")
    vendor_retries: int = Field(2, ge=0, le=10, validation_alias="KAPMAN_VENDOR_RETRIES")

    @field_validator("home", "watchlists")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @field_validator("api_url", "s3_endpoint", "vault_s3_endpoint", "backup_s3_endpoint")
    @classmethod
    def _safe(cls, url: str | None, found: ValidationInfo) -> str | None:
        return url and require_tls(url, found.data.get("plain_http_hosts", ""))

    @field_validator("alerts", mode="before")
    @classmethod
    def _log_alone(cls, url: object) -> object:
        # Not a secret: redaction would blot the word out of every log line.
        return None if url == "log:" else url

    @property
    def has_vendor(self) -> bool:
        """Whether any credential of a vendor is set; without one the demo's simulator stands in."""
        return self.api_key is not None or self.s3_access_key_id is not None

    @property
    def vault(self) -> str:
        """URL of the vault, `file://` under the home folder unless `KAPMAN_VAULT_URL` says otherwise."""
        return self.vault_url or (self.home / "vault").as_uri()

    @property
    def backups(self) -> str:
        """URL of the backups, `file://` under the home folder unless `KAPMAN_BACKUP_URL` says otherwise."""
        return self.backup_url or (self.home / "backups").as_uri()


@functools.cache
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsError: a variable's value can't be used; the sentence names the variable, not the value.
    """
    try:
        return Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise SettingsError(
            f"The settings can't be used: {found}.", fix="Correct the variable in the environment or in .env."
        ) from None
