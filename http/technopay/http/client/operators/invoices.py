"""Invoices of all users."""

from datetime import datetime
from typing import Any

from technopay.engine.models import Invoice, InvoiceStatus
from technopay.engine.record import Page
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
    metadata: dict[str, str] | None = None,
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
        "metadata": metadata,
    }
    return await self._post(Invoice, INVOICES, body, key=idempotency_key)


async def find_invoice(self: Calls, *, invoice_id: str) -> Invoice:
    """Read an invoice of any user."""
    return await self._get(Invoice, f"{INVOICES}/{part(invoice_id)}")


async def search_invoices(
    self: Calls,
    *,
    user_id: str | None = None,
    merchant: str | None = None,
    reference: str | None = None,
    status: InvoiceStatus | None = None,
    limit: int = 20,
    cursor: str = "",
) -> Page[Invoice]:
    """List invoices of all users, newest first. A page can be short while there is a next one.

    Merchant and reference together list the invoice that has the reference now.
    """
    filters: dict[str, Any] = {
        "user_id": user_id,
        "merchant": merchant,
        "reference": reference,
        "status": status,
        "limit": limit,
        "cursor": cursor,
    }
    return await self._get(Page[Invoice], INVOICES, **filters)


async def void_invoice(self: Calls, *, invoice_id: str, idempotency_key: str | None = None) -> Invoice:
    """Void an invoice; a payment of it that waits for its code is canceled."""
    return await self._post(Invoice, f"{INVOICES}/{part(invoice_id)}/void", key=idempotency_key)
