"""What is read from the journal for those who listen: every change that users may know of, and its record."""

from __future__ import annotations

import pytest
from support.clock import FakeClock
from support.scene import ALONE, Scene, operation, unrecorded
from support.store import has_records, read_end, read_journal, read_owned
from technopay.engine.journal import Change

from technopay.engine import Invoice, Payment, commands
from technopay.engine.commands import ReadInvoice, ReadPayment, VoidInvoice
from technopay.engine.models import from_ms
from technopay.storage import RedisStore
from technopay.storage.audit.audit import PORTION


async def changes_of(scene: Scene, subject: str) -> list[Change]:
    stretch = await read_journal(scene.store, "0-0", 1_000)
    return [change for change in stretch.changes if change.subject == subject]


async def test_changes_are_told_with_their_versions_whether_they_say_them_or_not(scene: Scene) -> None:
    payment, claim = await scene.refunding(await scene.wallet())
    await scene.complete(payment, claim, "reversed")

    told = await changes_of(scene, payment)

    types = ["started", "processing", "succeeded", "refunding", "refunded"]
    assert [change.type for change in told] == [f"payment.{name}" for name in types]
    assert [change.version for change in told] == [1, 2, 3, 4, 5]
    entries = {entry for entry, said in await scene.entries() if said.get("payment") == payment}
    assert {change.entry_id for change in told} == entries
    for change in told:
        assert change.at == from_ms(change.entry_id.partition("-")[0])


async def test_an_invoice_is_told_of_when_it_is_made_and_when_it_is_withdrawn(scene: Scene) -> None:
    invoice = await scene.invoice()
    await scene.store.run(VoidInvoice(operation(), invoice))

    told = await changes_of(scene, invoice)

    assert [(change.type, change.version) for change in told] == [
        ("invoice.created", 1),
        ("invoice.voided", 2),
    ]


async def test_wallets_users_and_limits_are_nobodys_events(scene: Scene) -> None:
    wallet = await scene.wallet()
    await scene.set_limit("EUR", 1_000)
    await scene.set_wallet_status(wallet, "inactive")
    assert (await read_journal(scene.store, "0-0", 1_000)).changes == []


async def test_a_stretch_is_as_long_as_asked_for_and_says_where_it_ends(scene: Scene) -> None:
    future = "9999999999999-9"
    assert await read_journal(scene.store, future, 10) == ([], future, True)
    for _ in range(3):
        await scene.invoice()
    places = [entry for entry, _ in await scene.entries()]

    found, cursor = [], "0-0"
    for _ in range(len(places)):
        stretch = await read_journal(scene.store, cursor, 1)
        assert not stretch.is_last
        found += [change.entry_id for change in stretch.changes]
        cursor = stretch.end
    assert cursor == places[-1] == await read_end(scene.store)
    assert found == places[-3:]
    assert await read_journal(scene.store, cursor, 1) == ([], cursor, True)


async def test_a_change_after_the_clock_went_back_is_told_in_its_place_with_its_time(
    clocked: Scene, fake_clock: FakeClock
) -> None:
    first = await clocked.invoice()
    fake_clock.advance(-5_000)
    second = await clocked.invoice(expires_at_ms=fake_clock.now_ms + 1_000)
    told = (await read_journal(clocked.store, "0-0", 10)).changes
    assert [change.subject for change in told] == [first, second]
    assert [change.at for change in told] == [from_ms(fake_clock.now_ms + 5_000), from_ms(fake_clock.now_ms)]


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


async def test_more_records_than_one_script_reads_are_read_in_portions(scene: Scene) -> None:
    ids = [await scene.invoice() for _ in range(PORTION + 1)]
    assert list(await read_owned(scene.store, ids, ["alice"])) == ids
    assert await read_owned(scene.store, [], ["alice"]) == {}


async def test_the_record_is_as_it_is_when_it_is_read(scene: Scene) -> None:
    payment = await scene.started(await scene.wallet(), await scene.invoice())
    [started] = await changes_of(scene, payment)
    command = commands.CancelPayment(unrecorded(), payment, "alice")
    await scene.store.run(command, ALONE)

    found = (await read_owned(scene.store, [payment], ["alice"]))[payment]

    assert (started.type, started.version, found.status) == ("payment.started", 1, "canceled")
