"""The confirmation of a payment: all of it or nothing, and the cost of a wrong code."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.fixtures.dumps import dump
from support.fixtures.store_commands import list_entries, take_due
from support.fixtures.store_setup import AMOUNT_MAX, RIGHT, WRONG, Setup, new_id, operation, value_of

from technopay.engine import commands
from technopay.engine.commands import ConfirmPayment
from technopay.engine.reads import ReadPayment
from technopay.engine.values import Verdict


async def waiting(setup: Setup) -> str:
    return await setup.started(await setup.wallet(), await setup.invoice())


async def test_a_confirm_takes_the_money_and_writes_all_of_it_at_once(setup: Setup) -> None:
    await setup.set_limit("EUR", 5_000)
    wallet, invoice = await setup.wallet(balance=10_000), await setup.invoice(amount=1_000)
    payment_id = await setup.started(wallet, invoice)
    before, earliest = await setup.journal(), await setup.now_ms()

    outcome = await setup.confirm(payment_id)

    assert (outcome.code, outcome.details) == ("ok", {"claim": "1"})
    payment = value_of(outcome)
    assert payment == await setup.payment(payment_id)
    assert (payment.status, payment.confirmation) == ("processing", None)
    assert (payment.balance_before, payment.balance_after) == (10_000, 9_000)
    assert [(limit.limit, limit.used, limit.remaining) for limit in payment.limits] == [(5_000, 1_000, 4_000)]
    fields = await setup.fields("payment", payment_id)
    assert earliest <= int(fields["paid_at"]) <= await setup.now_ms()
    assert await setup.money(wallet) == (9_000, 1_000)
    assert await setup.code(payment_id) == {}
    stored = await setup.fields("invoice", invoice)
    assert (stored["status"], stored["payment"]) == ("open", payment_id)
    assert (await setup.read_invoice(invoice)).status == "processing"
    assert (await setup.limit()).used == 1_000
    day = await setup.day(payment_id)
    assert (await setup.counter())[day] == "1000"
    assert await setup.due_at(payment_id) == int(fields["paid_at"]) + 15_000
    assert await setup.news(before) == [
        (
            "payment.processing",
            {
                "payment": payment_id, "version": "2", "wallet": wallet, "amount": "-1000", "balance": "9000",
                "currency": "EUR", "global_period": day, "global_used": "1000", "global_limit": "5000",
            },
        )
    ]  # fmt: skip
    newest = value_of(await list_entries(setup.store, wallet, "alice", "", 10)).data[0]
    assert (newest.amount, newest.balance_after, newest.kind, newest.payment_id) == (
        -1_000, 9_000, "payment", payment_id,
    )  # fmt: skip
    assert newest.at == payment.paid_at
    # The id of an entry of the journal holds its time.
    assert (await setup.entries())[-1][0].startswith(f"{fields['paid_at']}-")


async def test_the_used_amount_is_counted_while_there_is_no_limit(setup: Setup) -> None:
    await setup.set_limit("EUR", 5_000)
    payment_id = await waiting(setup)
    await setup.set_limit("EUR", None)
    assert value_of(await setup.confirm(payment_id)).limits == []
    assert (await setup.payment(payment_id)).limits == []
    await setup.set_limit("EUR", 5_000)
    assert (await setup.limit()).used == 1_000


@pytest.mark.parametrize(
    ("verdict", "status"), [(None, "processing"), ("settled", "succeeded"), ("given_back", "failed")]
)
async def test_the_accepted_code_again_gets_the_current_state_and_changes_nothing(
    setup: Setup, verdict: Verdict | None, status: str
) -> None:
    payment_id, claim = await setup.processing(await setup.wallet())
    if verdict:
        await setup.complete(payment_id, claim, verdict)
    before = await dump(setup.store)

    outcome = await setup.confirm(payment_id, RIGHT)

    assert (outcome.code, outcome.replayed, value_of(outcome).status) == ("ok", True, status)
    assert "claim" not in outcome.details
    assert (await setup.confirm(payment_id, WRONG)).code == "payment_not_confirmable"
    assert await dump(setup.store) == before


async def test_a_repeat_after_another_process_took_the_settlement_over_gets_no_claim(setup: Setup) -> None:
    payment_id = await waiting(setup)
    command = ConfirmPayment(new_id("op"), payment_id, "alice", RIGHT)
    for _ in range(2):
        assert (await setup.run(command)).details == {"claim": "1"}
    await setup.make_due(payment_id)
    (taken,) = (await take_due(setup.store, 10)).payments
    assert taken.claim == "2"
    assert (await setup.run(command)).details == {}


async def test_a_wrong_code_costs_an_attempt_and_nothing_else(setup: Setup) -> None:
    payment_id = await waiting(setup)
    state, before = await setup.code(payment_id), await dump(setup.store)

    outcome = await setup.confirm(payment_id, WRONG)

    assert (outcome.code, outcome.details) == ("confirmation_invalid", {"attempts_remaining": 4})
    last_call = (await setup.fields("payment", payment_id))["last_call"]
    call, code = last_call.split(" ")
    assert code == "confirmation_invalid"
    assert state["attempts"] == "5"
    assert await setup.code(payment_id) == state | {"attempts": "4", "wrong_calls": call}
    after = await dump(setup.store)
    changed, unchanged = [found.pop(f"payment:{payment_id}") for found in (after, before)]
    assert after.pop(f"code:{payment_id}") != before.pop(f"code:{payment_id}")
    assert (after, changed) == (before, unchanged | {"last_call": last_call})
    assert (await setup.confirm(payment_id, RIGHT)).code == "ok"


@pytest.mark.parametrize("then", ["guess", "resend"])
async def test_a_wrong_code_costs_one_attempt_however_late_its_call_comes_again(
    setup: Setup, then: str
) -> None:
    payment_id = await waiting(setup)
    # The names share beginnings and ends: a search must not find one in another.
    calls = ["call.1", "all.1", "call.11"]
    guesses = [ConfirmPayment(call, payment_id, "alice", WRONG, 9, 9) for call in calls]
    first = [await setup.run(guess) for guess in guesses]
    assert [outcome.details for outcome in first] == [{"attempts_remaining": left} for left in (4, 3, 2)]
    if then == "guess":
        assert (await setup.confirm(payment_id, WRONG)).details == {"attempts_remaining": 1}
    else:
        assert (await setup.resend(payment_id)).code == "ok"
    before = await dump(setup.store)
    for guess, outcome in reversed(list(zip(guesses, first, strict=True))):
        again = await setup.run(guess)
        assert (again.code, again.details) == ("confirmation_invalid", outcome.details)
    assert await dump(setup.store) == before


async def test_the_fifth_wrong_code_ends_the_payment_and_frees_the_invoice(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment_id = await setup.started(wallet, invoice)
    before = await setup.journal()
    for remaining in (4, 3, 2, 1, 0):
        outcome = await setup.confirm(payment_id, WRONG)
        assert (outcome.code, outcome.details) == ("confirmation_invalid", {"attempts_remaining": remaining})

    failed = value_of(outcome)
    assert (failed.status, failed.failure and failed.failure.code) == ("failed", "too_many_attempts")
    assert await setup.code(payment_id) == {}
    assert await setup.news(before) == [
        ("payment.failed", {"payment": payment_id, "version": "2", "reason": "too_many_attempts"})
    ]
    assert (await setup.confirm(payment_id, RIGHT)).code == "payment_not_confirmable"
    assert await setup.money(wallet) == (10_000, 0)
    assert "payment" not in await setup.fields("invoice", invoice)
    assert (await setup.start(wallet, invoice)).code == "ok"


@pytest.mark.parametrize(
    "reason", [pytest.param("insufficient_funds", marks=pytest.mark.corrupts), "daily_limit_exceeded"]
)
async def test_a_right_code_refused_for_funds_or_limit_burns_nothing(setup: Setup, reason: str) -> None:
    wallet = await setup.wallet(balance=1_000)
    payment_id = await setup.started(wallet, await setup.invoice(amount=1_000))
    if reason == "insufficient_funds":
        await setup.write("wallet", wallet, balance=999)
    else:
        await setup.set_limit("EUR", 999)
    journal, before = await setup.journal(), await dump(setup.store)

    outcome = await setup.confirm(payment_id)

    assert outcome.code == reason
    if reason == "insufficient_funds":
        assert outcome.details == {"required": 1_000, "available": 999}
    else:
        assert (outcome.details["limit"].limit, outcome.details["limit"].used) == (999, 0)
    refused = {"payment": payment_id, "version": "2", "reason": reason}
    assert await setup.news(journal) == [("payment.refused", refused)]
    after = await dump(setup.store)
    for changed in (before, after):
        changed.pop("journal")
    payment = after[f"payment:{payment_id}"]
    assert payment.pop("last_call").endswith(f" {reason}")
    assert payment.pop("version") == "2"
    assert before[f"payment:{payment_id}"].pop("version") == "1"
    assert after == before

    await setup.deposit(wallet, 1)
    await setup.set_limit("EUR", None)
    assert (await setup.confirm(payment_id)).code == "ok"


@pytest.mark.parametrize(("first", "second"), [("call.1", "call.12"), ("call.12", "call.1")])
async def test_a_call_whose_id_begins_like_that_of_the_last_one_is_another_call(
    setup: Setup, first: str, second: str
) -> None:
    payment_id = await waiting(setup)
    for call, evidence, code in ((first, WRONG, "confirmation_invalid"), (second, RIGHT, "ok")):
        assert (await setup.run(ConfirmPayment(call, payment_id, "alice", evidence))).code == code


@pytest.mark.corrupts
async def test_a_wrong_code_comes_before_funds_and_limit(setup: Setup) -> None:
    wallet = await setup.wallet(balance=1_000)
    payment_id = await setup.started(wallet, await setup.invoice(amount=1_000))
    await setup.write("wallet", wallet, balance=0)
    await setup.set_limit("EUR", 0)
    assert (await setup.confirm(payment_id, WRONG)).code == "confirmation_invalid"
    assert (await setup.confirm(payment_id, RIGHT)).code == "insufficient_funds"


Break = Callable[[Setup, str, str, str], Awaitable[None]]


async def blocked(setup: Setup, payment: str, wallet: str, invoice: str) -> None:
    await inactive(setup, payment, wallet, invoice)
    await setup.set_user_status("blocked")


async def inactive(setup: Setup, payment: str, wallet: str, invoice: str) -> None:
    await canceled(setup, payment, wallet, invoice)
    await setup.set_wallet_status(wallet, "inactive")


async def canceled(setup: Setup, payment: str, wallet: str, invoice: str) -> None:
    await setup.cancel(payment)


async def past_its_expiry(setup: Setup, payment: str, wallet: str, invoice: str) -> None:
    await setup.write_code(payment, expires_at=1)
    await invoice_past_its_expiry(setup, payment, wallet, invoice)


async def expired_by_the_agenda(setup: Setup, payment: str, wallet: str, invoice: str) -> None:
    await setup.write_code(payment, expires_at=1)
    await setup.make_due(payment)
    await take_due(setup.store, 10)


async def invoice_past_its_expiry(setup: Setup, payment: str, wallet: str, invoice: str) -> None:
    await setup.write("invoice", invoice, expires_at=1)
    await setup.write_code(payment, payable_until=1)


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("user_blocked", blocked),
        ("wallet_inactive", inactive),
        ("payment_not_confirmable", canceled),
        ("confirmation_expired", past_its_expiry),
        ("confirmation_expired", expired_by_the_agenda),
        ("invoice_expired", invoice_past_its_expiry),
    ],
)
async def test_a_confirm_and_a_resend_name_the_first_rule_and_change_nothing(
    setup: Setup, code: str, spoil: Break
) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment = await setup.started(wallet, invoice)
    await spoil(setup, payment, wallet, invoice)
    before = await dump(setup.store)

    for evidence in (RIGHT, WRONG):
        # With limits on behaviour: a confirm that does not reach the code is not counted.
        outcome = await setup.run(ConfirmPayment(new_id("op"), payment, "alice", evidence, 5, 5))
        assert (outcome.code, value_of(outcome).id) == (code, payment)
    assert (await setup.run(commands.ResendCode(operation(), payment, "alice", 2, 60_000))).code == code

    assert await dump(setup.store) == before


async def test_somebody_elses_payment_looks_like_none(setup: Setup) -> None:
    payment = await waiting(setup)
    await setup.user("bob")
    before = await dump(setup.store)
    for payment_id, user in ((payment, "bob"), ("pay_00none", "alice")):
        for command in (
            ConfirmPayment(new_id("op"), payment_id, user, RIGHT, 5, 5),
            commands.ResendCode(operation(), payment_id, user, 2, 60_000),
            commands.CancelPayment(operation(), payment_id, user),
            ReadPayment(payment_id, user),
        ):
            assert (await setup.run(command)).code == "payment_not_found"
    assert await dump(setup.store) == before


async def test_the_last_unit_of_balance_and_limit_can_be_paid_and_one_more_cannot(setup: Setup) -> None:
    wallet = await setup.wallet(balance=5_000)
    exact = await setup.started(wallet, await setup.invoice(amount=3_000))
    more = await setup.started(wallet, await setup.invoice(amount=3_001))
    await setup.set_limit("EUR", 3_000)
    # A refused payment has no share of the limit, not even for a moment.
    outcomes = await asyncio.gather(setup.confirm(more), setup.confirm(exact))
    assert [outcome.code for outcome in outcomes] == ["daily_limit_exceeded", "ok"]
    assert (await setup.limit()).remaining == 0
    await setup.set_limit("EUR", None)
    last = await setup.started(wallet, await setup.invoice(amount=2_000))
    assert (await setup.confirm(more)).code == "insufficient_funds"
    assert (await setup.confirm(last)).code == "ok"
    assert await setup.money(wallet) == (0, 5_000)


async def test_a_repeat_of_a_refusal_for_a_limit_that_was_lifted_since_has_no_limit(setup: Setup) -> None:
    payment = await waiting(setup)
    await setup.set_limit("EUR", 0)
    command = ConfirmPayment(new_id("op"), payment, "alice", RIGHT)
    assert (await setup.run(command)).details["limit"].limit == 0
    await setup.set_limit("EUR", None)
    again = await setup.run(command)
    assert (again.code, again.details) == ("daily_limit_exceeded", {})


async def test_the_largest_amount_is_paid_to_the_unit(setup: Setup) -> None:
    wallet = await setup.wallet(balance=AMOUNT_MAX)
    payment_id, claim = await setup.processing(wallet, AMOUNT_MAX)
    assert await setup.money(wallet) == (0, AMOUNT_MAX)
    payment = await setup.payment(payment_id)
    assert (payment.amount, payment.balance_before, payment.balance_after) == (AMOUNT_MAX, AMOUNT_MAX, 0)
    await setup.complete(payment_id, claim, "given_back")
    assert await setup.money(wallet) == (AMOUNT_MAX, 0)


async def test_the_sum_of_a_day_stays_exact_without_a_limit(setup: Setup) -> None:
    await setup.user("bob")
    wallet = await setup.wallet("bob")
    payment_id = await setup.started(wallet, await setup.invoice("bob", 1), "bob")
    await setup.processing(await setup.wallet(balance=AMOUNT_MAX), AMOUNT_MAX)
    start = await setup.start(wallet, await setup.invoice("bob", 1), "bob")
    before = await setup.journal()
    command = ConfirmPayment(new_id("op"), payment_id, "bob", RIGHT)
    for outcome in (start, await setup.run(command), await setup.run(command)):
        assert (outcome.code, outcome.details) == ("balance_too_large", {"too_large": "day"})
    assert await setup.news(before) == []
    assert await setup.money(wallet) == (10_000, 0)
    await setup.set_limit("EUR", AMOUNT_MAX)
    assert (await setup.start(wallet, await setup.invoice("bob", 1), "bob")).code == "daily_limit_exceeded"
    assert (await setup.confirm(payment_id, user_id="bob")).code == "daily_limit_exceeded"
