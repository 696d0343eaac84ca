"""The forms of single settings: each takes the text that was set, and raises ValueError with one clear line."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, SerializationInfo

from technopay.engine.settings import SECRET_LENGTH_MIN, secret_error

REVEAL = "reveal secrets"
"""The context of a dump that holds secrets as they are."""

DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
SCHEMES = ("redis", "rediss", "unix")
LATER_SCHEMES = ("redis+sentinel", "redis+cluster", "rediss+cluster")
MOCK = "mock"
"""In the place of a factory: the mock service, on purpose."""
HOW_TO_MAKE_ONE = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
PRINTED_SECRETS = (
    "a random text of 32 characters or more",
    "a secret for tests, and for tests alone",
    "a secret of the benchmark, and of it alone",
)
"""Examples of our documents and programs, past ones too: anybody knows them."""
FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def parse_duration(text: str) -> int:
    """Return the seconds of `10s`, `5m`, `1h`, `7d` or a plain number.

    Raises:
        ValueError: it is none of these.

    """
    found = DURATION.fullmatch(text.strip().lower())
    if not found:
        raise ValueError("has to be a whole number with s, m, h or d, like 10s or 5m")
    return int(found[1]) * UNIT_S[found[2]]


def expand_path(path: Path) -> Path:
    """Return the path with `~` replaced by the home directory.

    Raises:
        ValueError: there is no such home directory, or it is no path.

    """
    if CONTROL_CHARACTER.search(str(path)):
        raise ValueError("has a control character in it")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"has no home directory to put in the place of {path.parts[0]}") from None


def writable_file(name: str) -> Path:
    """Return the path of a file that can be written.

    Raises:
        ValueError: it cannot; says why.

    """
    if not name.strip():
        raise ValueError("is empty")
    path = expand_path(Path(name))
    if not path.parent.is_dir():
        raise ValueError(f"there is no directory {path.parent} to write {path.name} to")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{path} cannot be written")
    return path


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        for known in available_timezones():
            if known.lower() == name.lower():
                return known
        raise ValueError("has to be a time zone like Europe/Berlin") from None
    return name


def _server_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in LATER_SCHEMES:
        raise ValueError(f"{parts.scheme}:// is not supported yet; give one server, as redis://host:6379")
    # Asking for the port raises if it is no number.
    place = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in SCHEMES or not place or parts.port == 0:
        raise ValueError("has to be a URL like redis://host:6379 or unix:///run/valkey.sock")
    return parts.scheme + url[len(parts.scheme) :]


def _factory(name: str) -> str:
    if name.lower() == MOCK:
        return MOCK
    if not FACTORY.fullmatch(name):
        raise ValueError("has to be package.module:factory, or mock")
    return name


def _origin(text: str) -> str:
    parts = urlsplit(text.lower())
    # Asking for the port raises if it is no number.
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


def _lower(text: Any) -> Any:
    return text.strip().lower() if isinstance(text, str) else text


def _upper(text: Any) -> Any:
    return text.strip().upper() if isinstance(text, str) else text


def _seconds(text: Any) -> Any:
    return parse_duration(text) if isinstance(text, str) else text


def _split(text: Any, clean: Callable[[str], str] = str.strip) -> Any:
    return [clean(each) for each in text.split(",")] if isinstance(text, str) else text


def _conceal(secret: SecretStr, info: SerializationInfo) -> str:
    return secret.get_secret_value() if info.context == REVEAL else str(secret)


def _strong(secret: SecretStr) -> SecretStr:
    if error := secret_error(secret.get_secret_value()):
        raise ValueError(error)
    if secret.get_secret_value().strip() in PRINTED_SECRETS:
        raise ValueError(f"is an example that is printed in the documentation; {HOW_TO_MAKE_ONE}")
    return secret


AnyCase = BeforeValidator(_lower)
UpperCase = BeforeValidator(_upper)
Seconds = Annotated[int, BeforeValidator(_seconds)]
Host = Annotated[str, AfterValidator(_host)]
FilePath = Annotated[Path, AfterValidator(expand_path)]
Secret = Annotated[
    SecretStr, Field(min_length=SECRET_LENGTH_MIN), AfterValidator(_strong), PlainSerializer(_conceal)
]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_split)]
Factory = Annotated[str, AfterValidator(_factory)]
Zone = Annotated[str, AfterValidator(_known_zone)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_split)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...],
    BeforeValidator(partial(_split, clean=lambda each: each.strip().removesuffix("/"))),
]
