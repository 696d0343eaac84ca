"""Connections to a server with several workers, of which it is known which worker has each."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import aiohttp
from support.http import invoice_body
from support.patience import see
from support.scenes import TOKEN_KEY
from support.service import Service
from support.shoppers import right_code

from technopay.http.auth.tokens import TokenSigner

ANSWER_S_MAX = 20.0
_numbers = count()


class Line:
    """One connection, which is kept."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._signer = TokenSigner(TOKEN_KEY)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str = "",
        key: str = "",
        request_id: str = "",
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Make a call, as an operator unless a user is named; answer status, body and headers."""
        token = self._signer.sign(user or "operator", admin=not user, lifetime_s=30 * 86_400)
        headers = {"Authorization": f"Bearer {token}"}
        headers |= {"Idempotency-Key": key} if key else {}
        headers |= {"X-Request-Id": request_id} if request_id else {}
        async with self._session.request(method, self._url + path, json=body, headers=headers) as response:
            text = await response.text()
            is_json = "json" in response.headers["Content-Type"]
            return response.status, json.loads(text) if is_json else text, response.headers

    async def get(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Make a call that has to succeed; answer its body."""
        status, answer, _ = await self.ask(method, path, body, **options)
        assert status < 400, answer
        return answer

    async def make_user(self, user: str, balance: int, currency: str = "EUR") -> str:
        """Make a user with a wallet; answer the wallet's id."""
        await self.get("POST", "/v1/admin/users", {"id": user, "email": f"{user}@example.com"})
        wallet = await self.get("POST", "/v1/admin/wallets", {"user_id": user, "currency": currency})
        await self.get("POST", f"/v1/admin/wallets/{wallet['id']}/deposit", {"amount": balance})
        return str(wallet["id"])

    async def start(
        self, user: str, wallet: str, amount: int, merchant: str = "bookshop", currency: str = "EUR"
    ) -> Any:
        """Start to pay a new invoice."""
        invoice = invoice_body(user, amount, merchant, currency=currency)
        invoice_id = (await self.get("POST", "/v1/admin/invoices", invoice))["id"]
        body = {"invoice_id": invoice_id, "wallet_id": wallet}
        return await self.get("POST", "/v1/payments", body, user=user)

    async def confirm(self, user: str, payment: Any, query: str = "") -> tuple[int, Any]:
        """Confirm a payment; without a query, wait for its end however long that takes."""
        path = f"/v1/payments/{payment['id']}"
        body = {"code": await right_code(payment)}
        status, answer, _ = await self.ask("POST", f"{path}/confirm{query}", body, user=user)
        while status == 202 and not query:
            answer = await self.get("GET", f"{path}?wait=10", user=user)
            status = 202 if answer["status"] == "processing" else 200
        return status, answer


@asynccontextmanager
async def opened(service: Service, each: int, workers: int = 2) -> AsyncIterator[Sequence[Sequence[Line]]]:
    """Open so many connections to each of the workers. The log says who has answered on which."""
    async with AsyncExitStack() as stack:
        taken: dict[int, list[Line]] = defaultdict(list)

        async def open_one() -> None:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1), timeout=aiohttp.ClientTimeout(ANSWER_S_MAX)
            )
            line, request_id = (
                Line(service.url, await stack.enter_async_context(session)),
                f"line{next(_numbers)}",
            )
            await line.get("GET", "/livez", request_id=request_id)

            async def look() -> int | None:
                return workers_of(service).get(request_id)

            worker = await see(look, within_s=ANSWER_S_MAX, pause_s=0.01)
            taken[worker - 1].append(line)

        while any(len(taken[number]) < each for number in range(workers)):
            await asyncio.gather(*(open_one() for _ in range(workers)))
        yield [taken[number][:each] for number in range(workers)]


def workers_of(service: Service) -> dict[str, int]:
    """Answer which worker answered which request, counted from 1, by the log."""
    found = {}
    for line in service.output.read_text().splitlines():
        if '"request_id"' in line:
            told = json.loads(line)
            found[told["request_id"]] = told["worker"] + 1
    return found
