"""The audit: clean after every operation, and broken by every hand-made corruption, by name."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.dumps import dump
from support.fixtures.relaying import relay_all, relay_anew
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import DAY_MS, WRONG, Setup, client_of

from technopay.engine.models import Audit
from technopay.storage.audit import auditor as auditing
from technopay.storage.audit.invariants import (
    BALANCE,
    CHANGE,
    DEBIT,
    INVOICE,
    LIMIT,
    MESSAGE,
    MONEY,
    READABLE,
)

pytestmark = pytest.mark.any_partition


@dataclass
class World:
    """A store with each operation once; ids by the history of their records."""

    setup: Setup
    ids: dict[str, str]


@pytest.fixture
async def world(setup: Setup) -> World:
    await setup.set_limit("EUR", 1_000_000)
    wallet, other = await setup.wallet(), await setup.wallet(balance=5_000)
    its = {"wallet": wallet, "succeeded": await setup.succeeded(wallet)}
    its["deposit"] = (await dump(setup.store))[f"entries:{wallet}"][0]
    its["processing"], _ = await setup.processing(wallet)
    its["day"] = await setup.day(its["processing"])
    its["given_back"], claim = await setup.processing(wallet)
    await setup.complete(its["given_back"], claim, "given_back")
    await setup.refunding(wallet)
    its["refunded"], claim = await setup.refunding(wallet)
    await setup.complete(its["refunded"], claim, "reversed")
    its["set_aside"], claim = await setup.processing(other)
    assert await set_aside(setup.store, its["set_aside"], claim, DAY_MS)
    its["open"] = await setup.invoice()
    await setup.void(await setup.invoice())
    invoice = await setup.invoice()
    its["canceled"] = await setup.started(wallet, invoice)
    its["waiting"] = await setup.started(wallet, invoice)
    for version in (2, 3):
        assert (await setup.resend(its["waiting"], version)).code == "ok"
    failed = await setup.started(wallet, await setup.invoice(), attempts=1)
    await setup.confirm(failed, WRONG)
    its["paid"] = (await setup.payment(its["succeeded"])).invoice_id
    await relay_all(setup)
    [its["message"]] = await relay_anew(setup, "the address is dead")
    return World(setup, its)


async def test_the_audit_of_a_new_store_is_clean_beside_the_keys_of_others(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "BATCH", 1)
    for number in range(10):
        await client_of(setup.store).set(f"session:{number}", "")

    audit = await setup.store.audit()

    assert audit.clean
    assert (audit.checked.wallets, audit.checked.payments, audit.differences) == (0, 0, [])


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit in small portions, which have many positions, and so many chances of an error."""
    monkeypatch.setattr(auditing, "PORTION", 5)
    monkeypatch.setattr(auditing, "BATCH", 20)


async def test_the_audit_looks_at_everything_and_changes_nothing(world: World, small_portions: None) -> None:
    before = await dump(world.setup.store)

    audit = await assert_clean(world.setup.store)

    assert await dump(world.setup.store) == before
    checked = audit.checked
    assert (checked.entries, checked.messages) == (len(before["journal"]), 1)
    for kind, count in (
        ("user", checked.users),
        ("wallet", checked.wallets),
        ("invoice", checked.invoices),
        ("payment", checked.payments),
        ("limit", checked.limits),
    ):
        assert count == sum(key.startswith(f"{kind}:") for key in before), kind


CORRUPTIONS: dict[str, tuple[set[str], str]] = {
    "a balance that is too high": ({BALANCE, MONEY}, "HINCRBY wallet:{wallet} balance 1"),
    "a ledger without its amount in flight": ({BALANCE}, "HINCRBY wallet:{wallet} ledger -1000"),
    "a list of entries without its last": ({BALANCE}, "RPOP entries:{wallet}"),
    "a list of entries with another first": ({BALANCE}, "LSET entries:{wallet} 0 1-1"),
    "a deposit without its entry": ({BALANCE, MONEY}, "XDEL journal {deposit}"),
    "a debit without its entry": ({BALANCE, CHANGE, LIMIT, MONEY}, "XDEL payment.processing {processing}"),
    "a success without its entry": ({CHANGE, DEBIT, BALANCE}, "XDEL payment.succeeded {succeeded}"),
    "a credit without its entry": (
        {BALANCE, DEBIT, CHANGE, INVOICE, LIMIT, MONEY},
        "XDEL payment.failed {given_back}",
    ),
    "a cancellation without its entry": ({CHANGE, INVOICE}, "XDEL payment.canceled {canceled}"),
    "a fresh code without its entry": ({CHANGE}, "XDEL payment.code_resent {waiting}"),
    "a payment with a change too many": ({CHANGE}, "HSET payment:{succeeded} version 4"),
    "a payment without a version": ({CHANGE}, "HDEL payment:{succeeded} version"),
    "a counter that is too low": ({LIMIT}, "HINCRBY limit:global:EUR {day} -1"),
    "a counter that is gone": ({LIMIT}, "HDEL limit:global:EUR {day}"),
    "a limit without its entry": ({LIMIT}, "HSET limit:global:EUR limit 2000000"),
    "an invoice without its payment": ({INVOICE}, "HDEL invoice:{paid} payment"),
    "an invoice with the payment of another": ({INVOICE}, "HSET invoice:{open} payment {succeeded}"),
    "an invoice with another amount": ({INVOICE}, "HSET invoice:{open} amount 1"),
    "a void invoice without its entry": ({INVOICE}, "HSET invoice:{open} status void"),
    "an invoice that is gone": ({INVOICE}, "DEL invoice:{open}"),
    "a payment that is gone": ({CHANGE, INVOICE}, "DEL payment:{succeeded}"),
    "a succeeded payment without its entry": ({CHANGE}, "HSET payment:{processing} status succeeded"),
    "a payment paid at another time": ({CHANGE}, "HSET payment:{succeeded} paid_at 1"),
    "a payment of another amount": ({CHANGE, INVOICE}, "HSET payment:{succeeded} amount 999"),
    "a code that cannot be read": ({READABLE}, 'SET code:{waiting} {{"version":"one"}}'),
    "refunds that cannot be read": ({READABLE}, "HSET payment:{refunded} refunds ["),
    "a refund of more than the payment": (
        {BALANCE, CHANGE, DEBIT},
        "XADD journal * payment.refunding {succeeded} version 4 amount 1001",
    ),
    "a debit that is not on the agenda": ({DEBIT}, "ZREM agenda {processing}"),
    "a payment that no operator sees": ({DEBIT}, "ZREM set_aside {set_aside}"),
    "a settlement of a payment given back": ({DEBIT}, "HSET mock:settlement:{given_back} state settled"),
    "a success that the service called off": ({DEBIT}, "HSET mock:settlement:{succeeded} state called_off"),
    "a wallet without its entry": (
        {CHANGE},
        "HSET wallet:wal_00forged user alice currency EUR balance 1 ledger 1 status active",
    ),
    "a blocked user without the entry": ({CHANGE}, "HSET user:alice status blocked"),
    "a message that is not on the agenda": ({MESSAGE}, "ZREM agenda msg_{message}"),
    "a relay that is past the journal": ({MESSAGE}, "HSET relay cursor 9999999999999-0"),
}
"""By corruption: the invariants that it is reported under, all of them and no other, and its command."""


async def corrupt(world: World, line: str) -> None:
    """Run a command on a key of the store; XDEL takes an entry by its type and subject."""
    command, name, *words = line.format_map(world.ids).split()
    if command == "XDEL" and name != "journal":
        found = [entry for entry, fields in await world.setup.entries() if {name, *words} <= {*fields.values()}]
        assert found
        name, words = "journal", found[:1]
    kind, _, record_id = name.replace("mock:", "mock/").partition(":")
    key = world.setup.keys.key(kind.replace("/", ":"), record_id or None)
    assert await client_of(world.setup.store).execute_command(command, key, *words) is not None


@pytest.mark.corrupts
@pytest.mark.parametrize("name", CORRUPTIONS)
async def test_a_corruption_is_reported_by_the_invariant_that_it_breaks(world: World, name: str) -> None:
    invariants, line = CORRUPTIONS[name]
    await assert_clean(world.setup.store)

    await corrupt(world, line)

    audit = await world.setup.store.audit()
    assert {difference.invariant for difference in audit.differences} == invariants, audit.differences
    assert not audit.clean


@pytest.mark.corrupts
@pytest.mark.parametrize(
    ("payment", "pattern", "other"),
    [("refunded", " 1000 ", " 999 "), ("given_back", "[0-9]+ done", "1 done"), ("refunded", "^[^ ]+", "0099")],
)
async def test_each_fact_of_a_refund_is_compared_with_the_journal(
    world: World, payment: str, pattern: str, other: str
) -> None:
    payment_id = world.ids[payment]
    record = world.setup.keys.key("payment", payment_id)
    refunds = await client_of(world.setup.store).hget(record, "refunds")

    await world.setup.write("payment", payment_id, refunds=re.sub(pattern, other, refunds))

    audit = await world.setup.store.audit()
    assert {difference.invariant for difference in audit.differences} == {CHANGE}, audit.differences


ROUNDS = 15


@pytest.mark.parametrize("make_store", ["valkey", "redis"], indirect=True)
async def test_the_audit_beside_traffic_reports_nothing_that_is_not_there(
    setup: Setup, small_portions: None
) -> None:
    wallets = [await setup.wallet() for _ in range(4)]
    seen: list[Audit] = []

    async def keep_busy(wallet: str) -> None:
        for _ in range(ROUNDS):
            await setup.deposit(wallet, 5_000)
            await setup.succeeded(wallet)
            payment, claim = await setup.processing(wallet)
            await setup.complete(payment, claim, "given_back")
            payment, claim = await setup.refunding(wallet)
            await setup.complete(payment, claim, "reversed")
            canceled = await setup.started(wallet, await setup.invoice())
            await setup.cancel(canceled)

    async def audit_while(busy: asyncio.Future[Any]) -> None:
        while not busy.done():
            seen.append(await assert_clean(setup.store))

    busy = asyncio.gather(*(keep_busy(wallet) for wallet in wallets))
    await audit_while(busy)
    await busy

    checked = [audit.checked.entries for audit in seen]
    assert checked[0] < checked[-1] or len(checked) == 1
    assert checked[0] > len(wallets)
