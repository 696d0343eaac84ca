"""Why a server cannot be reached, in words for operators."""

import errno
import socket
import ssl
from collections.abc import Iterator

from technopay.engine.errors import OutcomeUnknown

ERROR_REPLIES = {
    "WRONGPASS": "it refuses the user or the password",
    "NOAUTH": "it requires a password, and the URL has none",
    "NOPERM": "the user lacks a right",
    "DENIED": "it accepts local connections only (protected mode)",
    "LOADING": "it is still loading its data",
    "DB index": "there is no database of this number",
    "max number of clients": "its limit of clients is reached",
}
"""The meanings of error replies, by a part of their text."""
ERRNOS = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.ENOENT: "there is no such socket",
    errno.EACCES: "no permission to use the socket",
    errno.ECONNRESET: "it closes the connection",
    errno.EPIPE: "it closes the connection",
}


def meaning_of(error: BaseException) -> str:
    """Return the reason why a store cannot be reached, in words for operators."""
    for cause in reversed(list(_causes_of(error))):
        text = str(cause)
        for part, meaning in ERROR_REPLIES.items():
            if part in text:
                return f"{meaning}: {text.partition('NOPERM ')[2]}" if part == "NOPERM" else meaning
        if isinstance(cause, ssl.SSLError):
            return f"TLS fails: {cause.reason or cause}"
        if isinstance(cause, socket.gaierror):
            return "there is no host of this name"
        if isinstance(cause, TimeoutError | OutcomeUnknown):
            return "it does not reply"
        if isinstance(cause, OSError) and cause.errno:
            return ERRNOS.get(cause.errno) or (cause.strerror or text).lower()
    return str(error) or type(error).__name__


def _causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and its causes, the outermost first."""
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
