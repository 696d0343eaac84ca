"""Handles the requests of one route, in the order of precedence of their errors."""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import web

from technopay.engine import Engine, OutcomeUnknown
from technopay.engine.deadlines import Deadlines
from technopay.http.access_record import RECORD, RequestRecord
from technopay.http.api.route import Call, Route
from technopay.http.api.streams import PIECE_BYTES, Stream, send_in_pieces, send_stream
from technopay.http.auth.tokens import NOBODY, Authenticator, Caller
from technopay.http.problems import Forbidden
from technopay.http.requests import Form, read_body, read_key, read_query
from technopay.http.responses import NO_HEADERS, Response, record_response
from technopay.http.server.connection import refuse_on_reserve, respond
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit


class RequestHandler:
    """Handles the requests of one route."""

    def __init__(
        self,
        route: Route,
        engine: Engine,
        authenticator: Authenticator,
        concurrency: ConcurrencyLimit,
        limits: ServerLimits,
    ) -> None:
        self._route = route
        self._engine = engine
        self._authenticator = authenticator
        self._concurrency = concurrency
        self._limits = limits
        # One timer for all requests of a route: an asyncio.timeout for each costs 6 % of the instructions of a
        # request in HTTP alone (401,000 instead of 377,000; measured 2026-11-29 with callgrind).
        self._deadlines = Deadlines(getattr(limits, route.deadline))
        self._no_query = route.query.model_construct()
        self._needs_query = any(field.is_required() for field in route.query.model_fields.values())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        record = request[RECORD]
        if self._route.scope is None:
            return await self._send(request, record, await self._process(request, record, NOBODY))
        refuse_on_reserve(request)
        # 201 means that the request starts something new.
        self._concurrency.acquire(starts=self._route.status == 201)
        try:
            return await self._send(request, record, await self._process_in_time(request, record))
        finally:
            self._concurrency.release()

    async def _process_in_time(self, request: web.Request, record: RequestRecord) -> Response | Stream:
        try:
            with self._deadlines.begin():
                caller = await self._authenticate(request, record)
                self._concurrency.acquire_for(caller.user_id)
                try:
                    return await self._process(request, record, caller)
                finally:
                    self._concurrency.release_for(caller.user_id)
        except TimeoutError:
            raise OutcomeUnknown("The request took too long. Ask again with the same key or id.") from None

    async def _authenticate(self, request: web.Request, record: RequestRecord) -> Caller:
        scope = self._route.scope
        assert scope is not None
        caller = await self._authenticator.authenticate(request)
        record.user_id = caller.user_id
        record.payment_model = self._route.payment_model
        if scope not in caller.scopes:
            raise Forbidden(scope=scope)
        return caller

    async def _process(self, request: web.Request, record: RequestRecord, caller: Caller) -> Response | Stream:
        route = self._route
        arguments = await self._arguments(request, caller)
        if route.handler or not route.is_engines:
            call = Call(self._engine, caller, request, record.mount, self._concurrency, self._limits)
            response: Response | Stream = await route.function(call, **arguments)
            return response
        result = await getattr(self._engine, route.operation.__name__)(**arguments)
        headers: Mapping[str, str] = NO_HEADERS
        if route.status == 201:
            headers = {"Location": f"{record.mount}{route.path}/{quote(result.id, safe='')}"}
        return record_response(result, route.response_model, status=route.status, headers=headers)

    async def _arguments(self, request: web.Request, caller: Caller) -> dict[str, Any]:
        """Read the arguments of the route's function, by name."""
        route = self._route
        key = read_key(request) if route.takes_key else None
        body: Form | None = None
        if route.method != "GET":
            limits = self._limits.body_deadline_s, route.body_length_max
            body = await read_body(request, route.body, *limits)
        query = self._no_query
        if self._needs_query or (request.query_string and not route.ignores_query):
            query = read_query(request, route.query)
        arguments = {**request.match_info, **query.__dict__}
        if body is not None:
            # A member that is left out keeps its value, null clears it.
            arguments |= body.__dict__ if route.method != "PATCH" else body.model_dump(exclude_unset=True)
        for name in route.caller_names:
            arguments[name] = caller.user_id
        if route.takes_key:
            scoped = key and hashlib.sha256(f"{caller.user_id} {key}".encode()).hexdigest()
            arguments["idempotency_key"] = scoped
        return arguments

    async def _send(
        self, request: web.Request, record: RequestRecord, response: Response | Stream
    ) -> web.StreamResponse:
        if isinstance(response, Stream):
            record.is_stream = True
            with self._concurrency.as_stream():
                return await send_stream(request, record, response, self._concurrency, self._limits)
        if len(response.body) > PIECE_BYTES:
            record.subject = response.subject
            return await send_in_pieces(request, record, response)
        return respond(request, record, response)
