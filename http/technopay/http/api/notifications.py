"""Notifications: the messages to users."""

from technopay.engine import Engine
from technopay.http.api.route import Route
from technopay.http.auth.tokens import ADMIN

NOTIFICATION_ROUTES = (
    Route("GET", "/v1/admin/notifications", ADMIN, Engine.list_messages, name="list_notifications"),
    Route(
        "POST", "/v1/admin/notifications/{message_id}/send", ADMIN, Engine.send_message_again,
        name="send_notification",
        description="All its attempts start anew, now. A message that is not dead stays as it is.",
    ),
)  # fmt: skip
