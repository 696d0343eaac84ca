"""Ends of payments that race: refunds, call-offs and decisions, from several processes at once."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from support.fixtures.figures import report
from support.fixtures.store_commands import set_aside
from support.processes.engine_process import Call
from support.processes.process_race import PRICE, PROCESSES, ProcessRace, confirm

from technopay.engine import Payment
from technopay.engine.commands import CompletePayment
from technopay.engine.values import Lease, Verdict

PAYMENTS, MANY, BALANCE = 24, 80, 10_000
BEFORE = 10
NOBODY = Lease("nobody", "", keep=False)
pytestmark = pytest.mark.asyncio(loop_scope="session")


def refund(payment: Payment) -> Call:
    return "refund_payment", {"payment_id": payment.id}


def resolve(payment_id: str, outcome: str) -> Call:
    arguments = {"payment_id": payment_id, "outcome": outcome, "note": "asked", "by": "operator"}
    return "resolve_payment", arguments


def ids_of(payments: Sequence[Payment]) -> list[str]:
    return [payment.id for payment in payments]


async def entries(race: ProcessRace, kind: str) -> Counter[str]:
    """Count the journal entries of a kind, by payment."""
    return Counter(said["payment"] for _, said in await race.records.entries() if said["type"] == kind)


async def test_a_refund_that_four_engines_begin_at_once_is_credited_once(race: ProcessRace) -> None:
    wallet = await race.make_user("bea", BALANCE)
    started = await race.start_many(wallet, PAYMENTS)
    await race.race([confirm(payment) for payment in started])

    answers = await race.race_apart(*[[refund(payment) for payment in started]] * PROCESSES)

    assert {answer.code for each in answers for answer in each} == {"ok"}
    assert {payment.status for payment in await race.payments_at_rest(ids_of(started))} == {"refunded"}
    for kind in ("payment.refunding", "payment.refunded"):
        assert await entries(race, kind) == dict.fromkeys(ids_of(started), 1)
    assert await race.balance(wallet) == BALANCE


async def test_a_refund_that_races_with_the_settlement_comes_after_it_or_is_refused(race: ProcessRace) -> None:
    wallet = await race.make_user("cem", BALANCE)
    started = await race.start_many(wallet, PAYMENTS)

    confirms, *refunds = await race.race_apart(
        [confirm(payment) for payment in started],
        *[[refund(payment) for payment in started] * 4] * (PROCESSES - 1),
    )

    assert {answer.code for answer in confirms} == {"ok"}
    codes = {answer.code for each in refunds for answer in each}
    assert codes <= {"ok", "payment_not_refundable"}
    paid = 0
    for number, payment in enumerate(await race.payments_at_rest(ids_of(started))):
        was_refunded = any(answer.code == "ok" for each in refunds for answer in each[number :: len(started)])
        assert payment.status == ("refunded" if was_refunded else "succeeded")
        paid += not was_refunded
    assert await race.balance(wallet) == BALANCE - paid * PRICE
    assert max((await entries(race, "payment.refunded")).values(), default=1) == 1


async def test_of_two_decisions_and_a_late_answer_exactly_one_counts(race: ProcessRace) -> None:
    wallet, store = await race.make_user("dan", BALANCE), race.records.store
    ids = [await race.records.processing(wallet.id, PRICE, "dan") for _ in range(PAYMENTS)]
    for payment_id, claim in ids:
        assert await set_aside(store, payment_id, claim, 300_000)
    before = await race.balance(wallet)
    stuck = [payment_id for payment_id, _ in ids]

    async def answer_late(number: int) -> str:
        payment_id, claim = ids[number]
        verdict: Verdict = "settled" if number % 2 else "given_back"
        await asyncio.sleep(0.001 * (number // 2))
        completion = CompletePayment(payment_id, claim, verdict)
        return (await store.run(completion, NOBODY)).code

    settles = [resolve(payment_id, "settled") for payment_id in stuck]
    refunds = [resolve(payment_id, "refund") for payment_id in stuck[::-1]]
    decided, late = await asyncio.gather(
        race.race_apart(settles, refunds),
        asyncio.gather(*(answer_late(number) for number in range(PAYMENTS))),
    )

    for number, payment in enumerate(await race.payments_at_rest(stuck)):
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
    failed = await entries(race, "payment.failed")
    assert await entries(race, "payment.succeeded") + failed == dict.fromkeys(stuck, 1)
    assert await race.balance(wallet) == before + failed.total() * PRICE
    assert set(late) <= {"ok", "claim_lost"}


async def test_payments_that_four_engines_recover_at_once_are_handed_out_once(race: ProcessRace) -> None:
    wallet = await race.make_user("eva", BALANCE)
    ids = [(await race.records.processing(wallet.id, PRICE, "eva"))[0] for _ in range(PAYMENTS)]

    await asyncio.gather(*(race.records.make_due(payment_id) for payment_id in ids))

    assert {payment.status for payment in await race.payments_at_rest(ids)} == {"succeeded"}
    claims = {(await race.records.fields("payment", payment_id))["claim"] for payment_id in ids}
    assert claims == {"3"}, "one for the confirm, one for the recovery, one for the end"
    books = [await race.records.fields("mock:settlement", payment_id) for payment_id in ids]
    assert [book["calls"] for book in books] == ["1"] * PAYMENTS


async def test_a_void_a_confirm_and_a_start_at_once_leave_one_outcome(race: ProcessRace) -> None:
    wallet, far = await race.make_user("fay", BALANCE), race.far
    started = await race.start_many(wallet, MANY)
    voids: list[Call] = [("void_invoice", {"invoice_id": payment.invoice_id}) for payment in started[::-1]]
    starts: list[Call] = [
        ("start_payment", {"user_id": "fay", "invoice_id": each.invoice_id, "wallet_id": wallet.id})
        for each in started
    ]

    confirms = [confirm(payment) for payment in started]
    # Some are paid and some voided before the race, from both ends: the other commands must not undo that.
    confirming, voiding = far[1].send(confirms[:BEFORE]), far[0].send(voids[:BEFORE])
    await asyncio.wait([*confirming, *voiding])
    confirming += far[1].send(confirms[BEFORE:])
    starting, repeating = far[2].send(starts[::-1]), far[3].send(confirms)
    voiding += far[0].send(voids[BEFORE:])
    voided, confirmed, again, repeated = [
        await asyncio.gather(*futures) for futures in (voiding, confirming, starting, repeating)
    ]

    paid = 0
    for number, payment in enumerate(started):
        void, start_again = voided[-1 - number], again[-1 - number]
        outcome = void.code, confirmed[number].code, repeated[number].code
        invoice = await race.engine.find_invoice(invoice_id=payment.invoice_id)
        after = await race.engine.find_payment(payment_id=payment.id)
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
            other = await race.engine.find_payment(payment_id=start_again.record["id"])
            assert other.status == "canceled"
    report(f"of {MANY} invoices {paid} were paid before they could be voided")
    assert BEFORE <= paid <= MANY - BEFORE
    assert await race.balance(wallet) == BALANCE - paid * PRICE
