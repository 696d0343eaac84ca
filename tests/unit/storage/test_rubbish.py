"""Rubbish in any record that a script uses: the script does its work, or stops before its first write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import (
    ALONE,
    RIGHT,
    WRONG,
    Setup,
    client_of,
    dump,
    new_id,
    operation,
    start_command,
)

from technopay.engine import commands
from technopay.engine.commands import CreateWallet, ResolvePayment, VoidInvoice
from technopay.engine.errors import InternalError
from technopay.engine.ports import Outcome
from technopay.engine.values import Evidence, Verdict

pytestmark = pytest.mark.corrupts

VALUES = ("rubbish", "1e3", "007", "9223372036854775807")


@dataclass
class World:
    """What can be acted on: a payment that came as far as the act needs it, and an invoice that nobody pays."""

    setup: Setup
    wallet: str
    invoice: str
    payment: str
    claim: str
    day: str
    unpaid: str
    counter: str = "global:EUR"

    @property
    def store(self) -> Any:
        return self.setup.store

    async def run(self, command: commands.Command[Any]) -> Outcome[Any]:
        return await self.setup.store.run(command, ALONE)


async def make_world(setup: Setup, status: str) -> World:
    """Make everything anew. The journal stays: a store without it has lost data."""
    for name in (await dump(setup.store)).keys() - {"journal", "meta"}:
        await client_of(setup.store).delete(setup.keys.journal.removesuffix("journal") + name)
    await setup.user("alice")
    await setup.set_limit("EUR", 1_000_000)
    wallet, invoice, unpaid = await setup.wallet(), await setup.invoice(), await setup.invoice()
    payment, claim = await setup.started(wallet, invoice), "1"
    if status == "waiting":
        await setup.write_code(payment, attempts=1)
    else:
        assert (await setup.confirm(payment)).code == "ok"
    if status in ("succeeded", "refunding"):
        assert (await setup.complete(payment, claim, "settled")).code == "ok"
    if status == "refunding":
        claim = (await setup.begin_refund(payment)).details["claim"]
    if status in ("processing", "refunding"):
        assert await set_aside(setup.store, payment, claim, 60_000)
    # A lease that ran out is another's: to take it raises the token.
    await setup.write("wallet", wallet, lease_owner="owner-b", lease_until=0, token=1)
    return World(setup, wallet, invoice, payment, claim, await setup.day(payment), unpaid)


Act = Callable[[World], Awaitable[Any]]


def confirm(evidence: Evidence) -> Act:
    return lambda world: world.run(
        commands.ConfirmPayment(
            new_id("op"), world.payment, "alice", evidence, confirms_per_minute=10, failures_per_day=10
        )
    )


def complete(verdict: Verdict) -> Act:
    return lambda world: world.setup.complete(world.payment, world.claim, verdict)


def resolve(verdict: str) -> Act:
    return lambda world: world.store.run(
        ResolvePayment(operation(), world.payment, verdict, "note", "operator")
    )


def start(*, again: bool) -> Act:
    return lambda world: world.run(
        start_command(
            world.wallet, world.invoice if again else world.unpaid, identity=operation(), codes_per_hour=10
        )
    )


async def resend(world: World) -> Outcome[Any]:
    return await world.run(
        commands.ResendCode(operation(), world.payment, "alice", 2, 60_000, codes_per_hour=10)
    )


ACTS: dict[str, tuple[str, Act]] = {
    "start": ("waiting", start(again=False)),
    "start again": ("waiting", start(again=True)),
    "confirm": ("waiting", confirm(RIGHT)),
    "last wrong code": ("waiting", confirm(WRONG)),
    "resend": ("waiting", resend),
    "cancel": ("waiting", lambda world: world.run(commands.CancelPayment(operation(), world.payment, "alice"))),
    "void": ("waiting", lambda world: world.store.run(VoidInvoice(operation(), world.invoice))),
    "settle": ("processing", complete("settled")),
    "give back": ("processing", complete("given_back")),
    "resolve as settled": ("processing", resolve("settled")),
    "resolve as refunded": ("processing", resolve("refund")),
    "begin a refund": ("succeeded", lambda world: world.setup.begin_refund(world.payment)),
    "refund": ("refunding", complete("reversed")),
    "fail a refund": ("refunding", complete("refund_failed")),
    "resolve a refund as failed": ("refunding", resolve("settled")),
    "resolve a refund as done": ("refunding", resolve("refund")),
    "deposit": ("waiting", lambda world: world.setup.deposit(world.wallet, 500)),
    "deactivate": ("waiting", lambda world: world.setup.set_wallet_status(world.wallet, "inactive")),
    "create a wallet": (
        "waiting",
        lambda world: world.store.run(CreateWallet(operation(), new_id("wal"), "alice", "EUR")),
    ),
    "create an invoice": ("waiting", lambda world: world.setup.invoice()),
    "set a limit": ("waiting", lambda world: world.setup.set_limit("EUR", 5)),
}


RECORDS = (
    "user alice", "wallet wallet", "entries wallet", "invoice invoice", "invoice unpaid", "payment payment",
    "payments alice", "invoices alice", "limit counter", "limits", "code payment", "set_aside", "references",
)  # fmt: skip
FIELDS = (
    "wallet wallet balance", "wallet wallet ledger", "wallet wallet token", "payment payment amount",
    "payment payment claim", "payment payment version", "payment payment global_period",
    "payment payment refund_amount",
    "invoice unpaid amount", "limit counter limit", "limit counter day", "user alice codes",
    "user alice confirms", "user alice failures",
)  # fmt: skip
"""What is broken: the kind of a record, whose it is, a field of it; names of World stand for their values."""


UNRECORDED = {"confirm", "last wrong code", "settle", "give back", "refund", "fail a refund"}
"""Acts that leave no record of their operation, which has a place on the agenda."""


@asynccontextmanager
async def broken(world: World, place: str, value: str) -> AsyncIterator[None]:
    """Put rubbish in the place of a field, or of a whole record; afterwards put back what was there."""
    kind, *rest = place.split()
    record_id, *field = [getattr(world, name, name) for name in rest] or [None]
    key, client = world.setup.keys.key(kind, record_id), client_of(world.store)
    kept = await client.copy(key, f"kept:{key}")
    if field:
        await client.hset(key, field[0], value)
    else:
        await client.delete(key)
        await client.set(key, value)
    yield
    await client.delete(key)
    if kept:
        await client.rename(f"kept:{key}", key)


async def test_a_settlement_stops_before_its_first_write_where_the_wallet_is_gone(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world(setup, "processing")
    await client_of(setup.store).delete(setup.keys.key("wallet", world.wallet))
    before = await dump(setup.store)
    with pytest.raises(InternalError):
        await ACTS["settle"][1](world)
    assert await dump(setup.store) == before
    assert "a script failed" in caplog.text


@pytest.mark.parametrize("name", ACTS)
async def test_a_script_does_its_work_or_stops_before_its_first_write(
    setup: Setup, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, act = ACTS[name]
    half_done, stopped, world = [], 0, await make_world(setup, status)
    for place in (*RECORDS, *(["agenda"] if name in UNRECORDED else []), *FIELDS):
        for value in VALUES if place in FIELDS else VALUES[:1]:
            async with broken(world, place, value):
                before = await dump(setup.store)
                caplog.clear()
                with suppress(InternalError):
                    await act(world)
                is_changed = await dump(setup.store) != before
            is_stopped = "a script failed" in caplog.text
            stopped += is_stopped
            if is_changed:
                half_done += [(place, value)] * is_stopped
                world = await make_world(setup, status)
            if not is_stopped:
                break  # it was not in the way
    assert half_done == []
    assert stopped, "no rubbish was in the way"
    outcome = await act(world)
    assert isinstance(outcome, str) or outcome.code in ("ok", "confirmation_invalid")
