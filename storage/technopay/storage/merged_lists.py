"""Lists over all partitions, newest first: a merge of the lists of the partitions.

The order is total: by time, then by partition. So one place in it is a position in every partition, and one
cursor is enough.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from technopay.engine.fields import named_partition
from technopay.engine.ports import Outcome
from technopay.engine.reads import ListMessages, SearchInvoices, SearchPayments, SearchUsers, SearchWallets
from technopay.engine.record import Page
from technopay.engine.values import Position
from technopay.engine.webhooks.commands import ListDeliveries
from technopay.storage.partition import Partition

ROUNDS_MAX = 8
"""How often the partitions are read for one page; after that, it can be short while there is a next one."""

Listing = SearchPayments | SearchInvoices | SearchWallets | SearchUsers | ListMessages | ListDeliveries


class Place(NamedTuple):
    """The place of an item: its key within a partition, and the partition."""

    key: Any
    partition: int


class Order(Protocol):
    """The order of a kind of list."""

    def place_of(self, name: str, partition: int) -> Place:
        """Return the place of an item of a partition, by its journal entry or its id."""

    def read_cursor(self, cursor: str) -> Place: ...

    def write_cursor(self, place: Place) -> str: ...

    def cursor_in(self, place: Place, partition: int) -> str:
        """Return the cursor of one partition for the items behind a place."""


class JournalOrder:
    """Items by their entries of the journals; the cursor is `<entry>.<partition>`."""

    def place_of(self, name: str, partition: int) -> Place:
        return Place(Position.of(name), partition)

    def read_cursor(self, cursor: str) -> Place:
        entry, _, partition = cursor.partition(".")
        return Place(Position.of(entry), int(partition or "0", 16))

    def write_cursor(self, place: Place) -> str:
        return f"{place.key}.{place.partition:02x}"

    def cursor_in(self, place: Place, partition: int) -> str:
        at_ms, number = place.key
        return str(Position(at_ms, number + 1 if partition < place.partition else number))


class IndexOrder:
    """Payments by their ids behind the partition, which begin with the time; the cursor is an id."""

    def place_of(self, name: str, partition: int) -> Place:
        return Place(name[6:], partition)

    def read_cursor(self, cursor: str) -> Place:
        return Place(cursor[6:], named_partition(cursor))

    def write_cursor(self, place: Place) -> str:
        return f"pay_{place.partition:02x}{place.key}"

    def cursor_in(self, place: Place, partition: int) -> str:
        return f"pay_{partition:02x}{place.key}" + ("\x00" if partition < place.partition else "")


@dataclass(slots=True)
class Part:
    """What was read of one partition, from the first item behind the cursor on."""

    partition: Partition
    cursor: str
    items: list[tuple[Place, Any]] = field(default_factory=list)
    end: Place | None = None
    """The place up to which it was read; None at its end."""


async def merge(partitions: Sequence[Partition], command: Listing) -> Outcome[Page[Any]]:
    """List the newest items of all partitions behind the cursor of a command."""
    is_index = isinstance(command, SearchPayments) and bool(command.set_aside)
    order: Order = IndexOrder() if is_index else JournalOrder()
    start = order.read_cursor(command.cursor) if command.cursor else None
    parts = [Part(each, order.cursor_in(start, each.number) if start else "") for each in partitions]
    share = replace(command, limit=command.limit // len(parts) + 2)
    behind = parts
    for _ in range(ROUNDS_MAX):
        await asyncio.gather(*(_read(part, share, order) for part in behind))
        # Up to here every partition was read.
        bound = max((part.end for part in parts if part.end is not None), default=None)
        items = [item for part in parts for item in part.items if bound is None or item[0] >= bound]
        if bound is None or len(items) >= command.limit:
            break
        behind = [part for part in parts if part.end == bound]
    items.sort(key=lambda item: item[0], reverse=True)
    shown = items[: command.limit]
    end = shown[-1][0] if len(items) > len(shown) or (bound and len(items) == command.limit) else bound
    next_cursor = order.write_cursor(end) if end else None
    page = Page[Any](data=[item for _, item in shown], has_more=end is not None, next_cursor=next_cursor)
    return Outcome("ok", page)


async def _read(part: Part, command: Listing, order: Order) -> None:
    own, number = replace(command, cursor=part.cursor), part.partition.number
    reply = await part.partition.read(own)
    found, part.cursor, names = reply.body
    for raw, name in zip(found, names, strict=True):
        page: Any = part.partition.decode(own, reply._replace(body=[[raw], ""])).value
        # An unreadable record is left out.
        part.items += [(order.place_of(name, number), item) for item in page.data]
    part.end = order.place_of(part.cursor, number) if part.cursor else None
