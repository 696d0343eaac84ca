"""One whole purchase over HTTP by the typed client, and its receipt."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import aiohttp
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from technopay.engine import Limit, Payment
from technopay.engine.notifications.texts import money
from technopay.engine.record import rfc3339
from technopay.http.client import Client, all_of

USER = "demo-alice"
CODE_WAIT_S = 5.0
POLL_S = 0.02


class PurchaseError(Exception):
    """Raised when the purchase is not possible; one line says why."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """The results of its steps."""

    limit_before: Limit
    started: Payment
    code: str
    payment: Payment


async def make_purchase(url: str) -> Purchase:
    """Pay the invoice of the demo user, or raise PurchaseError or, if it is refused, TechnopayError."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(base_url=url, timeout=timeout) as session:
        async with session.post("/mock/token", json={"user_id": USER}) as response:
            token = (await response.json())["token"]
        client = Client(url, token, session=session)
        wallets = (await client.list_wallets()).data
        payable = [
            invoice
            async for invoice in all_of(client.list_invoices)
            if invoice.status == "open" and invoice.merchant == "Café Central"
        ]
        if not wallets or not payable:
            raise PurchaseError("the demo's invoice is paid already; use another --data-dir")
        limit_before = (await client.list_limits()).data[0]
        started = await client.start_payment(invoice_id=payable[0].id, wallet_id=wallets[0].id)
        code = await _read_code(session, started.id)
        payment = await client.confirm_payment(payment_id=started.id, code=code)
        return Purchase(limit_before, started, code, payment)


async def _read_code(session: aiohttp.ClientSession, payment_id: str) -> str:
    """Wait for the code in the mock inbox."""
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
    payment, confirmation, before = purchase.payment, purchase.started.confirmation, purchase.limit_before
    after = payment.limits[0]

    def amount(minor: int | None) -> str:
        return money(minor or 0, payment.currency)

    def time(at: datetime | None) -> str:
        return rfc3339(at) if at else "not yet"

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    table.add_row("paid", f"[bold green]{amount(payment.amount)}[/]")
    table.add_row("by", payment.user_id)
    table.add_row("to", payment.merchant)
    table.add_row("when", f"{time(payment.paid_at)} (settled {time(payment.settled_at)})")
    if confirmation:
        sent = f"sent by {confirmation.method} to {confirmation.sent_to}"
        table.add_row("confirmed", f"with code {purchase.code}, {sent}")
    table.add_row("balance", f"{amount(payment.balance_before)} → {amount(payment.balance_after)}")
    table.add_row(
        "daily limit",
        f"{amount(before.used)} → {amount(after.used)} of {amount(after.limit)} used by all users; "
        f"resets {time(after.resets_at)}",
    )
    table.add_row("payment", payment.id)
    table.add_row("invoice", payment.invoice_id)
    console.print(Panel(table, title=f"technopay · {payment.status}", expand=False, padding=(1, 2)))
