"""Ends of payments that race: refunds, call-offs, recoveries and decisions, from several processes at once."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import wait_for
from support.fixtures.figures import report
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import Setup
from support.processes.engine_process import Answer, FarEngine, Role, running_far_engine
from support.processes.takeover import PRICE, confirm, prepare
from support.processes.worker import Call, make_engine, open_store

from technopay.engine import Engine, Payment
from technopay.engine.commands import CompletePayment
from technopay.engine.values import Lease, Verdict

ENGINES, PAYMENTS, MANY = 4, 24, 80
BEFORE = 10
NOBODY = Lease("nobody", "", keep=False)
pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """Four engines far away, one here to look, and the records."""

    far: Sequence[FarEngine]
    engine: Engine
    setup: Setup

    async def all_ask(self, *calls_of_each: Sequence[Call]) -> list[list[Answer]]:
        """Give each engine its calls, all at the same time; answer the answers of each."""
        asked = [far.send(calls) for far, calls in zip(self.far, calls_of_each, strict=True)]
        return [list(await asyncio.gather(*futures)) for futures in asked]

    async def payments(self, started: Sequence[Json]) -> list[Payment]:
        """Read payments again, when all are at rest."""

        async def look() -> list[Payment]:
            found: list[Payment] = [
                await self.engine.find_payment(payment_id=payment["id"]) for payment in started
            ]
            return found if all(payment.is_at_rest for payment in found) else []

        return await wait_for(look)

    async def entries(self, kind: str, started: Sequence[Json]) -> Counter[str]:
        """Count the entries of the journal of a kind, by payment."""
        own = {payment["id"] for payment in started}
        found = [said for _, said in await self.setup.entries() if said["type"] == kind]
        return Counter(said["payment"] for said in found if said["payment"] in own)

    async def balance(self, payment: Json) -> int:
        """Read what the wallet of a payment holds."""
        return (await self.engine.find_wallet(wallet_id=payment["wallet_id"])).balance


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["valkey", "redis"])
async def field(request: pytest.FixtureRequest) -> AsyncIterator[Field]:
    """The engines stay for all tests of a kind of server: to start them takes longer than to race."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    namespace = f"field{os.getpid()}{request.param}"
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(url, namespace, "UTC"))
        starting = (stack.enter_async_context(running_far_engine(Role(url, namespace))) for _ in range(ENGINES))
        far = await asyncio.gather(*starting)
        engine = await stack.enter_async_context(make_engine(store))
        yield Field(far, engine, Setup(store))
    await assert_books_balance(url, namespace)


def refund(payment: Json) -> Call:
    return "refund_payment", {"payment_id": payment["id"]}


def resolve(payment: Json, outcome: str) -> Call:
    arguments = {"payment_id": payment["id"], "outcome": outcome, "note": "asked", "by": "operator"}
    return "resolve_payment", arguments


async def test_a_refund_that_four_engines_begin_at_once_is_credited_once(field: Field) -> None:
    started = await prepare(field.far[0], PAYMENTS, "bea")
    before = await field.balance(started[0])
    await asyncio.gather(*field.far[0].send([confirm(payment) for payment in started]))

    answers = await field.all_ask(*[[refund(payment) for payment in started]] * ENGINES)

    assert {answer.code for each in answers for answer in each} == {"ok"}
    assert {payment.status for payment in await field.payments(started)} == {"refunded"}
    for kind in ("payment.refunding", "payment.refunded"):
        assert await field.entries(kind, started) == dict.fromkeys([payment["id"] for payment in started], 1)
    assert await field.balance(started[0]) == before


async def test_a_refund_that_races_with_the_settlement_comes_after_it_or_is_refused(field: Field) -> None:
    started = await prepare(field.far[0], PAYMENTS, "cem")
    before = await field.balance(started[0])

    confirms, *refunds = await field.all_ask(
        [confirm(payment) for payment in started],
        *[[refund(payment) for payment in started] * 4] * (ENGINES - 1),
    )

    assert {answer.code for answer in confirms} == {"ok"}
    codes = {answer.code for each in refunds for answer in each}
    assert codes <= {"ok", "payment_not_refundable"}
    paid = 0
    for number, payment in enumerate(await field.payments(started)):
        was_refunded = any(answer.code == "ok" for each in refunds for answer in each[number :: len(started)])
        assert payment.status == ("refunded" if was_refunded else "succeeded")
        paid += not was_refunded
    assert await field.balance(started[0]) == before - paid * PRICE
    assert max((await field.entries("payment.refunded", started)).values(), default=1) == 1


async def test_of_two_decisions_and_a_late_answer_exactly_one_counts(field: Field) -> None:
    [like] = await prepare(field.far[0], 1, "dan")
    store = field.setup.store
    ids = [await field.setup.processing(like["wallet_id"], PRICE, like["user_id"]) for _ in range(PAYMENTS)]
    for payment_id, claim in ids:
        assert await set_aside(store, payment_id, claim, 300_000)
    before = await field.balance(like)
    stuck = [{"id": payment_id} for payment_id, _ in ids]

    async def answer_late(number: int) -> str:
        payment_id, claim = ids[number]
        verdict: Verdict = "settled" if number % 2 else "given_back"
        await asyncio.sleep(0.001 * (number // 2))
        completion = CompletePayment(payment_id, claim, verdict)
        return (await store.run(completion, NOBODY)).code

    settles = [resolve(payment, "settled") for payment in stuck]
    refunds = [resolve(payment, "refund") for payment in stuck[::-1]]
    decided, late = await asyncio.gather(
        field.all_ask(settles, refunds, [], []),
        asyncio.gather(*(answer_late(number) for number in range(PAYMENTS))),
    )

    for number, payment in enumerate(await field.payments(stuck)):
        settled, refunded = decided[0][number].code, decided[1][-1 - number].code
        assert {settled, refunded} <= {"ok", "payment_not_resolvable"}
        verdict = "succeeded" if number % 2 else "failed"
        assert [settled, refunded].count("ok") + (late[number] == "ok") >= 1
        assert [settled, refunded].count("ok") <= 1
        if settled == "ok":
            assert payment.status == "succeeded"
        elif refunded == "ok":
            assert payment.status == "failed"
        else:
            assert (late[number], payment.status) == ("ok", verdict)
    ended = await field.entries("payment.succeeded", stuck) + await field.entries("payment.failed", stuck)
    assert ended == dict.fromkeys([payment["id"] for payment in stuck], 1)
    back = sum((await field.entries("payment.failed", stuck)).values())
    assert await field.balance(like) == before + back * PRICE
    assert set(late) <= {"ok", "claim_lost"}


async def test_payments_that_four_engines_recover_at_once_are_handed_out_once(field: Field) -> None:
    [like] = await prepare(field.far[0], 1, "eva")
    ids = [
        (await field.setup.processing(like["wallet_id"], PRICE, like["user_id"]))[0] for _ in range(PAYMENTS)
    ]

    await asyncio.gather(*(field.setup.make_due(payment_id) for payment_id in ids))

    after = await field.payments([{"id": payment_id} for payment_id in ids])
    assert {payment.status for payment in after} == {"succeeded"}
    claims = {(await field.setup.fields("payment", payment_id))["claim"] for payment_id in ids}
    assert claims == {"3"}, "one for the confirm, one for the recovery, one for the end"
    books = [await field.setup.fields("mock:settlement", payment_id) for payment_id in ids]
    assert [book["calls"] for book in books] == ["1"] * PAYMENTS


async def test_a_void_a_confirm_and_a_start_at_once_leave_one_outcome(field: Field) -> None:
    started = await prepare(field.far[0], MANY, "fay")
    before = await field.balance(started[0])
    voids: list[Call] = [("void_invoice", {"invoice_id": payment["invoice_id"]}) for payment in started[::-1]]
    starts: list[Call] = [
        ("start_payment", {name: each[name] for name in ("user_id", "invoice_id", "wallet_id")})
        for each in started
    ]

    confirms = [confirm(payment) for payment in started]
    # Some are paid and some voided before the race, from both ends: what the others must not undo.
    confirming, voiding = field.far[1].send(confirms[:BEFORE]), field.far[0].send(voids[:BEFORE])
    await asyncio.wait([*confirming, *voiding])
    confirming += field.far[1].send(confirms[BEFORE:])
    starting, repeating = field.far[2].send(starts[::-1]), field.far[3].send(confirms)
    voiding += field.far[0].send(voids[BEFORE:])
    voided, confirmed, again, repeated = [
        await asyncio.gather(*futures) for futures in (voiding, confirming, starting, repeating)
    ]

    paid = 0
    for number, payment in enumerate(started):
        void, start_again = voided[-1 - number], again[-1 - number]
        outcome = void.code, confirmed[number].code, repeated[number].code
        invoice = await field.engine.find_invoice(invoice_id=payment["invoice_id"])
        after = await field.engine.find_payment(payment_id=payment["id"])
        if after.status == "succeeded":
            assert outcome == ("invoice_not_voidable", "ok", "ok")
            assert start_again.code in {"payment_in_progress", "invoice_already_paid"}
            assert (invoice.status, invoice.payment_id) == ("paid", after.id)
            paid += 1
        else:
            assert outcome == ("ok", "payment_not_confirmable", "payment_not_confirmable")
            assert start_again.code in {"ok", "invoice_not_payable"}
            assert (after.status, invoice.status) == ("canceled", "void")
        if start_again.code == "ok":
            other = await field.engine.find_payment(payment_id=start_again.record["id"])
            assert other.status == "canceled"
    report(f"of {MANY} invoices {paid} were paid before they could be voided")
    assert BEFORE <= paid <= MANY - BEFORE
    assert await field.balance(started[0]) == before - paid * PRICE
