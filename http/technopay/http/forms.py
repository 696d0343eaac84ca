"""What requests may say: bodies and queries. Unknown members are refused.

Values are judged by the engine's own rules, here already: so all that is wrong is named in one answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from technopay.engine import fields
from technopay.engine.fields import AMOUNT_MAX, PHONE, USER_ID
from technopay.engine.models import PaymentStatus
from technopay.engine.testing.mocks import INBOX_LENGTH


def _judge_with(judge: Callable[[Any], str | None], kind: type = str) -> Callable[[Any], Any]:
    """Make a validator of a rule of the engine's. What is of another kind is left to pydantic to refuse."""

    def validate(value: Any) -> Any:
        if isinstance(value, kind) and (error := judge(value)):
            raise ValueError(error)
        return value

    return validate


def _text_rule(least: int, most: int, *, lines: bool = False) -> BeforeValidator:
    return BeforeValidator(
        _judge_with(partial(fields.text_error, least=least, most=most, lines=lines)),
        # Its length counts in NFC, so only the engine's rule judges it.
        json_schema_input_type=Annotated[str, Field(min_length=least or None, max_length=most)],
    )


Amount = Annotated[
    int,
    Field(ge=1, le=AMOUNT_MAX, description="Minor units of the currency"),
    BeforeValidator(_judge_with(fields.amount_error, object)),
]
UserId = Annotated[
    str, Field(pattern=f"^{USER_ID.pattern}$"), BeforeValidator(_judge_with(fields.user_id_error))
]
CurrencyCode = Annotated[
    str,
    Field(pattern="^[A-Z]{3}$", description="ISO 4217 code"),
    BeforeValidator(_judge_with(fields.currency_error)),
]
DECIMAL = re.compile(r"-?[0-9]{1,10}(\.[0-9]{1,20})?")
RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)
Text128 = Annotated[str, _text_rule(1, 128)]


def _digits(value: object) -> object:
    """Take plain digits only: int() would take ' 5 ', '1_0' and other alphabets' digits, too."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise ValueError("has to be a whole number")
    return value


def _decimal(value: object) -> object:
    """Take plain decimals only: float() would take ' 5 ', '1_0' and '1e1', too."""
    if isinstance(value, str) and not DECIMAL.fullmatch(value):
        raise ValueError("has to be a number like 2 or 2.5")
    return value


def _rfc3339(value: object) -> object:
    """Take RFC 3339 only: pydantic would take digits, too, and times without seconds."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        if RFC3339.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    raise ValueError("has to be a time like 2036-01-01T00:00:00.000Z")


class Form(BaseModel):
    """The base of all forms."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NoBody(Form):
    """Nothing."""


class NoQuery(Form):
    """Nothing."""


class StartPaymentBody(Form):
    """Begin to pay an invoice from a wallet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"invoice_id": "inv_0006p4ssQ5RFh8aTqkZ2nD4L", "wallet_id": "wal_0006p4ssQ5NQk4YtYxP0p7VC"}
            ]
        }
    )

    invoice_id: Annotated[str, Field(max_length=64)]
    """The invoice to pay."""
    wallet_id: Annotated[str, Field(max_length=64)]
    """The wallet to pay from."""
    method: Literal["email", "sms"] | None = None
    """How the code is sent; the first way that the user has, if it is left out."""


class ConfirmBody(Form):
    """The code that the user got."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "123456"}]})

    code: Annotated[str, Field(min_length=1, max_length=64), BeforeValidator(_judge_with(fields.code_error))]
    """As the user typed it. One that does not match costs an attempt."""


class CreateUserBody(Form):
    """A user of the caller's identity system."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "alice", "email": "alice@example.com"}]})

    id: UserId
    """As in your identity system."""
    email: Annotated[str, Field(max_length=254), BeforeValidator(_judge_with(fields.email_error))] | None = None
    """Where codes are sent."""
    phone: (
        Annotated[str, Field(pattern=f"^{PHONE.pattern}$"), BeforeValidator(_judge_with(fields.phone_error))]
        | None
    ) = None
    """In E.164 form; where codes are sent by text message."""


class CreateWalletBody(Form):
    """A wallet to open."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "alice", "currency": "EUR"}]})

    user_id: UserId
    """Whose it will be."""
    currency: CurrencyCode


class DepositBody(Form):
    """Money to put into a wallet."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": 50_000}]})

    amount: Amount


class CreateInvoiceBody(Form):
    """An invoice to enter."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "alice",
                    "amount": 1250,
                    "currency": "EUR",
                    "merchant": "Bookshop",
                    "expires_at": "2036-01-01T00:00:00.000Z",
                }
            ]
        }
    )

    user_id: UserId
    """Who has to pay it."""
    amount: Amount
    currency: CurrencyCode
    merchant: Text128
    """Who gets the money."""
    description: Annotated[str, _text_rule(0, 500, lines=True)] | None = None
    """What was bought."""
    reference: Text128 | None = None
    """The merchant's own name for it; used once per merchant."""
    expires_at: Annotated[
        AwareDatetime,
        BeforeValidator(_rfc3339),
        AfterValidator(_judge_with(fields.time_error, datetime)),
    ]
    """Until when it can be paid; RFC 3339, in the future."""


class SetLimitBody(Form):
    """A daily limit."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": 30_000}]})

    amount: (
        Annotated[
            int,
            Field(ge=0, le=AMOUNT_MAX),
            BeforeValidator(_judge_with(partial(fields.amount_error, least=0), object)),
        ]
        | None
    )
    """All users together, in minor units of the currency. Null lifts it, 0 stops all payments."""


class ResolveBody(Form):
    """How a payment that was set aside is decided."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"outcome": "settled", "note": "Seen on the statement of 3 January"}]}
    )

    outcome: Literal["settled", "refund"]
    """`settled` when the merchant got the money, `refund` when it goes back into the wallet. Of a payment in
    `refunding`: `settled` when the refund failed."""
    note: Annotated[str, _text_rule(1, 500, lines=True)]
    """Why; for operators only."""


class TokenBody(Form):
    """For whom a token is wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "demo-alice"}]})

    user_id: UserId
    """The user, who need not exist yet."""
    admin: bool = False
    """Whether the token is for an operator, too; it is not, if this is left out."""


class PageQuery(Form):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(_digits)] = 20
    """How many at most."""
    cursor: Annotated[str, Field(max_length=64, pattern="^[0-9A-Za-z_-]*$")] = ""
    """The `next_cursor` of the page before; empty for the first page."""


Wait = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False), BeforeValidator(_decimal)]


class WaitQuery(Form):
    """How many seconds to wait for an end."""

    wait: Wait = 0.0
    """How many seconds to wait at most until the payment is final or set aside."""


class ConfirmQuery(Form):
    """How many seconds to wait for the settlement."""

    wait: Wait = 4.0
    """How many seconds to wait at most for the settlement."""


class PaymentQuery(PageQuery):
    """Which payments."""

    status: PaymentStatus | None = None
    """Only payments in this status."""
    user_id: UserId | None = None
    """Only payments of this user."""
    set_aside: bool | None = None
    """Only payments whose settlement an operator has to look at, or only others."""


class InboxQuery(Form):
    """How much of a mock inbox."""

    limit: Annotated[int, Field(ge=1, le=INBOX_LENGTH), BeforeValidator(_digits)] = INBOX_LENGTH
    """How many messages at most."""


class NotificationQuery(PageQuery):
    """Which messages."""

    status: Literal["sent", "waiting", "dead"] | None = None
    """Only messages in this status."""
    user_id: UserId | None = None
    """Only messages to this user."""
