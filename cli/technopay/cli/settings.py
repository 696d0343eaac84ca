"""Settings: from flags, the environment (TECHNOPAY_…) or a `.env` file, the first of these that has one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from technopay.engine.settings import SECRET_LENGTH_MIN
from technopay.http import Algorithm, Bounds
from technopay.http.keys import HS256

Secret = Annotated[SecretStr, Field(min_length=SECRET_LENGTH_MIN)]

FLAGS = {"redis_url": "--redis", "data_dir": "--data-dir"}


class ConfigurationError(Exception):
    """Raised when something is set wrongly; one line says what."""


class UsageError(Exception):
    """Raised when an argument of a command is wrong; one line says which."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("has to be a time zone like Europe/Berlin") from None
    return name


def _server_url(url: str) -> str:
    parts = urlsplit(url)
    # Asking for the port raises if it is no number.
    place = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in ("redis", "rediss", "unix") or not place or parts.port == 0:
        raise ValueError("has to be a URL like redis://host:6379 or unix:///run/valkey.sock")
    return url


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "technopay"


class Settings(BaseSettings):
    """What can be set from outside."""

    model_config = SettingsConfigDict(env_prefix="TECHNOPAY_", env_file=".env", extra="ignore")

    secret: Secret | None = None
    redis_url: Annotated[str, AfterValidator(_server_url)] | None = None
    data_dir: Path = Field(default_factory=_default_data_dir)
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    code_lifetime_s: Annotated[int, Field(ge=10, le=600)] = 300
    codes_per_hour: Annotated[int, Field(ge=0)] = 5
    confirms_per_minute: Annotated[int, Field(ge=0)] = 5
    failures_per_day: Annotated[int, Field(ge=0)] = 10
    durability: Literal["always", "everysec", "unchecked"] = "always"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    metrics: bool = True
    token_algorithm: Algorithm = HS256
    token_secret: Secret | None = None
    token_secret_previous: Secret | None = None
    token_public_key_file: Path | None = None
    token_issuer: Annotated[str, Field(min_length=1)] | None = None
    token_audience: Annotated[str, Field(min_length=1)] | None = None
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = Bounds().connections_max
    requests_max: Annotated[int, Field(ge=1, le=100_000)] = Bounds().requests_max

    def require_secret(self) -> str:
        """Answer the secret.

        Raises:
            ConfigurationError: it is not set.

        """
        if self.secret is None:
            raise ConfigurationError(
                f"TECHNOPAY_SECRET is not set: give a random text of at least {SECRET_LENGTH_MIN} characters"
            )
        return self.secret.get_secret_value()

    def demo_secret(self) -> str:
        """Answer the secret or, for a demo, a random one that is kept in the data directory."""
        if self.secret is not None:
            return self.secret.get_secret_value()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self.data_dir / "demo-secret"
        if not kept.exists():
            # Written aside and then renamed, so that a crash leaves all of it or nothing.
            written = self.data_dir / "demo-secret.new"
            written.unlink(missing_ok=True)
            written.touch(mode=0o600)
            written.write_text(secrets.token_urlsafe(SECRET_LENGTH_MIN))
            written.replace(kept)
        return kept.read_text()


def load_settings(redis_url: str | None = None, data_dir: Path | None = None) -> Settings:
    """Read the settings; flags go before all else.

    Raises:
        UsageError, ConfigurationError: one is set wrongly; names it.

    """
    if redis_url and data_dir:
        raise UsageError("--redis and --data-dir exclude each other")
    flags = {name: value for name, value in (("redis_url", redis_url), ("data_dir", data_dir)) if value}
    try:
        settings = Settings(**flags)  # type: ignore[arg-type]
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name, message = str(problem["loc"][0]), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "too_short":
            # Pydantic counts the characters of a secret as items.
            given = problem["ctx"]
            message = f"has to have at least {given['min_length']} characters, not {given['actual_length']}"
        if name in flags:
            raise UsageError(f"{FLAGS[name]} {message}") from None
        raise ConfigurationError(f"TECHNOPAY_{name.upper()}: {message}") from None
    except UnicodeDecodeError:
        raise ConfigurationError("the file .env is not in UTF-8") from None
    # The flag --data-dir means the embedded store, whatever the environment says of a server.
    return settings.model_copy(update={"redis_url": None}) if data_dir else settings
