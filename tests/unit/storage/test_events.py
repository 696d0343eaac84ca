"""Reading the journal and the records of its entries, as the feed of events does."""

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_commands import has_records, read_end, read_journal, read_outbox, read_owned
from support.fixtures.store_setup import Setup, client_of

from technopay.engine import Invoice, Payment, StoreUnfit
from technopay.engine.events.subjects import RECORDS_MAX
from technopay.engine.values import JournalEntry, Position
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition


async def entries_about(setup: Setup, subject: str) -> list[JournalEntry]:
    batch = await read_journal(setup.store, "0-0", 1_000)
    return [entry for entry in batch.entries if entry.subject == subject]


async def test_entries_of_a_payment_have_versions_whether_they_name_them_or_not(setup: Setup) -> None:
    payment, claim = await setup.refunding(await setup.wallet())
    await setup.complete(payment, claim, "reversed")

    entries = await entries_about(setup, payment)

    types = ["started", "processing", "succeeded", "refunding", "refunded"]
    assert [entry.type for entry in entries] == [f"payment.{name}" for name in types]
    assert [entry.version for entry in entries] == [1, 2, 3, 4, 5]
    stored = {entry for entry, fields in await setup.entries() if fields.get("payment") == payment}
    assert {entry.id for entry in entries} == stored
    for entry in entries:
        assert entry.at_ms == int(entry.id.partition("-")[0])


async def test_an_invoice_has_an_entry_when_it_is_made_and_when_it_is_withdrawn(setup: Setup) -> None:
    invoice = await setup.invoice()
    await setup.void(invoice)
    entries = [(entry.type, entry.version) for entry in await entries_about(setup, invoice)]
    assert entries == [("invoice.created", 1), ("invoice.voided", 2)]


async def test_a_batch_is_as_long_as_asked_for_and_says_where_it_ends(setup: Setup) -> None:
    future = "9999999999999-9"
    assert await read_journal(setup.store, future, 10) == ([], Position.of(future), True)
    for _ in range(3):
        await setup.invoice()
    places = [entry for entry, _ in await setup.entries()]

    found, cursor = [], "0-0"
    for _ in range(len(places)):
        batch = await read_journal(setup.store, cursor, 1)
        assert not batch.is_last
        found += [entry.id for entry in batch.entries]
        cursor = str(batch.end)
    assert cursor == places[-1] == await read_end(setup.store)
    assert found == places
    assert await read_journal(setup.store, cursor, 1) == ([], Position.of(cursor), True)


async def test_an_entry_written_after_the_clock_went_back_has_its_place_and_its_time(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    first = await clocked.invoice()
    fake_clock.advance(-5_000)
    second = await clocked.invoice(expires_at_ms=fake_clock.now_ms + 1_000)
    *_, one, other = (await read_journal(clocked.store, "0-0", 10)).entries
    assert (one.subject, other.subject) == (first, second)
    assert (one.at_ms, other.at_ms) == (fake_clock.now_ms + 5_000, fake_clock.now_ms)


async def test_the_end_of_a_journal_without_entries_is_its_beginning(store: RedisStore) -> None:
    assert await read_end(store) == "0-0"


async def test_a_user_has_records_from_the_first_invoice_on(setup: Setup) -> None:
    assert not await has_records(setup.store, "alice")
    await setup.invoice()
    assert await has_records(setup.store, "alice")
    assert not await has_records(setup.store, "ali")


@pytest.mark.parametrize("user_ids", [["alice"], ["bob"], ["alice", "bob"], ["ali"], ["alice-bob"], ["*"]])
async def test_records_are_read_for_their_users(setup: Setup, user_ids: list[str]) -> None:
    await setup.user("bob")
    expected: dict[str, Payment | Invoice] = {}
    ids = ["pay_00nothing", "inv_00nothing"]
    for user in ("alice", "bob"):
        invoice = await setup.invoice(user)
        payment = await setup.started(await setup.wallet(user), invoice, user)
        ids += [payment, invoice]
        if user in user_ids or user_ids == ["*"]:
            expected |= {payment: await setup.payment(payment), invoice: await setup.read_invoice(invoice)}
            confirmation = (await setup.payment(payment)).confirmation
            assert confirmation is not None
            assert confirmation.sent_to == f"{user[0]}***@example.com"

    assert await read_owned(setup.store, ids, user_ids) == expected


async def test_as_many_records_as_the_feed_asks_for_are_read_in_the_order_asked_or_none(setup: Setup) -> None:
    ids = [await setup.invoice() for _ in range(RECORDS_MAX)]
    assert list(await read_owned(setup.store, ids, ["alice"])) == ids
    assert await read_owned(setup.store, [], ["alice"]) == {}


async def test_the_record_is_as_it_is_when_it_is_read(setup: Setup) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    [started] = await entries_about(setup, payment)
    await setup.cancel(payment)

    found = (await read_owned(setup.store, [payment], ["alice"]))[payment]

    assert (started.type, started.version, found.status) == ("payment.started", 1, "canceled")


@pytest.mark.parametrize("reader", ["relay", "feed"])
async def test_an_entry_that_was_read_is_expected_from_then_on(
    valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    monkeypatch.setattr("technopay.storage.store.CHECK_INTERVAL_S", 600.0)  # a check sees the last entry, too
    async with RedisStore.connect(valkey_url, initialise=True, namespace=namespace) as store:
        await Setup(store).user("alice")
        if reader == "relay":
            outbox = await read_outbox(store, "relay-a", 100)
            assert outbox is not None
            newest = outbox.cursor
        else:
            newest = str((await read_journal(store, "0-0", 100)).end)
        await client_of(store).xdel(store._keys.journal, newest)
        assert store._client is not None
        with pytest.raises(StoreUnfit, match=f"lost data: entry {newest}"):
            await store._client.check()
