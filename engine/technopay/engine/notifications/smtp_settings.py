"""The settings of e-mail by SMTP: the URL of a server, and the sender of messages.

A function called `…_error` returns the rule that a value breaks, or None. No rule shows the value.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import idna

from technopay.engine.fields import email_error, is_line, is_loopback

PORTS = {"smtp": 587, "smtps": 465}
URL_RULE = (
    "has to be like smtp://user:password@host:587 or smtps://user:password@host:465, "
    "with special characters of user and password percent-encoded"
)
TLS_RULE = "can have one parameter: tls=starttls or tls=none, for smtp:// only"
UNENCRYPTED_RULE = "has to have TLS: a password is sent without it to this machine only"
SENDER_RULE = (
    "has to be an address like pay@shop.example, or Shop <pay@shop.example>, with an ASCII name before the @"
)
SENDER = re.compile(r'"?([^<>"]*)"?\s*<([^<>\s]+)>')
HOST = re.compile(r"[A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A server that takes messages: its address, the sign-in, and when TLS begins."""

    host: str
    port: int
    tls: Literal["at_once", "starttls", "none"]
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> "SmtpServer":
        """Parse a URL: `smtps://` begins with TLS, `smtp://` upgrades to it.

        `?tls=none` is plain text, the default at a loopback address, where `?tls=starttls` asks for TLS.

        Raises:
            ValueError: with the rule that the URL breaks.

        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError(URL_RULE) from None  # the parser's own message can show the password
        user, password = (None if each is None else unquote(each) for each in (parts.username, parts.password))
        is_plain = not (parts.path.strip("/") or parts.fragment) and port != 0 and HOST.fullmatch(host)
        is_signed = (user is None) == (password is None) and all(
            each is None or (each and is_line(each)) for each in (user, password)
        )
        if parts.scheme not in PORTS or not is_plain or not is_signed:
            raise ValueError(URL_RULE)
        return cls(host, port or PORTS[parts.scheme], _tls_of(parts.scheme, parts.query, host), user, password)

    def __post_init__(self) -> None:
        if self.password and self.tls == "none" and not is_loopback(self.host):
            raise ValueError(UNENCRYPTED_RULE)


def parse_sender(text: str) -> Address:
    """Parse the sender of messages.

    Raises:
        ValueError: with the rule that it breaks.

    """
    found = SENDER.fullmatch(text)
    name, address = (found[1].strip(), found[2]) if found else ("", text)
    local, _, domain = address.rpartition("@")
    if not is_line(name) or "=?" in text or email_error(address) or not local.isascii():
        raise ValueError(SENDER_RULE)
    return Address(name, local, ascii_domain(domain))


def ascii_domain(domain: str) -> str:
    """Return the form of a domain that every server knows: an international one as `xn--…`.

    Raises:
        ValueError: it has none.

    """
    return domain if domain.isascii() else idna.encode(domain, uts46=True).decode()


def smtp_url_error(url: str) -> str | None:
    return _error_of(SmtpServer.of, url)


def sender_error(text: str) -> str | None:
    return _error_of(parse_sender, text)


def _error_of(parse: Callable[[str], Any], text: str) -> str | None:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


def _tls_of(scheme: str, query: str, host: str) -> Literal["at_once", "starttls", "none"]:
    parameters = parse_qs(query, keep_blank_values=True)
    tls = parameters.pop("tls", ["none" if is_loopback(host) else "starttls"])
    if parameters or tls not in (["starttls"], ["none"]) or (query and scheme == "smtps"):
        raise ValueError(TLS_RULE)
    if scheme == "smtps":
        return "at_once"
    return "none" if tls == ["none"] else "starttls"
