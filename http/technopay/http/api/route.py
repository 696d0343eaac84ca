"""A route as data: the server, the OpenAPI document and the tests of the client use the same table.

A route names a method of the engine. Path, body, query, caller and idempotency key are bound to the parameters
of that method by name. A route with logic of HTTP has a handler, whose parameters are then bound instead.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

from aiohttp import web
from pydantic import BaseModel

from technopay.engine import Engine, OperatorPayment, Page, Payment, TechnopayError
from technopay.http.api.fields import FieldSpec, make_form
from technopay.http.api.streams import Stream
from technopay.http.auth.tokens import ADMIN, PAYMENTS, Caller
from technopay.http.problems import RETRY_AFTER_S
from technopay.http.requests import BODY_LENGTH_MAX, Form
from technopay.http.responses import JSON, NO_CONTENT, NO_HEADERS, Response
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit

Operation = Callable[..., Any]
Handler = Callable[..., Awaitable[Response | Stream]]
"""A function of a Call and, as keyword arguments, of what the request contains."""

FROM_CALLER = {"user_id": PAYMENTS, "by": ADMIN}
"""Parameters that are the caller's user id, by the scope of the route."""


@dataclass(slots=True)
class Call:
    """A request to a handler."""

    engine: Engine
    caller: Caller
    request: web.Request
    mount: str
    """The path under which the application is mounted in another one, or ''."""
    concurrency: ConcurrencyLimit
    limits: ServerLimits

    def is_connected(self) -> bool:
        transport = self.request.transport
        return transport is not None and not transport.is_closing()

    async def wait_for_rest(self, payment: Payment, wait_s: float) -> tuple[Payment, Mapping[str, str]]:
        """Wait until a payment is final or set aside, the wait is over or the client has disconnected.

        Returns the payment and additional headers. If no wait is free, it returns at once.
        """
        if payment.is_at_rest or not wait_s:
            return payment, NO_HEADERS
        concurrency, user_id = self.concurrency, self.caller.user_id
        if not concurrency.begin_wait(user_id):
            return payment, {"Retry-After": RETRY_AFTER_S}
        try:
            return await self.engine.wait_for_rest(payment, wait_s, self.is_connected), NO_HEADERS
        finally:
            concurrency.end_wait(user_id)


@dataclass(frozen=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    scope: str | None
    """The scope that a token needs; None for a route without sign-in, which also responds during a drain."""
    operation: Operation
    """A method of Engine, or else a handler."""
    handler: Handler | None = None
    """The handler around a method of Engine."""
    status: int = 200
    """With 201, the response has the location of what was made."""
    also: tuple[int, ...] = ()
    """Further statuses with the same body."""
    errors: tuple[type[TechnopayError], ...] = ()
    """Errors beside those of the operation and those that every route can have."""
    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    """Fields that differ from those in FIELDS."""
    name: str = ""
    """The operation id, if it is not the name of the function."""
    body_name: str = ""
    """The name of the body's schema, if it is not the operation's."""
    description: str = ""
    result: type[BaseModel] | None = None
    """The model of the response where the engine's method has no annotation for it; None for another media."""
    media: str = JSON
    also_media: str = ""
    """Another media of the same content, in pages by `Link`, for clients that accept it."""
    streamed: type[BaseModel] | None = None
    """The data of an event, if the route responds with server-sent events to clients that accept them."""
    ignores_query: bool = False
    """Whether any query is accepted: health checks may add one to bypass caches."""
    tag: str | None = None
    """The section in the document, if it is not the scope."""
    is_documented: bool = True
    deadline: str = "request_deadline_s"
    """The name of the ServerLimits field with the deadline."""
    body_length_max: int = BODY_LENGTH_MAX

    @property
    def function(self) -> Operation:
        """The function whose parameters are bound."""
        return self.handler or self.operation

    @cached_property
    def is_engines(self) -> bool:
        """Whether the operation is a method of Engine."""
        return getattr(Engine, self.operation.__name__, None) is self.operation

    @property
    def operation_id(self) -> str:
        name = self.name or self.function.__name__
        return re.sub("_(.)", lambda found: found[1].upper(), name)

    @property
    def summary(self) -> str:
        """The first clause of the operation's docstring."""
        text = inspect.getdoc(self.operation) or ""
        return re.split(r"[.;:](?:\s|$)", text, maxsplit=1)[0]

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters that are bound, without the first one: the engine or the call."""
        return dict(list(inspect.signature(self.function).parameters.items())[1:])

    @cached_property
    def path_names(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)}", self.path))

    @cached_property
    def caller_names(self) -> tuple[str, ...]:
        """The parameters that are the caller's user id."""
        return tuple(
            name
            for name, scope in FROM_CALLER.items()
            if scope == self.scope and name in self.parameters and name not in self.path_names
        )

    @property
    def takes_key(self) -> bool:
        return "idempotency_key" in self.parameters

    @cached_property
    def body(self) -> type[Form]:
        names = [] if self.method == "GET" else [each for each in self._form_names if each != "wait_s"]
        name = self.body_name or f"{self.operation_id[:1].upper()}{self.operation_id[1:]}Body"
        return make_form(name, f"{self.summary}.", self.function, names, self.fields)

    @cached_property
    def query(self) -> type[Form]:
        names = [each for each in self._form_names if self.method == "GET" or each == "wait_s"]
        return make_form("Query", "", self.function, names, self.fields)

    @cached_property
    def model(self) -> type[BaseModel] | None:
        """The model of the response, or of one record of a list."""
        if self.result is not None or not self.is_engines or self.status == NO_CONTENT:
            return self.result
        return cast("type[BaseModel]", self._page_item or get_type_hints(self.operation)["return"])

    @property
    def is_list(self) -> bool:
        return self._page_item is not None

    @cached_property
    def response_model(self) -> type[BaseModel]:
        """The model that writes the response."""
        if self.status == NO_CONTENT:
            return cast("type[BaseModel]", NoneType)
        assert self.model is not None
        return Page[self.model] if self.is_list else self.model  # type: ignore[name-defined]

    @cached_property
    def payment_model(self) -> type[Payment]:
        """The model of a payment in a problem."""
        return OperatorPayment if self.scope == ADMIN else Payment

    @cached_property
    def _page_item(self) -> type[BaseModel] | None:
        found = get_type_hints(self.operation).get("return")
        if get_origin(found) is list:
            return cast("type[BaseModel]", get_args(found)[0])
        generic: Any = getattr(found, "__pydantic_generic_metadata__", {})
        return generic["args"][0] if generic.get("origin") is Page else None

    @property
    def _form_names(self) -> list[str]:
        others = {*self.path_names, *self.caller_names, "idempotency_key"}
        return [name for name in self.parameters if name not in others]
