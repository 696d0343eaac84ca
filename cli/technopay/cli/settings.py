"""Settings: from flags, the environment (TECHNOPAY_…) or a `.env` file, the first of these that has one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from technopay.cli.setting_sources import EMPTY, PREFIX, read_sources
from technopay.cli.setting_types import (
    HOW_TO_MAKE_ONE,
    MOCK,
    REVEAL,
    AnyCase,
    Factory,
    FilePath,
    Host,
    Networks,
    Origins,
    Seconds,
    Secret,
    Secrets,
    ServerUrl,
    UpperCase,
    Zone,
)  # fmt: skip
from technopay.engine.settings import SECRET_LENGTH_MIN, SECRETS_MAX
from technopay.http.bounds import Bounds
from technopay.http.keys import HS256, Algorithm
from technopay.storage import EmbeddedValkey
from technopay.storage.private import make_private, read_private, write_private

FLAGS = {"redis_url": "--redis"}
"""Flags that are not called as their settings."""
FROM_FILES = ("secret", "secret_previous", "token_secret", "token_secret_previous", "redis_url")
"""Settings that hold a secret: each also as `…_FILE`."""
SERVICES = ("settlement", "email", "sms", "verifier")


class ConfigurationError(Exception):
    """Raised when something is set wrongly; each line names one setting."""


class UsageError(Exception):
    """Raised when an argument of a command is wrong; each line names one."""


def _default_data_dir() -> Path:
    # The XDG specification has a path that is not absolute ignored.
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path("~/.local/share")) / "technopay"


class Settings(BaseModel):
    """All that can be set from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    secret: Secret | None = None
    secret_previous: Secrets = ()
    """Accepted, not used."""
    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    redis_url: Annotated[ServerUrl | None, Field(repr=False)] = None
    data_dir: FilePath = Field(default_factory=_default_data_dir)
    timezone: Zone = "UTC"
    code_lifetime_s: Annotated[Seconds, Field(ge=10, le=600)] = 300
    codes_per_hour: Annotated[int, Field(ge=0)] = 5
    confirms_per_minute: Annotated[int, Field(ge=0)] = 5
    failures_per_day: Annotated[int, Field(ge=0)] = 10
    durability: Annotated[Literal["always", "everysec", "unchecked"], AnyCase] = "always"
    settlement: Factory | None = None
    email: Factory | None = None
    sms: Factory | None = None
    verifier: Factory | None = None
    service_variables: Annotated[dict[str, str], Field(repr=False)] = {}
    """`TECHNOPAY_SETTLEMENT_…` and the like, which belong to the factories: by the name after the prefix."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = "info"
    log_format: Annotated[Literal["auto", "json", "text"], AnyCase] = "auto"
    metrics: bool = True
    token_algorithm: Annotated[Algorithm, UpperCase] = HS256
    token_secret: Secret | None = None
    token_secret_previous: Secrets = ()
    token_public_key_file: FilePath | None = None
    token_issuer: Annotated[str, Field(min_length=1)] | None = None
    token_audience: Annotated[str, Field(min_length=1)] | None = None
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = Bounds().connections_max
    requests_max: Annotated[int, Field(ge=1, le=100_000)] = Bounds().requests_max
    keepalive_s: Annotated[Seconds, Field(ge=1, le=3600)] = 75
    cors_origins: Origins = ()
    trusted_proxies: Networks = ()

    @field_validator("secret_previous")
    @classmethod
    def _each_once(cls, previous: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if info.data.get("secret") in previous or len(set(previous)) < len(previous):
            raise ValueError("has to name each secret once, and not the one of TECHNOPAY_SECRET")
        if len(previous) >= SECRETS_MAX:
            raise ValueError(f"has to have at most {SECRETS_MAX - 1} secrets")
        return previous

    def variables_of(self, service: str) -> dict[str, str]:
        """Return the variables of one service, without `TECHNOPAY_<SERVICE>_` before them."""
        prefix = f"{service}_".upper()
        return {
            name.removeprefix(prefix): value
            for name, value in self.service_variables.items()
            if name.startswith(prefix)
        }

    def reveal(self) -> dict[str, Any]:
        """Return all settings as JSON has them, secrets included."""
        return self.model_dump(mode="json", context=REVEAL)

    def require_secret(self) -> str:
        """Answer the secret.

        Raises:
            ConfigurationError: it is not set.

        """
        if self.secret is None:
            raise ConfigurationError(
                f"TECHNOPAY_SECRET is not set: give a random text of at least {SECRET_LENGTH_MIN} characters; "
                f"{HOW_TO_MAKE_ONE}"
            )
        return self.secret.get_secret_value()

    @property
    def previous_secrets(self) -> tuple[str, ...]:
        """The other secrets whose codes and tokens are taken."""
        return tuple(each.get_secret_value() for each in self.secret_previous)

    def demo_secret(self) -> str:
        """Answer the secret or, for a demo, a random one that is kept in the data directory."""
        if self.secret is not None:
            return self.secret.get_secret_value()
        kept = make_private(self.data_dir) / "demo-secret"
        if not (self.redis_url or kept.exists() or EmbeddedValkey(self.data_dir).is_new):
            raise ConfigurationError(
                f"the store in {self.data_dir} was made with a TECHNOPAY_SECRET: set it if that was a demo, "
                "else leave --demo out"
            )
        try:
            secret = read_private(kept)
        except FileNotFoundError:
            write_private(kept, secrets.token_urlsafe(SECRET_LENGTH_MIN))
            secret = read_private(kept)
        if len(secret) < SECRET_LENGTH_MIN:
            raise ConfigurationError(f"{kept} holds no secret; remove it to have a new one")
        return secret


def load_settings(**flags: Any) -> Settings:
    """Read the settings; flags go before all else, None is a flag that was not given.

    Raises:
        UsageError, ConfigurationError: some are set wrongly; names each in a line of its own.

    """
    given = {name: value for name, value in flags.items() if value is not None}
    if "redis_url" in given and "data_dir" in given:
        raise UsageError("--redis and --data-dir exclude each other")
    try:
        sources = read_sources(set(Settings.model_fields) - {"service_variables"}, FROM_FILES, set(given))
    except UnicodeDecodeError:
        raise ConfigurationError("the file .env is not in UTF-8") from None
    values: dict[str, Any] = {**sources.values, **given}
    if "data_dir" in given:
        # It means the embedded store, whatever the environment says of a server.
        values["redis_url"] = None
    wrong = sources.take_service_variables(values, SERVICES, MOCK)
    wrong |= {name: EMPTY for name, value in values.items() if isinstance(value, str) and not value.strip()}
    try:
        settings = Settings.model_validate(
            {name: value for name, value in values.items() if name not in wrong}
            | {"service_variables": sources.service_variables}
        )
    except ValidationError as error:
        wrong |= _problems(error)
    if not wrong:
        return settings
    lines = [_line(name, wrong[name], given) for name in wrong]
    if wrong.keys() & given.keys():
        raise UsageError("\n".join(lines))
    raise ConfigurationError("\n".join(lines))


def _problems(error: ValidationError) -> dict[str, str]:
    """Return what is wrong with each setting, without what it was set to."""
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        name, *rest = problem["loc"]
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
        if problem["type"] in ("too_short", "string_too_short"):
            # Pydantic counts the characters of a secret as items.
            message = f"has to have at least {problem['ctx']['min_length']} characters"
            if "actual_length" in problem["ctx"]:
                message += f", not {problem['ctx']['actual_length']}"
        where = f"item {rest[0] + 1} " if rest and isinstance(rest[0], int) else ""
        problems.setdefault(str(name), where + message)
    return problems


def _line(name: str, message: str, flags: Mapping[str, Any]) -> str:
    if name in flags:
        return f"{FLAGS.get(name) or '--' + name.replace('_', '-')} {message}"
    return f"{PREFIX}{name.upper()}: {message}"
