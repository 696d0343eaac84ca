"""The way to a server: one session, a token that is renewed, and tries until there is an answer."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from pydantic import ValidationError
from yarl import URL

from technopay.engine import fields
from technopay.engine.errors import OutcomeUnknown
from technopay.engine.models import Record
from technopay.engine.ports import Clock
from technopay.engine.system import SystemClock
from technopay.http.client.errors import UnexpectedAnswer, is_refusal_for_good
from technopay.http.client.retries import Failure, Reply, RetryPolicy, judge, no_answer

RecordT = TypeVar("RecordT", bound=Record)

MakeToken = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Request:
    """One call, the same at every try."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    key: str | None = None
    wait_s: float = 0.0
    """How long the server is asked to wait before it answers."""

    @property
    def changes(self) -> bool:
        """Whether it asks for a change."""
        return self.method != "GET"


class Token:
    """A bearer token: one for good, or one that is asked for, and asked for again when it is refused."""

    def __init__(self, token: str | MakeToken) -> None:
        self._current = token if isinstance(token, str) else ""
        self._make = None if isinstance(token, str) else token
        self._making = asyncio.Lock()

    async def get(self, refused: str = "") -> str:
        """Answer a token, if possible another one than that which was refused."""
        async with self._making:
            # Of many calls whose token ran out together, the first one asks.
            if self._make and self._current == refused:
                self._current = await self._make()
            return self._current


class Connection:
    """What all operations of a client stand on. The constructor does no I/O; `async with` opens and closes."""

    def __init__(
        self,
        url: str,
        token: str | MakeToken,
        *,
        session: aiohttp.ClientSession | None = None,
        retry_policy: RetryPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        if URL(url).scheme not in ("http", "https") or not URL(url).host:
            raise ValueError(f"the server's address has to be like https://pay.example.com, not {url!r}")
        self._url = url.rstrip("/")
        self._token = Token(token)
        self._given_session = session
        self._session = session
        self._policy = retry_policy or RetryPolicy()
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session, unless somebody else brought it."""
        if self._session is not None and self._given_session is None:
            await self._session.close()
            self._session = None

    async def _get(self, answer: type[RecordT], path: str, *, wait_s: float = 0.0) -> RecordT:
        return await self._call(answer, Request("GET", path, wait_s=wait_s))

    async def _post(
        self,
        answer: type[RecordT],
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None,
    ) -> RecordT:
        """Ask for a change under a key: the given one, or one that is made for this call."""
        fields.require([("idempotency_key", fields.key_error(key))])
        return await self._call(answer, Request("POST", path, body, key or secrets.token_urlsafe(16)))

    async def _call(self, answer: type[RecordT], request: Request) -> RecordT:
        """Try until there is an answer for good, or the policy is used up."""
        deadline = self._clock.monotonic() + self._policy.deadline_s + request.wait_s
        tries, is_unknown = 0, False
        while True:
            outcome = await self._try(answer, request, deadline)
            if not isinstance(outcome, Failure):
                return outcome
            tries += 1
            is_unknown |= outcome.is_unknown
            pause_s = self._policy.pause_s(tries, outcome.retry_after_s)
            is_late = self._clock.monotonic() + pause_s >= deadline
            if not outcome.may_repeat or tries > self._policy.retries or is_late:
                break
            if outcome.is_unknown and request.method == "PUT":
                break  # it has no key: a repeat could undo what somebody else has set meanwhile
            await self._clock.sleep(pause_s)
        error = outcome.error
        if is_unknown and not is_refusal_for_good(error) and not isinstance(error, OutcomeUnknown):
            # What this try was told does not say what became of an earlier one.
            error = OutcomeUnknown(f"An earlier try was not answered, and the last one only by: {error}")
            error.request_id, error.__cause__ = outcome.error.request_id, outcome.error
        if isinstance(error, OutcomeUnknown):
            error.idempotency_key = request.key
        raise error

    async def _try(self, answer: type[RecordT], request: Request, deadline: float) -> RecordT | Failure:
        token = await self._token.get()
        reply = await self._send(request, token, deadline)
        if isinstance(reply, Reply) and reply.status == 401:
            newer = await self._token.get(refused=token)
            if newer != token:
                reply = await self._send(request, newer, deadline)
        if isinstance(reply, Failure):
            return reply
        if not 200 <= reply.status < 300:
            return judge(reply, changes=request.changes)
        try:
            # Members that a newer server adds are no reason to fail.
            record = answer.model_validate_json(reply.text, extra="ignore")
        except ValidationError as error:
            unexpected = UnexpectedAnswer(f"{reply.status} came with what is no {answer.__name__}.")
            unexpected.__cause__ = error
            return Failure(unexpected, is_unknown=request.changes)
        return record.as_replay() if reply.is_replay else record

    def _require_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with Client(…) as client:`")
        return self._session

    async def _send(self, request: Request, token: str, deadline: float) -> Reply | Failure:
        session = self._require_session()
        headers = {"Authorization": f"Bearer {token}"}
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        left_s = max(0.001, deadline - self._clock.monotonic())
        try:
            async with session.request(
                request.method,
                URL(self._url + request.path, encoded=True),
                json=request.body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=min(left_s, self._policy.timeout_s + request.wait_s)),
                # A redirect would carry the token elsewhere.
                allow_redirects=False,
                raise_for_status=False,
            ) as response:
                raw = await response.read()
                return Reply(response.status, response.headers, raw.decode(errors="replace"))
        except aiohttp.ClientConnectorError as error:
            return no_answer(error, was_sent=False, changes=request.changes)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            return no_answer(error, was_sent=True, changes=request.changes)


def part(value: str) -> str:
    """Write an id as one part of a path, whatever is in it."""
    return quote(value, safe="")


def queried(path: str, **query: Any) -> str:
    """Write a path with its query; parameters that are None are left out."""
    given = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
    return f"{path}?{urlencode(given)}" if given else path
