"""Invoices of all users."""

from datetime import datetime

from technopay.engine.models import Invoice
from technopay.http.client.calls import Calls, part

INVOICES = "/v1/admin/invoices"


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
