"""Records that left their store, in either kind of archive; and an archive that is away then."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.archives import META
from support.fixtures.dropping import invoice_of, is_kept, paid_invoice, referred_invoice, refund_to_the_end
from support.fixtures.store_setup import FAR, Setup, new_invoice
from support.fixtures.trimming import Trimming, new_trimming
from support.servers.postgresql_server import postgres_server

from technopay.engine import reads
from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.values import Position
from technopay.storage import Archive, RedisStore
from technopay.storage.archive.archive import (
    PUT_INVOICE,
    PUT_PAYMENT,
)
from technopay.storage.archive.database import Change
from technopay.storage.archive.rows import Record, invoice_row, payment_row, record_rows

PAYMENT = {
    "user": "alice", "wallet": "wal_1", "invoice": "inv_1", "amount": "5", "currency": "EUR",
    "merchant": "Shop", "status": "succeeded", "created_at": "1", "paid_at": "2", "version": "3",
}  # fmt: skip
INVOICE = {
    "user": "alice", "amount": "5", "currency": "EUR", "merchant": "Shop", "status": "void",
    "created_at": "1", "expires_at": "9",
}  # fmt: skip
IN_BYTE_ORDER = ("-", "0", "9", "A", "Z", "_", "a", "z")


@pytest.fixture
async def archive(archive_location: str) -> AsyncIterator[Archive]:
    async with Archive.at(archive_location) as archive:
        yield archive


async def put(archive: Archive, records: dict[str, dict[str, str]], partition: int = 0) -> None:
    """Write rows of payments and invoices."""
    found = [Record(name, fields, Position(1, 0)) for name, fields in records.items()]
    changes = [
        Change(PUT_PAYMENT, record_rows(partition, found, "pay_", payment_row)),
        Change(PUT_INVOICE, record_rows(partition, found, "inv_", invoice_row)),
    ]
    assert await archive.database.write([each for each in changes if each.rows])


async def test_ended_records_are_listed_in_the_order_of_bytes_newest_first(archive: Archive) -> None:
    await archive.bind(META)
    ids = [f"pay_00{each}" for each in IN_BYTE_ORDER]
    await put(archive, dict.fromkeys(ids, PAYMENT))
    invoices = [f"inv_00{each}" for each in IN_BYTE_ORDER]
    await put(archive, dict.fromkeys(invoices, INVOICE))
    for table, names in (("payments", ids), ("invoices", invoices)):
        newest = names[::-1]
        assert await archive.list_ended(0, table, "user_id", "alice", "", 100) == newest
        for place, cursor in enumerate(newest):
            page = await archive.list_ended(0, table, "user_id", "alice", cursor, 3)
            assert page == newest[place + 1 : place + 4]


async def test_only_records_that_can_leave_are_listed(archive: Archive) -> None:
    await archive.bind(META)
    unpaid = {name: text for name, text in PAYMENT.items() if name != "paid_at"}
    payments = {
        "pay_001": PAYMENT,
        "pay_002": PAYMENT | {"status": "refunded"},
        "pay_003": PAYMENT | {"status": "failed"},
        "pay_004": unpaid | {"status": "failed"},
        "pay_005": unpaid | {"status": "canceled"},
        "pay_006": PAYMENT | {"status": "processing"},
        "pay_007": PAYMENT | {"status": "refunding"},
        "pay_008": PAYMENT | {"user": "bob"},
        "pay_009": PAYMENT | {"invoice": "inv_2"},
    }
    await put(archive, payments)
    await put(archive, {"pay_010": PAYMENT}, partition=1)
    by_user = await archive.list_ended(0, "payments", "user_id", "alice", "", 100)
    assert by_user == ["pay_009", "pay_003", "pay_002", "pay_001"]
    by_invoice = await archive.list_ended(0, "payments", "invoice_id", "inv_1", "", 100)
    assert by_invoice == ["pay_008", "pay_003", "pay_002", "pay_001"]
    statuses = ("paid", "void", "expired", "open", "processing")
    await put(archive, {f"inv_00{status}": INVOICE | {"status": status} for status in statuses})
    ended = await archive.list_ended(0, "invoices", "user_id", "alice", "", 100)
    assert set(ended) == {"inv_00paid", "inv_00void"}


async def test_the_paid_invoice_of_a_reference_is_found(archive: Archive) -> None:
    await archive.bind(META)
    paid = INVOICE | {"status": "paid", "reference": "R-1", "payment": "pay_1"}
    await put(archive, {"inv_001": paid | {"status": "void"}, "inv_002": paid, "inv_003": INVOICE})
    await put(archive, {"inv_004": paid | {"merchant": "Bakery"}}, partition=1)
    assert await archive.find_paid_invoice("Shop", "R-1") == "inv_002"
    assert await archive.find_paid_invoice("Bakery", "R-1") == "inv_004"
    assert await archive.find_paid_invoice("Shop", "R-2") is None


async def test_records_are_read_by_their_ids(archive: Archive) -> None:
    await archive.bind(META)
    await put(archive, {"pay_001": PAYMENT, "inv_001": INVOICE})
    assert await archive.read_records(0, []) == {}
    ids = ["pay_001", "inv_001", "pay_002"]
    assert await archive.read_records(0, ids) == {"pay_001": PAYMENT, "inv_001": INVOICE}
    assert await archive.read_records(1, ids) == {}


async def gone(setup: Setup, trimming: Trimming) -> tuple[str, str]:
    """Pay an invoice with a reference, and let all of it leave."""
    payment, invoice = await paid_invoice(setup, await setup.wallet(), "R-1")
    voided = await referred_invoice(setup, "R-2")
    await setup.void(voided)
    await trimming.trim()
    assert [await is_kept(setup, each) for each in (payment, invoice, voided)] == [False] * 3
    return payment, invoice


@pytest.mark.parametrize("partitions", [1, 4])
async def test_what_left_is_in_either_kind_of_archive(
    archive: Archive, partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.fixtures.placed_keys.PARTITIONS", partitions)
    async with RedisStore.fake(partitions=partitions) as store:
        setup = Setup(store)
        await setup.user("alice")
        payment, invoice = await gone(setup, await new_trimming(setup, archive, monkeypatch))
        assert (await setup.done(reads.FindPayment(payment))).status == "succeeded"
        assert (await setup.done(reads.ReadInvoice(invoice))).status == "paid"
        page = await setup.done(reads.ListPayments("alice", "", 10))
        assert [each.id for each in page.data] == [payment]
        assert len((await setup.done(reads.ListInvoices("alice", "", 10))).data) == 2
        refused = await setup.run(new_invoice("alice", 1, "EUR", FAR, "R-1"))
        assert (refused.code, refused.details["invoice_id"]) == ("reference_used", invoice)
        await refund_to_the_end(setup, payment, amount=5)
        audit = await store.audit(full=True)
        assert audit.clean, audit.differences


async def assert_away(setup: Setup, payment: str, invoice: str) -> None:
    """Assert that what is only in the archive is unavailable, and that all else goes on."""
    for command in (
        reads.FindPayment(payment), reads.FindPayment("pay_00unheardof"), reads.ReadInvoice(invoice),
        reads.ReadPayment(payment, "alice"), reads.ListPayments("alice", "", 10),
        reads.SearchInvoices(None, "Shop", "R-1", None, "", 10), new_invoice("alice", 1, "EUR", FAR, "R-1"),
    ):  # fmt: skip
        with pytest.raises(ArchiveUnavailable):
            await setup.run(command)
    wallet = await setup.wallet()
    succeeded = await setup.succeeded(wallet)
    await refund_to_the_end(setup, succeeded, "ref_005")
    assert (await setup.run(new_invoice("alice", 1, "EUR", FAR, "R-3"))).code == "ok"
    assert (await setup.run(new_invoice("alice", 1, "EUR", FAR, "R-2"))).code == "ok"
    assert (await setup.payment(succeeded)).invoice_id == await invoice_of(setup, succeeded)


async def test_a_file_that_was_removed_makes_what_left_unavailable(
    clocked: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "archive" / "archive.sqlite3"
    async with Archive.at(str(file)) as archive:
        trimming = await new_trimming(clocked, archive, monkeypatch)
        payment, invoice = await gone(clocked, trimming)
        await clocked.done(reads.FindPayment(payment))
        await forget_restored(clocked, payment, invoice)
        for each in file.parent.iterdir():
            each.unlink()
        await assert_away(clocked, payment, invoice)


async def test_a_server_that_is_stopped_makes_what_left_unavailable_until_it_is_back(
    clocked: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres_server() as server:
        async with Archive.at(server.url()) as archive:
            trimming = await new_trimming(clocked, archive, monkeypatch)
            payment, invoice = await gone(clocked, trimming)
            server.kill()
            await assert_away(clocked, payment, invoice)
            server.start()
            assert (await clocked.done(reads.FindPayment(payment))).status == "succeeded"


async def forget_restored(setup: Setup, payment: str, invoice: str) -> None:
    """Let restored records expire."""
    for kind, each in (("payment", payment), ("invoice", invoice)):
        key = setup.keys.key(kind, each)
        await setup.store._partition.fetch("DEL", key)
