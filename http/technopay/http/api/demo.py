"""The routes of `--demo` only: mock inboxes, and tokens for any user."""

from collections.abc import Sequence

from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from technopay.engine import InboxMessage, OutcomeUnknown, StoreUnavailable
from technopay.engine.fields import UserId
from technopay.engine.models import Method
from technopay.engine.ports import Store
from technopay.engine.record import Timestamp
from technopay.engine.testing.mocks import INBOX_LENGTH, read_mock_inbox
from technopay.http.api.fields import FIELDS, INBOX_LIMIT
from technopay.http.api.route import Call, Route
from technopay.http.auth.tokens import TokenSigner
from technopay.http.responses import Response

TOKEN_LIFETIME_S = 12 * 3600


class DeliveredMessage(BaseModel, use_attribute_docstrings=True):
    """A message as a mock channel delivered it."""

    channel: Method
    """The channel."""
    to: str
    """The address."""
    kind: str
    """For example `confirmation.code` or `payment.succeeded`."""
    text: str
    """The text for the user."""
    payment_id: str
    """The payment."""
    event_id: str
    """The same whenever the message is delivered again."""
    at: Timestamp
    """The time of the delivery."""
    code: str | SkipJsonSchema[None] = None
    """The code that confirms the payment; in a `confirmation.code` only."""


class Inbox(BaseModel, use_attribute_docstrings=True):
    """The messages that the mock channels delivered to a user, newest first."""

    data: list[DeliveredMessage]
    """The messages."""


class Token(BaseModel, use_attribute_docstrings=True):
    """A bearer token."""

    token: str
    """For the header `Authorization: Bearer …`."""


def mock_routes(store: Store, signer: TokenSigner) -> Sequence[Route]:
    async def mock_inbox(_: Call, *, user_id: str, limit: int = INBOX_LENGTH) -> Response:
        """Read a mock inbox."""
        return Response(inbox_json(await read_mock_inbox(store, user_id, most=limit)).encode())

    async def mock_token(_: Call, *, user_id: UserId, admin: bool = False) -> Response:
        """Get a token."""
        signed = signer.sign(user_id, admin=admin, lifetime_s=TOKEN_LIFETIME_S)
        return Response(Token(token=signed).model_dump_json().encode())

    return (
        Route(
            "GET", "/mock/inbox/{user_id}", None, mock_inbox, result=Inbox, tag="demo",
            errors=(StoreUnavailable, OutcomeUnknown), fields={"limit": INBOX_LIMIT},
            description="The messages to a user, newest first; a code is in its `confirmation.code`.",
        ),
        Route(
            "POST", "/mock/token", None, mock_token, result=Token, tag="demo", body_name="TokenBody",
            fields={"user_id": FIELDS["user_id"]._replace(example="demo-alice")},
            description="A token for any user id, valid for 12 hours; with `admin`, an operator's.",
        ),
    )  # fmt: skip


def inbox_json(messages: Sequence[InboxMessage]) -> str:
    """Return an inbox as JSON; a message without a code has no member for it."""
    # Other fields of a message are not shown.
    inbox = Inbox(data=[DeliveredMessage(**each.message._asdict(), at=each.at) for each in messages])
    return inbox.model_dump_json(exclude_none=True)
