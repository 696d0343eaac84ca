"""The API over HTTP as a client sees it: calls whose answers are checked for what is true of every answer."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.scenes import SECRET, quick_settings, wait_for
from yarl import URL

from technopay.engine import Engine, MessageCode
from technopay.engine.values import PaymentTerms
from technopay.http.api.demo import mock_routes
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator, TokenSigner
from technopay.http.problems import PROBLEMS
from technopay.http.server.connection import ConnectionFactory
from technopay.http.server.limits import ServerLimits
from technopay.storage import RedisStore

Json = dict[str, Any]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "request_id", "retryable"}
ANYWHERE = {"not_found", "method_not_allowed"}
"""Codes that need no route."""


def members(names: str) -> set[str]:
    """Write a set of members as the contract does."""
    return set(names.replace(",", "").split())


USER = members("id, status, email, phone, locked_until, created_at")
WALLET = members("id, user_id, currency, balance, status, created_at")
INVOICE = members(
    "id, user_id, amount, currency, merchant, description, reference, status, refunded_amount, expires_at, "
    "paid_at, payment_id, created_at"
)
PAYMENT = members(
    "id, invoice_id, wallet_id, user_id, amount, currency, merchant, status, created_at, paid_at, settled_at, "
    "balance_before, balance_after, confirmation, failure, refunded_amount, refunds, limits, set_aside"
)
CONFIRMATION = members("method, sent_to, expires_at, attempts_remaining, resends_remaining")
LIMIT = members("rule, window, currency, limit, used, remaining, resets_at")
ENTRY = members("amount, balance_after, kind, payment_id, at")
MESSAGE = members("id, event_id, user_id, channel, to, kind, status, attempts, last_error, at")
PAGE = {"data", "has_more", "next_cursor"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The code of the problem that this is."""
        assert self.status >= 400, self.text
        return str(self.json["code"])

    def expect(self, status: int) -> Any:
        """Answer the body, if the status is the expected one."""
        assert self.status == status, f"{self.status}: {self.text}"
        return self.json

    def refuse(self, status: int, code: str) -> Json:
        """Answer the problem, if it is the expected one."""
        assert (self.status, self.code) == (status, code), self.text
        problem: Json = self.json
        return problem


class Api:
    """A client of a server that runs in this process."""

    def __init__(
        self, client: TestClient[web.Request, web.Application], engine: Engine, store: RedisStore
    ) -> None:
        self.client = client
        self.engine = engine
        self.store = store
        self.signer = TokenSigner(SECRET)
        self.faults_expected = False
        self._document: dict[str, Any] = {}

    @property
    def app(self) -> web.Application:
        app = self.client.app
        assert isinstance(app, web.Application)
        return app

    def token(self, user: str = "alice", *, admin: bool = False) -> str:
        return self.signer.sign(user, admin=admin, lifetime_s=30 * 86_400)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str | None = "alice",
        admin: bool = False,
        key: str | None = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a call; `raw` is a body as it is, `body` one to be written as JSON."""
        sent = {"Authorization": f"Bearer {self.token(user, admin=admin)}"} if user else {}
        if key is not None:
            sent["Idempotency-Key"] = key
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent["Content-Type"] = "application/json"
        url = URL(f"{self.client.server.make_url('/')}".rstrip("/") + path, encoded=True)
        async with self.client.session.request(
            method, url, data=raw, headers={**sent, **(headers or {})}, skip_auto_headers=("Content-Type",)
        ) as response:
            reply = Reply(response.status, response.headers, await response.text())
        await self._check(method, path.partition("?")[0], reply)
        return reply

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.call("POST", path, body, **options)

    async def operate(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        """Make a call as an operator."""
        return await self.call(method, f"/v1/admin{path}", body, user="operator", admin=True, **options)

    async def _check(self, method: str, path: str, reply: Reply) -> None:
        """Check what is true of every answer."""
        assert "Traceback" not in reply.text
        assert reply.headers["X-Request-Id"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Server"] == "technopay", "the versions of the parts are nobody's business"
        assert reply.headers["Cache-Control"] == "no-store"
        if path == "/readyz" or reply.status < 400:
            return
        assert self.faults_expected or reply.status < 500, reply.text
        assert reply.headers["Content-Type"].partition(";")[0] == "application/problem+json"
        problem = reply.json
        code = problem["code"]
        assert set(problem) >= PROBLEM_MEMBERS
        assert problem["type"] == f"urn:technopay:problem:{code}"
        assert reply.headers["Link"] == f'</docs/errors#{code}>; rel="help"'
        assert (problem["status"], problem["title"]) == PROBLEMS[code]
        assert problem["status"] == reply.status
        assert problem["request_id"] == reply.headers["X-Request-Id"]
        assert isinstance(problem["retryable"], bool)
        assert problem["detail"]
        assert ("Retry-After" in reply.headers) == (reply.status in (429, 503))
        assert ("WWW-Authenticate" in reply.headers) == (code in ("unauthenticated", "forbidden"))
        if path.startswith("/v1/") and code not in ANYWHERE:
            assert code in await self._documented(method, path, reply.status), f"{method} {path}: {code}"

    async def _documented(self, method: str, path: str, status: int) -> str:
        """Answer what the OpenAPI document says of a status of a route."""
        if not self._document:
            async with self.client.session.get(self.client.server.make_url("/openapi.json")) as response:
                self._document = await response.json()
        paths = self._document["paths"]
        for template in sorted(paths, key=lambda each: each.count("{")):
            pattern = "[^/]+".join(re.escape(part) for part in re.split(r"{\w+}", template))
            if re.fullmatch(pattern, path) and method.lower() in paths[template]:
                found = paths[template][method.lower()]["responses"].get(str(status), {})
                shared = found.get("$ref", "").rpartition("/")[2]
                return str(
                    (self._document["components"]["responses"][shared] if shared else found)["description"]
                )
        raise AssertionError(f"{method} {path} is not in the document")


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a wallet, seen over HTTP."""

    api: Api
    id: str
    wallet_id: str

    async def invoice(self, amount: int = 2_500, merchant: str = "bookshop", **more: Any) -> Json:
        """Enter an invoice that this user has to pay."""
        invoice: Json = (
            await self.api.operate("POST", "/invoices", invoice_body(self.id, amount, merchant, **more))
        ).expect(201)
        return invoice

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.api.post(f"/v1{path}", body, user=self.id, **options)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.api.get(f"/v1{path}", user=self.id, **options)

    async def ask_to_start(self, invoice: Json, **options: Any) -> Reply:
        return await self.post(
            "/payments", {"invoice_id": invoice["id"], "wallet_id": self.wallet_id}, **options
        )

    async def start(self, amount: int = 2_500, merchant: str = "bookshop") -> Json:
        """Start to pay a new invoice."""
        payment: Json = (await self.ask_to_start(await self.invoice(amount, merchant))).expect(201)
        return payment

    async def confirm(self, payment: Json, query: str = "", code: str | None = None) -> Reply:
        """Confirm, with the right code unless another one is given."""
        if code is None:
            code = await right_code(self.api, payment)
        return await self.post(f"/payments/{payment['id']}/confirm{query}", {"code": code})

    async def pay(self, amount: int = 2_500, merchant: str = "bookshop") -> Json:
        payment: Json = (await self.confirm(await self.start(amount, merchant))).expect(200)
        return payment

    async def balance(self) -> int:
        return int((await self.get(f"/wallets/{self.wallet_id}")).expect(200)["balance"])


def invoice_body(user_id: str, amount: int = 2_500, merchant: str = "bookshop", **more: Any) -> Json:
    """Make the body that enters an invoice; it is due in an hour unless told otherwise."""
    return {
        "user_id": user_id,
        "amount": amount,
        "currency": "EUR",
        "merchant": merchant,
        "expires_at": in_seconds(3_600),
        **more,
    }


def in_seconds(seconds: float) -> str:
    """Write a time from now on."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def make_person(api: Api, user_id: str = "alice", balance: int = 10_000, **addresses: Any) -> Person:
    """Make a user with a wallet that holds something."""
    addresses = addresses or {"email": f"{user_id}@example.com"}
    (await api.operate("POST", "/users", {"id": user_id, **addresses})).expect(201)
    body = {"user_id": user_id, "currency": "EUR"}
    wallet_id = (await api.operate("POST", "/wallets", body)).expect(201)["id"]
    if balance:
        (await api.operate("POST", f"/wallets/{wallet_id}/deposit", {"amount": balance})).expect(200)
    return Person(api, user_id, wallet_id)


async def right_code(api: Api, payment: Json, issue: int = 1) -> str:
    """Answer the code that the user got or will get."""
    settings = api.engine.settings
    verifier = MessageCode(code_key=settings.derive_key("code"))
    terms = PaymentTerms(payment["id"], payment["amount"], payment["currency"], payment["merchant"])
    code = await verifier.code(terms, issue)
    assert code is not None
    return code


def wrong(code: str) -> str:
    """Answer a code that is not this one."""
    return str((int(code) + 1) % 1_000_000).zfill(6)


async def inbox(api: Api, user_id: str, kind: str) -> list[Json]:
    """Wait for messages of a kind to arrive in a mock inbox."""

    async def look() -> list[Json]:
        messages = (await api.get(f"/mock/inbox/{user_id}", user=None)).expect(200)["data"]
        return [message for message in messages if message["kind"] == kind]

    return await wait_for(look)


@asynccontextmanager
async def running_api(store: RedisStore, *, demo: bool = True, **changes: Any) -> AsyncIterator[Api]:
    """Serve an engine on a store, as `serve --demo` does."""
    async with Engine(store, quick_settings(**changes)) as engine:
        more_routes = mock_routes(store, TokenSigner(SECRET)) if demo else ()
        app = create_app(engine, TokenAuthenticator(SECRET), more_routes=more_routes)
        async with TestClient(OwnServer(app)) as client:
            yield Api(client, engine, store)


class OwnServer(TestServer):
    """A server whose connections are those of `serving`."""

    async def _make_runner(self, **options: Any) -> web.BaseRunner:
        return OwnRunner(self.app, **options)


class OwnRunner(web.AppRunner):
    """What serves an application through connections of ours."""

    @property
    def server(self) -> Any:
        assert self._server is not None
        return ConnectionFactory(self._server, ServerLimits())
