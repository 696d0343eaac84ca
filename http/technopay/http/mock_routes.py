"""The routes of `--demo`: the mock inbox, and tokens for the asking. They do not exist without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from technopay.engine import InboxMessage
from technopay.engine.mocks import read_mock_inbox
from technopay.engine.models import rfc3339
from technopay.engine.ports import Store
from technopay.http.auth import TokenAuthenticator
from technopay.http.forms import TokenBody
from technopay.http.parsing import read_body

TOKEN_LIFETIME_S = 12 * 3600


def mock_routes(store: Store, tokens: TokenAuthenticator) -> Sequence[web.RouteDef]:
    """Make the routes."""

    async def inbox(request: web.Request) -> web.Response:
        messages = await read_mock_inbox(store, request.match_info["user_id"])
        return web.json_response({"data": [message_json(message) for message in messages]})

    async def token(request: web.Request) -> web.Response:
        body = await read_body(request, TokenBody)
        signed = tokens.sign(body.user_id, admin=body.admin, lifetime_s=TOKEN_LIFETIME_S)
        return web.json_response({"token": signed})

    return [web.get("/mock/inbox/{user_id}", inbox), web.post("/mock/token", token)]


def message_json(found: InboxMessage) -> dict[str, Any]:
    """Render a message of the inbox."""
    message = found.message
    rendered: dict[str, Any] = {
        "channel": message.channel,
        "to": message.to,
        "kind": message.kind,
        "text": message.text,
        "payment_id": message.payment_id,
        "event_id": message.event_id,
        "at": rfc3339(found.at),
    }
    if message.code is not None:
        rendered["code"] = message.code
    return rendered
