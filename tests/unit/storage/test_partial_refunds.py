"""Refunds of a part of a payment: what is left, one at a time, each with its own id, entry and end."""

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.dumps import dump
from support.fixtures.store_commands import entries_of, set_aside
from support.fixtures.store_setup import Setup, operation

from technopay.engine.commands import BeginRefund, ResolvePayment
from technopay.engine.models import OperatorPayment
from technopay.engine.ports import Outcome
from technopay.engine.values import Verdict

REFUNDS_MAX = 100


async def complete(
    setup: Setup, payment_id: str, begun: Outcome[OperatorPayment], verdict: Verdict
) -> OperatorPayment:
    assert (await setup.complete(payment_id, begun.details["claim"], verdict)).code == "ok"
    return await setup.operator_payment(payment_id)


async def refund(
    setup: Setup, payment_id: str, number: int, amount: int | None, verdict: Verdict = "reversed"
) -> OperatorPayment:
    begun = await setup.begin_refund(payment_id, f"ref_{number:03}", amount=amount)
    assert begun.code == "ok"
    return await complete(setup, payment_id, begun, verdict)


@pytest.mark.any_partition
async def test_a_payment_is_refunded_in_parts_until_nothing_is_left(setup: Setup) -> None:
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.succeeded(wallet)
    before = await setup.journal()

    part = await refund(setup, payment_id, 1, 300)
    rest = await refund(setup, payment_id, 2, None)

    assert (part.status, part.refunded_amount) == ("succeeded", 300)
    assert (rest.status, rest.refunded_amount) == ("refunded", 1_000)
    assert [(each.id, each.amount, each.status) for each in rest.refunds] == [
        ("ref_001", 300, "done"),
        ("ref_002", 700, "done"),
    ]
    assert await setup.money(wallet) == (10_000, 0)
    assert [name for name, _ in await setup.news(before)] == [
        "payment.refunding", "payment.partially_refunded", "payment.refunding", "payment.refunded",
    ]  # fmt: skip
    entries = await entries_of(setup.store, wallet, 2)
    assert [(each.kind, each.amount, each.refund_id, each.payment_id) for each in entries] == [
        ("refund", 700, "ref_002", payment_id),
        ("refund", 300, "ref_001", payment_id),
    ]
    await assert_clean(setup.store)


async def test_the_last_part_makes_the_payment_refunded(setup: Setup) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    await refund(setup, payment_id, 1, 999)
    assert (await refund(setup, payment_id, 2, 1)).status == "refunded"
    await assert_clean(setup.store)


@pytest.mark.any_partition
async def test_more_than_is_left_is_refused_and_nothing_changes(setup: Setup) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    await refund(setup, payment_id, 1, 300)
    before = await dump(setup.store)

    refused = await setup.begin_refund(payment_id, "ref_002", amount=701)

    assert (refused.code, refused.details["refundable"]) == ("refund_too_large", 700)
    assert await dump(setup.store) == before
    whole = await refund(setup, payment_id, 3, None)
    assert whole.status == "refunded"
    gone = await setup.begin_refund(payment_id, "ref_004", amount=1)
    assert (gone.code, gone.details["refundable"]) == ("refund_too_large", 0)
    assert (await setup.begin_refund(payment_id, "ref_005")).code == "ok", "a repeat of the goal"
    assert len((await setup.operator_payment(payment_id)).refunds) == 2


@pytest.mark.parametrize(
    ("begun", "asked", "code"),
    [
        (None, None, "ok"),
        (1_000, None, "ok"),
        (400, None, "refund_in_progress"),
        (400, 400, "refund_in_progress"),
        (None, 1_000, "refund_in_progress"),
        (400, 2_000, "refund_in_progress"),
    ],
)
async def test_refunds_are_done_one_at_a_time(
    setup: Setup, begun: int | None, asked: int | None, code: str
) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    assert (await setup.begin_refund(payment_id, "ref_001", amount=begun)).code == "ok"

    second = await setup.begin_refund(payment_id, "ref_002", amount=asked)

    assert second.code == code
    assert "claim" not in second.details
    assert second.value is not None
    assert [each.id for each in second.value.refunds] == ["ref_001"]


async def test_a_refund_that_fails_leaves_what_was_left(setup: Setup) -> None:
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.succeeded(wallet)
    await refund(setup, payment_id, 1, 300)

    failed = await refund(setup, payment_id, 2, 700, "refund_failed")

    assert (failed.status, failed.refunded_amount) == ("succeeded", 300)
    assert [each.status for each in failed.refunds] == ["done", "failed"]
    assert await setup.money(wallet) == (9_300, 0)
    assert (await refund(setup, payment_id, 3, 700)).status == "refunded"
    assert await setup.money(wallet) == (10_000, 0)
    await assert_clean(setup.store)


@pytest.mark.parametrize(
    ("first", "second"),
    [("reversed", "refund_failed"), ("refund_failed", "reversed"), ("reversed", "reversed")],
)
async def test_a_late_verdict_of_an_earlier_refund_is_never_that_of_a_later_one(
    setup: Setup, first: Verdict, second: Verdict
) -> None:
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.succeeded(wallet)
    early = (await setup.begin_refund(payment_id, "ref_001", amount=300)).details["claim"]
    assert (await setup.complete(payment_id, early, first)).code == "ok"
    late = (await setup.begin_refund(payment_id, "ref_002", amount=400)).details["claim"]

    for verdict in ("reversed", "refund_failed"):
        assert (await setup.complete(payment_id, early, verdict)).code == "claim_lost"
    assert (await setup.complete(payment_id, late, second)).code == "ok"

    money = await setup.money(wallet)
    again = await setup.complete(payment_id, late, second)
    assert (again.code, await setup.money(wallet)) == ("ok", money), "a repeat after a lost reply"
    assert [each.id for each in (await setup.operator_payment(payment_id)).refunds] == ["ref_001", "ref_002"]
    await assert_clean(setup.store)


async def test_note_and_operator_are_kept_with_the_refund_and_its_entry(setup: Setup) -> None:
    wallet = await setup.wallet()
    payment_id = await setup.succeeded(wallet)
    note = 'a "scratch",\nseen at \u00e9t\u00e9 \\ 5 %'
    begun = await setup.begin_refund(payment_id, "ref_001", amount=300, note=note, by="root 1")

    payment = await complete(setup, payment_id, begun, "reversed")

    assert [each.note for each in payment.refunds] == [note]
    [entry] = await entries_of(setup.store, wallet, 1)
    assert (entry.note, entry.by) == (note, "root 1")
    await assert_clean(setup.store)


async def test_a_part_that_was_set_aside_is_decided(setup: Setup) -> None:
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.succeeded(wallet)
    for number, (outcome, status, refunded) in enumerate(
        (("refund", "succeeded", 300), ("settled", "succeeded", 300), ("refund", "refunded", 1_000))
    ):
        amount = 300 if number < 2 else None
        claim = (await setup.begin_refund(payment_id, f"ref_{number}", amount=amount)).details["claim"]
        assert await set_aside(setup.store, payment_id, claim, 15_000)

        command = ResolvePayment(operation(), payment_id, outcome, "they said so", "root")
        payment = await setup.done(command)

        assert (payment.status, payment.refunded_amount, payment.set_aside) == (status, refunded, False)
        await assert_clean(setup.store)


async def test_a_repeat_with_its_identity_begins_no_second_refund(setup: Setup) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    command = BeginRefund(operation(), payment_id, "ref_001", 300)
    first = await setup.run(command)

    again = await setup.run(BeginRefund(command.operation, payment_id, "ref_002", 300))

    assert again.replayed
    assert again.details["claim"] == first.details["claim"]
    assert again.details["refund"] == ("ref_001", 300)


@pytest.mark.parametrize("make_store", ["fake", "valkey"], indirect=True)
async def test_the_list_of_refunds_is_bounded(setup: Setup) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    await refund(setup, payment_id, 0, 1, "refund_failed")
    for number in range(1, REFUNDS_MAX):
        await refund(setup, payment_id, number, 1)
    assert len((await setup.operator_payment(payment_id)).refunds) == REFUNDS_MAX

    full = await refund(setup, payment_id, REFUNDS_MAX, 1)

    assert full.refunds[0].id == "ref_001", "the failed one made room"
    assert len(full.refunds) == REFUNDS_MAX
    assert (await setup.begin_refund(payment_id, "ref_101")).code == "payment_not_refundable"
    await assert_clean(setup.store)
