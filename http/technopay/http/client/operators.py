"""The operations of an operator, which need a token with the scope `admin`."""

from datetime import datetime
from typing import Any, Literal

from technopay.engine.errors import MessageNotFound
from technopay.engine.models import (
    Audit,
    EventPage,
    Invoice,
    Limit,
    Message,
    OperatorPayment,
    PaymentStatus,
    User,
    Wallet,
)
from technopay.engine.record import Page
from technopay.http.client.calls import Calls, part, with_query
from technopay.http.client.events import ALL_PATH, AllEvents
from technopay.http.problems import NotFound

AUDIT_WAIT_S = 300.0
USERS, WALLETS, INVOICES = "/v1/admin/users", "/v1/admin/wallets", "/v1/admin/invoices"
PAYMENTS, NOTIFICATIONS, LIMITS = "/v1/admin/payments", "/v1/admin/notifications", "/v1/admin/limits"


async def create_user(
    self: Calls,
    *,
    user_id: str,
    email: str | None = None,
    phone: str | None = None,
    idempotency_key: str | None = None,
) -> User:
    """Create a user, with the id of your identity system."""
    return await self._post(User, USERS, {"id": user_id, "email": email, "phone": phone}, key=idempotency_key)


async def get_user(self: Calls, *, user_id: str) -> User:
    """Read a user."""
    return await self._get(User, f"{USERS}/{part(user_id)}")


async def block_user(self: Calls, *, user_id: str, idempotency_key: str | None = None) -> User:
    """Block a user: payments cannot be started, confirmed or resent."""
    return await self._post(User, f"{USERS}/{part(user_id)}/block", key=idempotency_key)


async def unblock_user(self: Calls, *, user_id: str, idempotency_key: str | None = None) -> User:
    """Unblock a user."""
    return await self._post(User, f"{USERS}/{part(user_id)}/unblock", key=idempotency_key)


async def unlock_user(self: Calls, *, user_id: str, idempotency_key: str | None = None) -> User:
    """Clear a lock-out by wrong codes."""
    return await self._post(User, f"{USERS}/{part(user_id)}/unlock", key=idempotency_key)


async def create_wallet(
    self: Calls, *, user_id: str, currency: str, idempotency_key: str | None = None
) -> Wallet:
    """Create an active wallet without money."""
    body = {"user_id": user_id, "currency": currency}
    return await self._post(Wallet, WALLETS, body, key=idempotency_key)


async def find_wallet(self: Calls, *, wallet_id: str) -> Wallet:
    """Read a wallet of any user."""
    return await self._get(Wallet, f"{WALLETS}/{part(wallet_id)}")


async def deposit(
    self: Calls,
    *,
    wallet_id: str,
    amount: int,
    reference: str | None = None,
    note: str | None = None,
    idempotency_key: str | None = None,
) -> Wallet:
    """Deposit money into a wallet, whatever its status; a reference is deposited once in a wallet."""
    path, body = (
        f"{WALLETS}/{part(wallet_id)}/deposit",
        {"amount": amount, "reference": reference, "note": note},
    )
    return await self._post(Wallet, path, body, key=idempotency_key)


async def withdraw(
    self: Calls, *, wallet_id: str, amount: int, note: str, idempotency_key: str | None = None
) -> Wallet:
    """Take money out of a wallet, whatever its status, never more than its balance."""
    path = f"{WALLETS}/{part(wallet_id)}/withdraw"
    return await self._post(Wallet, path, {"amount": amount, "note": note}, key=idempotency_key)


async def adjust(
    self: Calls, *, wallet_id: str, amount: int, note: str, idempotency_key: str | None = None
) -> Wallet:
    """Correct the balance of a wallet, whatever its status, by a signed amount; never below zero."""
    path = f"{WALLETS}/{part(wallet_id)}/adjust"
    return await self._post(Wallet, path, {"amount": amount, "note": note}, key=idempotency_key)


async def activate_wallet(self: Calls, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
    """Activate a wallet for payments."""
    return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/activate", key=idempotency_key)


async def deactivate_wallet(self: Calls, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
    """Deactivate a wallet for payments."""
    return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/deactivate", key=idempotency_key)


async def create_invoice(
    self: Calls,
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


async def find_invoice(self: Calls, *, invoice_id: str) -> Invoice:
    """Read an invoice of any user."""
    return await self._get(Invoice, f"{INVOICES}/{part(invoice_id)}")


async def void_invoice(self: Calls, *, invoice_id: str, idempotency_key: str | None = None) -> Invoice:
    """Void an invoice; a payment of it that waits for its code is canceled."""
    return await self._post(Invoice, f"{INVOICES}/{part(invoice_id)}/void", key=idempotency_key)


async def set_limit(self: Calls, *, currency: str, amount: int | None) -> Limit:
    """Set the global daily limit of a currency; None removes it, 0 stops all payments."""
    return await self._put(Limit, f"{LIMITS}/{part(currency)}", {"amount": amount})


async def list_all_limits(self: Calls, *, limit: int = 20, cursor: str = "") -> Page[Limit]:
    """List all limits; a removed one has the limit None."""
    return await self._get(Page[Limit], LIMITS, limit=limit, cursor=cursor)


async def refund_payment(
    self: Calls,
    *,
    payment_id: str,
    amount: int | None = None,
    note: str | None = None,
    idempotency_key: str | None = None,
) -> OperatorPayment:
    """Refund a succeeded payment: all that is left, or an amount of it. The invoice stays paid."""
    path = f"{PAYMENTS}/{part(payment_id)}/refund"
    return await self._post(OperatorPayment, path, {"amount": amount, "note": note}, key=idempotency_key)


async def resolve_payment(
    self: Calls,
    *,
    payment_id: str,
    outcome: Literal["settled", "refund"],
    note: str,
    idempotency_key: str | None = None,
) -> OperatorPayment:
    """Resolve a payment that was set aside."""
    path = f"{PAYMENTS}/{part(payment_id)}/resolve"
    return await self._post(OperatorPayment, path, {"outcome": outcome, "note": note}, key=idempotency_key)


async def search_payments(
    self: Calls,
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


async def find_payment(self: Calls, *, payment_id: str) -> OperatorPayment:
    """Read a payment of any user."""
    return await self._get(OperatorPayment, f"{PAYMENTS}/{part(payment_id)}")


async def list_notifications(
    self: Calls,
    *,
    status: Literal["sent", "waiting", "dead"] | None = None,
    user_id: str | None = None,
    limit: int = 20,
    cursor: str = "",
) -> Page[Message]:
    """List messages, newest first. A page can be short while there is a next one."""
    filters: dict[str, Any] = {"status": status, "user_id": user_id, "limit": limit, "cursor": cursor}
    return await self._get(Page[Message], NOTIFICATIONS, **filters)


async def send_notification(self: Calls, *, message_id: str, idempotency_key: str | None = None) -> Message:
    """Send a dead message again; one that is not dead stays as it is."""
    try:
        path = f"{NOTIFICATIONS}/{part(message_id)}/send"
        return await self._post(Message, path, key=idempotency_key)
    except NotFound as error:
        # An unknown message and an unknown path have the same code.
        missing = MessageNotFound(str(error))
        missing.request_id = error.request_id
        raise missing from None


async def list_events(
    self: Calls, *, after: str | None = None, types: str | None = None, limit: int = 20
) -> EventPage:
    """List the events of all users, from the beginning or after a cursor; `types` are separated by commas."""
    return await self._get(EventPage, ALL_PATH, after=after, types=types, limit=limit)


def all_events(self: Calls, *, after: str | None = None, types: str | None = None) -> AllEvents:
    """Listen to the events of all users: from now on, or after a cursor; `types` are separated by commas.

    As `events`. After a failure, go on after the `cursor` of the stream.
    """
    return AllEvents(self._transport, with_query(ALL_PATH, {"types": types}), after)


async def audit(self: Calls, *, wait_s: float = AUDIT_WAIT_S) -> Audit:
    """Recompute everything from the journal; for millions of entries this takes minutes."""
    return await self._get(Audit, "/v1/admin/audit", wait_s=wait_s)
