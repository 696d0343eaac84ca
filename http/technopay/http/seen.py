"""What was seen of a request, for those who watch: its id, who called what, and what it was about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel

from technopay.http.auth import NOBODY, Caller

if TYPE_CHECKING:
    from technopay.http.routes import Route

SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(slots=True)
class Seen:
    """One request; it is filled in as the request is read."""

    request_id: str
    route: Route | None = None
    caller: Caller = NOBODY
    is_operator: bool = False
    """Whether the route is an operator's: there, payments are shown whole."""
    record: BaseModel | None = None


SEEN = web.RequestKey("seen", Seen)
