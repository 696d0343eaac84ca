"""Each kind of damage to a store whose entries left, or to its archive, is found by the audit."""

import pytest
from support.fixtures.all_reads import refund
from support.fixtures.audit import assert_clean
from support.fixtures.trimmed_world import World, new_world
from support.fixtures.trimming import Trimming

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage import RedisStore
from technopay.storage.archive.archive import Archive

pytestmark = pytest.mark.corrupts


@pytest.fixture
def store(fake_store: RedisStore) -> RedisStore:
    return fake_store


@pytest.fixture
async def world(trimming: Trimming, monkeypatch: pytest.MonkeyPatch) -> World:
    return await new_world(trimming, monkeypatch)


@pytest.mark.parametrize("is_trimmed_again", [False, True])
async def test_damage_to_a_payment_that_was_refunded_behind_the_cut_is_found(
    world: World, is_trimmed_again: bool
) -> None:
    await refund(world.setup, world.ids["paid"], 100)
    if is_trimmed_again:
        await world.trimming.trim()
    await assert_clean(world.setup.store)
    await world.setup.write("payment", world.ids["paid"], amount=501)
    await world.assert_found(world.ids["paid"])


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("paid", "status", "refunded"), ("paid", "amount", "499"), ("paid", "merchant", "mallory"),
        ("paid", "settled_at", "1"), ("part", "refunds", ""), ("declined", "failure", ""),
        ("canceled", "status", "expired"), ("processing", "amount", "1"), ("waiting", "status", "canceled"),
        ("refunding", "status", "succeeded"),
    ],
)  # fmt: skip
async def test_a_changed_payment_is_found(world: World, name: str, field: str, value: str) -> None:
    await world.bring_back(world.ids[name])
    await world.setup.write("payment", world.ids[name], **{field: value})
    await world.assert_found(world.ids[name])


@pytest.mark.parametrize("field", ["amount", "user", "merchant", "expires_at"])
async def test_a_changed_invoice_is_found(world: World, field: str) -> None:
    for invoice in (await world.invoice_of("paid"), world.ids["voided"]):
        await world.bring_back(invoice)
        await world.setup.write("invoice", invoice, **{field: "7"})
        await world.assert_found(invoice, field)


async def test_a_changed_open_invoice_is_found(world: World) -> None:
    await world.setup.write("invoice", world.ids["open"], amount="7")
    await world.assert_found(world.ids["open"], "amount")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("HDEL", "wallet", "balance"), "wallet"),
        (("HINCRBY", "wallet", "balance", "1"), "balance"),
        (("HSET", "wallet", "status", "inactive"), "status"),
        (("HDEL", "deposits", "line 1"), ""),
        (("HSET", "deposits", "line 2", "1-0 5"), ""),
    ],
)
async def test_a_changed_wallet_is_found(world: World, words: tuple[str, ...], what: str) -> None:
    command, kind, *rest = words
    await world.raw(command, kind, world.ids["wallet"], *rest)
    await world.assert_found(world.ids["wallet"], what)


async def test_a_removed_record_is_found_where_it_is_open(world: World) -> None:
    for kind, name in (("payment", "processing"), ("invoice", "open"), ("wallet", "wallet")):
        await world.raw("DEL", kind, world.ids[name])
        await world.assert_found(world.ids[name])


async def test_a_changed_user_and_a_changed_limit_are_found(world: World) -> None:
    await world.setup.write("user", "alice", status="blocked")
    await world.assert_found("alice", "status")
    day = await world.setup.day(world.ids["processing"])
    await world.setup.write("limit", "global:EUR", **{day: "1"})
    await world.assert_found("global:EUR")


async def test_an_entry_of_a_wallet_that_is_behind_the_cut_is_compared(world: World) -> None:
    await world.setup.deposit(world.ids["wallet"], 5)
    await world.setup.deposit(world.ids["wallet"], 6)
    await assert_clean(world.setup.store)
    await world.raw("LSET", "entries", world.ids["wallet"], "-2", "1-0")
    await world.assert_found(world.ids["wallet"], "entries from")


async def test_a_record_that_no_entry_made_is_found(world: World) -> None:
    setup = world.setup
    forged = world.ids["paid"][:-3] + "XYZ"
    await world.bring_back(world.ids["paid"])
    await setup.write("payment", forged, **await setup.fields("payment", world.ids["paid"]))
    await world.assert_found(forged)


@pytest.mark.parametrize("table", ["payments", "invoices"])
async def test_a_row_of_the_archive_that_was_removed_or_changed_is_found(world: World, table: str) -> None:
    record = {"payments": world.ids["paid"], "invoices": world.ids["voided"]}[table]
    await world.bring_back(record)
    await world.write_archive(
        f"UPDATE {table} SET record = replace(record, 'Shop', 'Mall') WHERE id = $1", record
    )
    await world.assert_found(record, "merchant")
    await world.write_archive(f"DELETE FROM {table} WHERE id = $1", record)
    await world.assert_found(record)


async def test_without_the_checkpoint_of_the_store_there_is_no_audit(world: World) -> None:
    await assert_clean(world.setup.store)
    await world.setup.store.attach(world.trimming.archive)  # as after a restart
    await world.write_archive("UPDATE checkpoints SET digest = digest_before")
    with pytest.raises(ArchiveUnavailable, match="lacks the checkpoint of partition"):
        await world.audit()


async def test_a_changed_checkpoint_is_used_for_no_audit(world: World) -> None:
    await world.write_archive("UPDATE checkpoint_rows SET content = replace(content, 'EUR', 'USD')")
    for _ in range(2):
        with pytest.raises(ArchiveUnavailable, match=r"the checkpoint .* was changed in the archive"):
            await world.audit()
        await world.setup.store.attach(world.trimming.archive)


async def test_without_its_archive_a_trimmed_store_is_not_audited(world: World) -> None:
    for partition in world.setup.store._partitions:
        partition.history = None
    with pytest.raises(ArchiveUnavailable, match="and none is attached"):
        await world.audit()


async def test_a_full_audit_finds_damage_in_trimmed_history(world: World) -> None:
    (deposit,) = await deposits_in(world.trimming.archive, world.ids["wallet"])
    change = "UPDATE events SET fields = replace(fields, '50000', '40000')"
    await world.write_archive(f"{change} WHERE entry_ms = $1 AND entry_number = $2", *deposit)
    await assert_clean(world.setup.store)
    audit = await world.audit(full=True)
    assert any(world.ids["wallet"] in each.subject for each in audit.differences), audit.differences


async def test_a_full_audit_finds_an_entry_that_is_missing_in_trimmed_history(world: World) -> None:
    (deposit,) = await deposits_in(world.trimming.archive, world.ids["wallet"])
    await world.write_archive("DELETE FROM events WHERE entry_ms = $1 AND entry_number = $2", *deposit)
    await assert_clean(world.setup.store)
    assert not (await world.audit(full=True)).clean


async def deposits_in(archive: Archive, wallet_id: str) -> list[tuple[int, int]]:
    statement = "SELECT entry_ms, entry_number FROM events WHERE type = 'wallet.deposited' AND subject = $1"
    return [(row[0], row[1]) for row in await archive.database.fetch(statement, wallet_id)]
