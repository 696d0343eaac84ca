"""The client: a user's operations and, with a token that has the scope `admin`, an operator's."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from technopay.engine.errors import MessageNotFound
from technopay.engine.models import Audit, Invoice, Limit, Message, Page, Payment, PaymentStatus, User, Wallet
from technopay.http.client.connection import Request, part, queried
from technopay.http.client.user_calls import UserCalls
from technopay.http.problems import NotFound

AUDIT_WAIT_S = 300.0
USERS, WALLETS, INVOICES = "/v1/admin/users", "/v1/admin/wallets", "/v1/admin/invoices"
PAYMENTS, NOTIFICATIONS, LIMITS = "/v1/admin/payments", "/v1/admin/notifications", "/v1/admin/limits"


class Client(UserCalls):
    """A client of the HTTP API: `async with Client("https://pay.example.com", token) as client:`.

    One method per operation: arguments by keyword, the engine's records as answers, the engine's errors. Calls
    are tried again under one idempotency key, by a policy. `token` is a text, or a coroutine function that is
    asked for one, and once more when it is refused. A session that is brought is not closed.

    Raises, beside what the operations of the engine raise:
        Unauthenticated, Forbidden: by sign-in.
        ServerUnreachable: nothing happened.
        OutcomeUnknown: ask again with its `idempotency_key`.
        UnexpectedAnswer: what answered is not technopay.

    """

    async def create_user(
        self,
        *,
        user_id: str,
        email: str | None = None,
        phone: str | None = None,
        idempotency_key: str | None = None,
    ) -> User:
        """Make a user of the caller's identity system known."""
        return await self._post(
            User, USERS, {"id": user_id, "email": email, "phone": phone}, key=idempotency_key
        )

    async def get_user(self, *, user_id: str) -> User:
        """Read a user."""
        return await self._get(User, f"{USERS}/{part(user_id)}")

    async def block_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Block a user: nothing is started, confirmed or resent any more."""
        return await self._post(User, f"{USERS}/{part(user_id)}/block", key=idempotency_key)

    async def unblock_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Let a blocked user pay again."""
        return await self._post(User, f"{USERS}/{part(user_id)}/unblock", key=idempotency_key)

    async def unlock_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Clear a lock-out by wrong codes."""
        return await self._post(User, f"{USERS}/{part(user_id)}/unlock", key=idempotency_key)

    async def create_wallet(self, *, user_id: str, currency: str, idempotency_key: str | None = None) -> Wallet:
        """Open an active wallet with nothing in it."""
        body = {"user_id": user_id, "currency": currency}
        return await self._post(Wallet, WALLETS, body, key=idempotency_key)

    async def find_wallet(self, *, wallet_id: str) -> Wallet:
        """Read a wallet of any user."""
        return await self._get(Wallet, f"{WALLETS}/{part(wallet_id)}")

    async def deposit(self, *, wallet_id: str, amount: int, idempotency_key: str | None = None) -> Wallet:
        """Put money into a wallet, whatever its status."""
        path = f"{WALLETS}/{part(wallet_id)}/deposit"
        return await self._post(Wallet, path, {"amount": amount}, key=idempotency_key)

    async def activate_wallet(self, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
        """Let a wallet pay again."""
        return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/activate", key=idempotency_key)

    async def deactivate_wallet(self, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
        """Keep a wallet from paying."""
        return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/deactivate", key=idempotency_key)

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
        """Enter an invoice that a user has to pay before it expires."""
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
        return await self._get(Invoice, f"{INVOICES}/{part(invoice_id)}")

    async def void_invoice(self, *, invoice_id: str, idempotency_key: str | None = None) -> Invoice:
        """Withdraw an invoice; a payment of it that waits for its code is canceled."""
        return await self._post(Invoice, f"{INVOICES}/{part(invoice_id)}/void", key=idempotency_key)

    async def set_limit(self, *, currency: str, amount: int | None) -> Limit:
        """Set the global daily limit of a currency; None lifts it, 0 stops all payments."""
        return await self._call(Limit, Request("PUT", f"{LIMITS}/{part(currency)}", {"amount": amount}))

    async def list_all_limits(self, *, limit: int = 20, cursor: str = "") -> Page[Limit]:
        """List the limits that were ever set; a lifted one has the limit None."""
        return await self._get(Page[Limit], queried(LIMITS, limit=limit, cursor=cursor))

    async def refund_payment(self, *, payment_id: str, idempotency_key: str | None = None) -> Payment:
        """Give a succeeded payment back. The invoice stays paid."""
        return await self._post(Payment, f"{PAYMENTS}/{part(payment_id)}/refund", key=idempotency_key)

    async def resolve_payment(
        self,
        *,
        payment_id: str,
        outcome: Literal["settled", "refund"],
        note: str,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Decide a payment that was set aside."""
        path = f"{PAYMENTS}/{part(payment_id)}/resolve"
        return await self._post(Payment, path, {"outcome": outcome, "note": note}, key=idempotency_key)

    async def search_payments(
        self,
        *,
        status: PaymentStatus | None = None,
        user_id: str | None = None,
        set_aside: bool | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Page[Payment]:
        """List payments of all users, newest first. A page can be short while there is a next one."""
        path = queried(
            PAYMENTS, status=status, user_id=user_id, set_aside=set_aside, limit=limit, cursor=cursor
        )
        return await self._get(Page[Payment], path)

    async def find_payment(self, *, payment_id: str) -> Payment:
        """Read a payment of any user."""
        return await self._get(Payment, f"{PAYMENTS}/{part(payment_id)}")

    async def list_notifications(
        self,
        *,
        status: Literal["sent", "waiting", "dead"] | None = None,
        user_id: str | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Page[Message]:
        """List messages, newest first. A page can be short while there is a next one."""
        path = queried(NOTIFICATIONS, status=status, user_id=user_id, limit=limit, cursor=cursor)
        return await self._get(Page[Message], path)

    async def send_notification(self, *, message_id: str, idempotency_key: str | None = None) -> Message:
        """Try a dead message again; one that is not dead stays as it is."""
        try:
            path = f"{NOTIFICATIONS}/{part(message_id)}/send"
            return await self._post(Message, path, key=idempotency_key)
        except NotFound as error:
            # A message and an address that do not exist have one code.
            missing = MessageNotFound(str(error))
            missing.request_id = error.request_id
            raise missing from None

    async def audit(self, *, wait_s: float = AUDIT_WAIT_S) -> Audit:
        """Recompute everything from the journal; for millions of entries this takes minutes."""
        return await self._get(Audit, "/v1/admin/audit", wait_s=wait_s)
