"""Limits."""

import re
from collections.abc import Sequence

from technopay.engine import Engine, FieldError, Limit, Page, ValidationFailed
from technopay.http.api.fields import LIMIT_AMOUNT
from technopay.http.api.route import Call, Route
from technopay.http.auth.tokens import ADMIN, PAYMENTS
from technopay.http.responses import Response, record_response

CURSOR = re.compile("[a-z]{3}")


async def list_limits(call: Call, *, user_id: str, limit: int = 20, cursor: str = "") -> Response:
    return limit_page(await call.engine.list_limits(user_id=user_id), limit, cursor)


async def list_all_limits(call: Call, *, limit: int = 20, cursor: str = "") -> Response:
    return limit_page(await call.engine.list_all_limits(), limit, cursor)


def limit_page(limits: Sequence[Limit], limit: int, cursor: str) -> Response:
    """Return a page of limits, which are sorted by currency."""
    if cursor and not CURSOR.fullmatch(cursor):
        raise ValidationFailed([FieldError("cursor", "has to be the next_cursor of an earlier page")])
    rest = [each for each in limits if each.currency.lower() > cursor]
    data, has_more = rest[:limit], len(rest) > limit
    next_cursor = data[-1].currency.lower() if has_more else None
    page = Page[Limit](data=data, has_more=has_more, next_cursor=next_cursor)
    return record_response(page, Page[Limit])


LIMIT_ROUTES = (
    Route(
        "GET", "/v1/limits", PAYMENTS, Engine.list_limits, list_limits,
        description="The limits in the currencies of your wallets.",
    ),
    Route(
        "PUT", "/v1/admin/limits/{currency}", ADMIN, Engine.set_limit, fields={"amount": LIMIT_AMOUNT},
        description="The daily limit of all users together. `null` removes it, 0 stops all payments.",
    ),
    Route("GET", "/v1/admin/limits", ADMIN, Engine.list_all_limits, list_all_limits),
)  # fmt: skip
