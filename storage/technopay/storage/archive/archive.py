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
    from_json,
    invoice_row,
    payment_row,
    record_rows,
)
from technopay.storage.archive.schema import ADD_ONCE, create_or_raise, require_schema
from technopay.storage.archive.sqlite import SqliteDatabase
from technopay.storage.schema import next_incarnation

IDENTITY = ("incarnation", "partitions", "timezone")
"""The fields of the meta record of a store that its archive has, too."""
ORIGIN = "origin"
"""The incarnation of the store when the archive was made, from which the chains begin."""
FOLLOWED_MAX = 64
FOLLOW = "UPDATE archive SET value = $1 WHERE name = 'incarnation' AND value <> $1"
LAST = Position(2**63 - 1, 2**63 - 1)
READ_POSITIONS = "SELECT partition, entry_ms, entry_number, chain, entries FROM positions"
NO_POSITION = "the archive has no position of partition {:02x}"
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
ENDED = {
    "payments": "paid_at_ms IS NOT NULL AND status IN ('succeeded', 'refunded', 'failed')",
    "invoices": "status IN ('paid', 'void')",
}
"""The rows of records that can leave the store, see drop_records.lua."""
BEHIND_ALL_IDS = "~"
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
COUNT_BEHIND = (
    "SELECT (SELECT count(*) FROM events WHERE partition = $1 AND (entry_ms, entry_number) > ($2, $3)), entries"
    " FROM positions WHERE partition = $1"
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
    def at(cls, location: str) -> Self:
        """Make an archive by a `postgresql://` URL or the path of a SQLite file."""
        is_postgres = location.startswith(POSTGRES_SCHEMES)
        return cls(PostgresDatabase(location) if is_postgres else SqliteDatabase(Path(location)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._identity = {}
        await self.database.aclose()

    async def bind(self, meta: Mapping[str, str], *, creates: bool = True) -> None:
        """Open the archive of the store with this meta record.

        Raises:
            ArchiveUnfit: it is the archive of another store, or there is none and it is not to be created.

        """
        identity = {name: meta[name] for name in IDENTITY}
        async with self._binding:
            if self._identity != identity:
                await self._bind(identity, creates=creates)
                self._identity = identity

    async def _bind(self, identity: Mapping[str, str], *, creates: bool) -> None:
        await self.database.open(creates=creates)
        if creates:
            await create_or_raise(self.database)
            await self.database.write(
                [Change(ADD_ONCE, [*identity.items(), (ORIGIN, identity["incarnation"])])]
            )
        else:
            await require_schema(self.database)
        kept = await self.read_meta()
        for name, ours in identity.items():
            found = kept.get(name)
            if found != ours and not (name == "incarnation" and _follows(ours, found or "")):
                raise ArchiveUnfit(f"the archive is of another store: it has {name} {found}, the store {ours}")
        if creates:
            firsts = [
                (number, *BEGINNING, first_chain(kept[ORIGIN], number), 0)
                for number in range(int(identity["partitions"]))
            ]
            once = f"{_insert('positions', 5)} ON CONFLICT (partition) DO NOTHING"
            await self.database.write([Change(once, firsts)])

    async def follow(self, meta: Mapping[str, str]) -> None:
        """Take over the incarnation of the store, whose history was compared with the archive.

        A migration or an accepted loss gives a store the next one.
        """
        await self.database.write([Change(FOLLOW, [(meta["incarnation"],)])])

    async def read_meta(self) -> Mapping[str, str]:
        """Read the schema of the archive and the identity of its store."""
        return {row[0]: row[1] for row in await self.database.fetch("SELECT name, value FROM archive")}

    async def read_positions(self) -> Mapping[int, ArchivePosition]:
        """Read up to which entry each partition is archived.

        Raises:
            ArchiveUnfit: one is missing.

        """
        rows = await self.database.fetch(READ_POSITIONS)
        found = {row[0]: _position_from(row) for row in rows}
        for number in range(int(self._identity["partitions"])):
            if number not in found:
                raise ArchiveUnfit(NO_POSITION.format(number))
        return found

    async def read_position(self, partition: int) -> ArchivePosition:
        """Read up to which entry a partition is archived.

        Raises:
            ArchiveUnfit: it is missing.

        """
        rows = await self.database.fetch(f"{READ_POSITIONS} WHERE partition = $1", partition)
        if not rows:
            raise ArchiveUnfit(NO_POSITION.format(partition))
        return _position_from(rows[0])

    async def read_events(
        self, partition: int, after: Position, limit: int, until: Position = LAST
    ) -> Sequence[Row]:
        """Read the rows of `events` behind a position, up to another one, in order."""
        return await self.database.fetch(
            "SELECT * FROM events WHERE partition = $1 AND (entry_ms, entry_number) > ($2, $3)"
            " AND (entry_ms, entry_number) <= ($4, $5) ORDER BY entry_ms, entry_number LIMIT $6",
            partition, *after, *until, limit,
        )  # fmt: skip

    async def read_event(self, partition: int, position: Position) -> Row | None:
        """Read the row of `events` at a position, if there is one."""
        rows = await self.database.fetch(
            "SELECT * FROM events WHERE partition = $1 AND entry_ms = $2 AND entry_number = $3",
            partition, *position,
        )  # fmt: skip
        return rows[0] if rows else None

    async def read_events_at(self, partition: int, positions: Sequence[Position]) -> Sequence[Row]:
        """Read the rows of `events` at these positions."""
        if not positions:
            return []
        # PostgreSQL takes parameters in VALUES for texts.
        places = ", ".join(
            f"(CAST(${number} AS BIGINT), CAST(${number + 1} AS BIGINT))"
            for number in range(2, 2 * len(positions) + 2, 2)
        )
        statement = (
            f"SELECT * FROM events WHERE partition = $1 AND (entry_ms, entry_number) IN (VALUES {places})"  # noqa: S608
        )
        return await self.database.fetch(statement, partition, *(each for pair in positions for each in pair))

    async def read_events_backwards(
        self, partition: int, before: Position, limit: int, until: Position
    ) -> Sequence[Row]:
        """Read the rows of `events` before a position, and not behind another one, newest first."""
        return await self.database.fetch(
            "SELECT * FROM events WHERE partition = $1 AND (entry_ms, entry_number) < ($2, $3)"
            " AND (entry_ms, entry_number) <= ($4, $5) ORDER BY entry_ms DESC, entry_number DESC LIMIT $6",
            partition, *before, *until, limit,
        )  # fmt: skip

    async def read_last_event(self, partition: int, until: Position) -> ArchivePosition | None:
        """Return the position of the last row of `events` that is not behind another position."""
        rows = await self.read_events_backwards(partition, LAST, 1, until)
        if not rows:
            return None
        _, entry_ms, entry_number, *_, chain = rows[0]
        return ArchivePosition(Position(entry_ms, entry_number), chain, 0)

    async def read_table(self, table: str, partition: int, batch: int) -> AsyncIterator[Row]:
        """Read the rows of `payments` or `invoices` of a partition, by id."""
        last = ""
        statement = f"SELECT * FROM {table} WHERE partition = $1 AND id > $2 ORDER BY id LIMIT $3"  # noqa: S608
        while rows := await self.database.fetch(statement, partition, last, batch):
            for row in rows:
                yield row
            last = rows[-1][0]

    async def count_behind(self, partition: int, before: ArchivePosition) -> tuple[int, int]:
        """Count the events behind an earlier position, and those that were added since."""
        ((later, entries),) = await self.database.fetch(COUNT_BEHIND, partition, *before.position)
        return int(later), int(entries) - before.entries

    async def count_outside(self, table: str, partitions: int) -> int:
        """Count the rows of no partition of the store."""
        statement = f"SELECT count(*) FROM {table} WHERE partition < 0 OR partition >= $1"  # noqa: S608
        ((count,),) = await self.database.fetch(statement, partitions)
        return int(count)

    async def find_ids(self, table: str, partition: int, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that `payments` or `invoices` has."""
        places = ", ".join(f"${number}" for number in range(2, len(ids) + 2))
        statement = f"SELECT id FROM {table} WHERE partition = $1 AND id IN ({places})"  # noqa: S608
        return {row[0] for row in await self.database.fetch(statement, partition, *ids)}

    async def list_ended(
        self, partition: int, table: str, column: str, value: str, cursor: str, limit: int
    ) -> Sequence[str]:
        """List the ids of `payments` or `invoices` that ended, before a cursor, newest first."""
        statement = (
            f"SELECT id FROM {table} WHERE {column} = $1 AND id COLLATE BINARY < $2 AND partition = $3"  # noqa: S608
            f" AND {ENDED[table]} ORDER BY id COLLATE BINARY DESC LIMIT $4"
        )
        rows = await self.database.fetch(statement, value, cursor or BEHIND_ALL_IDS, partition, limit)
        return [row[0] for row in rows]

    async def find_paid_invoice(self, merchant: str, reference: str) -> str | None:
        """Return the paid invoice of a merchant's reference."""
        rows = await self.database.fetch(
            "SELECT id FROM invoices WHERE merchant = $1 AND reference = $2 AND status = 'paid'",
            merchant, reference,
        )  # fmt: skip
        return rows[0][0] if rows else None

    async def read_invoices_of(self, partition: int, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the invoices of those of these payments that the archive has."""
        places = ", ".join(f"${number}" for number in range(2, len(ids) + 2))
        statement = f"SELECT id, invoice_id FROM payments WHERE partition = $1 AND id IN ({places})"  # noqa: S608
        return {row[0]: row[1] for row in await self.database.fetch(statement, partition, *ids)}

    async def read_records(self, partition: int, ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return those of these payments and invoices that the archive has, as they were read last."""
        if not ids:
            return {}
        places, found = ", ".join(f"${number}" for number in range(2, len(ids) + 2)), {}
        for table in ("payments", "invoices"):
            statement = f"SELECT id, record FROM {table} WHERE partition = $1 AND id IN ({places})"  # noqa: S608
            rows = await self.database.fetch(statement, partition, *ids)
            found.update({row[0]: from_json(row[1]) for row in rows})
        return found

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


def _position_from(row: Row) -> ArchivePosition:
    return ArchivePosition(Position(row[1], row[2]), row[3], row[4])


def _follows(incarnation: str, earlier: str) -> bool:
    """Whether a store got an incarnation from this earlier one, by migrations or accepted losses."""
    for _ in range(FOLLOWED_MAX):
        earlier = next_incarnation(earlier)
        if earlier == incarnation:
            return True
    return False
