"""Notifications: the messages to users."""

from typing import Any, Literal

from technopay.engine.errors import MessageNotFound
from technopay.engine.models import Message
from technopay.engine.record import Page
from technopay.http.client.calls import Calls, part
from technopay.http.problems import NotFound

NOTIFICATIONS = "/v1/admin/notifications"


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
