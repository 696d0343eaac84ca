"""Settings: from flags, the environment (TECHNOPAY_…) or a `.env` file, the first of these that has one."""

import difflib
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from technopay.cli.archive.archiving import NO_ARCHIVE, require_location
from technopay.cli.service_variables import (
    PREFIX,
    parse_service,
    secret_variables,
    take_service_variables,
    variable_prefix,
)
from technopay.engine.settings import SECRET_LENGTH_MIN, SECRETS_MAX, secret_error
from technopay.http.auth.signing_keys import HS256, Algorithm
from technopay.http.server.limits import ServerLimits
from technopay.storage import EmbeddedValkey
from technopay.storage.archive.trimmer import KEEP_DAYS, KEEP_DAYS_MIN
from technopay.storage.private_files import make_private, read_private, write_private
from technopay.storage.server.address import parse_address

FLAGS = {"redis_url": "--redis"}
"""Flags with another name than their settings."""
FROM_FILES = (
    "secret", "secret_previous", "token_secret", "token_secret_previous", "redis_url", "archive", "admin_token",
)  # fmt: skip
"""Settings that hold a secret: each also as `…_FILE`."""
FILE_BYTES_MAX = 65_536
EMPTY = "is empty; leave it out for the default"
HOW_TO_MAKE_ONE = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
PRINTED_SECRETS = (
    "a random text of 32 characters or more",
    "a secret for tests, and for tests alone",
    "a secret of the benchmark, and of it alone",
)
"""Examples of our documents and programs, past ones too: they are public."""
UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LINKED_BY_KUBERNETES = re.compile(r"SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?")
"""Kubernetes sets these in every container if a service of the cluster is called technopay, and
TECHNOPAY_PORT=tcp://…"""


class ConfigurationError(Exception):
    """Raised when a setting is wrong; each line names one."""


class UsageError(Exception):
    """Raised when an argument of a command is wrong; each line names one."""


def parse_duration(text: str) -> int:
    """Return the seconds of `10s`, `5m`, `1h`, `7d` or a plain number, else raise ValueError."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text.strip().lower())
    if not found:
        raise ValueError("has to be a whole number with s, m, h or d, like 10s or 5m")
    return int(found[1]) * UNIT_S[found[2]]


def expand_path(path: Path) -> Path:
    """Replace `~` by the home directory; raise ValueError for a path that is none."""
    if re.search(r"[\x00-\x1f\x7f]", str(path)):
        raise ValueError("has a control character in it")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"has no home directory to put in the place of {path.parts[0]}") from None


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        for known in available_timezones():
            if known.lower() == name.lower():
                return known
        raise ValueError("has to be a time zone like Europe/Berlin") from None
    return name


def _server_url(url: str) -> str:
    scheme, separator, rest = url.partition(":")
    url = scheme.lower() + separator + rest
    parse_address(url)
    return url


def _archive_location(text: str) -> str:
    is_path = "://" not in text and text.strip().lower() != NO_ARCHIVE
    return str(expand_path(Path(text))) if is_path else require_location(text)


def http_origin(text: str) -> str:
    """Return an origin in lower case, else raise ValueError with the rule."""
    parts = urlsplit(text.lower())
    # To read the port raises ValueError if it is no number.
    is_plain = parts.port != 0 and not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise ValueError("has to be an origin like https://shop.example, without a path")
    return text.lower()


def _network(text: Any) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"has to be an address or a network like 10.0.0.0/8: {error}") from None


def _host(text: str) -> str:
    if not text.strip() or re.search(r"[\s/\x00-\x1f\x7f]", text):
        raise ValueError("has to be a name or an address to listen on, like 127.0.0.1")
    return text


def _secret(secret: SecretStr) -> SecretStr:
    if error := secret_error(secret.get_secret_value()):
        raise ValueError(error)
    if secret.get_secret_value().strip() in PRINTED_SECRETS:
        raise ValueError(f"is an example that is printed in the documentation; {HOW_TO_MAKE_ONE}")
    return secret


def _of_text(convert: Callable[[str], Any]) -> BeforeValidator:
    """Convert a value that is text; others are taken as they are."""
    return BeforeValidator(lambda value: convert(value) if isinstance(value, str) else value)


def _items(text: str, end: str = "") -> list[str]:
    return [item.strip().removesuffix(end) for item in text.split(",")]


AnyCase = _of_text(lambda text: text.strip().lower())
UpperCase = _of_text(lambda text: text.strip().upper())
Seconds = Annotated[int, _of_text(parse_duration)]
FilePath = Annotated[Path, AfterValidator(expand_path)]
Secret = Annotated[SecretStr, Field(min_length=SECRET_LENGTH_MIN), AfterValidator(_secret)]
Secrets = Annotated[tuple[Secret, ...], _of_text(_items)]
Limit = Annotated[int, Field(ge=0)]
Bound = Annotated[int, Field(ge=1, le=100_000)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
Origin = Annotated[str, AfterValidator(http_origin)]


def _default_data_dir() -> Path:
    # The XDG specification ignores a path that is not absolute.
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path("~/.local/share")) / "technopay"


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    secret: Secret | None = None
    secret_previous: Secrets = ()
    """Accepted, not used."""
    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    redis_url: Annotated[Annotated[str, AfterValidator(_server_url)] | None, Field(repr=False)] = None
    data_dir: FilePath = Field(default_factory=_default_data_dir)
    archive: Annotated[Annotated[str, AfterValidator(_archive_location)] | None, Field(repr=False)] = None
    """A path, a URL, or 'none'; without it, an embedded store has one beside it, and a server none."""
    keep_days: Annotated[int, Field(ge=KEEP_DAYS_MIN, le=36_500)] = KEEP_DAYS
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    code_lifetime_s: Annotated[Seconds, Field(ge=10, le=600)] = 300
    codes_per_hour: Limit = 5
    confirms_per_minute: Limit = 5
    failures_per_day: Limit = 10
    durability: Annotated[Literal["always", "everysec", "unchecked"], AnyCase] = "always"
    wait_replicas: Annotated[int, Field(ge=0, le=8)] = 0
    wait_ms: Annotated[int, Field(ge=10, le=5_000)] = 500
    settlement: Annotated[str, AfterValidator(partial(parse_service, "settlement"))] | None = None
    email: Annotated[str, AfterValidator(partial(parse_service, "email"))] | None = None
    sms: Annotated[str, AfterValidator(partial(parse_service, "sms"))] | None = None
    verifier: Annotated[str, AfterValidator(partial(parse_service, "verifier"))] | None = None
    webhook_private: Annotated[Literal["refuse", "allow"], AnyCase] = "refuse"
    service_variables: Annotated[dict[str, str], Field(repr=False)] = {}
    """`TECHNOPAY_SETTLEMENT_…` and the like, which belong to the services: by the name after the prefix."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = "info"
    log_format: Annotated[Literal["auto", "json", "text"], AnyCase] = "auto"
    metrics: bool = True
    url: str | None = None
    admin_token: SecretStr | None = None
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    metrics_host: Annotated[str, AfterValidator(_host)] | None = None
    token_algorithm: Annotated[Algorithm, UpperCase] = HS256
    token_secret: Secret | None = None
    token_secret_previous: Secrets = ()
    token_public_key_file: FilePath | None = None
    token_issuer: str | None = None
    token_audience: str | None = None
    connections_max: Bound = ServerLimits().connections_max
    requests_max: Bound = ServerLimits().requests_max
    keepalive_s: Annotated[Seconds, Field(ge=1, le=3600)] = 75
    cors_origins: Annotated[tuple[Origin, ...], _of_text(partial(_items, end="/"))] = ()
    trusted_proxies: Annotated[tuple[Network, ...], _of_text(_items)] = ()

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError(EMPTY)
        return value

    @field_validator("secret_previous")
    @classmethod
    def _each_once(cls, previous: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if info.data.get("secret") in previous or len(set(previous)) < len(previous):
            raise ValueError("has to name each secret once, and not the one of TECHNOPAY_SECRET")
        if len(previous) >= SECRETS_MAX:
            raise ValueError(f"has to have at most {SECRETS_MAX - 1} secrets")
        return previous

    @field_validator("metrics_host")
    @classmethod
    def _with_port(cls, host: str | None, info: ValidationInfo) -> str | None:
        if host is not None and info.data.get("metrics_port", 0) is None:
            raise ValueError("needs TECHNOPAY_METRICS_PORT, the port there")
        return host

    @property
    def archive_location(self) -> str | None:
        """Where the archive is, as `Archive.at` takes it; None if there is none."""
        if self.archive is None:
            return None if self.redis_url else str(self.data_dir / "archive.sqlite3")
        return None if self.archive == NO_ARCHIVE else self.archive

    def variables_of(self, service: str) -> dict[str, str]:
        """Return the variables of one service, without `TECHNOPAY_<SERVICE>_` before them."""
        prefix = variable_prefix(service, getattr(self, service))
        variables = self.service_variables.items()
        return {name.removeprefix(prefix): value for name, value in variables if name.startswith(prefix)}

    def require_secret(self) -> str:
        if self.secret is None:
            raise ConfigurationError(
                f"TECHNOPAY_SECRET is not set: give a random text of at least {SECRET_LENGTH_MIN} characters; "
                f"{HOW_TO_MAKE_ONE}"
            )
        return self.secret.get_secret_value()

    @property
    def previous_secrets(self) -> tuple[str, ...]:
        return tuple(each.get_secret_value() for each in self.secret_previous)

    def demo_secret(self) -> str:
        """Return the secret or, for a demo, a random one that is kept in the data directory."""
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
    """Read the settings; flags come before the environment, None is a flag that was not given.

    Raises UsageError or ConfigurationError if settings are wrong; each line names one.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if "redis_url" in given and "data_dir" in given:
        raise UsageError("--redis and --data-dir exclude each other")
    values, wrong = _read_environment(given)
    values |= given
    if "data_dir" in given:
        # It means the embedded store, also if the environment names a server.
        values["redis_url"] = None
    variables = take_service_variables(values, wrong)
    try:
        settings = Settings.model_validate({"service_variables": variables} | values)
    except ValidationError as error:
        wrong |= _problems(error)
    if not wrong:
        return settings
    message = "\n".join(_line(name, problem, given) for name, problem in wrong.items())
    raise UsageError(message) if wrong.keys() & given.keys() else ConfigurationError(message)


def trace_exporters() -> list[str]:
    """Return the exporters that OpenTelemetry's own variables name; without one there are no traces."""
    get = os.environ.get
    has_endpoint = get("OTEL_EXPORTER_OTLP_ENDPOINT") or get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    names = get("OTEL_TRACES_EXPORTER") or ("otlp" if has_endpoint else "none")
    is_off = get("OTEL_SDK_DISABLED", "").lower() == "true"
    return [] if is_off else [name for name in _items(names) if name != "none"]


def _read_environment(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings by name, with the contents of `…_FILE`, and the problems of these files."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    try:
        in_file = dotenv_values(".env")
    except UnicodeDecodeError:
        raise ConfigurationError("the file .env is not in UTF-8") from None
    for source in (in_file, os.environ):
        for variable, value in source.items():
            name = variable.upper().removeprefix(PREFIX)
            is_linked = LINKED_BY_KUBERNETES.fullmatch(name) or f"{name}={value}".startswith("PORT=tcp://")
            if variable.upper().startswith(PREFIX) and not is_linked:
                values[name.lower()] = value or ""
    for name in (*FROM_FILES, *secret_variables(values)):
        path = values.pop(f"{name}_file", None)
        if path is None:
            continue
        if not path.strip():
            wrong[f"{name}_file"] = EMPTY
        elif name in values:
            wrong[f"{name}_file"] = f"is set, and {PREFIX}{name.upper()} as well; leave one out"
        elif name not in given:
            try:
                content = _read_file(path)
                # A secret may have a comma in it, but no new line.
                values[name] = content.split("\n") if name.endswith("_previous") else content
            except ValueError as error:
                wrong[f"{name}_file"] = str(error)
    return values, wrong


def _read_file(name: str) -> str:
    """Return the content of a file, without a new line at its end; a ValueError shows nothing of it."""
    path = expand_path(Path(name))
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not in UTF-8") from None
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path}: is longer than {FILE_BYTES_MAX} bytes")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{path}: is empty")
    return text


def _problems(error: ValidationError) -> dict[str, str]:
    """Return the problem of each setting, without its value."""
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        name, *rest = problem["loc"]
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
        if problem["type"] == "extra_forbidden":
            known = [*Settings.model_fields, *(f"{each}_file" for each in FROM_FILES)]
            nearest = difflib.get_close_matches(str(name), known, 1)
            hint = f"; the nearest one is {PREFIX}{nearest[0].upper()}" if nearest else ""
            message = f"is not a setting{hint}"
        if problem["type"] in ("too_short", "string_too_short"):
            # Pydantic counts the characters of a secret as items.
            message = f"has to have at least {problem['ctx']['min_length']} characters"
            if "actual_length" in problem["ctx"]:
                message += f", not {problem['ctx']['actual_length']}"
        item = f"item {rest[0] + 1} " if rest and isinstance(rest[0], int) else ""
        problems.setdefault(str(name), item + message)
    return problems


def _line(name: str, problem: str, given: Mapping[str, Any]) -> str:
    if name in given:
        return f"{FLAGS.get(name) or '--' + name.replace('_', '-')} {problem}"
    return f"{PREFIX}{name.upper()}: {problem}"
