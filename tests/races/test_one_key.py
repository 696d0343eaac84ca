"""A hundred calls with one idempotency key, over four engines: one effect, one result."""

from collections.abc import Mapping
from typing import Any

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.store_commands import set_aside
from support.processes.engine_process import Answer, Call
from support.processes.process_race import PRICE, ProcessRace, confirm

from technopay.engine import Message

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLS = 100
FAR_AHEAD = "2100-01-01T00:00+00:00"
FAILURES = 1_000

Json = Mapping[str, Any]

EFFECTS = {
    "create_user": "user.created", "create_wallet": "wallet.created", "create_invoice": "invoice.created",
    "deposit": "wallet.deposited", "start_payment": "payment.canceled, payment.started",
    "resend_code": "payment.code_resent", "cancel_payment": "payment.canceled",
    "refund_payment": "payment.refunding", "void_invoice": "invoice.voided, payment.canceled",
    "resolve_payment": "payment.resolved, payment.succeeded", "send_message_again": "",
    "block_user": "user.blocked", "unblock_user": "user.active", "unlock_user": "user.unlocked",
    "deactivate_wallet": "wallet.inactive", "activate_wallet": "wallet.active",
}  # fmt: skip
"""The journal entries of each operation, once."""


@pytest.fixture
def race_settings() -> Mapping[str, Any]:
    return {"message_attempts": 1, "failures_per_day": FAILURES}


def is_effect(said: Mapping[str, str], name: str) -> bool:
    """Whether an entry of the journal belongs to an operation."""
    return said["type"] in EFFECTS[name].split(", ")


async def ready_calls(race: ProcessRace, user_id: str) -> dict[str, tuple[Call, Json]]:
    """Prepare one call of every keyed operation, and for each the change to another call under the same key."""
    money = await race.make_user(user_id, 10_000)
    waiting, canceled, paid, other, voided = await race.start_many(money, 5)
    await race.far[0].call("confirm_payment", **confirm(paid)[1])
    wallet, whose = {"wallet_id": money.id}, {"user_id": user_id}
    stuck, claim = await race.records.processing(money.id, PRICE, user_id)
    assert await set_aside(race.records.store, stuck, claim, 300_000)
    invoice = {**whose, "amount": 5, "currency": "EUR", "merchant": "m", "expires_at": FAR_AHEAD}
    begin = {**whose, "invoice_id": other.invoice_id, **wallet}
    decision = {"payment_id": stuck, "outcome": "settled", "note": "asked", "by": "operator"}
    message = await dead_message(race, f"{user_id}-dead")
    await race.records.lock_out(f"{user_id}-dead", FAILURES)
    return {
        "create_user": (("create_user", {"user_id": f"{user_id}-new"}), {"user_id": f"{user_id}-newer"}),
        "create_wallet": (("create_wallet", {**whose, "currency": "USD"}), {"currency": "CHF"}),
        "create_invoice": (("create_invoice", invoice), {"amount": 6}),
        "deposit": (("deposit", {**wallet, "amount": 5}), {"amount": 6}),
        "start_payment": (("start_payment", begin), {"method": "email"}),
        "resend_code": (("resend_code", {**whose, "payment_id": waiting.id}), {}),
        "cancel_payment": (("cancel_payment", {**whose, "payment_id": canceled.id}), {}),
        "refund_payment": (("refund_payment", {"payment_id": paid.id}), {}),
        "void_invoice": (("void_invoice", {"invoice_id": voided.invoice_id}), {}),
        "resolve_payment": (("resolve_payment", decision), {"note": "asked again"}),
        "send_message_again": (("send_message_again", {"message_id": message.id}), {}),
        "block_user": (("block_user", whose), {}),
        "unblock_user": (("unblock_user", whose), {}),
        "unlock_user": (("unlock_user", {"user_id": f"{user_id}-dead"}), {}),
        "deactivate_wallet": (("deactivate_wallet", wallet), {}),
        "activate_wallet": (("activate_wallet", wallet), {}),
    }


async def dead_message(race: ProcessRace, user_id: str) -> Message:
    """Make a user whose address refuses messages, and a dead message to it."""
    wallet = await race.make_user(user_id, PRICE, "dead@example.com")
    [payment] = await race.start_many(wallet, 1)
    await race.far[0].call("confirm_payment", **confirm(payment)[1])

    async def look() -> list[Message]:
        return (await race.engine.list_messages(status="dead", user_id=user_id)).data

    return (await wait_for(look))[0]


async def call_all(race: ProcessRace, call: Call, key: str) -> list[Answer]:
    """Make one call a hundred times with one key, over all engines, at the same time."""
    name, arguments = call
    keyed: Call = (name, {**arguments, "idempotency_key": key})
    return await race.race([keyed] * CALLS)


def without_progress(answer: Answer) -> dict[str, Any]:
    """Return a record without the fields that change after the call: a refund is under way, then done."""
    going_on = ("status", "refunds", "refunded_amount") if "refunds" in answer.record else ()
    return {name: value for name, value in answer.record.items() if name not in going_on}


async def test_a_hundred_calls_with_one_key_have_one_effect_and_one_answer(race: ProcessRace) -> None:
    user_id = "olga"
    for name, (call, change) in (await ready_calls(race, user_id)).items():
        before = len(await race.records.entries())
        answers = await call_all(race, call, f"key of {name}")

        assert {answer.code for answer in answers} == {"ok"}, name
        assert sum(not answer.replayed for answer in answers) == 1, name
        first = next(answer for answer in answers if not answer.replayed)
        for answer in answers:
            assert without_progress(answer) == without_progress(first), name
        own = [said for _, said in (await race.records.entries())[before:] if is_effect(said, name)]
        assert len(own) == EFFECTS[name].count(",") + 1 if EFFECTS[name] else not own, f"{name}: {own}"
        if change:
            changed = {**call[1], **change, "idempotency_key": f"key of {name}"}
            other = await race.far[1].call(name, **changed)
            assert other.code == "idempotency_key_reused", name
