"""The fields of bodies and queries: their descriptions and examples by name, and the rules of the engine."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from pydantic import BeforeValidator, Field, create_model

from technopay.engine.fields import UNSET, Rule, Unset, time_error
from technopay.engine.testing.mocks import INBOX_LENGTH
from technopay.http.requests import Form

RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)


class FieldSpec(NamedTuple):
    """What a field of a form has besides its type."""

    description: str
    example: Any = None
    rules: tuple[Any, ...] | None = None
    """Its rules for pydantic, if they are not those of the engine's type."""
    alias: str | None = None
    """Its name over HTTP, if that differs from the parameter's."""


def _written_as(pattern: str, error: str) -> BeforeValidator:
    """Make a rule for texts in a query: pydantic also accepts ' 5 ', '1_0' and digits of other scripts."""

    def validate(value: Any) -> Any:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(error)
        return value

    return BeforeValidator(validate)


def _rfc3339(value: object) -> object:
    """Accept RFC 3339 only: pydantic accepts plain digits and times without seconds, too."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        if RFC3339.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    raise ValueError("has to be a time like 2036-01-01T00:00:00.000Z")


TIME = (Rule(time_error), BeforeValidator(_rfc3339))
"""The last one is called first."""
WHOLE_NUMBER = _written_as("[0-9]{1,10}", "has to be a whole number")
DECIMAL = _written_as(r"-?[0-9]{1,10}(\.[0-9]{1,20})?", "has to be a number like 2 or 2.5")

FIELDS: Mapping[str, FieldSpec] = {
    "user_id": FieldSpec("The id of the user in your identity system", "alice"),
    "email": FieldSpec("The address for codes and messages", "alice@example.com"),
    "phone": FieldSpec("The number for text messages, in E.164 form"),
    "currency": FieldSpec("ISO 4217 code", "EUR"),
    "amount": FieldSpec("In minor units of the currency", 1250),
    "merchant": FieldSpec("The recipient of the money", "Bookshop"),
    "description": FieldSpec("The purchase, in the merchant's words"),
    "reference": FieldSpec("The merchant's own name for the invoice; unique per merchant"),
    "metadata": FieldSpec(
        "Up to 20 texts of up to 200 characters, shown on the invoice, its payments and events"
    ),
    "expires_at": FieldSpec(
        "The end of the time to pay; RFC 3339, in the future",
        "2036-01-01T00:00:00.000Z",
        TIME,
    ),
    "invoice_id": FieldSpec("The invoice to pay", "inv_0006p4ssQ5RFh8aTqkZ2nD4L", (Field(max_length=64),)),
    "wallet_id": FieldSpec("The wallet to pay from", "wal_0006p4ssQ5NQk4YtYxP0p7VC", (Field(max_length=64),)),
    "method": FieldSpec("The channel of the code; by default the first one that the user has"),
    "code": FieldSpec("The code as the user typed it. A wrong code costs an attempt.", "123456"),
    "outcome": FieldSpec(
        "`settled`: the merchant has the money. `refund`: it goes back into the wallet. "
        "For a payment in `refunding`, `settled`: the refund failed.",
        "settled",
    ),
    "note": FieldSpec("The reason; for operators only", "Seen on the statement of 3 January"),
    "admin": FieldSpec("Whether the token also has the scope `admin`"),
    "limit": FieldSpec("The maximum number of records", None, (Field(ge=1, le=100), WHOLE_NUMBER)),
    "cursor": FieldSpec(
        "The `next_cursor` of the previous page; empty for the first page",
        None,
        (Field(max_length=64, pattern="^[0-9A-Za-z_.-]*$"),),
    ),
    "after": FieldSpec(
        "The `next_cursor` of the previous page, or an id of the stream; without it, a list begins at the "
        "beginning, and a stream now"
    ),
    "types": FieldSpec("Only events of these types, separated by commas"),
    "status": FieldSpec("Only records with this status"),
    "set_aside": FieldSpec("Only payments that wait for an operator, or only others"),
    "wait_s": FieldSpec(
        "The maximum wait in seconds until the payment is final or set aside",
        None,
        (Field(ge=0, le=10, allow_inf_nan=False), DECIMAL),
        "wait",
    ),
}

LIMIT_AMOUNT = FieldSpec(
    "For all users together, in minor units of the currency. Null removes the limit, 0 stops all payments.",
    30_000,
)
CHANGE = FieldSpec("In minor units of the currency; below zero to take out, never more than there is", -250)
DEPOSIT_REFERENCE = FieldSpec("Its name elsewhere, like that of a bank's line", "2026-11-30/4711")
ENTRY_NOTE = FieldSpec("The reason; shown with the entry", "The bank sent it twice")
REFUND_AMOUNT = FieldSpec("In minor units of the currency; without it, all that is left", 500)
REFUND_NOTE = FieldSpec("The reason; shown with the refund")
INBOX_LIMIT = FieldSpec("The maximum number of messages", None, (Field(ge=1, le=INBOX_LENGTH), WHOLE_NUMBER))
INVOICE_FILTERS = {
    "merchant": FieldSpec("Only invoices of this merchant"),
    "reference": FieldSpec("Only invoices with this reference"),
}
PAYMENT_FILTERS = {
    "invoice_id": FieldSpec("Only payments of this invoice", None, (Field(max_length=64),)),
    "created_from": FieldSpec("The earliest time of creation; RFC 3339", None, TIME, "from"),
    "created_to": FieldSpec("The time before which they were created; RFC 3339", None, TIME, "to"),
}
STATEMENT_RANGE = {
    "at_from": FieldSpec("The earliest time; RFC 3339", None, TIME, "from"),
    "at_to": FieldSpec("The time before which the entries are; RFC 3339", None, TIME, "to"),
}
SETTLEMENT_PERIOD = {
    "rows": FieldSpec(
        "The rows of the file, each key once",
        [
            {
                "key": "pay_0006p4ssR02Wj6Xb1vC9mE7H",
                "amount": 1250,
                "currency": "EUR",
                "outcome": "settled",
            }
        ],
    ),
    "settled_from": FieldSpec("The begin of the period of the file; RFC 3339", None, TIME, "from"),
    "settled_to": FieldSpec("The time before which its period ends; RFC 3339", None, TIME, "to"),
}
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
    hints, parameters = get_type_hints(function, include_extras=True), inspect.signature(function).parameters
    definitions: dict[str, Any] = {}
    example = {}
    for each in names:
        spec = specs.get(each) or FIELDS.get(each, NO_SPEC)
        default = parameters[each].default
        default = None if default is UNSET else default
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


def _ruled(hint: Any, rules: tuple[Any, ...] | None) -> Any:
    """Return a type with rules, by default those of the engine; None stays allowed where it was."""
    if NoneType in get_args(hint):
        [kind] = [each for each in get_args(hint) if each not in (NoneType, Unset)]
        return _ruled(kind, rules) | None
    if rules is None:
        return hint
    kind, annotated = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint, Annotated
    return annotated[(kind, *rules)]
