"""The client: the operations of a user and, with a token that has the scope `admin`, those of an operator."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp

from technopay.engine import fields
from technopay.engine.errors import MessageNotFound
from technopay.engine.fields import PAGE_MAX
from technopay.engine.models import (
    Audit,
    Entry,
    Event,
    Invoice,
    Limit,
    Message,
    Method,
    OperatorPayment,
    Payment,
    PaymentStatus,
    User,
    Wallet,
)
from technopay.engine.ports import Clock
from technopay.engine.record import Page
from technopay.http.client.events import listen
from technopay.http.client.retries import RetryPolicy
from technopay.http.client.transport import MakeToken, RecordT, Request, Transport
from technopay.http.problems import NotFound

Item = TypeVar("Item")

AUDIT_WAIT_S = 300.0
USERS, WALLETS, INVOICES = "/v1/admin/users", "/v1/admin/wallets", "/v1/admin/invoices"
PAYMENTS, NOTIFICATIONS, LIMITS = "/v1/admin/payments", "/v1/admin/notifications", "/v1/admin/limits"


class Client:
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
        self._transport = Transport(url, token, session, retry_policy or RetryPolicy(), clock)

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
        return await self._get(Wallet, f"/v1/wallets/{_part(wallet_id)}")

    async def list_entries(self, *, wallet_id: str, limit: int = 20, cursor: str = "") -> Page[Entry]:
        """List a wallet's movements, newest first."""
        path = f"/v1/wallets/{_part(wallet_id)}/entries"
        return await self._get(Page[Entry], path, limit=limit, cursor=cursor)

    async def list_invoices(self, *, limit: int = 20, cursor: str = "") -> Page[Invoice]:
        """List the user's invoices, newest first."""
        return await self._get(Page[Invoice], "/v1/invoices", limit=limit, cursor=cursor)

    async def get_invoice(self, *, invoice_id: str) -> Invoice:
        """Read an invoice."""
        return await self._get(Invoice, f"/v1/invoices/{_part(invoice_id)}")

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
        path = f"/v1/payments/{_part(payment_id)}/confirm?wait={wait_s:.3f}"
        return await self._transport.call(Payment, Request("POST", path, {"code": code}, wait_s=wait_s))

    async def resend_code(self, *, payment_id: str, idempotency_key: str | None = None) -> Payment:
        """Send a new code; the old one is no longer valid, the attempts stay the same."""
        return await self._post(Payment, f"/v1/payments/{_part(payment_id)}/resend", key=idempotency_key)

    async def cancel_payment(self, *, payment_id: str, idempotency_key: str | None = None) -> Payment:
        """Cancel a payment that waits for its code."""
        return await self._post(Payment, f"/v1/payments/{_part(payment_id)}/cancel", key=idempotency_key)

    async def list_payments(self, *, limit: int = 20, cursor: str = "") -> Page[Payment]:
        """List the user's payments, newest first."""
        return await self._get(Page[Payment], "/v1/payments", limit=limit, cursor=cursor)

    async def get_payment(self, *, payment_id: str, wait_s: float = 0.0) -> Payment:
        """Read a payment, as soon as it is final or set aside, or at the end of the wait."""
        path = f"/v1/payments/{_part(payment_id)}?wait={wait_s:.3f}"
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

    async def create_user(
        self,
        *,
        user_id: str,
        email: str | None = None,
        phone: str | None = None,
        idempotency_key: str | None = None,
    ) -> User:
        """Create a user, with the id of your identity system."""
        return await self._post(
            User, USERS, {"id": user_id, "email": email, "phone": phone}, key=idempotency_key
        )

    async def get_user(self, *, user_id: str) -> User:
        """Read a user."""
        return await self._get(User, f"{USERS}/{_part(user_id)}")

    async def block_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Block a user: payments cannot be started, confirmed or resent."""
        return await self._post(User, f"{USERS}/{_part(user_id)}/block", key=idempotency_key)

    async def unblock_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Unblock a user."""
        return await self._post(User, f"{USERS}/{_part(user_id)}/unblock", key=idempotency_key)

    async def unlock_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Clear a lock-out by wrong codes."""
        return await self._post(User, f"{USERS}/{_part(user_id)}/unlock", key=idempotency_key)

    async def create_wallet(self, *, user_id: str, currency: str, idempotency_key: str | None = None) -> Wallet:
        """Create an active wallet without money."""
        body = {"user_id": user_id, "currency": currency}
        return await self._post(Wallet, WALLETS, body, key=idempotency_key)

    async def find_wallet(self, *, wallet_id: str) -> Wallet:
        """Read a wallet of any user."""
        return await self._get(Wallet, f"{WALLETS}/{_part(wallet_id)}")

    async def deposit(self, *, wallet_id: str, amount: int, idempotency_key: str | None = None) -> Wallet:
        """Deposit money into a wallet, whatever its status."""
        path = f"{WALLETS}/{_part(wallet_id)}/deposit"
        return await self._post(Wallet, path, {"amount": amount}, key=idempotency_key)

    async def activate_wallet(self, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
        """Activate a wallet for payments."""
        return await self._post(Wallet, f"{WALLETS}/{_part(wallet_id)}/activate", key=idempotency_key)

    async def deactivate_wallet(self, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
        """Deactivate a wallet for payments."""
        return await self._post(Wallet, f"{WALLETS}/{_part(wallet_id)}/deactivate", key=idempotency_key)

    async def create_invoice(
        self,
        *,
        user_id: str,
        amount: int,
        currency: str,
        merchant: str,
        expires_at: datetime,
        description: str | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Invoice:
        """Create an invoice that a user has to pay before it expires."""
        body = {
            "user_id": user_id,
            "amount": amount,
            "currency": currency,
            "merchant": merchant,
            "description": description,
            "reference": reference,
            "expires_at": expires_at.isoformat(),
        }
        return await self._post(Invoice, INVOICES, body, key=idempotency_key)

    async def find_invoice(self, *, invoice_id: str) -> Invoice:
        """Read an invoice of any user."""
        return await self._get(Invoice, f"{INVOICES}/{_part(invoice_id)}")

    async def void_invoice(self, *, invoice_id: str, idempotency_key: str | None = None) -> Invoice:
        """Void an invoice; a payment of it that waits for its code is canceled."""
        return await self._post(Invoice, f"{INVOICES}/{_part(invoice_id)}/void", key=idempotency_key)

    async def set_limit(self, *, currency: str, amount: int | None) -> Limit:
        """Set the global daily limit of a currency; None removes it, 0 stops all payments."""
        return await self._transport.call(
            Limit, Request("PUT", f"{LIMITS}/{_part(currency)}", {"amount": amount})
        )

    async def list_all_limits(self, *, limit: int = 20, cursor: str = "") -> Page[Limit]:
        """List all limits; a removed one has the limit None."""
        return await self._get(Page[Limit], LIMITS, limit=limit, cursor=cursor)

    async def refund_payment(self, *, payment_id: str, idempotency_key: str | None = None) -> OperatorPayment:
        """Refund a succeeded payment. The invoice stays paid."""
        return await self._post(OperatorPayment, f"{PAYMENTS}/{_part(payment_id)}/refund", key=idempotency_key)

    async def resolve_payment(
        self,
        *,
        payment_id: str,
        outcome: Literal["settled", "refund"],
        note: str,
        idempotency_key: str | None = None,
    ) -> OperatorPayment:
        """Resolve a payment that was set aside."""
        path = f"{PAYMENTS}/{_part(payment_id)}/resolve"
        return await self._post(OperatorPayment, path, {"outcome": outcome, "note": note}, key=idempotency_key)

    async def search_payments(
        self,
        *,
        status: PaymentStatus | None = None,
        user_id: str | None = None,
        set_aside: bool | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Page[OperatorPayment]:
        """List payments of all users, newest first. A page can be short while there is a next one."""
        filters: dict[str, Any] = {
            "status": status,
            "user_id": user_id,
            "set_aside": set_aside,
            "limit": limit,
            "cursor": cursor,
        }
        return await self._get(Page[OperatorPayment], PAYMENTS, **filters)

    async def find_payment(self, *, payment_id: str) -> OperatorPayment:
        """Read a payment of any user."""
        return await self._get(OperatorPayment, f"{PAYMENTS}/{_part(payment_id)}")

    async def list_notifications(
        self,
        *,
        status: Literal["sent", "waiting", "dead"] | None = None,
        user_id: str | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Page[Message]:
        """List messages, newest first. A page can be short while there is a next one."""
        filters: dict[str, Any] = {"status": status, "user_id": user_id, "limit": limit, "cursor": cursor}
        return await self._get(Page[Message], NOTIFICATIONS, **filters)

    async def send_notification(self, *, message_id: str, idempotency_key: str | None = None) -> Message:
        """Send a dead message again; one that is not dead stays as it is."""
        try:
            path = f"{NOTIFICATIONS}/{_part(message_id)}/send"
            return await self._post(Message, path, key=idempotency_key)
        except NotFound as error:
            # An unknown message and an unknown path have the same code.
            missing = MessageNotFound(str(error))
            missing.request_id = error.request_id
            raise missing from None

    async def audit(self, *, wait_s: float = AUDIT_WAIT_S) -> Audit:
        """Recompute everything from the journal; for millions of entries this takes minutes."""
        return await self._get(Audit, "/v1/admin/audit", wait_s=wait_s)

    async def _get(self, model: type[RecordT], path: str, *, wait_s: float = 0.0, **query: Any) -> RecordT:
        """Read; parameters of the query that are None are left out."""
        return await self._transport.call(model, Request("GET", _with_query(path, query), wait_s=wait_s))

    async def _post(
        self, model: type[RecordT], path: str, body: Mapping[str, Any] | None = None, *, key: str | None
    ) -> RecordT:
        """Ask for a change with the given key or a new one."""
        fields.require([("idempotency_key", fields.key_error(key))])
        request = Request("POST", path, body, key or secrets.token_urlsafe(16))
        return await self._transport.call(model, request)


async def all_of(list_page: Callable[..., Awaitable[Page[Item]]], **arguments: Any) -> AsyncIterator[Item]:
    """Iterate over a list, page by page, to its end.

    `async for payment in all_of(client.search_payments, set_aside=True): …`
    """
    cursor: str | None = ""
    while cursor is not None:
        page = await list_page(limit=PAGE_MAX, cursor=cursor, **arguments)
        for item in page.data:
            yield item
        cursor = page.next_cursor


def _part(value: str) -> str:
    """Return an id as one part of a path, whatever it contains."""
    return quote(value, safe="")


def _with_query(path: str, query: Mapping[str, Any]) -> str:
    given = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
    return f"{path}?{urlencode(given)}" if given else path
