"""The client: the operations of a user and, with a token that has the scope `admin`, those of an operator."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, Self, TypeVar

import aiohttp

from technopay.engine.fields import PAGE_MAX
from technopay.engine.models import Entry, Event, Invoice, Limit, Method, Payment, Statement, Wallet
from technopay.engine.ports import Clock
from technopay.engine.record import Page
from technopay.http.client import webhooks
from technopay.http.client.calls import Calls, part, time_range
from technopay.http.client.events import listen
from technopay.http.client.operators import events as all_users
from technopay.http.client.operators import (
    invoices,
    limits,
    notifications,
    payments,
    reconciliation,
    store,
    users,
    wallets,
)
from technopay.http.client.retries import RetryPolicy
from technopay.http.client.transport import MakeToken, Request, Transport

Item = TypeVar("Item", covariant=True)


class AnyPage(Protocol[Item]):
    """A page of a list or of a statement."""

    @property
    def data(self) -> Sequence[Item]: ...

    @property
    def next_cursor(self) -> str | None: ...


class Client(Calls):
    """A client of the HTTP API: `async with Client("https://pay.example.com", token) as client:`.

    One method per operation: keyword arguments, the engine's records as results, the engine's errors. Calls are
    retried with one idempotency key, by a policy. `token` is a text, or a coroutine function that returns one,
    and is called again when a token is refused. A given session is not closed.

    Raises, beside the errors of the engine's operations:
        Unauthenticated, Forbidden: by sign-in.
        ServerUnreachable: nothing happened.
        OutcomeUnknown: ask again with its `idempotency_key`.
        UnexpectedAnswer: the reply is not one of technopay.

    """

    def __init__(
        self,
        url: str,
        token: str | MakeToken,
        *,
        session: aiohttp.ClientSession | None = None,
        retry_policy: RetryPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(Transport(url, token, session, retry_policy or RetryPolicy(), clock))

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session, unless it was given."""
        await self._transport.close()

    async def list_wallets(self, *, limit: int = 20, cursor: str = "") -> Page[Wallet]:
        """List the user's wallets, newest first."""
        return await self._get(Page[Wallet], "/v1/wallets", limit=limit, cursor=cursor)

    async def get_wallet(self, *, wallet_id: str) -> Wallet:
        """Read a wallet."""
        return await self._get(Wallet, f"/v1/wallets/{part(wallet_id)}")

    async def list_entries(self, *, wallet_id: str, limit: int = 20, cursor: str = "") -> Page[Entry]:
        """List a wallet's movements, newest first."""
        path = f"/v1/wallets/{part(wallet_id)}/entries"
        return await self._get(Page[Entry], path, limit=limit, cursor=cursor)

    async def get_statement(
        self,
        *,
        wallet_id: str,
        at_from: datetime | None = None,
        at_to: datetime | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Statement:
        """Read a wallet's movements in a range of times, oldest first, with the balances around it.

        `at_from` is the first time of the range, `at_to` the first one behind it.
        """
        times = time_range(at_from, at_to)
        path = f"/v1/wallets/{part(wallet_id)}/statement"
        return await self._get(Statement, path, **times, limit=limit, cursor=cursor)

    async def list_invoices(self, *, limit: int = 20, cursor: str = "") -> Page[Invoice]:
        """List the user's invoices, newest first."""
        return await self._get(Page[Invoice], "/v1/invoices", limit=limit, cursor=cursor)

    async def get_invoice(self, *, invoice_id: str) -> Invoice:
        """Read an invoice."""
        return await self._get(Invoice, f"/v1/invoices/{part(invoice_id)}")

    async def start_payment(
        self,
        *,
        invoice_id: str,
        wallet_id: str,
        method: Method | None = None,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Start to pay an invoice: the user gets a code. Nothing is deducted."""
        body = {"invoice_id": invoice_id, "wallet_id": wallet_id, "method": method}
        return await self._post(Payment, "/v1/payments", body, key=idempotency_key)

    async def confirm_payment(self, *, payment_id: str, code: str, wait_s: float = 4.0) -> Payment:
        """Confirm a payment with its code, take the money, and wait for the settlement.

        Returns the payment 'succeeded', or 'processing' when the wait is over. It has no key: the server knows
        an accepted code by the payment. A wrong code whose reply is lost can cost another attempt.
        """
        path = f"/v1/payments/{part(payment_id)}/confirm?wait={wait_s:.3f}"
        return await self._transport.call(Payment, Request("POST", path, {"code": code}, wait_s=wait_s))

    async def resend_code(self, *, payment_id: str, idempotency_key: str | None = None) -> Payment:
        """Send a new code; the old one is no longer valid, the attempts stay the same."""
        return await self._post(Payment, f"/v1/payments/{part(payment_id)}/resend", key=idempotency_key)

    async def cancel_payment(self, *, payment_id: str, idempotency_key: str | None = None) -> Payment:
        """Cancel a payment that waits for its code."""
        return await self._post(Payment, f"/v1/payments/{part(payment_id)}/cancel", key=idempotency_key)

    async def list_payments(self, *, limit: int = 20, cursor: str = "") -> Page[Payment]:
        """List the user's payments, newest first."""
        return await self._get(Page[Payment], "/v1/payments", limit=limit, cursor=cursor)

    async def get_payment(self, *, payment_id: str, wait_s: float = 0.0) -> Payment:
        """Read a payment, as soon as it is final or set aside, or at the end of the wait."""
        path = f"/v1/payments/{part(payment_id)}?wait={wait_s:.3f}"
        return await self._get(Payment, path, wait_s=wait_s)

    async def list_limits(self, *, limit: int = 20, cursor: str = "") -> Page[Limit]:
        """List the limits that bind the user."""
        return await self._get(Page[Limit], "/v1/limits", limit=limit, cursor=cursor)

    def events(self, *, after: str | None = None) -> AsyncGenerator[Event]:
        """Listen to the user's payments and invoices: from now on, or after an event.

        The client reconnects after the last event whenever the stream ends or breaks. Close the generator
        (`contextlib.aclosing`): a user can only have a few streams.

        Raises:
            RateLimited: the user has too many streams.
            ValidationFailed; any Fault: the policy's tries in a row failed.

        """
        return listen(self._transport, after)

    create_user = users.create_user
    get_user = users.get_user
    update_user = users.update_user
    search_users = users.search_users
    block_user = users.block_user
    unblock_user = users.unblock_user
    unlock_user = users.unlock_user
    create_wallet = wallets.create_wallet
    find_wallet = wallets.find_wallet
    search_wallets = wallets.search_wallets
    search_entries = wallets.search_entries
    find_statement = wallets.find_statement
    deposit = wallets.deposit
    withdraw = wallets.withdraw
    adjust = wallets.adjust
    activate_wallet = wallets.activate_wallet
    deactivate_wallet = wallets.deactivate_wallet
    create_invoice = invoices.create_invoice
    find_invoice = invoices.find_invoice
    search_invoices = invoices.search_invoices
    void_invoice = invoices.void_invoice
    set_limit = limits.set_limit
    list_all_limits = limits.list_all_limits
    refund_payment = payments.refund_payment
    resolve_payment = payments.resolve_payment
    search_payments = payments.search_payments
    find_payment = payments.find_payment
    list_notifications = notifications.list_notifications
    send_notification = notifications.send_notification
    list_events = all_users.list_events
    all_events = all_users.all_events
    create_webhook = webhooks.create_webhook
    list_webhooks = webhooks.list_webhooks
    find_webhook = webhooks.find_webhook
    update_webhook = webhooks.update_webhook
    delete_webhook = webhooks.delete_webhook
    rotate_webhook_secret = webhooks.rotate_webhook_secret
    list_deliveries = webhooks.list_deliveries
    send_delivery_again = webhooks.send_delivery_again
    send_dead_deliveries_again = webhooks.send_dead_deliveries_again
    reconcile = reconciliation.reconcile
    audit = store.audit
    get_archive = store.get_archive


async def all_of(list_page: Callable[..., Awaitable[AnyPage[Item]]], **arguments: Any) -> AsyncIterator[Item]:
    """Iterate over a list, page by page, to its end.

    `async for payment in all_of(client.search_payments, set_aside=True): …`
    """
    cursor: str | None = ""
    while cursor is not None:
        page = await list_page(limit=PAGE_MAX, cursor=cursor, **arguments)
        for item in page.data:
            yield item
        cursor = page.next_cursor
