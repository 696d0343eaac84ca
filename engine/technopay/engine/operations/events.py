"""Operations on events."""

from technopay.engine import fields
from technopay.engine.errors import FieldError, ValidationFailed
from technopay.engine.events.cursor import Cursor
from technopay.engine.events.pages import read_page
from technopay.engine.events.subjects import EventTypes, types_in
from technopay.engine.events.subscription import Subscription
from technopay.engine.fields import EventId, PageLimit, UserId
from technopay.engine.models import EventPage
from technopay.engine.operation import operation
from technopay.engine.runtime import Runtime


@operation("rate_limited event_position_unknown validation_failed archive_unavailable")
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


@operation("event_position_unknown validation_failed archive_unavailable")
async def list_events(
    runtime: Runtime, *, after: str | None = None, types: EventTypes | None = None, limit: PageLimit = 20
) -> EventPage:
    """List the events of all users: from the beginning of the journal on, or after a cursor.

    The events of a payment are in their order, and each comes at least once. `types` are separated by commas.
    Go on after `next_cursor`, now or later: nothing is skipped. A page can be short while there is a next one.

    EventPositionUnknown: the store lost what the cursor was behind. Read the records, and begin anew.
    """
    partitions = len(runtime.store.partitions)
    cursor = Cursor.beginning(partitions) if after is None else Cursor.read(after, partitions)
    return await read_page(runtime.store, cursor, types_in(types), limit)


@operation("event_position_unknown validation_failed archive_unavailable")
async def all_events(
    runtime: Runtime, *, after: str | None = None, types: EventTypes | None = None
) -> Subscription:
    """Listen to the events of all users: from now on, or after a cursor.

    As `events`, but resume after the `cursor` of the subscription, which is that after the last event taken.
    """
    cursor = None if after is None else Cursor.read(after, len(runtime.store.partitions))
    return await runtime.feed.listen_to_all(cursor, types_in(types))
