"""The body of a delivery: an event, as its user gets it."""

from collections.abc import Mapping
from typing import Any

from technopay.engine.models import Event, InvoiceEvent, PaymentEvent
from technopay.engine.record import from_ms
from technopay.engine.webhooks.models import ClaimedDelivery

EVENT_FORMS: Mapping[str, tuple[type[Event], str]] = {
    "pay_": (PaymentEvent, "payment"),
    "inv_": (InvoiceEvent, "invoice"),
}
"""The model of an event and its field for the subject, by the beginning of the subject's id."""


def body_of(delivery: ClaimedDelivery) -> bytes:
    """Return the body of a delivery, the same at every attempt."""
    assert delivery.subject is not None
    event_type, name = EVENT_FORMS[delivery.subject.id[:4]]
    values: dict[str, Any] = {
        "id": delivery.event_id,
        "type": delivery.type,
        "at": from_ms(delivery.at_ms),
        "version": delivery.version,
        name: delivery.subject,
    }
    return event_type.__pydantic_serializer__.to_json(event_type.trusted(**values))
