"""Refunds that fail, their ids, and what an earlier version left of them."""

from __future__ import annotations

import json

import pytest
from support.audit import assert_clean
from support.scene import ALONE, Scene, client_of, operation
from support.store import set_aside, take_due

from technopay.engine import commands
from technopay.engine.values import Verdict
from technopay.storage.commands import MigratePayments


async def test_a_declined_reversal_credits_nothing_and_the_refund_can_be_tried_again(
    scene: Scene,
) -> None:
    wallet = await scene.wallet(balance=10_000)
    payment_id = await scene.succeeded(wallet)
    begun = await scene.begin_refund(payment_id, "ref_001")
    before = await scene.journal()

    failed = await scene.complete(payment_id, begun.details["claim"], "refund_failed")

    assert failed.code == "ok"
    assert failed.value is not None
    assert failed.value == await scene.operator_payment(payment_id)
    assert (failed.value.status, failed.value.refunds) == ("succeeded", [])
    assert await scene.money(wallet) == (9_000, 0)
    assert await scene.due_at(payment_id) is None
    assert await scene.news(before) == [("payment.refund_failed", {"payment": payment_id, "version": "5"})]
    assert (await scene.complete(payment_id, begun.details["claim"], "refund_failed")).code == "ok", "a repeat"
    assert (await scene.complete(payment_id, begun.details["claim"], "reversed")).code == "claim_lost"
    await assert_clean(scene.store)

    again = await scene.begin_refund(payment_id, "ref_002")
    assert (await scene.complete(payment_id, begun.details["claim"], "refund_failed")).code == "claim_lost"
    assert (await scene.complete(payment_id, again.details["claim"], "reversed")).code == "ok"
    assert await scene.money(wallet) == (10_000, 0)
    await assert_clean(scene.store)


async def test_the_agenda_hands_out_id_and_amount_of_the_refund(scene: Scene) -> None:
    payment_id = await scene.succeeded(await scene.wallet())
    await scene.begin_refund(payment_id, "ref_007")
    await scene.make_due(payment_id)
    (taken,) = (await take_due(scene.store, 10)).payments
    assert taken.refund == ("ref_007", 1_000)


async def test_a_refund_that_schema_4_began_gets_an_id_and_an_amount(scene: Scene) -> None:
    payment_id, claim = await scene.refunding(await scene.wallet())
    fields = await scene.fields("payment", payment_id)
    counter = f"{fields['global_period']} 5000 1000 1767312000000"
    await scene.write("payment", payment_id, limit=counter, challenge="")
    await client_of(scene.store).hdel(scene.keys.key("payment", payment_id), "refund", "refund_amount")

    for _ in range(2):
        assert (await scene.store.run(MigratePayments([payment_id]))).value == []

    await scene.make_due(payment_id)
    (taken,) = (await take_due(scene.store, 10)).payments
    assert taken.claim != claim
    assert taken.refund == (payment_id.replace("pay_", "ref_"), 1_000)
    assert (await scene.complete(payment_id, taken.claim, "reversed")).code == "ok"
    await assert_clean(scene.store)


@pytest.mark.parametrize("verdict", ["reversed", "refund_failed"])
@pytest.mark.corrupts
async def test_a_refund_moves_the_amount_that_was_begun(scene: Scene, verdict: Verdict) -> None:
    """Whatever decides the amount of a refund: every later step takes it from there."""
    wallet = await scene.wallet(balance=10_000)
    payment_id, claim = await scene.refunding(wallet)
    await scene.write("payment", payment_id, refund_amount=400)
    before = await scene.money(wallet)

    ended = await scene.complete(payment_id, claim, verdict)

    assert ended.value is not None
    credited = 400 if verdict == "reversed" else 0
    assert (ended.value.refunded_amount, [each.amount for each in ended.value.refunds]) == (
        credited, [400] if credited else [],
    )  # fmt: skip
    assert await scene.money(wallet) == (before[0] + credited, before[1] - 400)
    differences = (await scene.store.audit()).differences
    assert differences, "the refund was begun with another amount"


async def test_a_decision_of_an_earlier_version_that_a_refund_fails_is_audited_clean(scene: Scene) -> None:
    """It was one entry: the payment succeeded again by the decision alone."""
    wallet = await scene.wallet(balance=10_000)
    payment_id, claim = await scene.refunding(wallet)
    assert await set_aside(scene.store, payment_id, claim, 15_000)
    client, key = client_of(scene.store), scene.keys.key
    await client.xadd(
        scene.keys.journal, {"payment.resolved": payment_id, "version": "6", "outcome": "settled"}
    )
    await scene.write("payment", payment_id, status="succeeded", claim=int(claim) + 1, version=6)
    await client.hdel(key("payment", payment_id), "set_aside")
    await client.zrem(key("agenda"), payment_id)
    await client.zrem(key("set_aside"), payment_id)
    await client.hincrby(key("wallet", wallet), "ledger", -1_000)

    await assert_clean(scene.store)
    begun = await scene.begin_refund(payment_id)
    assert (await scene.complete(payment_id, begun.details["claim"], "reversed")).code == "ok"
    await assert_clean(scene.store)


async def test_a_repeat_of_a_refund_that_an_earlier_version_began_works_under_the_id_of_the_agenda(
    scene: Scene,
) -> None:
    payment_id = await scene.succeeded(await scene.wallet())
    begin = commands.BeginRefund(operation(), payment_id, "ref_001")
    first = await scene.store.run(begin, ALONE)
    key, client = scene.keys.key("operation", begin.operation.operation_id), client_of(scene.store)
    reply = json.loads(await client.hget(key, "reply"))
    await client.hset(key, "reply", json.dumps([*reply[:4], ["claim", first.details["claim"]]]))

    again = await scene.store.run(begin, ALONE)

    assert (again.code, again.replayed, again.details["claim"]) == ("ok", True, first.details["claim"])
    await scene.make_due(payment_id)
    (taken,) = (await take_due(scene.store, 10)).payments
    assert again.details["refund"] == taken.refund
