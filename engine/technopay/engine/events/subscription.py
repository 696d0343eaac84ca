"""A subscription: the events that wait for one listener, and its places in the journals."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from technopay.engine.events.cursor import pack, write
from technopay.engine.events.subjects import event_id
from technopay.engine.models import Event
from technopay.engine.values import Position


class Place:
    """The place of a subscription in the journal of one partition."""

    def __init__(self, subscription: "Subscription", partition: int) -> None:
        self.subscription = subscription
        self.partition = partition
        self.position: Position | None = None
        """The last position read for the listener; None until the first one is known."""
        self.turn = 0
        """When it was read as a late one; the lowest is next."""
        self.packed = b""
        """The position to resume after, as in a cursor."""
        self.resumes_after = ""
        self.waiting = 0

    def begin(self, position: Position) -> None:
        self.position = position
        self.resume_after(position)

    def resume_after(self, position: Position) -> None:
        """Set the position to resume after: all events up to it are taken."""
        self.packed, self.resumes_after = pack(position), str(position)

    def pass_over(self, end: Position) -> None:
        """Note that there is nothing more for the listener up to a position."""
        assert self.position is not None, "the journal is read only after the first position is known"
        self.position = max(self.position, end)
        # The events of one user have their own ids as places to resume after.
        if not self.waiting and self.subscription.user_id is None:
            self.resume_after(self.position)


class Waiting(NamedTuple):
    """An event that waits for the listener."""

    event: Event
    place: Place
    position: Position


class Subscription:
    """The events of one user or of all users, in order for each of them. Close it: their number is bounded.

    The iteration ends when the engine drains or the listener is too slow. Resume after the `cursor`.
    """

    def __init__(
        self,
        user_id: str | None,
        types: Collection[str],
        partitions: Sequence[int],
        on_taken: "Callable[[Subscription], None]",
        on_closed: "Callable[[Subscription], None]",
    ) -> None:
        self.user_id = user_id
        """None: all users."""
        self.types = types
        self.places = [Place(self, each) for each in partitions]
        self.taken_at_s = 0.0
        self._on_taken = on_taken
        self._on_closed = on_closed
        self._waiting: deque[Waiting] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def cursor(self) -> str:
        """Where to resume: after the last event taken, for one user its id."""
        if self.user_id is None:
            return write([place.packed for place in self.places], len(self.places))
        [place] = self.places
        return event_id(place.partition, place.resumes_after)

    async def aclose(self) -> None:
        """End the subscription and drop waiting events. Can be called more than once."""
        self._waiting.clear()
        self._on_closed(self)

    def put(self, event: Event, place: Place, position: Position) -> None:
        place.waiting += 1
        self._waiting.append(Waiting(event, place, position))
        self._changed.set()

    def end(self) -> None:
        """End the iteration after the waiting events."""
        self._has_ended = True
        self._changed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._has_ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        # No await from here on: a cancelled wait loses no event.
        self._on_taken(self)
        event, place, position = self._waiting.popleft()
        place.waiting -= 1
        place.resume_after(position)
        return event
