"""What requests may say: bodies and queries. Unknown members are refused; the engine judges the values."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from technopay.engine.models import PaymentStatus
from technopay.engine.values import AMOUNT_MAX, PHONE, USER_ID

Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX, description="Minor units of the currency")]
UserId = Annotated[str, Field(pattern=f"^{USER_ID.pattern}$")]
CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217 code")]
DECIMAL = re.compile(r"-?[0-9]{1,10}(\.[0-9]{1,10})?")
RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)
Text128 = Annotated[str, Field(min_length=1, max_length=128)]


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

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoBody(Form):
    """Nothing."""


class NoQuery(Form):
    """Nothing."""


class StartPaymentBody(Form):
    """Begin to pay an invoice from a wallet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"invoice_id": "inv_0006h0cq9s2hq1", "wallet_id": "wal_0006h0cq9s1hr1"}]
        }
    )

    invoice_id: Annotated[str, Field(max_length=64)]
    wallet_id: Annotated[str, Field(max_length=64)]
    method: Literal["email", "sms"] | None = None


class ConfirmBody(Form):
    """The code that the user got."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "123456"}]})

    code: Annotated[str, Field(min_length=1, max_length=64)]


class CreateUserBody(Form):
    """A user of the caller's identity system."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "alice", "email": "alice@example.com"}]})

    id: UserId
    email: Annotated[str, Field(max_length=254)] | None = None
    phone: Annotated[str, Field(pattern=f"^{PHONE.pattern}$")] | None = None


class CreateWalletBody(Form):
    """A wallet to open."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "alice", "currency": "EUR"}]})

    user_id: UserId
    currency: CurrencyCode


class DepositBody(Form):
    """Money to put into a wallet."""

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
    amount: Amount
    currency: CurrencyCode
    merchant: Text128
    description: Annotated[str, Field(max_length=500)] | None = None
    reference: Text128 | None = None
    expires_at: Annotated[AwareDatetime, BeforeValidator(_rfc3339)]


class SetLimitBody(Form):
    """A daily limit; null lifts it, 0 stops all payments."""

    amount: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] | None


class ResolveBody(Form):
    """How a payment that was set aside is decided."""

    outcome: Literal["settled", "refund"]
    note: Annotated[str, Field(min_length=1, max_length=500)]


class TokenBody(Form):
    """For whom a token is wanted."""

    user_id: UserId
    admin: bool = False


class PageQuery(Form):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(_digits)] = 20
    cursor: Annotated[str, Field(max_length=64, pattern="^[0-9A-Za-z_-]*$")] = ""


Wait = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False), BeforeValidator(_decimal)]


class WaitQuery(Form):
    """How many seconds to wait for an end."""

    wait: Wait = 0.0


class ConfirmQuery(Form):
    """How many seconds to wait for the settlement."""

    wait: Wait = 4.0


class PaymentQuery(PageQuery):
    """Which payments."""

    status: PaymentStatus | None = None
    user_id: UserId | None = None
    set_aside: bool | None = None


class NotificationQuery(PageQuery):
    """Which messages."""

    status: Literal["sent", "waiting", "dead"] | None = None
    user_id: UserId | None = None
