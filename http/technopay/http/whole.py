"""An answer that is there as a whole, and leaves with its head in one piece."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web

from technopay.http.answer import SAFE_HEADERS, Answer
from technopay.http.seen import Seen


class WholeResponse(web.StreamResponse):
    """A response that is sent as it is by a connection of ours, which knows what to do with one.

    It skips all that aiohttp prepares for other kinds of answers, like a dictionary of headers in which it
    looks for what is never there. `as_response` is for a request that has to be answered in aiohttp's way.
    """

    def __init__(self, seen: Seen, answer: Answer) -> None:
        # What a response of aiohttp is made of is left out on purpose: nobody but our connection gets this one.
        self._seen = seen
        self._answer = answer

    @property
    def status(self) -> int:
        """Its status."""
        return self._answer.status

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays; where it does not, this is not sent as it is."""
        return True

    def as_response(self) -> web.Response:
        """Answer the same as a response of aiohttp."""
        return self._answer.as_response(self._seen)

    def to_bytes(self, date: str) -> bytes:
        """Write head and body."""
        answer = self._answer
        more = write_headers(answer.headers) if answer.headers else ""
        if self._seen.more_headers:
            more += write_headers(self._seen.more_headers)
        head = (
            f"{first_lines(answer.status, answer.media)}X-Request-Id: {self._seen.request_id}\r\n{more}"
            f"Content-Length: {len(answer.body)}\r\nDate: {date}\r\n\r\n"
        )
        return head.encode() + answer.body


@lru_cache(maxsize=256)
def first_lines(status: int, media: str) -> str:
    """Write the lines that all answers of a kind begin with."""
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" + write_headers(
        {"Content-Type": media, **SAFE_HEADERS}
    )


def write_headers(headers: Mapping[str, str]) -> str:
    """Write headers, none of which may hold the end of a line.

    Raises:
        ValueError: one does.

    """
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if not all(map(str.isprintable, lines)):
        raise ValueError("a header holds what would end it")
    return "\r\n".join([*lines, ""])


class HttpDate:
    """The time as headers write it, which stays the same for a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """Write the time."""
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


def leaves_whole(request: web.Request) -> bool:
    """Whether nobody comes between our application and the connection: no other application, no hook."""
    apps = request.match_info.apps
    return len(apps) == 1 and not apps[0].middlewares and not apps[0].on_response_prepare
