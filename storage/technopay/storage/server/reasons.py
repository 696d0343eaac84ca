"""Why a store cannot be reached, in words that say what to put right; passwords are not in them."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from redis.exceptions import TimeoutError as RedisTimeoutError

from technopay.engine.errors import OutcomeUnknown

SAID = {
    "WRONGPASS": "it refuses the user or the password",
    "invalid username-password": "it refuses the user or the password",
    "invalid password": "it refuses the password",
    "Authentication required": "it wants a password, and the URL has none",
    "NOPERM": "the user lacks a right",
    "DENIED": "it takes connections from its own machine only (protected mode)",
    "LOADING": "it still loads its data",
    "DB index": "there is no database of this number",
    "max number of clients": "it has as many clients as it takes",
}
"""What error replies mean, by what is in them, with the prefix that redis-py takes away or without."""
MEANS = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.ENOENT: "there is no such socket",
    errno.EACCES: "we may not use the socket",
    errno.ECONNRESET: "it closes the connection",
    errno.EPIPE: "it closes the connection",
}


def address_of(url: str) -> str:
    """Return where a store is, without user and password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return unquote(parts.path)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or 6379}"


def reason_for(error: BaseException, url: str) -> str:
    """Return why a store cannot be reached, with its address."""
    return f"{address_of(url)}: {_meaning(error)}"


def _meaning(error: BaseException) -> str:
    causes = list(_causes(error))
    for cause in causes:
        for part, meaning in SAID.items():
            if part in str(cause):
                return f"{meaning}: {str(cause).partition('NOPERM ')[2]}" if part == "NOPERM" else meaning
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLError):
            return f"TLS fails: {cause.reason or cause}"
        if isinstance(cause, socket.gaierror):
            return "there is no host of this name"
        if isinstance(cause, TimeoutError | RedisTimeoutError | OutcomeUnknown):
            return "it does not answer"
        if isinstance(cause, OSError) and cause.errno:
            return MEANS.get(cause.errno) or (cause.strerror or str(cause)).lower()
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Answer an error and what it came from."""
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
