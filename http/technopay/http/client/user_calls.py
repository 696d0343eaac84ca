"""What a signed-in user can do."""

from __future__ import annotations

from technopay.engine.models import Entry, Invoice, Limit, Method, Page, Payment, Wallet
from technopay.http.client.connection import Request, part, queried
from technopay.http.client.events import EventStream


class UserCalls(EventStream):
    """The operations of the user whose token it is; errors are those of the engine's operations."""

    async def list_wallets(self, *, limit: int = 20, cursor: str = "") -> Page[Wallet]:
        """List the user's wallets, newest first."""
        return await self._get(Page[Wallet], queried("/v1/wallets", limit=limit, cursor=cursor))

    async def get_wallet(self, *, wallet_id: str) -> Wallet:
        """Read a wallet."""
        return await self._get(Wallet, f"/v1/wallets/{part(wallet_id)}")

    async def list_entries(self, *, wallet_id: str, limit: int = 20, cursor: str = "") -> Page[Entry]:
        """List a wallet's movements, newest first."""
        path = f"/v1/wallets/{part(wallet_id)}/entries"
        return await self._get(Page[Entry], queried(path, limit=limit, cursor=cursor))

    async def list_invoices(self, *, limit: int = 20, cursor: str = "") -> Page[Invoice]:
        """List the user's invoices, newest first."""
        return await self._get(Page[Invoice], queried("/v1/invoices", limit=limit, cursor=cursor))

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
        """Begin to pay an invoice; the user is sent a code. Nothing is deducted."""
        body = {"invoice_id": invoice_id, "wallet_id": wallet_id, "method": method}
        return await self._post(Payment, "/v1/payments", body, key=idempotency_key)

    async def confirm_payment(self, *, payment_id: str, code: str, wait_s: float = 4.0) -> Payment:
        """Confirm a payment with its code, take the money, and wait for the settlement.

        Answers the payment 'succeeded', or 'processing' when the wait ran out. It takes no key: an accepted
        code is known again by the payment. A wrong code whose answer is lost can cost another attempt.
        """
        path = queried(f"/v1/payments/{part(payment_id)}/confirm", wait=f"{wait_s:.3f}")
        return await self._call(Payment, Request("POST", path, {"code": code}, wait_s=wait_s))

    async def resend_code(self, *, payment_id: str, idempotency_key: str | None = None) -> Payment:
        """Have a fresh code sent; the old one is dead, the attempts stay."""
        return await self._post(Payment, f"/v1/payments/{part(payment_id)}/resend", key=idempotency_key)

    async def cancel_payment(self, *, payment_id: str, idempotency_key: str | None = None) -> Payment:
        """Give up a payment that waits for its code."""
        return await self._post(Payment, f"/v1/payments/{part(payment_id)}/cancel", key=idempotency_key)

    async def list_payments(self, *, limit: int = 20, cursor: str = "") -> Page[Payment]:
        """List the user's payments, newest first."""
        return await self._get(Page[Payment], queried("/v1/payments", limit=limit, cursor=cursor))

    async def get_payment(self, *, payment_id: str, wait_s: float = 0.0) -> Payment:
        """Read a payment, as soon as it is final or set aside, or after the wait as it is."""
        path = queried(f"/v1/payments/{part(payment_id)}", wait=f"{wait_s:.3f}")
        return await self._get(Payment, path, wait_s=wait_s)

    async def list_limits(self, *, limit: int = 20, cursor: str = "") -> Page[Limit]:
        """List the limits that bind the user."""
        return await self._get(Page[Limit], queried("/v1/limits", limit=limit, cursor=cursor))
