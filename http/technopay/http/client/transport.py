"""The transport of the client: one session, a token that is renewed, and retries until there is a result."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeVar, cast

import aiohttp
from pydantic import ValidationError
from yarl import URL

from technopay.engine.errors import OutcomeUnknown
from technopay.engine.ports import Clock
from technopay.engine.record import Record
from technopay.engine.system import SystemClock
from technopay.http.client.errors import UnexpectedAnswer, is_final
from technopay.http.client.retries import Failure, Reply, RetryPolicy, classify, no_reply

RecordT = TypeVar("RecordT", bound=Record | None)

MakeToken = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Request:
    """A call, the same in every try."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    key: str | None = None
    wait_s: float = 0.0
    """The wait that the server is asked for."""

    @property
    def changes(self) -> bool:
        """Whether it asks for a change."""
        return self.method != "GET"


class Token:
    """A bearer token: a fixed one, or one from a function that is called again when a token is refused."""

    def __init__(self, token: str | MakeToken) -> None:
        self._current = token if isinstance(token, str) else ""
        self._make = None if isinstance(token, str) else token
        self._making = asyncio.Lock()

    async def get(self, refused: str = "") -> str:
        """Return a token, if possible another one than the refused one."""
        async with self._making:
            # Of concurrent calls whose token has expired, only the first one makes a new token.
            if self._make and self._current == refused:
                self._current = await self._make()
            return self._current


class Transport:
    """Sends calls to a server. The constructor does no I/O."""

    def __init__(
        self,
        url: str,
        token: str | MakeToken,
        session: aiohttp.ClientSession | None,
        policy: RetryPolicy,
        clock: Clock | None,
    ) -> None:
        if URL(url).scheme not in ("http", "https") or not URL(url).host:
            raise ValueError(f"the server's address has to be like https://pay.example.com, not {url!r}")
        self._url = url.rstrip("/")
        self._given_session = session
        self._session = session
        self.token = Token(token)
        self.policy = policy
        self.clock = clock or SystemClock()

    def open(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Close the session, unless it was given."""
        if self._session is not None and self._given_session is None:
            await self._session.close()
            self._session = None

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        body: Mapping[str, Any] | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send one request."""
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with Client(…) as client:`")
        return self._session.request(
            method,
            URL(self._url + path, encoded=True),
            json=body,
            headers=headers,
            timeout=timeout,
            # A redirect would send the token elsewhere.
            allow_redirects=False,
            raise_for_status=False,
        )

    async def call(self, model: type[RecordT], request: Request) -> RecordT:
        """Try until there is a final result, or the policy is used up."""
        deadline = self.clock.monotonic() + self.policy.deadline_s + request.wait_s
        tries, is_unknown = 0, False
        while True:
            result = await self._try(model, request, deadline)
            if not isinstance(result, Failure):
                return result
            tries += 1
            is_unknown |= result.is_unknown
            pause_s = self.policy.pause_s(tries, result.retry_after_s)
            is_late = self.clock.monotonic() + pause_s >= deadline
            if not result.may_retry or tries > self.policy.retries or is_late:
                break
            if result.is_unknown and request.method in ("PUT", "PATCH"):
                break  # it has no key: a retry could undo a change that somebody else made meanwhile
            await self.clock.sleep(pause_s)
        error = result.error
        if is_unknown and not is_final(error) and not isinstance(error, OutcomeUnknown):
            # The last reply does not tell the outcome of an earlier try.
            error = OutcomeUnknown(f"An earlier try got no reply, and the last one only: {error}")
            error.request_id, error.__cause__ = result.error.request_id, result.error
        if isinstance(error, OutcomeUnknown):
            error.idempotency_key = request.key
        raise error

    async def _try(self, model: type[RecordT], request: Request, deadline: float) -> RecordT | Failure:
        token = await self.token.get()
        reply = await self._exchange(request, token, deadline)
        if isinstance(reply, Reply) and reply.status == 401:
            newer = await self.token.get(refused=token)
            if newer != token:
                reply = await self._exchange(request, newer, deadline)
        if isinstance(reply, Failure):
            return reply
        if not 200 <= reply.status < 300:
            return classify(reply, changes=request.changes)
        if model is NoneType:
            return cast("RecordT", None)
        try:
            # A newer server may send more members.
            record = cast("type[Record]", model).model_validate_json(reply.text, extra="ignore")
        except ValidationError as error:
            unexpected = UnexpectedAnswer(f"{reply.status} came with what is no {model.__name__}.")
            unexpected.__cause__ = error
            return Failure(unexpected, is_unknown=request.changes)
        return cast("RecordT", record.as_replay() if reply.is_replay else record)

    async def _exchange(self, request: Request, token: str, deadline: float) -> Reply | Failure:
        headers = {"Authorization": f"Bearer {token}"}
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        left_s = max(0.001, deadline - self.clock.monotonic())
        timeout = aiohttp.ClientTimeout(total=min(left_s, self.policy.timeout_s + request.wait_s))
        try:
            async with self.send(request.method, request.path, headers, timeout, request.body) as response:
                raw = await response.read()
                return Reply(response.status, response.headers, raw.decode(errors="replace"))
        except aiohttp.ClientConnectorError as error:
            return no_reply(error, was_sent=False, changes=request.changes)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            return no_reply(error, was_sent=True, changes=request.changes)
