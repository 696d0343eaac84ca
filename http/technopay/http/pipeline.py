"""How a request is answered, step by step, in the order of precedence of their errors."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPMethod

from aiohttp import HttpVersion11, web

from technopay.engine import Engine, InternalError, OutcomeUnknown, TechnopayError
from technopay.engine.deadlines import Deadlines
from technopay.http.admission import Admission
from technopay.http.answer import Answer
from technopay.http.auth import ADMIN, NOBODY, Authenticator, Caller
from technopay.http.bounds import Bounds
from technopay.http.client_address import ClientAddress
from technopay.http.connection import Connection, refuse_on_reserve
from technopay.http.cors import Cors
from technopay.http.parsing import read_body, read_key, read_query
from technopay.http.problems import Forbidden, MalformedRequest, MethodNotAllowed, NotFound
from technopay.http.render import problem_answer, problem_response
from technopay.http.routes import Call, Route, Stream
from technopay.http.routing import RouteTable, WebHandler
from technopay.http.seen import OnRequest, Seen
from technopay.http.streams import PIECE_BYTES, send_in_pieces, send_stream
from technopay.http.whole import WholeResponse, leaves_whole

logger = logging.getLogger(__name__)

METHODS = frozenset(HTTPMethod)
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Sent = Awaitable[web.StreamResponse]
Guard = Callable[[web.Request], None]
"""Raises for a request that is not to be answered."""


class Frame:
    """What is around every answer: a request gets an id, an error becomes a problem, who watches is told."""

    def __init__(
        self,
        watchers: Sequence[OnRequest],
        guard: Guard | None,
        cors: Cors | None,
        client_address: ClientAddress,
    ) -> None:
        self._watchers = watchers
        self._guard = guard
        self._cors = cors
        self._client_address = client_address
        self._random_bits = random.Random(secrets.randbits(128)).getrandbits  # noqa: S311 - names, no secrets

    def around(self, route: Route | None, answer: Callable[[web.Request, Seen], Sent]) -> WebHandler:
        """Make a handler; without a route it is for what is none of ours."""

        async def handle(request: web.Request) -> web.StreamResponse:
            given = request.headers.get("X-Request-Id")
            if given is None or not REQUEST_ID.fullmatch(given):
                given = f"{self._random_bits(64):016x}"
            method = request.method if request.method in METHODS else "unknown"
            client = self._client_address.of(request)
            seen = Seen(given, time.monotonic(), request.match_info, route, method, client)
            if self._cors:
                seen.more_headers = self._cors.headers_for(request)
            try:
                if self._guard:
                    self._guard(request)
                response = await answer(request, seen)
            except Exception as error:
                refusal = _translate(error, seen.request_id)
                seen.code, seen.record = refusal.code, getattr(refusal, "payment", None)
                response = respond(request, seen, problem_answer(refusal, seen))
            seen.status, seen.took_s = response.status, time.monotonic() - seen.began_s
            for watcher in self._watchers:
                watcher(seen)
            return response

        return handle

    def refuse_path(self) -> WebHandler:
        """Make what answers at an address that is none of ours."""

        async def refuse(request: web.Request, seen: Seen) -> web.StreamResponse:  # noqa: ARG001
            raise NotFound

        return self.around(None, refuse)

    def refuse_method(self, path: str, allowed: str) -> WebHandler:
        """Make what answers a method that an address does not take, or that a browser asks for before."""

        async def refuse(request: web.Request, seen: Seen) -> web.StreamResponse:
            seen.refused_template = path
            if self._cors and (preflight := self._cors.answer_preflight(request, allowed)):
                return respond(request, seen, preflight)
            raise MethodNotAllowed(allowed=allowed)

        return self.around(None, refuse)


class Pipeline:
    """Answers the requests of one route."""

    def __init__(
        self,
        route: Route,
        table: RouteTable,
        engine: Engine,
        authenticator: Authenticator,
        admission: Admission,
        bounds: Bounds,
    ) -> None:
        self._route = route
        self._table = table
        self._engine = engine
        self._authenticator = authenticator
        self._admission = admission
        self._bounds = bounds
        # What is answered with 201 was not there before.
        self._begins = route.status == 201
        self._deadlines = Deadlines(getattr(bounds, route.deadline))
        self._no_body, self._no_query = route.body.model_construct(), route.query()

    def handler(self, frame: Frame) -> WebHandler:
        """Make what answers a request: what needs no sign-in is always let in."""
        return frame.around(self._route, self._open_to_all if self._route.scope is None else self._signed_in)

    async def _open_to_all(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        return await self._send(request, seen, await self._ask(request, NOBODY))

    async def _signed_in(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        refuse_on_reserve(request)
        self._admission.enter(begins=self._begins)
        try:
            answered = await self._answer_in_time(request, seen)
            if isinstance(answered, Answer) and len(answered.body) <= PIECE_BYTES:
                return respond(request, seen, answered)
            return await self._send(request, seen, answered)
        finally:
            self._admission.leave()

    async def _answer_in_time(self, request: web.Request, seen: Seen) -> Answer | Stream:
        try:
            with self._deadlines.begin():
                caller = await self._authenticate(request, seen)
                self._admission.enter_for(caller.user_id)
                try:
                    return await self._ask(request, caller)
                finally:
                    self._admission.leave_for(caller.user_id)
        except TimeoutError:
            raise OutcomeUnknown("There was no answer in time. Ask again with the same key or id.") from None

    async def _authenticate(self, request: web.Request, seen: Seen) -> Caller:
        scope = self._route.scope
        assert scope is not None
        caller = await self._authenticator.authenticate(request)
        seen.user_id = caller.user_id
        seen.is_operator = scope == ADMIN
        if scope not in caller.scopes:
            raise Forbidden(scope=scope)
        return caller

    async def _ask(self, request: web.Request, caller: Caller) -> Answer | Stream:
        route = self._route
        key = read_key(request) if route.takes_key else None
        body = self._no_body
        if route.method != "GET":
            body = await read_body(request, route.body, self._bounds.body_deadline_s)
        query = self._no_query
        if not route.ignores_query and request.query_string:
            query = read_query(request, route.query)
        if key is not None:
            key = hashlib.sha256(f"{caller.user_id} {key}".encode()).hexdigest()
        path, mount = request.match_info, self._table.mount
        return await route.handler(
            Call(
                self._engine, caller, path, request.headers, body, query, key, mount, request, self._admission
            ),
        )

    async def _send(self, request: web.Request, seen: Seen, answered: Answer | Stream) -> web.StreamResponse:
        if isinstance(answered, Stream):
            seen.is_stream = True
            with self._admission.as_stream():
                return await send_stream(request, seen, answered, self._admission, self._bounds)
        if len(answered.body) > PIECE_BYTES:
            seen.record = answered.record
            return await send_in_pieces(request, seen, answered)
        return respond(request, seen, answered)


def respond(request: web.Request, seen: Seen, answer: Answer) -> web.StreamResponse:
    """Make the response of an answer, which leaves as it is where the connection is ours alone."""
    if answer.record is not None:
        seen.record = answer.record
    if isinstance(request.protocol, Connection) and leaves_whole(request):
        return WholeResponse(seen, answer)
    return answer.as_response(seen)


def _translate(error: Exception, request_id: str) -> TechnopayError:
    """Turn what was raised into what is answered; a defect is logged, and nothing of it is told."""
    if isinstance(error, TechnopayError) and not isinstance(error, InternalError):
        return error
    logger.error("request %s crashed", request_id, exc_info=error)
    return InternalError()


async def expect_continue(request: web.Request) -> web.StreamResponse | None:
    """Answer an Expect header, as aiohttp does; one that asks for something else is a problem of ours."""
    if request.version < HttpVersion11:
        return None
    if request.headers.get("Expect", "").lower() != "100-continue":
        error = MalformedRequest("Expect can only be 100-continue.")
        return problem_response(error, Seen(secrets.token_hex(8), time.monotonic(), {}))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What was written is not part of the answer.
    request.writer.output_size = 0
    return None
