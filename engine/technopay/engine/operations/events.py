"""Operations on events."""

from technopay.engine import fields
from technopay.engine.errors import FieldError, ValidationFailed
from technopay.engine.events.feed import Subscription
from technopay.engine.fields import EventId, UserId
from technopay.engine.operation import operation
from technopay.engine.runtime import Runtime


@operation("rate_limited event_position_unknown validation_failed")
async def events(runtime: Runtime, *, user_id: UserId, after: EventId | None = None) -> Subscription:
    """Listen to the changes of a user's payments and invoices: from now on, or after an earlier event.

        async with await engine.events(user_id="alice") as events:
            async for event in events: ...

    The iteration ends when the engine drains or the listener is too slow. Resume `after` the last event's
    id: nothing is lost. Close the subscription: the number per user is bounded.

    EventPositionUnknown: the store lost that event. Read the records, and listen from now on.
    """
    seen = fields.EVENT_ID.fullmatch(after or "")
    if seen and int(seen[1], 16) != runtime.store.partition_of(user_id):
        raise ValidationFailed([FieldError("after", fields.EVENT_ID_RULE)])
    return await runtime.feed.listen(user_id, after)
