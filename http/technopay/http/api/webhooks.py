"""Webhooks and their deliveries."""

from technopay.engine import Engine
from technopay.http.api.fields import FieldSpec
from technopay.http.api.route import Call, Route
from technopay.http.auth.tokens import ADMIN
from technopay.http.responses import NO_CONTENT, Response

WEBHOOKS = "/v1/admin/webhooks"
FIELDS = {
    "url": FieldSpec("Where events are sent, by https, at an address of the public internet", "https://example.com/webhooks"),
    "merchant": FieldSpec("Only events of this merchant; without it, of all", "Bookshop"),
    "types": FieldSpec("Only events of these types; without them, or with an empty list, of all"),
}  # fmt: skip
CHANGES = {
    **FIELDS,
    "status": FieldSpec("`paused` keeps events in the journal; `active` goes on with them, also after a 410"),
}
OVERLAP = FieldSpec("How long the earlier secret signs, too, in seconds", 86_400)


async def delete_webhook(call: Call, *, webhook_id: str) -> Response:
    await call.engine.delete_webhook(webhook_id=webhook_id)
    return Response(b"", NO_CONTENT, media="")


WEBHOOK_ROUTES = (
    Route(
        "POST", WEBHOOKS, ADMIN, Engine.create_webhook, status=201, fields=FIELDS,
        description="The answer has the secret that verifies signatures; it is not shown again.",
    ),
    Route("GET", WEBHOOKS, ADMIN, Engine.list_webhooks),
    Route("GET", WEBHOOKS + "/{webhook_id}", ADMIN, Engine.find_webhook),
    Route("PATCH", WEBHOOKS + "/{webhook_id}", ADMIN, Engine.update_webhook, fields=CHANGES),
    Route(
        "DELETE", WEBHOOKS + "/{webhook_id}", ADMIN, Engine.delete_webhook, delete_webhook, status=NO_CONTENT
    ),
    Route(
        "POST", WEBHOOKS + "/{webhook_id}/rotate", ADMIN, Engine.rotate_webhook_secret,
        fields={"overlap_s": OVERLAP},
        description="The answer has the new secret. Until the overlap ends, signatures by both are sent.",
    ),
    Route("GET", WEBHOOKS + "/{webhook_id}/deliveries", ADMIN, Engine.list_deliveries),
    Route(
        "POST", WEBHOOKS + "/{webhook_id}/deliveries/{delivery_id}/send", ADMIN, Engine.send_delivery_again,
        description="All its attempts start anew, now. A delivery that is not dead stays as it is.",
    ),
    Route(
        "POST", WEBHOOKS + "/{webhook_id}/send", ADMIN, Engine.send_dead_deliveries_again,
        description="All attempts of each one start anew, now.",
    ),
)  # fmt: skip
