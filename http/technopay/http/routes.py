"""A route as data: from one table come the routes of the server and its OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel

from technopay.engine import Engine, FieldError, Limit, Page, Payment, ValidationFailed
from technopay.engine.models import Record
from technopay.http.admission import Admission
from technopay.http.answer import JSON, Answer
from technopay.http.auth import Caller
from technopay.http.forms import Form, NoBody, NoQuery, PageQuery
from technopay.http.problems import RETRY_AFTER_S
from technopay.http.render import record_json

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
LIMIT_CURSOR = re.compile("[a-z]{3}")


@dataclass(slots=True)
class Call:
    """A request that was read: who calls, for what, with which arguments."""

    engine: Engine
    caller: Caller
    path: Mapping[str, str]
    headers: Mapping[str, str]
    body: Form
    query: Form
    key: str | None
    mount: str
    """Where the application is mounted in another one; '' if it is not."""
    request: web.Request
    admission: Admission

    def is_wanted(self) -> bool:
        """Whether the client is still there."""
        transport = self.request.transport
        return transport is not None and not transport.is_closing()

    async def wait_for_rest(self, payment: Payment, wait_s: float) -> tuple[Payment, Mapping[str, str]]:
        """Wait until a payment is at rest, the wait has run out or the client has left; with headers to add.

        Where no wait is free, it is as if it had run out at once.
        """
        if payment.is_at_rest or not wait_s:
            return payment, NO_HEADERS
        admission, user_id = self.admission, self.caller.user_id
        if not admission.begin_wait(user_id):
            return payment, {"Retry-After": RETRY_AFTER_S}
        try:
            return await self.engine.wait_for_rest(payment, wait_s, self.is_wanted), NO_HEADERS
        finally:
            admission.end_wait(user_id)


class Chunks(Protocol):
    """The pieces of a stream. They are closed in any case, also before the first one was asked for."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        ...

    async def aclose(self) -> None:
        """Give up what the pieces come from."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on until its chunks end, the client leaves or the server drains."""

    chunks: Chunks
    media: str
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer | Stream]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: where it is, what it takes, what it answers, what it can refuse."""

    method: str
    path: str
    operation_id: str
    summary: str
    scope: str | None
    """What a token has to allow; None needs no sign-in, and is answered even while the server drains."""
    handler: Handler
    answer: type[BaseModel] | None
    """What is answered, or None for what is no JSON of ours."""
    errors: tuple[str, ...] = ()
    body: type[Form] = NoBody
    query: type[Form] = NoQuery
    status: int = 200
    is_list: bool = False
    takes_key: bool = False
    takes_last_event: bool = False
    ignores_query: bool = False
    """Whether any query is taken: who asks after health may write something there to get past caches."""
    also: tuple[int, ...] = ()
    """Further statuses with the same answer."""
    media: str = JSON
    description: str = ""
    tag: str | None = None
    """Under what it stands in the document; its scope unless told otherwise."""
    is_documented: bool = True
    """Whether it is in the document. Parts of a page are not."""
    deadline: str = "request_deadline_s"
    """The name of the bound by which there has to be an answer."""


def answer_with(
    record: BaseModel,
    *,
    operator: bool = False,
    location: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Answer:
    """Answer with a record; with a location it was made, unless this answer is given again."""
    if location is not None:
        status, headers = 201, {"Location": location}
    if isinstance(record, Record) and record.replayed:
        headers = {**headers, "Idempotent-Replayed": "true"}
    return Answer(record_json(record, operator=operator), status, headers, record=record)


def answer_with_limits(limits: Sequence[Limit], query: PageQuery) -> Answer:
    """Answer with a page of limits, which are in the order of their currencies."""
    if query.cursor and not LIMIT_CURSOR.fullmatch(query.cursor):
        raise ValidationFailed([FieldError("cursor", "has to be the next_cursor of an earlier page")])
    rest = [limit for limit in limits if limit.currency.lower() > query.cursor]
    data, has_more = rest[: query.limit], len(rest) > query.limit
    next_cursor = data[-1].currency.lower() if has_more else None
    return answer_with(Page[Limit](data=data, has_more=has_more, next_cursor=next_cursor))
