"""Events of all users."""

from technopay.engine import EventPage
from technopay.http.client.calls import Calls, with_query
from technopay.http.client.events import ALL_PATH, AllEvents


async def list_events(
    self: Calls, *, after: str | None = None, types: str | None = None, limit: int = 20
) -> EventPage:
    """List the events of all users, from the beginning or after a cursor; `types` are separated by commas."""
    return await self._get(EventPage, ALL_PATH, after=after, types=types, limit=limit)


def all_events(self: Calls, *, after: str | None = None, types: str | None = None) -> AllEvents:
    """Listen to the events of all users: from now on, or after a cursor; `types` are separated by commas.

    As `events`. After a failure, go on after the `cursor` of the stream.
    """
    return AllEvents(self._transport, with_query(ALL_PATH, {"types": types}), after)
