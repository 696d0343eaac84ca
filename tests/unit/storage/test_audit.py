"""The audit: clean after everything that can happen, and broken by every hand-made corruption, by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.relaying import relay_all, relay_anew
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import (
    ALONE,
    DAY_MS,
    WRONG,
    Setup,
    client_of,
    dump,
    operation,
    read_stream,
    unrecorded,
)

from technopay.engine import commands
from technopay.engine.commands import FindPayment, SetUserStatus, VoidInvoice
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
    """A store in which everything has happened once; its records by what happened to them."""

    setup: Setup
    wallet: str
    payments: dict[str, str]
    invoices: dict[str, str]
    message: str

    @property
    def client(self) -> Any:
        """Look behind the scripts."""
        return client_of(self.setup.store)

    def key(self, kind: str, record_id: str | None = None) -> str:
        """Name a key."""
        return self.setup.keys.key(kind, record_id)

    async def entry(self, entry_type: str, subject: str) -> str:
        """Find an entry of the journal."""
        found = [
            entry
            for entry, said in await read_stream(self.client, self.key("journal"))
            if said["type"] == entry_type and subject in said.values()
        ]
        assert len(found) == 1, found
        return found[0]

    async def strike_out(self, entry_type: str, subject: str) -> None:
        """Take an entry out of the journal."""
        assert await self.client.xdel(self.key("journal"), await self.entry(entry_type, subject)) == 1


@pytest.fixture
async def world(setup: Setup) -> World:
    await setup.set_limit("EUR", 1_000_000)
    wallet, other = await setup.wallet(), await setup.wallet(balance=5_000)
    payments: dict[str, str] = {}
    payments["succeeded"] = await setup.succeeded(wallet)
    payments["processing"], _ = await setup.processing(wallet)
    payments["given_back"], claim = await setup.processing(wallet)
    await setup.complete(payments["given_back"], claim, "given_back")
    payments["refunding"], claim = await setup.refunding(wallet)
    payments["refunded"], claim = await setup.refunding(wallet)
    await setup.complete(payments["refunded"], claim, "reversed")
    payments["set_aside"], claim = await setup.processing(other)
    assert await set_aside(setup.store, payments["set_aside"], claim, DAY_MS)
    invoices = {"open": await setup.invoice(), "void": await setup.invoice(), "waiting": await setup.invoice()}
    await setup.store.run(VoidInvoice(operation(), invoices["void"]))
    payments["canceled"] = await setup.started(wallet, invoices["waiting"])
    payments["waiting"] = await setup.started(wallet, invoices["waiting"])
    payments["failed"] = await setup.started(wallet, await setup.invoice(), attempts=1)
    await setup.confirm(payments["failed"], WRONG)
    payment = (await setup.store.run(FindPayment(payments["succeeded"]))).value
    assert payment
    invoices["paid"] = payment.invoice_id
    await relay_all(setup)
    [message] = await relay_anew(setup, "the address is dead")
    return World(setup, wallet, payments, invoices, message)


async def test_the_audit_of_a_store_that_is_new_is_clean(setup: Setup) -> None:
    audit = await setup.store.audit()

    assert audit.clean
    assert (audit.checked.wallets, audit.checked.payments, audit.differences) == (0, 0, [])


async def test_the_audit_looks_at_everything_and_changes_nothing(world: World) -> None:
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


ROUNDS = 15

Corruption = Callable[[World], Awaitable[Any]]
CORRUPTIONS: dict[str, tuple[set[str], Corruption]] = {}


def corruption(*invariants: str) -> Callable[[Corruption], Corruption]:
    """Note down a corruption and the invariants that it must be reported under, all of them and no other."""

    def note(corrupt: Corruption) -> Corruption:
        CORRUPTIONS[corrupt.__name__] = set(invariants), corrupt
        return corrupt

    return note


@corruption(BALANCE, MONEY)
async def a_balance_that_is_too_high(world: World) -> None:
    await world.client.hincrby(world.key("wallet", world.wallet), "balance", 1)


@corruption(BALANCE)
async def a_ledger_that_forgot_what_is_in_flight(world: World) -> None:
    await world.client.hincrby(world.key("wallet", world.wallet), "ledger", -1_000)


@corruption(BALANCE)
async def a_list_of_entries_without_its_last(world: World) -> None:
    await world.client.rpop(world.key("entries", world.wallet))


@corruption(BALANCE)
async def a_list_of_entries_with_another_first(world: World) -> None:
    await world.client.lset(world.key("entries", world.wallet), 0, "1-1")


@corruption(BALANCE, MONEY)
async def a_deposit_struck_out(world: World) -> None:
    first = (await world.client.lrange(world.key("entries", world.wallet), 0, 0))[0]
    await world.client.xdel(world.key("journal"), first)


@corruption(BALANCE, CHANGE, LIMIT, MONEY)
async def a_debit_struck_out(world: World) -> None:
    await world.strike_out("payment.processing", world.payments["processing"])


@corruption(CHANGE, DEBIT, BALANCE)
async def a_success_without_its_event(world: World) -> None:
    await world.strike_out("payment.succeeded", world.payments["succeeded"])


@corruption(BALANCE, DEBIT, CHANGE, INVOICE, LIMIT, MONEY)
async def a_credit_without_its_event(world: World) -> None:
    await world.strike_out("payment.failed", world.payments["given_back"])


@corruption(CHANGE, INVOICE)
async def a_cancellation_without_its_event(world: World) -> None:
    await world.strike_out("payment.canceled", world.payments["canceled"])


@corruption(CHANGE)
async def a_fresh_code_without_its_event(world: World) -> None:
    for issue in (2, 3):
        command = commands.ResendCode(unrecorded(), world.payments["waiting"], "alice", issue, DAY_MS)
        assert (await world.setup.store.run(command, ALONE)).code == "ok"
    *_, (first, _), _ = await world.setup.entries()
    assert await world.client.xdel(world.key("journal"), first) == 1


@corruption(CHANGE)
async def a_payment_that_counts_a_change_too_many(world: World) -> None:
    await world.setup.write("payment", world.payments["succeeded"], version=4)


@corruption(CHANGE)
async def a_payment_without_a_version(world: World) -> None:
    await world.client.hdel(world.key("payment", world.payments["succeeded"]), "version")


@corruption(LIMIT)
async def a_counter_that_is_too_low(world: World) -> None:
    day = await world.setup.day(world.payments["processing"])
    await world.client.hincrby(world.key("limit", "global:EUR"), day, -1)


@corruption(LIMIT)
async def a_counter_that_is_gone(world: World) -> None:
    await world.client.delete(world.key("limit", "global:EUR"))


@corruption(LIMIT)
async def a_limit_that_nobody_set(world: World) -> None:
    await world.client.hset(world.key("limit", "global:EUR"), "limit", "2000000")


@corruption(INVOICE)
async def an_invoice_that_forgot_its_payment(world: World) -> None:
    await world.client.hdel(world.key("invoice", world.invoices["paid"]), "payment")


@corruption(INVOICE)
async def an_invoice_that_names_the_payment_of_another(world: World) -> None:
    await world.client.hset(
        world.key("invoice", world.invoices["open"]), "payment", world.payments["succeeded"]
    )


@corruption(INVOICE)
async def an_invoice_with_another_amount(world: World) -> None:
    await world.client.hset(world.key("invoice", world.invoices["open"]), "amount", "1")


@corruption(INVOICE)
async def an_invoice_that_was_voided_behind_the_journal(world: World) -> None:
    await world.client.hset(world.key("invoice", world.invoices["open"]), "status", "void")


@corruption(INVOICE)
async def an_invoice_that_is_gone(world: World) -> None:
    await world.client.delete(world.key("invoice", world.invoices["open"]))


@corruption(CHANGE, INVOICE)
async def a_payment_that_is_gone(world: World) -> None:
    await world.client.delete(world.key("payment", world.payments["succeeded"]))


@corruption(CHANGE)
async def a_payment_that_says_that_it_succeeded(world: World) -> None:
    await world.client.hset(world.key("payment", world.payments["processing"]), "status", "succeeded")


@corruption(CHANGE)
async def a_payment_paid_at_another_time(world: World) -> None:
    await world.client.hset(world.key("payment", world.payments["succeeded"]), "paid_at", "1")


@corruption(CHANGE, INVOICE)
async def a_payment_of_another_amount(world: World) -> None:
    await world.client.hset(world.key("payment", world.payments["succeeded"]), "amount", "999")


@corruption(CHANGE)
async def a_refund_of_another_amount(world: World) -> None:
    refunds = await world.client.hget(world.key("payment", world.payments["refunded"]), "refunds")
    await world.setup.write("payment", world.payments["refunded"], refunds=refunds.replace("1000", "999"))


@corruption(CHANGE)
async def a_refund_for_another_reason(world: World) -> None:
    refunds = await world.client.hget(world.key("payment", world.payments["given_back"]), "refunds")
    refunds = refunds.replace("settlement_failed", "requested_by_operator")
    await world.setup.write("payment", world.payments["given_back"], refunds=refunds)


@corruption(CHANGE)
async def a_refund_at_another_time(world: World) -> None:
    refunds = json.loads(await world.client.hget(world.key("payment", world.payments["refunded"]), "refunds"))
    refunds[0]["at"] = "1"
    await world.setup.write("payment", world.payments["refunded"], refunds=json.dumps(refunds))


@corruption(READABLE)
async def refunds_that_cannot_be_read(world: World) -> None:
    await world.setup.write("payment", world.payments["refunded"], refunds="[")


@corruption(BALANCE, CHANGE, DEBIT)
async def a_refund_of_more_than_the_payment(world: World) -> None:
    payment = world.payments["succeeded"]
    await world.client.xadd(
        world.key("journal"), {"payment.refunding": payment, "version": "4", "amount": "1001"}
    )


@corruption(DEBIT)
async def a_debit_that_nobody_will_end(world: World) -> None:
    await world.client.zrem(world.key("agenda"), world.payments["processing"])


@corruption(DEBIT)
async def a_payment_that_no_operator_sees(world: World) -> None:
    await world.client.zrem(world.key("set_aside"), world.payments["set_aside"])


@corruption(DEBIT)
async def a_settlement_of_what_was_given_back(world: World) -> None:
    await world.client.hset(world.key("mock:settlement", world.payments["given_back"]), "state", "settled")


@corruption(DEBIT)
async def a_success_that_the_service_called_off(world: World) -> None:
    await world.client.hset(world.key("mock:settlement", world.payments["succeeded"]), "state", "called_off")


@corruption(CHANGE)
async def a_wallet_out_of_nothing(world: World) -> None:
    forged = {"user": "alice", "currency": "EUR", "balance": "1", "ledger": "1", "status": "active"}
    await world.client.hset(world.key("wallet", "wal_00forged"), mapping=forged)


@corruption(CHANGE)
async def a_user_unblocked_behind_the_journal(world: World) -> None:
    await world.setup.store.run(SetUserStatus(operation(), "alice", "blocked"))
    await world.client.hset(world.key("user", "alice"), "status", "active")


@corruption(MESSAGE)
async def a_message_that_nobody_will_send(world: World) -> None:
    await world.client.zrem(world.key("agenda"), f"msg_{world.message}")


@corruption(MESSAGE)
async def a_relay_that_passed_over_what_is_to_come(world: World) -> None:
    await world.client.hset(world.key("relay"), "cursor", "9999999999999-0")


@pytest.mark.corrupts
@pytest.mark.parametrize("name", CORRUPTIONS)
async def test_a_corruption_is_reported_by_the_name_of_what_it_breaks(world: World, name: str) -> None:
    invariants, corrupt = CORRUPTIONS[name]
    await assert_clean(world.setup.store)

    await corrupt(world)

    audit = await world.setup.store.audit()
    assert not audit.clean
    assert {difference.invariant for difference in audit.differences} == invariants, audit.differences


async def test_the_audit_beside_traffic_reports_nothing_that_is_not_there(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small portions make many positions, and so many chances to be wrong.
    monkeypatch.setattr(auditing, "PORTION", 5)
    monkeypatch.setattr(auditing, "BATCH", 20)
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
            await setup.store.run(commands.CancelPayment(unrecorded(), canceled, "alice"), ALONE)

    async def audit_while(busy: asyncio.Future[Any]) -> None:
        while not busy.done():
            seen.append(await assert_clean(setup.store))

    busy = asyncio.gather(*(keep_busy(wallet) for wallet in wallets))
    await audit_while(busy)
    await busy

    checked = [audit.checked.entries for audit in seen]
    assert checked[0] < checked[-1] or len(checked) == 1
    assert checked[0] > len(wallets)
