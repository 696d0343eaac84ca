"""Start a payment: what it writes, what it refuses, and in which order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from support.fixtures.store_commands import list_payments
from support.fixtures.store_setup import (
    ALONE,
    CODE_MS,
    Setup,
    dump,
    new_id,
    operation,
    start_command,
    unrecorded,
)

from technopay.engine import commands
from technopay.engine.commands import CreateUser, SetUserStatus, VoidInvoice

Prepare = Callable[[Setup], Awaitable[tuple[str, str]]]


async def test_a_start_writes_a_payment_that_waits_and_touches_no_money(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(balance=1_000), await setup.invoice(amount=1_000)
    await setup.set_limit("EUR", 5_000)
    before = await setup.journal()

    outcome = await setup.start(wallet, invoice)

    assert outcome.code == "ok"
    payment = outcome.value
    assert payment is not None
    assert payment == await setup.payment(payment.id)
    assert payment.status == "requires_confirmation"
    assert (payment.invoice_id, payment.wallet_id, payment.user_id) == (invoice, wallet, "alice")
    assert (payment.amount, payment.currency, payment.merchant) == (1_000, "EUR", "Shop")
    assert (payment.paid_at, payment.balance_before, payment.balance_after) == (None, None, None)
    assert payment.confirmation is not None
    assert (payment.confirmation.attempts_remaining, payment.confirmation.resends_remaining) == (5, 3)
    assert [(limit.limit, limit.used) for limit in payment.limits] == [(5_000, 0)]
    fields = await setup.fields("payment", payment.id)
    assert "digest" not in fields, "nothing that a code could be found by"
    assert [fields[term] for term in ("user", "amount", "currency", "merchant")] == [
        "alice",
        "1000",
        "EUR",
        "Shop",
    ]
    code = await setup.code(payment.id)
    assert (code["method"], code["version"]) == ("email", "1")
    assert int(code["expires_at"]) - int(fields["created_at"]) == CODE_MS
    assert code["payable_until"] == (await setup.fields("invoice", invoice))["expires_at"]
    assert await setup.due_at(payment.id) == int(code["expires_at"])
    assert await setup.money(wallet) == (1_000, 0)
    assert (await setup.limit()).used == 0
    assert await setup.fields("invoice", invoice) | {"payment": payment.id, "status": "open"} == (
        await setup.fields("invoice", invoice)
    )
    assert await setup.news(before) == [
        ("payment.started", {"payment": payment.id, "version": "1", "issue": "1"})
    ]
    page = await list_payments(setup.store, "alice", "", 10)
    assert [listed.id for listed in page.data] == [payment.id]


async def test_without_a_limit_a_payment_names_none(setup: Setup) -> None:
    outcome = await setup.start(await setup.wallet(), await setup.invoice())
    assert outcome.value is not None
    assert outcome.value.limits == []


@pytest.mark.parametrize(
    ("addresses", "method", "taken", "said"),
    [
        ({"email": "bob@example.com", "phone": "+15550100"}, "", "email", {}),
        ({"email": "bob@example.com", "phone": "+15550100"}, "email", "email", {}),
        ({"email": "bob@example.com", "phone": "+15550100"}, "sms", "sms", {"method": "sms"}),
        ({"phone": "+15550100"}, "", "sms", {}),
        ({"phone": "+15550100"}, "sms", "sms", {}),
    ],
)
async def test_the_code_goes_the_way_that_was_asked_for_or_the_first_that_there_is(
    setup: Setup, addresses: dict[str, str], method: str, taken: str, said: dict[str, str]
) -> None:
    await setup.user("bob", **addresses)
    before = await setup.journal()
    payment_id = await setup.started(
        await setup.wallet("bob"), await setup.invoice("bob"), "bob", method=method
    )
    resend = commands.ResendCode(unrecorded(), payment_id, "bob", 2, CODE_MS)
    outcome = await setup.store.run(resend, ALONE)
    assert outcome.value is not None
    assert outcome.value.confirmation is not None
    assert outcome.value.confirmation.method == taken
    # The journal names a way only when it is not the one that messages take.
    assert (await setup.news(before))[-2:] == [
        ("payment.started", {"payment": payment_id, "version": "1", "issue": "1"} | said),
        ("payment.code_resent", {"payment": payment_id, "issue": "2", "version": "2"} | said),
    ]


async def test_a_second_start_cancels_the_first_and_makes_a_new_one(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    first = await setup.started(wallet, invoice)
    before = await setup.journal()

    second = await setup.started(wallet, invoice)

    assert (await setup.payment(first)).status == "canceled"
    assert (await setup.payment(second)).status == "requires_confirmation"
    assert (await setup.fields("invoice", invoice))["payment"] == second
    kinds = [(kind, fields["payment"]) for kind, fields in await setup.news(before)]
    assert kinds == [("payment.canceled", first), ("payment.started", second)]
    assert (await setup.news(before))[0][1]["by"] == "restart"
    assert (await setup.confirm(first)).code == "payment_not_confirmable"


async def test_a_start_after_the_code_expired_ends_the_earlier_payment_as_expired(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    first = await setup.started(wallet, invoice, lifetime_ms=0)
    before = await setup.journal()
    await setup.started(wallet, invoice)
    assert (await setup.fields("payment", first))["status"] == "expired"
    assert (await setup.news(before))[0] == ("payment.expired", {"payment": first, "version": "2"})


async def set_up(setup: Setup, **options: int | str) -> tuple[str, str]:
    balance = int(options.get("balance", 1_000))
    wallet = await setup.wallet(balance=balance, currency=str(options.get("currency", "EUR")))
    return wallet, await setup.invoice(amount=1_000)


async def block(setup: Setup) -> None:
    assert (await setup.store.run(SetUserStatus(operation(), "alice", "blocked"))).code == "ok"


async def deactivate(setup: Setup, wallet: str) -> None:
    command = commands.SetWalletStatus(operation(), wallet, "inactive")
    assert (await setup.store.run(command, ALONE)).code == "ok"


async def pay(setup: Setup, invoice: str, *, settled: bool) -> str:
    other = await setup.wallet()
    payment = await setup.started(other, invoice)
    claim = (await setup.confirm(payment)).details["claim"]
    if settled:
        assert (await setup.complete(payment, claim, "settled")).code == "ok"
    return payment


async def foreign_wallet(setup: Setup) -> tuple[str, str]:
    await setup.user("bob")
    return await setup.wallet("bob"), await setup.invoice()


async def foreign_invoice(setup: Setup) -> tuple[str, str]:
    await setup.user("bob")
    return await setup.wallet(), await setup.invoice("bob")


async def no_wallet(setup: Setup) -> tuple[str, str]:
    return "wal_00none", await setup.invoice()


async def no_invoice(setup: Setup) -> tuple[str, str]:
    return await setup.wallet(), "inv_00none"


async def blocked_user_and_all_that_follows(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await set_up(setup, balance=0, currency="USD")
    await deactivate(setup, wallet)
    await block(setup)
    return wallet, invoice


async def inactive_wallet_and_all_that_follows(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await set_up(setup, balance=0, currency="USD")
    await pay(setup, invoice, settled=True)
    await deactivate(setup, wallet)
    return wallet, invoice


async def paid_invoice_in_another_currency(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await set_up(setup, currency="USD")
    await pay(setup, invoice, settled=True)
    return wallet, invoice


async def voided_invoice_in_another_currency(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await set_up(setup, currency="USD")
    assert (await setup.store.run(VoidInvoice(operation(), invoice))).code == "ok"
    return wallet, invoice


async def invoice_being_paid(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await set_up(setup, currency="USD")
    await pay(setup, invoice, settled=False)
    return wallet, invoice


async def another_currency_and_an_expired_invoice(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await set_up(setup, currency="USD")
    await setup.write("invoice", invoice, expires_at=1)
    return wallet, invoice


async def expired_invoice_and_no_channel(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await no_channel_and_no_funds(setup)
    await setup.write("invoice", invoice, expires_at=1)
    return wallet, invoice


async def no_channel_and_no_funds(setup: Setup) -> tuple[str, str]:
    wallet, invoice = await set_up(setup, balance=0)
    await setup.store.run(CreateUser(operation(), "carol", None, None))
    await setup.write("wallet", wallet, user="carol")
    await setup.write("invoice", invoice, user="carol")
    return wallet, invoice


async def no_funds_and_no_limit_left(setup: Setup) -> tuple[str, str]:
    await setup.set_limit("EUR", 999)
    return await set_up(setup, balance=999)


async def no_limit_left(setup: Setup) -> tuple[str, str]:
    await setup.set_limit("EUR", 999)
    return await set_up(setup)


REFUSALS: list[tuple[str, Prepare]] = [
    ("wallet_not_found", no_wallet),
    ("wallet_not_found", foreign_wallet),
    ("invoice_not_found", no_invoice),
    ("invoice_not_found", foreign_invoice),
    ("user_blocked", blocked_user_and_all_that_follows),
    ("wallet_inactive", inactive_wallet_and_all_that_follows),
    ("invoice_already_paid", paid_invoice_in_another_currency),
    ("invoice_not_payable", voided_invoice_in_another_currency),
    ("payment_in_progress", invoice_being_paid),
    ("currency_mismatch", another_currency_and_an_expired_invoice),
    ("invoice_expired", expired_invoice_and_no_channel),
    ("no_channel", no_channel_and_no_funds),
    ("insufficient_funds", no_funds_and_no_limit_left),
    ("daily_limit_exceeded", no_limit_left),
]


@pytest.mark.corrupts
@pytest.mark.parametrize(("code", "prepare"), REFUSALS, ids=lambda value: getattr(value, "__name__", value))
async def test_a_refused_start_names_the_first_rule_and_changes_nothing(
    setup: Setup, code: str, prepare: Prepare
) -> None:
    wallet, invoice = await prepare(setup)
    user = (
        (await setup.fields("wallet", wallet)).get("user", "alice")
        if code in ("no_channel", "invoice_expired")
        else "alice"
    )
    before = await dump(setup.store)

    outcome = await setup.store.run(start_command(wallet, invoice, user, identity=operation()), ALONE)

    assert outcome.code == code
    assert await dump(setup.store) == before
    shows_the_other = code in ("payment_in_progress", "invoice_already_paid")
    assert (outcome.value is not None) == shows_the_other
    if outcome.value is not None:
        assert outcome.value.invoice_id == invoice


async def test_a_start_for_nobody_is_refused(setup: Setup) -> None:
    wallet, invoice = await set_up(setup)
    before = await dump(setup.store)
    assert (await setup.start(wallet, invoice, "nobody")).code == "user_not_found"
    assert await dump(setup.store) == before


@pytest.mark.corrupts
async def test_a_refused_start_leaves_the_earlier_payment_alive(setup: Setup) -> None:
    wallet, invoice = await set_up(setup)
    first = await setup.started(wallet, invoice)
    await setup.write("wallet", wallet, balance=999)
    assert (await setup.start(wallet, invoice)).code == "insufficient_funds"
    assert (await setup.payment(first)).status == "requires_confirmation"


async def test_a_refusal_tells_what_is_needed(setup: Setup) -> None:
    wallet, invoice = await set_up(setup, balance=999)
    assert (await setup.start(wallet, invoice)).details == {"required": 1_000, "available": 999}
    await setup.deposit(wallet, 1)
    await setup.set_limit("EUR", 999)
    limit = (await setup.start(wallet, invoice)).details["limit"]
    assert (limit.currency, limit.limit, limit.used, limit.remaining) == ("EUR", 999, 0, 999)


async def test_the_balance_and_the_limit_suffice_to_the_last_unit(setup: Setup) -> None:
    await setup.set_limit("EUR", 2_000)
    wallet = await setup.wallet(balance=3_001)
    await setup.processing(wallet, 1_000)
    assert (await setup.start(wallet, await setup.invoice(amount=1_001))).code == "daily_limit_exceeded"
    assert (await setup.start(wallet, await setup.invoice(amount=1_000))).code == "ok"
    await setup.set_limit("EUR", None)
    assert (await setup.start(wallet, await setup.invoice(amount=2_002))).code == "insufficient_funds"
    assert (await setup.start(wallet, await setup.invoice(amount=2_001))).code == "ok"


async def test_a_limit_of_zero_stops_all_payments(setup: Setup) -> None:
    await setup.set_limit("EUR", 0)
    wallet = await setup.wallet()
    assert (await setup.start(wallet, await setup.invoice(amount=1))).code == "daily_limit_exceeded"


async def test_a_start_with_the_id_of_a_payment_that_exists_answers_that_one(setup: Setup) -> None:
    wallet, invoice = await set_up(setup)
    payment_id = new_id("pay")
    await setup.started(wallet, invoice, payment_id=payment_id)
    before = await dump(setup.store)
    outcome = await setup.start(wallet, invoice, payment_id=payment_id)
    assert outcome.code == "ok"
    assert outcome.value is not None
    assert (outcome.value.id, outcome.value.invoice_id) == (payment_id, invoice)
    assert await dump(setup.store) == before
