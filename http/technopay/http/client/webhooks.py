"""The operations on webhooks, which need a token with the scope `admin`."""

from collections.abc import Sequence
from typing import Any, Literal

from technopay.engine.record import Page
from technopay.engine.webhooks.models import Delivery, DeliveryStatus, Resent, Webhook
from technopay.http.client.calls import Calls, part

WEBHOOKS = "/v1/admin/webhooks"
OVERLAP_S = 86_400


async def create_webhook(
    self: Calls,
    *,
    url: str,
    merchant: str | None = None,
    types: Sequence[str] | None = None,
    idempotency_key: str | None = None,
) -> Webhook:
    """Create a webhook; the answer has its secret, which is not shown again."""
    body = {"url": url, "merchant": merchant, "types": types}
    return await self._post(Webhook, WEBHOOKS, body, key=idempotency_key)


async def list_webhooks(self: Calls, *, limit: int = 20, cursor: str = "") -> Page[Webhook]:
    """List webhooks, newest first."""
    return await self._get(Page[Webhook], WEBHOOKS, limit=limit, cursor=cursor)


async def find_webhook(self: Calls, *, webhook_id: str) -> Webhook:
    """Read a webhook."""
    return await self._get(Webhook, f"{WEBHOOKS}/{part(webhook_id)}")


async def update_webhook(
    self: Calls,
    *,
    webhook_id: str,
    url: str | None = None,
    types: Sequence[str] | None = None,
    status: Literal["active", "paused"] | None = None,
) -> Webhook:
    """Change a webhook; what is None stays."""
    body = {"url": url, "types": types, "status": status}
    return await self._patch(Webhook, f"{WEBHOOKS}/{part(webhook_id)}", body)


async def delete_webhook(self: Calls, *, webhook_id: str) -> None:
    """Delete a webhook with its deliveries."""
    await self._delete(f"{WEBHOOKS}/{part(webhook_id)}")


async def rotate_webhook_secret(
    self: Calls, *, webhook_id: str, overlap_s: int = OVERLAP_S, idempotency_key: str | None = None
) -> Webhook:
    """Replace the secret of a webhook; the answer has the new one, which is not shown again."""
    path = f"{WEBHOOKS}/{part(webhook_id)}/rotate"
    return await self._post(Webhook, path, {"overlap_s": overlap_s}, key=idempotency_key)


async def list_deliveries(
    self: Calls, *, webhook_id: str, status: DeliveryStatus | None = None, limit: int = 20, cursor: str = ""
) -> Page[Delivery]:
    """List the deliveries of a webhook, newest event first."""
    filters: dict[str, Any] = {"status": status, "limit": limit, "cursor": cursor}
    return await self._get(Page[Delivery], f"{WEBHOOKS}/{part(webhook_id)}/deliveries", **filters)


async def send_delivery_again(
    self: Calls, *, webhook_id: str, delivery_id: str, idempotency_key: str | None = None
) -> Delivery:
    """Send a dead delivery again; one that is not dead stays as it is."""
    path = f"{WEBHOOKS}/{part(webhook_id)}/deliveries/{part(delivery_id)}/send"
    return await self._post(Delivery, path, key=idempotency_key)


async def send_dead_deliveries_again(
    self: Calls, *, webhook_id: str, idempotency_key: str | None = None
) -> Resent:
    """Send all dead deliveries of a webhook again."""
    return await self._post(Resent, f"{WEBHOOKS}/{part(webhook_id)}/send", key=idempotency_key)
