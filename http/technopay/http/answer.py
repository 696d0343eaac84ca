"""What a handler answers with, and what every answer says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

from technopay.http.seen import Seen

JSON = "application/json; charset=utf-8"

SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "technopay"}
"""What every answer has. Without a name of its own, the server would tell the versions that it is made of."""


@dataclass(slots=True)
class Answer:
    """What a handler answers with."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = JSON
    record: BaseModel | None = None
    """What the body tells, for those who watch."""

    def as_response(self, seen: Seen) -> web.Response:
        """Make what aiohttp sends of it."""
        headers = {**headers_for(seen, self.media), **self.headers}
        return web.Response(body=self.body, status=self.status, headers=headers)


def headers_for(seen: Seen, media: str) -> dict[str, str]:
    """Answer the headers that every answer has."""
    return {"Content-Type": media, "X-Request-Id": seen.request_id, **SAFE_HEADERS, **(seen.more_headers or {})}
