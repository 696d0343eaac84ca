"""The body of a delivery: an event, as its user gets it."""

from technopay.engine.events.subjects import event_of
from technopay.engine.webhooks.models import ClaimedDelivery


def body_of(delivery: ClaimedDelivery) -> bytes:
    """Return the body of a delivery, the same at every attempt."""
    assert delivery.subject is not None
    event = event_of(delivery.event_id, delivery.type, delivery.at_ms, delivery.version, delivery.subject)
    return type(event).__pydantic_serializer__.to_json(event)
