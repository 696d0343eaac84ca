"""Refunds that fail, their ids, and the refunds of an earlier version."""

import json

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.store_commands import set_aside, take_due
from support.fixtures.store_setup import Setup, client_of, operation

from technopay.engine import commands
from technopay.engine.values import Verdict
from technopay.storage.commands import MigratePayments


async def test_a_declined_reversal_credits_nothing_and_the_refund_can_be_tried_again(
    setup: Setup,
) -> None:
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.succeeded(wallet)
    begun = await setup.begin_refund(payment_id, "ref_001")
    before = await setup.journal()

    failed = await setup.complete(payment_id, begun.details["claim"], "refund_failed")

    assert failed.value == await setup.operator_payment(payment_id)
    assert (failed.code, failed.value.status, failed.value.refunded_amount) == ("ok", "succeeded", 0)
    assert [(each.id, each.status) for each in failed.value.refunds] == [("ref_001", "failed")]
    assert await setup.money(wallet) == (9_000, 0)
    assert await setup.due_at(payment_id) is None
    assert await setup.news(before) == [
        ("payment.refund_failed", {"payment": payment_id, "version": "5", "refund": "ref_001"})
    ]
    assert (await setup.complete(payment_id, begun.details["claim"], "refund_failed")).code == "ok", "a repeat"
    assert (await setup.complete(payment_id, begun.details["claim"], "reversed")).code == "claim_lost"
    await assert_clean(setup.store)

    again = await setup.begin_refund(payment_id, "ref_002")
    assert (await setup.complete(payment_id, begun.details["claim"], "refund_failed")).code == "claim_lost"
    assert (await setup.complete(payment_id, again.details["claim"], "reversed")).code == "ok"
    assert await setup.money(wallet) == (10_000, 0)
    await assert_clean(setup.store)


@pytest.mark.parametrize("make_store", ["valkey", "redis"], indirect=True)
@pytest.mark.parametrize("verdict", ["reversed", "given_back"])
async def test_a_payment_that_went_back_stays_a_small_record(setup: Setup, verdict: Verdict) -> None:
    most = 2**53 - 1
    prepare = setup.refunding if verdict == "reversed" else setup.processing
    payment_id, claim = await prepare(await setup.wallet(balance=most), most)

    assert (await setup.complete(payment_id, claim, verdict)).code == "ok"

    record = setup.keys.key("payment", payment_id)
    assert await client_of(setup.store).object("ENCODING", record) == "listpack"


async def test_the_agenda_hands_out_id_and_amount_of_the_refund(setup: Setup) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    await setup.begin_refund(payment_id, "ref_007")
    await setup.make_due(payment_id)
    (taken,) = (await take_due(setup.store, 10)).payments
    assert taken.refund == ("ref_007", 1_000)


async def test_a_refund_that_schema_4_began_gets_an_id_and_an_amount(setup: Setup) -> None:
    payment_id, claim = await setup.refunding(await setup.wallet())
    fields = await setup.fields("payment", payment_id)
    counter = f"{fields['global_period']} 5000 1000 1767312000000"
    await setup.write("payment", payment_id, limit=counter, challenge="")
    await client_of(setup.store).hdel(setup.keys.key("payment", payment_id), "refund", "refund_amount")

    for _ in range(2):
        assert (await setup.store.run(MigratePayments([payment_id]))).value == []

    await setup.make_due(payment_id)
    (taken,) = (await take_due(setup.store, 10)).payments
    assert taken.claim != claim
    assert taken.refund == (payment_id.replace("pay_", "ref_"), 1_000)
    assert (await setup.complete(payment_id, taken.claim, "reversed")).code == "ok"
    await assert_clean(setup.store)


@pytest.mark.parametrize("verdict", ["reversed", "refund_failed"])
@pytest.mark.corrupts
async def test_a_refund_moves_the_amount_that_was_begun(setup: Setup, verdict: Verdict) -> None:
    """Every later step takes the amount from the begun refund."""
    wallet = await setup.wallet(balance=10_000)
    payment_id, claim = await setup.refunding(wallet)
    await setup.write("payment", payment_id, refund_amount=400)
    before = await setup.money(wallet)

    ended = await setup.complete(payment_id, claim, verdict)

    assert ended.value is not None
    credited = 400 if verdict == "reversed" else 0
    assert (ended.value.refunded_amount, [each.amount for each in ended.value.refunds]) == (credited, [400])
    assert await setup.money(wallet) == (before[0] + credited, before[1] - 400)
    differences = (await setup.store.audit()).differences
    assert differences, "the refund was begun with another amount"


async def test_a_decision_of_an_earlier_version_that_a_refund_fails_is_audited_clean(setup: Setup) -> None:
    """It was one entry: the payment succeeded again by the decision alone."""
    wallet = await setup.wallet(balance=10_000)
    payment_id, claim = await setup.refunding(wallet)
    assert await set_aside(setup.store, payment_id, claim, 15_000)
    client, key = client_of(setup.store), setup.keys.key
    await client.xadd(
        setup.keys.journal, {"payment.resolved": payment_id, "version": "6", "outcome": "settled"}
    )
    await setup.write("payment", payment_id, status="succeeded", claim=int(claim) + 1, version=6)
    await client.hdel(key("payment", payment_id), "set_aside", "refunds")
    await client.zrem(key("agenda"), payment_id)
    await client.zrem(key("set_aside"), payment_id)
    await client.hincrby(key("wallet", wallet), "ledger", -1_000)

    await assert_clean(setup.store)
    begun = await setup.begin_refund(payment_id, "ref_002")
    assert (await setup.complete(payment_id, begun.details["claim"], "reversed")).code == "ok"
    await assert_clean(setup.store)


async def test_a_repeat_of_a_refund_that_an_earlier_version_began_works_under_the_id_of_the_agenda(
    setup: Setup,
) -> None:
    payment_id = await setup.succeeded(await setup.wallet())
    begin = commands.BeginRefund(operation(), payment_id, "ref_001")
    first = await setup.run(begin)
    key, client = setup.keys.key("operation", begin.operation.operation_id), client_of(setup.store)
    reply = json.loads(await client.hget(key, "reply"))
    await client.hset(key, "reply", json.dumps([*reply[:4], ["claim", first.details["claim"]]]))

    again = await setup.run(begin)

    assert (again.code, again.replayed, again.details["claim"]) == ("ok", True, first.details["claim"])
    await setup.make_due(payment_id)
    (taken,) = (await take_due(setup.store, 10)).payments
    assert again.details["refund"] == taken.refund
