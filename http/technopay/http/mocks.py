"""The routes of `--demo`: the mock inbox, and tokens for the asking. They do not exist without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import SkipJsonSchema

from technopay.engine import InboxMessage
from technopay.engine.models import Method, Timestamp
from technopay.engine.ports import Store
from technopay.engine.testing.mocks import read_mock_inbox
from technopay.http.answer import Answer
from technopay.http.forms import InboxQuery, TokenBody
from technopay.http.routes import Call, Route
from technopay.http.signing import TokenSigner

TOKEN_LIFETIME_S = 12 * 3600


class DeliveredMessage(BaseModel):
    """A message as a mock channel delivered it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    channel: Method
    """How it was sent."""
    to: str
    """The address that it was sent to."""
    kind: str
    """What it tells, like `confirmation.code` or `payment.succeeded`."""
    text: str
    """What the user reads."""
    payment_id: str
    """The payment that it is about."""
    event_id: str
    """The same whenever the message is delivered again."""
    at: Timestamp
    """When it was delivered."""
    code: str | SkipJsonSchema[None] = None
    """What confirms the payment; it is there in a `confirmation.code` only."""


class Inbox(BaseModel):
    """What the mock channels delivered to a user, newest first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[DeliveredMessage]
    """The messages."""


class Token(BaseModel):
    """A bearer token."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    token: str
    """What to send as `Authorization: Bearer …`."""


def mock_routes(store: Store, signer: TokenSigner) -> Sequence[Route]:
    """Make the routes."""

    async def inbox(call: Call) -> Answer:
        query = cast("InboxQuery", call.query)
        messages = await read_mock_inbox(store, call.path["user_id"], most=query.limit)
        return Answer(inbox_json(messages).encode())

    async def token(call: Call) -> Answer:
        body = cast("TokenBody", call.body)
        signed = signer.sign(body.user_id, admin=body.admin, lifetime_s=TOKEN_LIFETIME_S)
        return Answer(Token(token=signed).model_dump_json().encode())

    return (
        Route(
            "GET", "/mock/inbox/{user_id}", "mockInbox", "Read a mock inbox", None, inbox, Inbox,
            ("store_unavailable", "outcome_unknown"), query=InboxQuery, tag="demo",
            description="What was sent to a user, newest first; a code is in its `confirmation.code`.",
        ),
        Route(
            "POST", "/mock/token", "mockToken", "Get a token", None, token, Token, body=TokenBody, tag="demo",
            description="A token for any user id, good for 12 hours; with `admin`, an operator's.",
        ),
    )  # fmt: skip


def inbox_json(messages: Sequence[InboxMessage]) -> str:
    """Render the messages of an inbox; one that has no code has no member for it."""
    inbox = Inbox(data=[_delivered(message) for message in messages])
    return inbox.model_dump_json(exclude_none=True)


def _delivered(found: InboxMessage) -> DeliveredMessage:
    message = found.message
    return DeliveredMessage(
        channel=message.channel,
        to=message.to,
        kind=message.kind,
        text=message.text,
        payment_id=message.payment_id,
        event_id=message.event_id,
        at=found.at,
        code=message.code,
    )
