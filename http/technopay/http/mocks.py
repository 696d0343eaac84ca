"""The routes of `--demo`: the mock inbox, and tokens for the asking. They do not exist without it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from pydantic import BaseModel

from technopay.engine import InboxMessage
from technopay.engine.mocks import read_mock_inbox
from technopay.engine.models import rfc3339
from technopay.engine.ports import Store
from technopay.http.forms import TokenBody
from technopay.http.routes import Answer, Call, Route
from technopay.http.signing import TokenSigner

TOKEN_LIFETIME_S = 12 * 3600


class Inbox(BaseModel):
    """What the mock channels delivered to a user, newest first."""

    data: list[dict[str, Any]]


class Token(BaseModel):
    """A bearer token."""

    token: str


def mock_routes(store: Store, signer: TokenSigner) -> Sequence[Route]:
    """Make the routes."""

    async def inbox(call: Call) -> Answer:
        messages = await read_mock_inbox(store, call.path["user_id"])
        return Answer(json.dumps({"data": [message_json(message) for message in messages]}).encode())

    async def token(call: Call) -> Answer:
        body = cast("TokenBody", call.body)
        signed = signer.sign(body.user_id, admin=body.admin, lifetime_s=TOKEN_LIFETIME_S)
        return Answer(json.dumps({"token": signed}).encode())

    return (
        Route("GET", "/mock/inbox/{user_id}", "mockInbox", "Read a mock inbox", None, inbox, Inbox),
        Route("POST", "/mock/token", "mockToken", "Get a token", None, token, Token, body=TokenBody),
    )


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
