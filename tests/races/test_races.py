"""Simultaneous calls from several processes on one real store: the money is right in any order."""

import asyncio
from collections import Counter

import pytest
from support.processes.engine_process import Answer, Call
from support.processes.process_race import ProcessRace, confirm

from technopay.engine import Invoice, Wallet

pytestmark = pytest.mark.asyncio(loop_scope="session")


def buy(wallet: Wallet, invoice: Invoice) -> Call:
    return "purchase", {"user_id": wallet.user_id, "wallet_id": wallet.id, "invoice_id": invoice.id}


def counted(results: list[Answer]) -> Counter[str]:
    return Counter(result.code for result in results)


async def test_two_hundred_users_at_once_all_pay(race: ProcessRace) -> None:
    users = [f"user{number}" for number in range(200)]
    wallets = await asyncio.gather(*(race.make_user(user, 15) for user in users))
    invoices = await asyncio.gather(*(race.make_invoices(user, 1) for user in users))
    await race.engine.set_limit(currency="EUR", amount=10_000)

    results = await race.race([buy(wallet, own[0]) for wallet, own in zip(wallets, invoices, strict=True)])

    assert counted(results) == {"ok": 200}
    assert {result.record["status"] for result in results} == {"succeeded"}
    after = await asyncio.gather(*(race.engine.find_wallet(wallet_id=wallet.id) for wallet in wallets))
    assert {wallet.balance for wallet in after} == {5}
    assert [limit.used for limit in await race.engine.list_all_limits()] == [2000]


async def test_a_hundred_confirms_of_one_payment_take_the_money_once(race: ProcessRace) -> None:
    wallet = await race.make_user("ann", 100)
    [payment] = await race.start_many(wallet, 1)

    results = await race.race([confirm(payment)] * 100)

    assert counted(results) == {"ok": 100}
    finals = {(result.record["id"], result.record["status"], result.record["paid_at"]) for result in results}
    assert len(finals) == 1
    assert next(iter(finals))[:2] == (payment.id, "succeeded")
    assert await race.balance(wallet) == 90


async def test_a_hundred_wrong_codes_at_once_are_five_attempts(race: ProcessRace) -> None:
    wallet = await race.make_user("ann", 100)
    [payment] = await race.start_many(wallet, 1)

    results = await race.race([confirm(payment, f"wrong{number}") for number in range(100)])

    assert counted(results) == {"confirmation_invalid": 5, "payment_not_confirmable": 95}
    remaining = [result.attempts_remaining for result in results if result.code == "confirmation_invalid"]
    assert sorted(remaining, key=str) == [0, 1, 2, 3, 4]
    after = await race.engine.find_payment(payment_id=payment.id)
    assert after.failure
    assert (after.status, after.failure.code) == ("failed", "too_many_attempts")


async def test_money_for_thirty_seven_pays_thirty_seven(race: ProcessRace) -> None:
    wallet = await race.make_user("ann", 370)
    payments = await race.start_many(wallet, 100)

    results = await race.race([confirm(payment) for payment in payments])

    assert counted(results) == {"ok": 37, "insufficient_funds": 63}
    assert await race.balance(wallet) == 0


async def test_of_two_wallets_that_pay_one_invoice_exactly_one_does(race: ProcessRace) -> None:
    wallets = [await race.make_user("ann", 1000), await race.make_wallet("ann", 1000)]
    invoices = await race.make_invoices("ann", 20)

    first, second = await race.race_apart(
        *([buy(wallet, invoice) for invoice in invoices] for wallet in wallets)
    )

    refusals = {"payment_in_progress", "invoice_already_paid", "payment_not_confirmable"}
    for invoice, *both in zip(invoices, first, second, strict=True):
        codes = [result.code for result in both]
        assert codes.count("ok") == 1, f"{invoice.id}: {both}"
        assert len(refusals.intersection(codes)) == 1, f"{invoice.id}: {both}"
    after = await asyncio.gather(*(race.engine.find_wallet(wallet_id=wallet.id) for wallet in wallets))
    assert sum(wallet.balance for wallet in after) == 2000 - 20 * 10


@pytest.mark.parametrize("limit", [130, 135])
async def test_the_last_units_of_the_global_limit_go_to_as_many_as_fit(race: ProcessRace, limit: int) -> None:
    users = [f"user{number}" for number in range(40)]
    wallets = await asyncio.gather(*(race.make_user(user, 100) for user in users))
    started = await asyncio.gather(*(race.start_many(wallet, 1) for wallet in wallets))
    payments = [payment for [payment] in started]
    await race.engine.set_limit(currency="EUR", amount=limit)

    results = await race.race([confirm(payment) for payment in payments])

    assert counted(results) == {"ok": 13, "daily_limit_exceeded": 27}
    [after] = await race.engine.list_all_limits()
    assert (after.used, after.remaining) == (130, limit - 130)


async def test_start_cancel_and_confirm_at_once_leave_one_outcome(race: ProcessRace) -> None:
    wallet = await race.make_user("ann", 1000)
    payments = await race.start_many(wallet, 30)

    starts: list[Call] = [
        ("start_payment", {"user_id": "ann", "invoice_id": payment.invoice_id, "wallet_id": wallet.id})
        for payment in payments
    ]
    cancels: list[Call] = [
        ("cancel_payment", {"user_id": "ann", "payment_id": payment.id}) for payment in payments
    ]
    confirms = [confirm(payment) for payment in payments]
    started, canceled, confirmed = await race.race_apart(starts, cancels, confirms)

    assert set(counted(started)) <= {"ok", "payment_in_progress", "invoice_already_paid"}
    assert set(counted(canceled)) <= {"ok", "payment_not_cancelable"}
    assert set(counted(confirmed)) <= {"ok", "payment_not_confirmable"}
    for payment, start, cancel, pay in zip(payments, started, canceled, confirmed, strict=True):
        after = await race.engine.find_payment(payment_id=payment.id)
        assert after.status == ("succeeded" if pay.code == "ok" else "canceled")
        assert not (pay.code == "ok" and cancel.code == "ok")
        assert (start.code == "ok") == (pay.code != "ok"), f"{payment.id}: {start}, {cancel}, {pay}"
    paid = counted(confirmed)["ok"]
    assert await race.balance(wallet) == 1000 - 10 * paid


@pytest.mark.parametrize("race_settings", [{"codes_per_hour": 7}], ids=["7"])
async def test_codes_sent_at_once_stay_within_the_limit_of_a_user(race: ProcessRace) -> None:
    # Every engine, the one here too, sends codes: unsent codes are not counted.
    wallets = [await race.make_user("ann", 1000), await race.make_wallet("ann", 1000)]
    invoices = await race.make_invoices("ann", 40)
    starts: list[Call] = [
        ("start_payment", {"user_id": "ann", "invoice_id": invoice.id, "wallet_id": wallets[number % 2].id})
        for number, invoice in enumerate(invoices)
    ]

    results = await race.race(starts)

    assert counted(results) == {"ok": 7, "rate_limited": 33}


@pytest.mark.parametrize("limit", ["confirms_per_minute", "failures_per_day"])
async def test_wrong_codes_at_once_stay_within_the_limit_of_a_user(race: ProcessRace, limit: str) -> None:
    wallets = [await race.make_user("ann", 1000), await race.make_wallet("ann", 1000)]
    invoices = await race.make_invoices("ann", 8)
    payments = [await race.start(wallets[number % 2], invoice) for number, invoice in enumerate(invoices)]

    await race.begin(**{limit: 7})
    results = await race.race([confirm(payment, "wrong") for payment in payments * 5])

    assert counted(results) == {"confirmation_invalid": 7, "rate_limited": 33}
    refused = [await race.engine.find_payment(payment_id=payment.id) for payment in payments]
    left = [each.confirmation.attempts_remaining if each.confirmation else 0 for each in refused]
    assert sum(left) == 5 * len(payments) - 7, "only tries cost an attempt"
