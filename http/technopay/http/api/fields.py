"""The fields of bodies and queries by name: description, example and rules. Rules are those of the engine."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from pydantic import BeforeValidator, Field, create_model

from technopay.engine import fields
from technopay.engine.fields import AMOUNT_MAX, PHONE, USER_ID
from technopay.engine.testing.mocks import INBOX_LENGTH
from technopay.http.requests import Form

DECIMAL = re.compile(r"-?[0-9]{1,10}(\.[0-9]{1,20})?")
RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)


class FieldSpec(NamedTuple):
    """What a field of a form has besides its type."""

    description: str
    example: Any = None
    rules: tuple[Any, ...] = ()
    alias: str | None = None
    """Its name over HTTP, if that differs from the parameter's."""


def _checked(find_error: Callable[[Any], str | None], kind: type = str) -> BeforeValidator:
    """Make a validator of a rule. Pydantic refuses values of another kind."""

    def validate(value: Any) -> Any:
        if isinstance(value, kind) and (error := find_error(value)):
            raise ValueError(error)
        return value

    return BeforeValidator(validate)


def _text(least: int, most: int, *, lines: bool = False) -> tuple[Any, ...]:
    validate = _checked(partial(fields.text_error, least=least, most=most, lines=lines)).func
    # Its length counts in NFC, so only the engine's rule checks it.
    shown = Annotated[str, Field(min_length=least or None, max_length=most)]
    return (BeforeValidator(validate, json_schema_input_type=shown),)


def _amount(least: int) -> tuple[Any, ...]:
    return (Field(ge=least, le=AMOUNT_MAX), _checked(partial(fields.amount_error, least=least), object))


def _whole_number(value: object) -> object:
    """Accept plain digits only: int() accepts ' 5 ', '1_0' and digits of other scripts, too."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise ValueError("has to be a whole number")
    return value


def _decimal(value: object) -> object:
    """Accept plain decimals only: float() accepts ' 5 ', '1_0' and '1e1', too."""
    if isinstance(value, str) and not DECIMAL.fullmatch(value):
        raise ValueError("has to be a number like 2 or 2.5")
    return value


def _rfc3339(value: object) -> object:
    """Accept RFC 3339 only: pydantic accepts plain digits and times without seconds, too."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        if RFC3339.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    raise ValueError("has to be a time like 2036-01-01T00:00:00.000Z")


WHOLE_NUMBER = BeforeValidator(_whole_number)

FIELDS: Mapping[str, FieldSpec] = {
    "user_id": FieldSpec(
        "The id of the user in your identity system",
        "alice",
        (Field(pattern=f"^{USER_ID.pattern}$"), _checked(fields.user_id_error)),
    ),
    "email": FieldSpec(
        "The address for codes and messages",
        "alice@example.com",
        (Field(max_length=254), _checked(fields.email_error)),
    ),
    "phone": FieldSpec(
        "The number for text messages, in E.164 form",
        None,
        (Field(pattern=f"^{PHONE.pattern}$"), _checked(fields.phone_error)),
    ),
    "currency": FieldSpec(
        "ISO 4217 code", "EUR", (Field(pattern="^[A-Z]{3}$"), _checked(fields.currency_error))
    ),
    "amount": FieldSpec("In minor units of the currency", 1250, _amount(1)),
    "merchant": FieldSpec("The recipient of the money", "Bookshop", _text(1, 128)),
    "description": FieldSpec("The purchase, in the merchant's words", None, _text(0, 500, lines=True)),
    "reference": FieldSpec("The merchant's own name for the invoice; unique per merchant", None, _text(1, 128)),
    "expires_at": FieldSpec(
        "The end of the time to pay; RFC 3339, in the future",
        "2036-01-01T00:00:00.000Z",
        # The last one is called first.
        (_checked(fields.time_error, datetime), BeforeValidator(_rfc3339)),
    ),
    "invoice_id": FieldSpec("The invoice to pay", "inv_0006p4ssQ5RFh8aTqkZ2nD4L", (Field(max_length=64),)),
    "wallet_id": FieldSpec("The wallet to pay from", "wal_0006p4ssQ5NQk4YtYxP0p7VC", (Field(max_length=64),)),
    "method": FieldSpec("The channel of the code; by default the first one that the user has"),
    "code": FieldSpec(
        "The code as the user typed it. A wrong code costs an attempt.",
        "123456",
        (Field(min_length=1, max_length=64), _checked(fields.code_error)),
    ),
    "outcome": FieldSpec(
        "`settled`: the merchant has the money. `refund`: it goes back into the wallet. "
        "For a payment in `refunding`, `settled`: the refund failed.",
        "settled",
    ),
    "note": FieldSpec(
        "The reason; for operators only", "Seen on the statement of 3 January", _text(1, 500, lines=True)
    ),
    "admin": FieldSpec("Whether the token also has the scope `admin`"),
    "limit": FieldSpec("The maximum number of records", None, (Field(ge=1, le=100), WHOLE_NUMBER)),
    "cursor": FieldSpec(
        "The `next_cursor` of the previous page; empty for the first page",
        None,
        (Field(max_length=64, pattern="^[0-9A-Za-z_-]*$"),),
    ),
    "status": FieldSpec("Only records with this status"),
    "set_aside": FieldSpec("Only payments that wait for an operator, or only others"),
    "wait_s": FieldSpec(
        "The maximum wait in seconds until the payment is final or set aside",
        None,
        (Field(ge=0, le=10, allow_inf_nan=False), BeforeValidator(_decimal)),
        "wait",
    ),
}

LIMIT_AMOUNT = FieldSpec(
    "For all users together, in minor units of the currency. Null removes the limit, 0 stops all payments.",
    30_000,
    _amount(0),
)
INBOX_LIMIT = FieldSpec("The maximum number of messages", None, (Field(ge=1, le=INBOX_LENGTH), WHOLE_NUMBER))
NEW_USER_ID = FIELDS["user_id"]._replace(alias="id")
NO_SPEC = FieldSpec("")


def make_form(
    name: str,
    description: str,
    function: Callable[..., Any],
    names: Sequence[str],
    specs: Mapping[str, FieldSpec],
) -> type[Form]:
    """Make the model of a body or query from some parameters of a function; `specs` go before FIELDS."""
    if not names:
        return Form
    hints, parameters = get_type_hints(function), inspect.signature(function).parameters
    definitions: dict[str, Any] = {}
    example = {}
    for each in names:
        spec = specs.get(each) or FIELDS.get(each, NO_SPEC)
        default = parameters[each].default
        shown = Field(
            ... if default is inspect.Parameter.empty else default,
            alias=spec.alias,
            description=spec.description or None,
        )
        definitions[each] = (_ruled(hints[each], spec.rules), shown)
        if spec.example is not None:
            example[spec.alias or each] = spec.example
    return create_model(
        name,
        __base__=Form,
        __doc__=description,
        __cls_kwargs__={"json_schema_extra": {"examples": [example]}},
        **definitions,
    )


def _ruled(hint: Any, rules: tuple[Any, ...]) -> Any:
    """Add rules to a type; None stays allowed where it was."""
    if not rules:
        return hint
    annotated: Any = Annotated
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    if len(kinds) == len(get_args(hint)):
        return annotated[(hint, *rules)]
    return annotated[(kinds[0], *rules)] | None
