"""Payments of all users."""

from datetime import datetime
from typing import Any, Literal

from technopay.engine.models import OperatorPayment, PaymentStatus
from technopay.engine.record import Page
from technopay.http.client.calls import Calls, part, time_range

PAYMENTS = "/v1/admin/payments"


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
    invoice_id: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    limit: int = 20,
    cursor: str = "",
) -> Page[OperatorPayment]:
    """List payments of all users, newest first. A page can be short while there is a next one.

    `created_from` is the first time of creation that is listed, `created_to` the first one that is not.
    """
    filters: dict[str, Any] = {
        "status": status,
        "user_id": user_id,
        "set_aside": set_aside,
        "invoice_id": invoice_id,
        **time_range(created_from, created_to),
        "limit": limit,
        "cursor": cursor,
    }
    return await self._get(Page[OperatorPayment], PAYMENTS, **filters)


async def find_payment(self: Calls, *, payment_id: str) -> OperatorPayment:
    """Read a payment of any user."""
    return await self._get(OperatorPayment, f"{PAYMENTS}/{part(payment_id)}")
