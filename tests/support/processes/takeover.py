"""What processes leave behind that stall or die in the middle of their work, and what others make of it.

A claim runs out after fifteen seconds, so all setups are played at the same time and looked at afterwards.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import wait_for
from support.fixtures.store_commands import list_entries
from support.fixtures.store_setup import Dump, Setup, client_of, dump
from support.processes.engine_process import Answer, FarEngine, Role, running_far_engine
from support.processes.worker import CODE, Call, open_store

from technopay.engine import Entry, Payment

PATIENT = {"settlement_timeout_s": 90.0, "settlement_silence_s": 180.0}
"""Settings of a process that waits for an answer for longer than a claim lasts."""
TAKEN_OVER_S_MAX = 40.0
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC).isoformat()
BALANCE, PRICE = 10_000, 100
PURCHASES = 120

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Stalled:
    """A payment whose process stalled just before it asked for the settlement, and came back."""

    taken_over_s: float
    book_before: str
    book_after: str
    settle_answer: str
    told: Answer
    late_completion: str
    payment: Payment
    entries: list[Entry]
    claims: int


@dataclass(frozen=True)
class Killed:
    """The payments of a process that was killed, after two others recovered them."""

    recovered_s: float
    statuses: list[str]
    claims: list[str]


@dataclass(frozen=True)
class Told:
    """The messages of a process that was killed after their delivery, before it was recorded."""

    before: list[Json]
    again: list[Json]
    again_s: float


@dataclass(frozen=True)
class AtRest:
    """All that lies in the store when three processes have worked, two of them to the death."""

    answers: list[Answer]
    dump: Dump
    now_ms: int


async def prepare(far: FarEngine, purchases: int, user_id: str = "ann") -> list[Json]:
    """Make a user with money, and payments that wait for their code; answer the payments."""
    await far.ask("create_user", user_id=user_id, email=f"{user_id}@example.com")
    wallet = (await far.ask("create_wallet", user_id=user_id, currency="EUR")).record
    await far.ask("deposit", wallet_id=wallet["id"], amount=BALANCE * max(purchases // 50, 1))
    return await start(far, wallet, purchases)


async def start(far: FarEngine, wallet: Json, purchases: int, merchant: str = "shop") -> list[Json]:
    """Enter invoices for the owner of a wallet and start to pay them; answer the payments."""
    owner = {"user_id": wallet["user_id"]}
    terms: dict[str, Any] = {"amount": PRICE, "currency": "EUR", "merchant": merchant, "expires_at": FAR_AHEAD}
    invoices = await asyncio.gather(*(far.ask("create_invoice", **owner, **terms) for _ in range(purchases)))
    starts = [{"invoice_id": each.record["id"], "wallet_id": wallet["id"]} for each in invoices]
    started = await asyncio.gather(*(far.ask("start_payment", **owner, **each) for each in starts))
    return [each.record for each in started]


def wallet_of(payment: Json) -> Json:
    """Answer what has to be known of a payment's wallet to start another one."""
    return {"id": payment["wallet_id"], "user_id": payment["user_id"]}


def confirm(payment: Json, wait_s: float = 10) -> Call:
    """Make the call that confirms a payment."""
    whose = {"user_id": payment["user_id"], "payment_id": payment["id"]}
    return "confirm_payment", {**whose, "code": CODE, "wait_s": wait_s}


async def wait_until_at(setup: Setup, payments: list[Json], *statuses: str) -> list[Payment]:
    """Wait until all payments are at one of these."""

    async def look() -> list[Payment]:
        found = [await setup.payment(payment["id"]) for payment in payments]
        return found if all(payment.status in statuses for payment in found) else []

    return await wait_for(look, within_s=TAKEN_OVER_S_MAX)


async def stall(url: str, namespace: str) -> Stalled:
    """Stop a process before its settle leaves; let another take over, which has to call off; go on."""
    stalling = Role(url, namespace, settings=PATIENT, service="asking")
    rescuing = Role(url, namespace, service="failing")
    async with (
        open_store(url, namespace, "UTC") as store,
        running_far_engine(stalling) as far,
        running_far_engine(rescuing),
    ):
        setup = Setup(store)
        [payment] = await prepare(far, 1)
        [answer] = far.send([confirm(payment)])
        await far.hear("about to settle", payment=payment["id"])
        far.signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        [after] = await wait_until_at(setup, [payment], "succeeded", "failed")
        taken_over_s = time.monotonic() - stopped_at
        book_before = await read_book(setup, payment)
        far.signal(signal.SIGCONT)
        far.give_leave(payment["id"])
        answered = await far.hear("settle answered", payment=payment["id"])
        await answer
        told = await far.ask("confirm_payment", **confirm(payment)[1])
        late = await setup.complete(payment["id"], "1", "settled")
        entries = await list_entries(store, payment["wallet_id"], None, "", 100)
        assert entries.value
        return Stalled(
            taken_over_s=taken_over_s,
            book_before=book_before,
            book_after=await read_book(setup, payment),
            settle_answer=answered["answer"],
            told=told,
            late_completion=late.code,
            payment=after,
            entries=entries.value.data,
            claims=int((await setup.fields("payment", payment["id"]))["claim"]),
        )


async def read_book(setup: Setup, payment: Json) -> str:
    """Answer what the mock settlement service wrote down about a payment."""
    return (await setup.fields("mock:settlement", payment["id"])).get("state", "")


async def kill(url: str, namespace: str) -> Killed:
    """Kill a process that asks for many settlements; two others recover them."""
    async with open_store(url, namespace, "UTC") as store:
        setup = Setup(store)
        async with running_far_engine(Role(url, namespace, service="asking")) as far:
            payments = await prepare(far, 40)
            far.send([confirm(payment, 0) for payment in payments])
            await asyncio.gather(*(far.hear("about to settle", payment=each["id"]) for each in payments))
            far.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        async with running_far_engine(Role(url, namespace)), running_far_engine(Role(url, namespace)):
            after = await wait_until_at(setup, payments, "succeeded", "failed")
            recovered_s = time.monotonic() - killed_at
        claims = [(await setup.fields("payment", payment.id))["claim"] for payment in after]
        return Killed(recovered_s, [payment.status for payment in after], claims)


async def deliver(url: str, namespace: str) -> Told:
    """Kill the process that relays when it has delivered but not recorded it; another delivers again."""
    settings = {"message_timeout_s": 30.0}
    gone = Role(url, namespace, settings=settings, channel="gone")
    async with running_far_engine(gone) as far:
        [payment] = await prepare(far, 1)
        await far.ask("confirm_payment", **confirm(payment)[1])
        await far.hear("delivered", kind="payment.succeeded")
        far.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    async with running_far_engine(Role(url, namespace, channel="telling")) as other:
        await other.hear("delivered", kind="payment.succeeded")
        again_s = time.monotonic() - killed_at
        [second] = await start(other, wallet_of(payment), 1)
        await other.ask("confirm_payment", **confirm(second)[1])
        await other.hear("delivered", kind="payment.succeeded", about=second["id"])
        again = [event for event in other.events if event["event"] == "delivered"]
    return Told([event for event in far.events if event["event"] == "delivered"], again, again_s)


async def come_to_rest(url: str, namespace: str) -> AtRest:
    """Let three processes do all kinds of things, kill two of them, and wait until nothing moves any more."""
    # With less time, a busy machine lets payments be set aside: they would wait for an operator.
    role = Role(url, namespace, settings={"settlement_timeout_s": 2.0, "settlement_silence_s": 30.0})
    async with open_store(url, namespace, "UTC") as store, running_far_engine(role) as survivor:
        setup = Setup(store)
        payments = await prepare(survivor, PURCHASES)
        payments += await start(survivor, wallet_of(payments[0]), 10, "shop-declines")
        async with running_far_engine(role) as second, running_far_engine(role) as third:
            answers: list[asyncio.Future[Answer]] = []
            for number, payment in enumerate(payments):
                engines = [survivor, second, third]
                calls = mixed_calls(payment, number)
                for engine in (engines[number % 3], engines[(number + 1) % 3]):
                    answers += engine.send(calls)
            await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            second.signal(signal.SIGKILL)
            await asyncio.wait(answers, timeout=0.1)
            third.signal(signal.SIGKILL)
            told = await asyncio.gather(*answers, return_exceptions=True)
        at_rest = ("succeeded", "failed", "canceled", "requires_confirmation", "refunded")
        await wait_until_at(setup, payments, *at_rest)
        await wait_until_relayed(setup)
        found = [each for each in told if isinstance(each, Answer)]
        return AtRest(found, await dump(store), await setup.now_ms())


def mixed_calls(payment: Json, number: int) -> list[Call]:
    """Make what a payment meets: most are confirmed, some canceled or refunded; its wallet gets money, too."""
    whose = {"user_id": "ann", "payment_id": payment["id"]}
    calls: list[Call] = [("deposit", {"wallet_id": payment["wallet_id"], "amount": 1})]
    calls.append(("cancel_payment", whose) if number % 5 == 0 else confirm(payment))
    if number % 7 == 0:
        calls.append(("refund_payment", {"payment_id": payment["id"]}))
    return calls


async def wait_until_relayed(setup: Setup) -> None:
    """Wait until the relay is behind the last entry of the journal, and nobody has it."""

    async def look() -> bool:
        last = (await setup.entries())[-1][0]
        return bool(await client_of(setup.store).hget(setup.keys.key("relay"), "cursor") == last)

    await wait_for(look, within_s=TAKEN_OVER_S_MAX)


async def play(url: str, namespace: str) -> tuple[Stalled, Killed, Told, AtRest]:
    """Play all setups at once, each in a namespace of its own; then audit each."""
    names = [f"{namespace}{setup}" for setup in ("stall", "kill", "tell", "rest")]
    async with asyncio.TaskGroup() as group:
        stalled = group.create_task(stall(url, names[0]))
        killed = group.create_task(kill(url, names[1]))
        told = group.create_task(deliver(url, names[2]))
        rest = group.create_task(come_to_rest(url, names[3]))
    for name in names:
        await assert_books_balance(url, name)
    return stalled.result(), killed.result(), told.result(), rest.result()
