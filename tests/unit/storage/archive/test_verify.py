"""The verification of an archive: whatever is changed by hand is named."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.store_setup import Setup

from technopay.engine.models import Audit
from technopay.storage import Archive, RedisStore
from technopay.storage.archive.database import Change
from technopay.storage.archive.verify import verify


@pytest.fixture
async def archive(fake_store: RedisStore, archive_location: str) -> AsyncIterator[Archive]:
    """The archive of a store with a refunded payment, one that failed, and one that waits for its code."""
    setup = Setup(fake_store)
    await setup.user("alice")
    wallet_id = await setup.wallet()
    payment_id, claim = await setup.refunding(wallet_id)
    await setup.complete(payment_id, claim, "reversed")
    await setup.succeeded(wallet_id)
    payment_id, claim = await setup.processing(wallet_id)
    await setup.complete(payment_id, claim, "given_back")
    await setup.started(wallet_id, await setup.invoice())
    async with Archive.at(archive_location) as archive:
        await (await fake_store.archiver(archive)).run()
        yield archive


async def change(archive: Archive, statement: str) -> Audit:
    """Change the archive by hand; return what the verification says."""
    await archive.database.write([Change(statement)])
    found = await verify(archive)
    assert not found.clean, statement
    return found


LAST = "(SELECT max(id) FROM payments WHERE status = 'refunded')"


async def test_a_whole_archive_is_clean_and_counted(archive: Archive) -> None:
    found = await verify(archive)
    assert (found.clean, found.differences) == (True, [])
    ((events,),) = await archive.database.fetch("SELECT count(*) FROM events")
    assert found.checked.model_dump() == {
        "entries": events, "users": 1, "wallets": 1, "invoices": 4, "payments": 4, "limits": 1, "messages": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET fields = replace(CAST(fields AS TEXT), '10000', '20000')",
        "UPDATE events SET subject = 'wal_00other' WHERE type = 'wallet.deposited'",
        "UPDATE events SET type = 'wallet.adjusted' WHERE type = 'wallet.deposited'",
        "DELETE FROM events WHERE type = 'payment.refunding'",
        "UPDATE events SET entry_ms = entry_ms - 1 WHERE type = 'user.created'",
        "UPDATE events SET at_ms = at_ms - 1 WHERE type = 'user.created'",
        "UPDATE events SET chain = substr(chain, 2) || 'x' WHERE type = 'user.created'",
    ],
)
async def test_an_event_that_was_changed_is_named(archive: Archive, statement: str) -> None:
    statement = statement.replace("fields = replace(CAST(fields AS TEXT), '10000', '20000')", text_of(archive))
    found = await change(archive, statement)
    first = found.differences[0]
    assert first.invariant == "history_is_one_chain"
    assert first.subject.startswith("event ")


def text_of(archive: Archive) -> str:
    """Return the change of a column of JSON, whose type only PostgreSQL asks for."""
    new = "replace(CAST(fields AS TEXT), '10000', '20000')"
    is_sqlite = type(archive.database).__name__ == "SqliteDatabase"
    return f"fields = {new}" if is_sqlite else f"fields = CAST({new} AS JSON)"


@pytest.mark.parametrize("column", ["entry_number", "entries", "entry_ms"])
async def test_the_end_of_the_chain_has_to_be_that_of_the_events(archive: Archive, column: str) -> None:
    found = await change(archive, f"UPDATE positions SET {column} = {column} + 1")
    assert {each.subject for each in found.differences} == {"partition 00"}
    assert {each.invariant for each in found.differences} == {"history_is_one_chain"}


@pytest.mark.parametrize("table", ["payments", "invoices"])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user_id", "'mallory'"), ("merchant", "'Other'"), ("amount", "amount + 1"), ("currency", "'USD'"),
        ("status", "'expired'"), ("created_at_ms", "created_at_ms + 1"), ("paid_at_ms", "paid_at_ms + 1"),
        ("digest", "'other'"),
    ],
)  # fmt: skip
async def test_a_column_that_is_not_of_its_record_is_named(
    archive: Archive, table: str, column: str, value: str
) -> None:
    key = "id" if table == "payments" else "payment_id"
    ((record_id,),) = await archive.database.fetch(f"SELECT id FROM {table} WHERE {key} = {LAST}")
    found = await change(archive, f"UPDATE {table} SET {column} = {value} WHERE id = '{record_id}'")
    named = {(each.invariant, each.subject, each.what) for each in found.differences}
    assert ("records_are_as_they_were_read", record_id, column) in named


@pytest.mark.parametrize(
    ("table", "before", "after", "what"),
    [
        ("payments", '"amount":"1000"', '"amount":"1001"', "amount"),
        ("payments", '"status":"refunded"', '"status":"succeeded"', "status"),
        ("payments", '"currency":"EUR"', '"currency":"USD"', "currency"),
        ("payments", '"settled_at":"', '"settled_at":"1', "settled_at"),
        ("payments", '"paid_at":"', '"paid_at":"1', "paid_at"),
        ("payments", '"created_at":"', '"created_at":"1', "created_at"),
        ("payments", " 1000 ", " 999 ", "refunded_amount"),
        ("invoices", '"amount":"1000"', '"amount":"1001"', "amount"),
        ("invoices", '"user":"alice"', '"user":"bob"', "user"),
        ("invoices", '"paid_at":"', '"paid_at":"1', "paid_at of its payment"),
    ],
)
async def test_a_record_that_was_changed_with_all_its_columns_disagrees_with_the_events(
    archive: Archive, table: str, before: str, after: str, what: str
) -> None:
    """A forger who computes the digest and the columns anew cannot change the events."""
    key = "id" if table == "payments" else "payment_id"
    rows = [row async for row in archive.read_table(table, 0, 10)]
    ((record_id,),) = await archive.database.fetch(f"SELECT id FROM {table} WHERE {key} = {LAST}")
    (row,) = [row for row in rows if row[0] == record_id]
    await forge(archive, table, row, before, after)
    found = await verify(archive)
    assert (record_id, what) in [(each.subject, each.what) for each in found.differences]


async def forge(archive: Archive, table: str, row: tuple[object, ...], before: str, after: str) -> None:
    from technopay.engine.values import Position
    from technopay.storage.archive.archive import INVOICE_COLUMNS, PAYMENT_COLUMNS, PUT_INVOICE, PUT_PAYMENT
    from technopay.storage.archive.rows import Record, from_json, invoice_row, payment_row

    is_payment = table == "payments"
    found = dict(zip(PAYMENT_COLUMNS if is_payment else INVOICE_COLUMNS, row, strict=True))
    text = str(found["record"])
    assert before in text
    build = payment_row if is_payment else invoice_row
    read_at = Position(int(str(found["read_ms"])), int(str(found["read_number"])))
    forged = build(0, Record(str(found["id"]), from_json(text.replace(before, after)), read_at))
    await archive.database.write([Change(PUT_PAYMENT if is_payment else PUT_INVOICE, [forged])])


@pytest.mark.parametrize("table", ["payments", "invoices"])
async def test_a_row_that_was_removed_is_named(archive: Archive, table: str) -> None:
    key = "id" if table == "payments" else "payment_id"
    ((record_id,),) = await archive.database.fetch(f"SELECT id FROM {table} WHERE {key} = {LAST}")
    found = await change(archive, f"DELETE FROM {table} WHERE id = '{record_id}'")
    named = [(each.subject, each.what, each.found) for each in found.differences]
    assert (record_id, table, "none") in named


async def test_a_row_that_nothing_created_is_named(archive: Archive) -> None:
    for table in ("payments", "invoices"):
        (row,) = [row async for row in archive.read_table(table, 0, 10)][:1]
        await forge_copy(archive, table, row)
    found = await verify(archive)
    assert {(each.subject, each.found) for each in found.differences} == {
        ("pay_00forged", "none"), ("inv_00forged", "none"),
    }  # fmt: skip


async def forge_copy(archive: Archive, table: str, row: tuple[object, ...]) -> None:
    forged = (f"{table[:3]}_00forged", *row[1:])
    await forge(archive, table, forged, "", "")


async def test_an_archive_that_cannot_be_read_is_no_defect(tmp_path: Path, archive: Archive) -> None:
    is_sqlite = type(archive.database).__name__ == "SqliteDatabase"
    kind = "" if is_sqlite else "::json"
    found = await change(archive, f"UPDATE payments SET record = '[1]'{kind} WHERE id = {LAST}")
    assert "every_record_can_be_read" in {each.invariant for each in found.differences}
    found = await change(archive, f"UPDATE events SET fields = '[1]'{kind} WHERE type = 'user.created'")
    assert "every_record_can_be_read" in {each.invariant for each in found.differences}
