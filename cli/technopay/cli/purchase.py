"""One whole purchase over HTTP, as a client makes it, and its receipt."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from technopay.engine.messages import money

USER = "demo-alice"
CODE_WAIT_S = 5.0
POLL_S = 0.02


class PurchaseError(Exception):
    """Raised when the purchase did not go through; one line says why."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """What the client saw on the way."""

    limit_before: dict[str, Any]
    confirmation: dict[str, Any]
    code: str
    payment: dict[str, Any]


class Client:
    """A client of the HTTP API, with a token."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make one call.

        Raises:
            PurchaseError: it was refused.

        """
        async with self._session.request(method, path, json=body, headers=self._headers) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            if response.status >= 400:
                raise PurchaseError(f"{method} {path}: {answer['code']}: {answer['detail']}")
            return answer


async def make_purchase(url: str) -> Purchase:
    """Pay the first open invoice of the demo user: look, start, read the code, confirm.

    Raises:
        PurchaseError: something refused, or there is nothing to pay.

    """
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(base_url=url, timeout=timeout) as session:
        async with session.post("/mock/token", json={"user_id": USER}) as response:
            token = (await response.json())["token"]
        client = Client(session, token)
        wallets = (await client.call("GET", "/v1/wallets"))["data"]
        invoices = (await client.call("GET", "/v1/invoices?limit=100"))["data"]
        payable = [
            invoice
            for invoice in invoices
            if invoice["status"] == "open" and invoice["merchant"] == "Café Central"
        ]
        if not wallets or not payable:
            raise PurchaseError("the demo's invoice is paid already; use another --data-dir")
        limit_before = (await client.call("GET", "/v1/limits"))["data"][0]
        body = {"invoice_id": payable[0]["id"], "wallet_id": wallets[0]["id"]}
        payment = await client.call("POST", "/v1/payments", body)
        code = await _read_code(session, payment["id"])
        confirmed = await client.call("POST", f"/v1/payments/{payment['id']}/confirm", {"code": code})
        return Purchase(limit_before, payment["confirmation"], code, confirmed)


async def _read_code(session: aiohttp.ClientSession, payment_id: str) -> str:
    """Read the code from the mock inbox, where it arrives a moment later."""
    try:
        async with asyncio.timeout(CODE_WAIT_S):
            while True:
                async with session.get(f"/mock/inbox/{USER}") as response:
                    messages = (await response.json())["data"]
                for message in messages:
                    if message["payment_id"] == payment_id and "code" in message:
                        return str(message["code"])
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise PurchaseError(f"no code arrived within {CODE_WAIT_S:g} s") from None


def print_receipt(purchase: Purchase, console: Console) -> None:
    """Print a receipt that a person enjoys reading."""
    payment, confirmation, before = purchase.payment, purchase.confirmation, purchase.limit_before
    after = payment["limits"][0]

    def amount(minor: int) -> str:
        return money(minor, payment["currency"])

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    table.add_row("paid", f"[bold green]{amount(payment['amount'])}[/]")
    table.add_row("by", payment["user_id"])
    table.add_row("to", payment["merchant"])
    table.add_row("when", f"{payment['paid_at']} (settled {payment['settled_at']})")
    table.add_row(
        "confirmed", f"with code {purchase.code}, sent by {confirmation['method']} to {confirmation['sent_to']}"
    )
    table.add_row("balance", f"{amount(payment['balance_before'])} → {amount(payment['balance_after'])}")
    table.add_row(
        "daily limit",
        f"{amount(before['used'])} → {amount(after['used'])} of {amount(after['limit'])} used by all users; "
        f"resets {after['resets_at']}",
    )
    table.add_row("payment", payment["id"])
    table.add_row("invoice", payment["invoice_id"])
    console.print(Panel(table, title=f"technopay · {payment['status']}", expand=False, padding=(1, 2)))
