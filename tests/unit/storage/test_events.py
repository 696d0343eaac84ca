"""Reading the journal, and the records that its entries are about, as the feed of events does."""

from __future__ import annotations

import pytest
from support.clock import FakeClock
from support.scene import ALONE, Scene, operation, unrecorded
from support.store import has_records, read_end, read_journal, read_owned

from technopay.engine import Invoice, Payment, commands
from technopay.engine.commands import ReadInvoice, ReadPayment, VoidInvoice
from technopay.engine.events.feed import RECORDS_MAX
from technopay.engine.values import JournalEntry, Position
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition


async def entries_about(scene: Scene, subject: str) -> list[JournalEntry]:
    batch = await read_journal(scene.store, "0-0", 1_000)
    return [entry for entry in batch.entries if entry.subject == subject]


async def test_entries_of_a_payment_have_versions_whether_they_name_them_or_not(scene: Scene) -> None:
    payment, claim = await scene.refunding(await scene.wallet())
    await scene.complete(payment, claim, "reversed")

    entries = await entries_about(scene, payment)

    types = ["started", "processing", "succeeded", "refunding", "refunded"]
    assert [entry.type for entry in entries] == [f"payment.{name}" for name in types]
    assert [entry.version for entry in entries] == [1, 2, 3, 4, 5]
    stored = {entry for entry, fields in await scene.entries() if fields.get("payment") == payment}
    assert {entry.id for entry in entries} == stored
    for entry in entries:
        assert entry.at_ms == int(entry.id.partition("-")[0])


async def test_an_invoice_has_an_entry_when_it_is_made_and_when_it_is_withdrawn(scene: Scene) -> None:
    invoice = await scene.invoice()
    await scene.store.run(VoidInvoice(operation(), invoice))

    entries = await entries_about(scene, invoice)

    assert [(entry.type, entry.version) for entry in entries] == [
        ("invoice.created", 1),
        ("invoice.voided", 2),
    ]


async def test_a_batch_is_as_long_as_asked_for_and_says_where_it_ends(scene: Scene) -> None:
    future = "9999999999999-9"
    assert await read_journal(scene.store, future, 10) == ([], Position.of(future), True)
    for _ in range(3):
        await scene.invoice()
    places = [entry for entry, _ in await scene.entries()]

    found, cursor = [], "0-0"
    for _ in range(len(places)):
        batch = await read_journal(scene.store, cursor, 1)
        assert not batch.is_last
        found += [entry.id for entry in batch.entries]
        cursor = str(batch.end)
    assert cursor == places[-1] == await read_end(scene.store)
    assert found == places
    assert await read_journal(scene.store, cursor, 1) == ([], Position.of(cursor), True)


async def test_an_entry_written_after_the_clock_went_back_has_its_place_and_its_time(
    clocked: Scene, fake_clock: FakeClock
) -> None:
    first = await clocked.invoice()
    fake_clock.advance(-5_000)
    second = await clocked.invoice(expires_at_ms=fake_clock.now_ms + 1_000)
    *_, one, other = (await read_journal(clocked.store, "0-0", 10)).entries
    assert (one.subject, other.subject) == (first, second)
    assert (one.at_ms, other.at_ms) == (fake_clock.now_ms + 5_000, fake_clock.now_ms)


async def test_the_end_of_a_journal_without_entries_is_its_beginning(store: RedisStore) -> None:
    assert await read_end(store) == "0-0"


async def test_a_user_has_records_from_the_first_invoice_on(scene: Scene) -> None:
    assert not await has_records(scene.store, "alice")
    await scene.invoice()
    assert await has_records(scene.store, "alice")
    assert not await has_records(scene.store, "ali")


@pytest.mark.parametrize("user_ids", [["alice"], ["bob"], ["alice", "bob"], ["ali"], ["alice-bob"]])
async def test_records_are_read_for_those_whose_they_are(scene: Scene, user_ids: list[str]) -> None:
    await scene.user("bob")
    invoices = {user: await scene.invoice(user) for user in ("alice", "bob")}
    payments = {
        user: await scene.started(await scene.wallet(user), invoices[user], user) for user in ("alice", "bob")
    }
    ids = [*payments.values(), "pay_00nothing", *invoices.values(), "inv_00nothing"]

    found = await read_owned(scene.store, ids, user_ids)

    owners = [user for user in ("alice", "bob") if user in user_ids]
    assert set(found) == {payments[user] for user in owners} | {invoices[user] for user in owners}
    for user in owners:
        payment, invoice = found[payments[user]], found[invoices[user]]
        assert isinstance(payment, Payment)
        assert payment == (await scene.store.run(ReadPayment(payment.id, user))).value
        assert payment.confirmation is not None
        assert payment.confirmation.sent_to == f"{user[0]}***@example.com"
        assert isinstance(invoice, Invoice)
        assert invoice == (await scene.store.run(ReadInvoice(invoice.id, user))).value


async def test_as_many_records_as_the_feed_asks_for_are_read_in_the_order_asked_or_none(scene: Scene) -> None:
    ids = [await scene.invoice() for _ in range(RECORDS_MAX)]
    assert list(await read_owned(scene.store, ids, ["alice"])) == ids
    assert await read_owned(scene.store, [], ["alice"]) == {}


async def test_the_record_is_as_it_is_when_it_is_read(scene: Scene) -> None:
    payment = await scene.started(await scene.wallet(), await scene.invoice())
    [started] = await entries_about(scene, payment)
    command = commands.CancelPayment(unrecorded(), payment, "alice")
    await scene.store.run(command, ALONE)

    found = (await read_owned(scene.store, [payment], ["alice"]))[payment]

    assert (started.type, started.version, found.status) == ("payment.started", 1, "canceled")
