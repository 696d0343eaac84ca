"""What an archive has of a store: every entry of the journal, and the last state of each record."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.fixtures.archived_store import ODD, ArchivedStore, archived_store, make_history
from support.fixtures.archives import META, rows_of

from technopay.engine.models import Payment
from technopay.engine.values import BEGINNING, JournalEntry, Position
from technopay.storage.archive import schema
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import ArchiveUnfit, Change
from technopay.storage.archive.rows import Record, event_rows, record_digest

PAYMENT = {
    "user": "alice", "wallet": "wal_001", "invoice": "inv_001", "merchant": "shop", "amount": "100",
    "currency": "EUR", "status": "processing", "created_at": "1",
}  # fmt: skip


@pytest.fixture
async def archive(archive_location: str) -> AsyncIterator[Archive]:
    """The archive of a store with two partitions."""
    async with Archive.at(archive_location) as archive:
        await archive.bind(META)
        yield archive


@pytest.fixture
async def archived(archive_location: str) -> AsyncIterator[ArchivedStore]:
    async with archived_store(archive_location) as archived:
        yield archived


def deposit(number: int, at_ms: int = 1_000) -> JournalEntry:
    fields = {"amount": "5", "balance": str(5 * number)}
    return JournalEntry(f"{at_ms}-{number}", "wallet.deposited", "wal_001", fields)


def ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)


@pytest.mark.parametrize(
    ("name", "value"), [("incarnation", "b" * 16), ("partitions", "4"), ("timezone", "Europe/Berlin")]
)
async def test_the_archive_of_another_store_is_refused_and_stays_as_it_is(
    archive: Archive, archive_location: str, name: str, value: str
) -> None:
    before = await archive.database.fetch("SELECT * FROM positions ORDER BY partition")
    async with Archive.at(archive_location) as other:
        why = f"of another store: it has {name} {META[name]}, the store {value}"
        for _ in range(2):
            with pytest.raises(ArchiveUnfit, match=why):
                await other.bind({**META, name: value})
    assert await archive.database.fetch("SELECT * FROM positions ORDER BY partition") == before
    meta = dict(await archive.read_meta())
    assert (meta.pop("schema"), meta.pop("origin")) == (str(len(schema.VERSIONS)), META["incarnation"])
    assert meta == {name: META[name] for name in ("incarnation", "partitions", "timezone")}


async def test_an_archive_is_bound_again_after_it_was_closed(archive: Archive, archive_location: str) -> None:
    position = await archive.append(0, [deposit(1)], [], await archive.read_position(0))
    await archive.bind(META)
    async with archive:
        pass
    await archive.bind(META)
    assert await archive.read_position(0) == position


async def test_an_append_with_an_old_position_adds_nothing(archive: Archive, archive_location: str) -> None:
    beginning = await archive.read_position(0)
    async with Archive.at(archive_location) as second:
        await second.bind(META)
        first = await archive.append(0, [deposit(1), deposit(2)], [], beginning)
        assert first is not None
        assert await second.append(0, [deposit(1), deposit(2)], [], beginning) is None
        assert await second.append(0, [deposit(1), deposit(2), deposit(3)], [], beginning) is None
        assert await second.read_position(0) == first
        assert first.position == Position(1_000, 2)
        assert first.entries == 2
        after = await second.append(0, [deposit(3)], [], first)
    assert after == await archive.read_position(0)
    for table in ("events", "entries"):
        assert await archive.database.fetch(f"SELECT entry_number FROM {table} ORDER BY 1") == [
            (1,),
            (2,),
            (3,),
        ]
    # The other partition has a chain of its own.
    assert (await archive.read_position(1)).position == BEGINNING
    assert (await archive.read_position(1)).chain != beginning.chain


async def test_entries_that_are_not_there_after_their_commit_are_reported(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = archive.database.write

    async def write_and_lose(changes: Any) -> bool:
        done = await write(changes)
        await write([Change("DELETE FROM events WHERE entry_number = $1", [(2,)])])
        return done

    monkeypatch.setattr(archive.database, "write", write_and_lose)
    with pytest.raises(ArchiveUnfit, match="the archive lost entries behind 0-0"):
        await archive.append(0, [deposit(1), deposit(2)], [], await archive.read_position(0))


async def test_events_are_read_in_order_behind_a_position(archive: Archive) -> None:
    entries = [deposit(number, at_ms) for at_ms in (999, 1_000, 10_000) for number in (0, 2, 10)]
    await archive.append(0, entries, [], await archive.read_position(0))
    ids = [each.id for each in entries]
    for begin in range(len(ids)):
        found = await archive.read_events(0, Position.of(ids[begin]), 4)
        assert [f"{row[1]}-{row[2]}" for row in found] == ids[begin + 1 : begin + 5]
    row = await archive.read_event(0, Position(1_000, 2))
    assert row is not None
    assert row[1:3] == (1_000, 2)
    assert await archive.read_event(0, Position(1_000, 3)) is None
    assert await archive.read_event(1, Position(1_000, 2)) is None


async def test_a_record_that_was_read_earlier_never_replaces_a_later_one(archive: Archive) -> None:
    reads = [
        ("10-5", "processing"),
        ("9-9", "early"),
        ("10-4", "early"),
        ("10-5", "succeeded"),
        ("11-0", "refunded"),
    ]
    seen = []
    for number, (read_at, status) in enumerate(reads, 1):
        record = Record("pay_001", {**PAYMENT, "status": status}, Position.of(read_at))
        await archive.append(0, [deposit(number)], [record], await archive.read_position(0))
        ((found, fields, digest),) = await archive.database.fetch("SELECT status, record, digest FROM payments")
        assert json.loads(fields)["status"] == found
        assert record_digest("pay_001", fields) == digest
        seen.append(found)
    assert seen == ["processing", "processing", "processing", "succeeded", "refunded"]


async def test_a_record_that_cannot_be_read_is_logged_and_left_out(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    records = [Record("pay_001", {"user": "alice"}, Position(1, 0)), Record("pay_002", PAYMENT, Position(1, 0))]
    assert await archive.append(0, [deposit(1)], records, await archive.read_position(0))
    assert await archive.database.fetch("SELECT id FROM payments") == [("pay_002",)]
    assert "the record pay_001 cannot be archived" in caplog.text


async def test_every_entry_is_archived_once_in_a_whole_chain(archived: ArchivedStore) -> None:
    added = 0
    for _ in range(2):
        await make_history(archived.engine, archived.store) if not added else None
        added += await archived.copy()
        await archived.assert_whole()
    assert await archived.copy() == 0
    assert added > 30
    rows = await archived.archive.read_events(0, BEGINNING, 1_000)
    assert len(rows) == added
    assert {ODD, "alice"} <= {value for row in rows for value in json.loads(row[6]).values()}


async def test_a_changed_a_missing_and_an_added_entry_break_the_chain() -> None:
    entries = [deposit(number) for number in (1, 2, 3)]
    end = event_rows(0, entries, "begin")[-1][-1]
    changed = [entries[0], entries[1]._replace(fields={"amount": "6", "balance": "10"}), entries[2]]
    others = [changed, entries[1:], [entries[1], entries[0], entries[2]], [*entries, deposit(4)]]
    others += [[each._replace(type="wallet.adjusted") for each in entries]]
    others += [[each._replace(subject="wal_002") for each in entries]]
    for other in others:
        assert event_rows(0, other, "begin")[-1][-1] != end
    assert event_rows(0, entries, "other")[-1][-1] != end


async def test_wallets_and_their_entries_have_what_the_store_has(archived: ArchivedStore) -> None:
    history = await make_history(archived.engine, archived.store)
    await archived.copy()
    wallet = await archived.engine.find_wallet(wallet_id=history["setup"].wallet_id)
    (row,) = await rows_of(
        archived.archive.database, "SELECT id, user_id, currency, created_at_ms FROM wallets"
    )
    created = ms(wallet.created_at)
    assert row == {"id": wallet.id, "user_id": "alice", "currency": "EUR", "created_at_ms": created}
    page = await archived.engine.search_entries(wallet_id=wallet.id, limit=100)
    rows = await rows_of(
        archived.archive.database,
        "SELECT at_ms, kind, amount, balance_after, payment_id, refund_id, reference, note, operator"
        " FROM entries WHERE wallet_id = $1 ORDER BY entry_ms DESC, entry_number DESC",
        wallet.id,
    )
    assert rows == [
        {
            "at_ms": ms(each.at), "kind": each.kind, "amount": each.amount, "balance_after": each.balance_after,
            "payment_id": each.payment_id, "refund_id": each.refund_id, "reference": each.reference,
            "note": each.note, "operator": each.by,
        }
        for each in page.data
    ]  # fmt: skip
    assert {row["kind"] for row in rows} == {"deposit", "withdrawal", "adjustment", "payment", "refund"}
    assert sum(row["amount"] for row in rows) == wallet.balance
    assert ODD in {row["note"] for row in rows} & {row["reference"] for row in rows}


async def test_payments_have_what_the_store_has(archived: ArchivedStore) -> None:
    history = await make_history(archived.engine, archived.store)
    await archived.copy()
    rows = await rows_of(
        archived.archive.database,
        "SELECT id, user_id, wallet_id, invoice_id, merchant, amount, refunded_amount, currency, status,"
        " created_at_ms, paid_at_ms, settled_at_ms FROM payments ORDER BY created_at_ms, id",
    )
    names = ("paid", "part", "whole", "declined", "canceled")
    payments: list[Payment] = [
        await archived.engine.find_payment(payment_id=history[name].id) for name in names
    ]
    assert rows == [
        {
            "id": each.id, "user_id": "alice", "wallet_id": each.wallet_id, "invoice_id": each.invoice_id,
            "merchant": each.merchant, "amount": each.amount,
            "refunded_amount": sum(refund.amount for refund in each.refunds if refund.status == "done"),
            "currency": "EUR", "status": each.status, "created_at_ms": ms(each.created_at),
            "paid_at_ms": ms(each.paid_at), "settled_at_ms": ms(each.settled_at),
        }
        for each in payments
    ]  # fmt: skip
    assert [row["status"] for row in rows] == ["succeeded", "succeeded", "refunded", "failed", "canceled"]
    assert [row["refunded_amount"] for row in rows] == [0, 1_000, 4_000, 5_000, 0]


async def test_invoices_have_what_the_store_has(archived: ArchivedStore) -> None:
    history = await make_history(archived.engine, archived.store)
    await archived.copy()
    rows = await rows_of(
        archived.archive.database,
        "SELECT id, user_id, merchant, reference, description, amount, currency, status, created_at_ms,"
        " expires_at_ms, paid_at_ms, payment_id FROM invoices ORDER BY created_at_ms, id",
    )
    assert len(rows) == 6
    for row in rows:
        invoice = await archived.engine.find_invoice(invoice_id=row["id"])
        assert row == {
            "id": invoice.id, "user_id": "alice", "merchant": invoice.merchant, "reference": invoice.reference,
            "description": invoice.description, "amount": invoice.amount, "currency": "EUR",
            "status": invoice.status, "created_at_ms": ms(invoice.created_at),
            "expires_at_ms": ms(invoice.expires_at), "paid_at_ms": ms(invoice.paid_at),
            "payment_id": invoice.payment_id if invoice.status == "paid" else None,
        }  # fmt: skip
    assert [row["status"] for row in rows].count("paid") == 3
    assert history["voided"].id in {row["id"] for row in rows if row["status"] == "void"}
    texts = "SELECT merchant, reference, description, record FROM invoices WHERE id = $1"
    ((merchant, reference, description, record),) = await archived.archive.database.fetch(
        texts, history["odd_invoice"].id
    )
    assert (merchant, reference, description) == (ODD, ODD, f"{ODD}\n{ODD}")
    assert ODD in json.loads(json.loads(record)["metadata"]).values()


async def test_the_limits_of_a_day_are_what_the_store_counts(archived: ArchivedStore) -> None:
    await make_history(archived.engine, archived.store)
    await archived.copy()
    (limit,) = await archived.engine.list_limits(user_id="alice")
    found = await archived.archive.database.fetch("SELECT day, currency, used FROM limits_by_day ORDER BY day")
    # A run around midnight has two days.
    day = (limit.resets_at - timedelta(days=1)).date()
    assert found[-1] == (str(day), "EUR", limit.used)
    assert sum(used for _, _, used in found) == 2_500 + 3_000 + 4_000
    assert type(found[0][2]) is int


async def test_all_partitions_are_archived(archive_location: str) -> None:
    async with archived_store(archive_location, partitions=4) as archived:
        for user in ("alice", "bob", "carol", "dave", "erin"):
            await archived.engine.create_user(user_id=user, email=f"{user}@example.com")
            await archived.engine.create_wallet(user_id=user, currency="EUR")
        assert await archived.copy() >= 10
        await archived.assert_whole()
        assert await archived.archive.database.fetch("SELECT count(*) FROM wallets") == [(5,)]


@pytest.mark.parametrize(
    "location", ["postgresql://u@h/db", "postgres://u@h/db", "/var/lib/a.db", "postgresql.db"]
)
async def test_a_place_is_a_url_or_a_path(location: str) -> None:
    name = type(Archive.at(location).database).__name__
    assert name == ("PostgresDatabase" if "://" in location else "SqliteDatabase")
