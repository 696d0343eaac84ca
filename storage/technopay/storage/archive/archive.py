"""The archive: the whole journal and the last state of every payment and invoice, in a database of SQL."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from technopay.engine.values import BEGINNING, JournalEntry, Position
from technopay.storage.archive.database import ArchiveUnfit, Change, Database, Row
from technopay.storage.archive.postgresql import PostgresDatabase
from technopay.storage.archive.rows import (
    ArchivePosition,
    Record,
    event_rows,
    first_chain,
    invoice_row,
    payment_row,
    record_rows,
)
from technopay.storage.archive.schema import ADD_ONCE, create_or_raise
from technopay.storage.archive.sqlite import SqliteDatabase
from technopay.storage.schema import next_incarnation

IDENTITY = ("incarnation", "partitions", "timezone")
"""What the meta record of a store and its archive have in common."""
ORIGIN = "origin"
"""The incarnation of the store when the archive was made, from which the chains begin."""
FOLLOWED_MAX = 64
FOLLOW = "UPDATE archive SET value = $1 WHERE name = 'incarnation' AND value = $2"
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
MOVE = (
    "UPDATE positions SET entry_ms = $3, entry_number = $4, chain = $5, entries = $6"
    " WHERE partition = $1 AND chain = $2"
)


def _insert(table: str, columns: int) -> str:
    values = ", ".join(f"${number}" for number in range(1, columns + 1))
    return f"INSERT INTO {table} VALUES ({values})"  # noqa: S608


def _upsert(table: str, columns: Sequence[str]) -> str:
    """Return a statement that replaces a record, unless the row was read later."""
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    return (
        f"{_insert(table, len(columns))} ON CONFLICT (partition, id) DO UPDATE SET {updates}"
        f" WHERE (excluded.read_ms, excluded.read_number) >= ({table}.read_ms, {table}.read_number)"
    )


WITH_RECORD = ("record", "read_ms", "read_number", "digest")
PAYMENT_COLUMNS = (
    "id", "partition", "user_id", "wallet_id", "invoice_id", "merchant", "amount", "refunded_amount",
    "currency", "status", "created_at_ms", "paid_at_ms", "settled_at_ms", *WITH_RECORD,
)  # fmt: skip
INVOICE_COLUMNS = (
    "id", "partition", "user_id", "merchant", "reference", "description", "amount", "currency", "status",
    "created_at_ms", "expires_at_ms", "paid_at_ms", "payment_id", *WITH_RECORD,
)  # fmt: skip
ADD_EVENT = _insert("events", 8)
READ_BACK = (
    "SELECT entry_ms, entry_number, chain FROM events WHERE partition = $1"
    " AND (entry_ms, entry_number) > ($2, $3) AND (entry_ms, entry_number) <= ($4, $5)"
    " ORDER BY entry_ms, entry_number"
)
PUT_PAYMENT = _upsert("payments", PAYMENT_COLUMNS)
PUT_INVOICE = _upsert("invoices", INVOICE_COLUMNS)


class Archive:
    """An archive of one store. `async with` opens and closes it; every method can raise ArchiveUnavailable."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._identity: Mapping[str, str] = {}
        self._binding = asyncio.Lock()

    @classmethod
    def at(cls, place: str) -> Self:
        """Make an archive by a `postgresql://` URL or the path of a SQLite file."""
        is_postgres = place.startswith(POSTGRES_SCHEMES)
        return cls(PostgresDatabase(place) if is_postgres else SqliteDatabase(Path(place)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._identity = {}
        await self.database.aclose()

    async def bind(self, meta: Mapping[str, str]) -> None:
        """Open the archive of the store with this meta record; a new one is created.

        Raises:
            ArchiveUnfit: it is the archive of another store.

        """
        identity = {name: meta[name] for name in IDENTITY}
        async with self._binding:
            if self._identity != identity:
                await self._bind(identity)
                self._identity = identity

    async def _bind(self, identity: Mapping[str, str]) -> None:
        await self.database.open()
        await create_or_raise(self.database)
        await self.database.write([Change(ADD_ONCE, [*identity.items(), (ORIGIN, identity["incarnation"])])])
        kept = await self._follow((await self.read_meta()), identity["incarnation"])
        for name, ours in identity.items():
            if kept.get(name) != ours:
                raise ArchiveUnfit(
                    f"the archive is of another store: it has {name} {kept.get(name)}, the store {ours}"
                )
        firsts = [
            (number, *BEGINNING, first_chain(kept[ORIGIN], number), 0)
            for number in range(int(identity["partitions"]))
        ]
        await self.database.write(
            [Change(f"{_insert('positions', 5)} ON CONFLICT (partition) DO NOTHING", firsts)]
        )

    async def _follow(self, kept: Mapping[str, str], incarnation: str) -> Mapping[str, str]:
        """Take over the incarnation of the store, if it follows from the one that the archive has.

        A migration or an accepted loss gives a store the next one. Whether the archive still has the same
        history is compared before anything is added.
        """
        successor = kept["incarnation"]
        for _ in range(FOLLOWED_MAX):
            successor = next_incarnation(successor)
            if successor == incarnation:
                followed = Change(FOLLOW, [(incarnation, kept["incarnation"])], is_condition=True)
                await self.database.write([followed])
                return {**kept, "incarnation": incarnation}
        return kept

    async def read_meta(self) -> Mapping[str, str]:
        """Read what the archive says of its store."""
        return {row[0]: row[1] for row in await self.database.fetch("SELECT name, value FROM archive")}

    async def read_position(self, partition: int) -> ArchivePosition:
        ((entry_ms, entry_number, chain, entries),) = await self.database.fetch(
            "SELECT entry_ms, entry_number, chain, entries FROM positions WHERE partition = $1", partition
        )
        return ArchivePosition(Position(entry_ms, entry_number), chain, entries)

    async def read_events(self, partition: int, after: Position, limit: int) -> Sequence[Row]:
        """Read the rows of `events` behind a position, in order."""
        return await self.database.fetch(
            "SELECT * FROM events WHERE partition = $1 AND (entry_ms, entry_number) > ($2, $3)"
            " ORDER BY entry_ms, entry_number LIMIT $4",
            partition, *after, limit,
        )  # fmt: skip

    async def read_event(self, partition: int, position: Position) -> Sequence[Row]:
        """Read the row of `events` at a position, if there is one."""
        return await self.database.fetch(
            "SELECT * FROM events WHERE partition = $1 AND entry_ms = $2 AND entry_number = $3",
            partition, *position,
        )  # fmt: skip

    async def read_table(self, table: str, partition: int, batch: int) -> AsyncIterator[Row]:
        """Read the rows of `payments` or `invoices` of a partition, by id."""
        last = ""
        statement = f"SELECT * FROM {table} WHERE partition = $1 AND id > $2 ORDER BY id LIMIT $3"  # noqa: S608
        while rows := await self.database.fetch(statement, partition, last, batch):
            for row in rows:
                yield row
            last = rows[-1][0]

    async def find_ids(self, table: str, partition: int, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that `payments` or `invoices` has."""
        places = ", ".join(f"${number}" for number in range(2, len(ids) + 2))
        statement = f"SELECT id FROM {table} WHERE partition = $1 AND id IN ({places})"  # noqa: S608
        return {row[0] for row in await self.database.fetch(statement, partition, *ids)}

    async def append(
        self,
        partition: int,
        entries: Sequence[JournalEntry],
        records: Sequence[Record],
        before: ArchivePosition,
    ) -> ArchivePosition | None:
        """Add the next entries of a journal, with the records that they changed; return the new position.

        The entries count as archived after a durable commit, from which they were read back. Return None if
        another process archived them meanwhile; then nothing was added.

        Raises:
            ArchiveUnfit: the archive does not have what was committed.

        """
        rows = event_rows(partition, entries, before.chain)
        position = ArchivePosition(Position(rows[-1][1], rows[-1][2]), rows[-1][-1], before.entries + len(rows))
        moved = (partition, before.chain, *position.position, position.chain, position.entries)
        changes = [
            Change(MOVE, [moved], is_condition=True),
            Change(ADD_EVENT, rows),
            Change(PUT_PAYMENT, record_rows(partition, records, "pay_", payment_row)),
            Change(PUT_INVOICE, record_rows(partition, records, "inv_", invoice_row)),
        ]
        if not await self.database.write([each for each in changes if each.rows]):
            return None
        kept = await self.database.fetch(READ_BACK, partition, *before.position, *position.position)
        if [tuple(row) for row in kept] != [(row[1], row[2], row[-1]) for row in rows]:
            raise ArchiveUnfit(f"the archive lost entries behind {before.position} after their commit")
        return position
