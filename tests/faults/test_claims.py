"""What processes leave behind that stall or die; that others finish it once, and that nothing is left of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.figures import report
from support.fixtures.store_commands import set_aside, take_due
from support.fixtures.store_setup import ALONE, Setup, dump
from support.processes.engine_process import Answer
from support.processes.takeover import PRICE, PURCHASES, AtRest, Killed, Stalled, Told, play
from support.processes.worker import open_store

from technopay.engine.commands import CompletePayment
from technopay.engine.values import Verdict

VERDICTS: tuple[Verdict, Verdict] = "given_back", "settled"
CLAIM_S, AGENDA_S_MAX = 15.0, 10.0
LEASE_MS = 100


@pytest.fixture
async def setup(server_url: str, namespace: str) -> AsyncIterator[Setup]:
    async with open_store(server_url, namespace, "UTC") as store:
        setup = Setup(store)
        await setup.user("alice")
        yield setup
    await assert_books_balance(server_url, namespace)


def assert_a_settlement_that_stalled_meets_the_tombstone_of_a_call_off(stalled: Stalled) -> None:
    report(f"a stalled claim was taken over and called off after {stalled.taken_over_s:.1f} s")
    assert CLAIM_S - 1 < stalled.taken_over_s < CLAIM_S + AGENDA_S_MAX
    assert (stalled.book_before, stalled.book_after) == ("called_off", "called_off")
    assert stalled.settle_answer == "declined"


def assert_a_stalled_completion_is_refused_and_the_money_comes_back_once(stalled: Stalled) -> None:
    assert stalled.late_completion == "claim_lost"
    assert stalled.payment.status == "failed"
    assert stalled.told.code == "settlement_failed"
    assert [(entry.kind, entry.amount) for entry in stalled.entries[:2]] == [
        ("refund", PRICE),
        ("payment", -PRICE),
    ]
    assert len(stalled.entries) == 3
    assert stalled.claims == 3, "one claim each for the confirm, the rescue and its end"


def assert_two_that_recover_the_same_payments_settle_each_once(killed: Killed) -> None:
    report(f"40 payments of a killed process were settled after {killed.recovered_s:.1f} s")
    assert set(killed.statuses) == {"succeeded"}
    assert set(killed.claims) == {"3"}, "a payment was handed out twice"
    assert killed.recovered_s < CLAIM_S + AGENDA_S_MAX


def assert_a_message_whose_delivery_was_not_recorded_comes_again_as_the_same_event(told: Told) -> None:
    report(f"delivered again {told.again_s:.1f} s after the relay was killed")
    before = {event["id"]: event["about"] for event in told.before}
    again = [event for event in told.again if event["kind"] == "payment.succeeded"]
    assert len(before) == 1
    assert [event["id"] for event in again][:1] == list(before)
    assert len({event["id"] for event in again}) == len(again) == 2, "a message that was recorded came again"
    assert told.again_s < AGENDA_S_MAX


def assert_no_lease_and_no_claim_is_left_at_rest(rest: AtRest) -> None:
    records: dict[str, Any] = rest.dump

    wallets = [record for name, record in records.items() if name.startswith("wallet:")]
    payments = {
        name.partition(":")[2]: record for name, record in records.items() if name.startswith("payment:")
    }
    due = {member for member in records["agenda"] if member.startswith("pay_")}
    waiting = {"requires_confirmation", "canceled", "expired"}
    assert all(int(wallet.get("lease_until", 0)) < rest.now_ms + LEASE_MS for wallet in wallets)
    assert due == {name for name, payment in payments.items() if payment["status"] in waiting}
    assert int(records["relay"]["claimed_until"]) < rest.now_ms
    assert {payment["status"] for payment in payments.values()} >= {"succeeded", "failed", "canceled"}


def assert_every_answer_of_the_load_is_true(rest: AtRest) -> None:
    def status(answer: Answer) -> str:
        return str(rest.dump[f"payment:{answer.record['id']}"]["status"])

    paid = [each for each in rest.answers if each.code == "ok" and each.record.get("status") == "succeeded"]
    deposits = [each for each in rest.answers if each.code == "ok" and each.record["id"].startswith("wal_")]
    assert len(paid) > PURCHASES / 4
    assert len(deposits) > PURCHASES / 4
    assert {status(each) for each in paid} <= {"succeeded", "refunded"}
    balances = [each.record["balance"] for each in deposits]
    assert len(set(balances)) > len(deposits) / 2


async def test_what_a_process_leaves_that_stalls_or_dies_is_finished_once_by_others(
    server_url: str, namespace: str
) -> None:
    stalled, killed, told, rest = await play(server_url, namespace)

    assert_a_settlement_that_stalled_meets_the_tombstone_of_a_call_off(stalled)
    assert_a_stalled_completion_is_refused_and_the_money_comes_back_once(stalled)
    assert_two_that_recover_the_same_payments_settle_each_once(killed)
    assert_a_message_whose_delivery_was_not_recorded_comes_again_as_the_same_event(told)
    assert_no_lease_and_no_claim_is_left_at_rest(rest)
    assert_every_answer_of_the_load_is_true(rest)


async def test_who_lost_a_claim_changes_nothing_while_another_works_on_the_payment(setup: Setup) -> None:
    payment_id, claim = await setup.processing(await setup.wallet())
    await setup.make_due(payment_id)
    [taken] = (await take_due(setup.store, 10)).payments
    before = await dump(setup.store)

    for verdict in VERDICTS:
        late = await setup.store.run(CompletePayment(payment_id, claim, verdict), ALONE)
        assert late.code == "claim_lost"
    assert not await set_aside(setup.store, payment_id, claim, 60_000)

    assert await dump(setup.store) == before
    assert (await setup.complete(payment_id, taken.claim, "settled")).code == "ok"
