"""The start of a payment: its records, its refusals and their order."""

import pytest
from support.fixtures.dumps import dump
from support.fixtures.store_commands import list_payments
from support.fixtures.store_setup import CODE_MS, Setup, new_id, operation, start_command, value_of

from technopay.engine.commands import CreateUser


async def test_a_start_writes_a_payment_that_waits_and_touches_no_money(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(balance=1_000), await setup.invoice(amount=1_000)
    await setup.set_limit("EUR", 5_000)
    before, stored = await setup.journal(), await setup.fields("invoice", invoice)

    payment = value_of(await setup.start(wallet, invoice))

    assert payment == await setup.payment(payment.id)
    assert payment.status == "requires_confirmation"
    assert (payment.invoice_id, payment.wallet_id, payment.user_id) == (invoice, wallet, "alice")
    assert (payment.amount, payment.currency, payment.merchant) == (1_000, "EUR", "Shop")
    assert (payment.paid_at, payment.balance_before, payment.balance_after) == (None, None, None)
    assert payment.confirmation is not None
    assert (payment.confirmation.attempts_remaining, payment.confirmation.resends_remaining) == (5, 3)
    assert [(limit.limit, limit.used) for limit in payment.limits] == [(5_000, 0)]
    fields, code = await setup.fields("payment", payment.id), await setup.code(payment.id)
    assert "digest" not in fields, "nothing that a code could be found by"
    terms = [fields[term] for term in ("user", "amount", "currency", "merchant")]
    assert terms == ["alice", "1000", "EUR", "Shop"]
    assert (code["method"], code["version"]) == ("email", "1")
    assert int(code["expires_at"]) - int(fields["created_at"]) == CODE_MS
    assert code["payable_until"] == stored["expires_at"]
    assert await setup.due_at(payment.id) == int(code["expires_at"])
    assert await setup.money(wallet) == (1_000, 0)
    assert (await setup.limit()).used == 0
    assert await setup.fields("invoice", invoice) == stored | {"payment": payment.id}
    assert await setup.news(before) == [
        ("payment.started", {"payment": payment.id, "version": "1", "issue": "1"})
    ]
    page = await list_payments(setup.store, "alice", "", 10)
    assert [listed.id for listed in page.data] == [payment.id]


async def test_without_a_limit_a_payment_names_none(setup: Setup) -> None:
    assert value_of(await setup.start(await setup.wallet(), await setup.invoice())).limits == []


@pytest.mark.parametrize(
    ("addresses", "method", "taken", "named"),
    [
        ({"email": "bob@example.com", "phone": "+15550100"}, "", "email", {}),
        ({"email": "bob@example.com", "phone": "+15550100"}, "email", "email", {}),
        ({"email": "bob@example.com", "phone": "+15550100"}, "sms", "sms", {"method": "sms"}),
        ({"phone": "+15550100"}, "", "sms", {}),
        ({"phone": "+15550100"}, "sms", "sms", {}),
    ],
)
async def test_the_code_goes_to_the_channel_asked_for_or_the_first_address(
    setup: Setup, addresses: dict[str, str], method: str, taken: str, named: dict[str, str]
) -> None:
    await setup.user("bob", **addresses)
    before = await setup.journal()
    payment_id = await setup.started(
        await setup.wallet("bob"), await setup.invoice("bob"), "bob", method=method
    )
    confirmation = value_of(await setup.resend(payment_id, user_id="bob")).confirmation
    assert confirmation is not None
    assert confirmation.method == taken
    # The journal names a channel only if it is not the default one of messages.
    assert (await setup.news(before))[-2:] == [
        ("payment.started", {"payment": payment_id, "version": "1", "issue": "1"} | named),
        ("payment.code_resent", {"payment": payment_id, "issue": "2", "version": "2"} | named),
    ]


@pytest.mark.parametrize(
    ("lifetime_ms", "ended"),
    [(CODE_MS, ("canceled", {"by": "restart"})), (0, ("expired", {}))],
    ids=["waiting", "expired"],
)
async def test_a_second_start_ends_the_first_and_makes_a_new_one(
    setup: Setup, lifetime_ms: int, ended: tuple[str, dict[str, str]]
) -> None:
    status, by = ended
    wallet, invoice = await setup.wallet(), await setup.invoice()
    first = await setup.started(wallet, invoice, lifetime_ms=lifetime_ms)
    before = await setup.journal()

    second = await setup.started(wallet, invoice)

    assert (await setup.fields("payment", first))["status"] == status
    assert (await setup.payment(second)).status == "requires_confirmation"
    assert (await setup.fields("invoice", invoice))["payment"] == second
    assert await setup.news(before) == [
        (f"payment.{status}", {"payment": first, "version": "2"} | by),
        ("payment.started", {"payment": second, "version": "1", "issue": "1"}),
    ]
    if status == "canceled":
        assert (await setup.confirm(first)).code == "payment_not_confirmable"


async def flawed(setup: Setup, flaws: str) -> tuple[str, str, str]:
    """Make a wallet and an invoice that a start is refused for; return them and their user."""
    found, user = flaws.split(), "alice"
    for name in ("bob", "carol"):
        address = None if name == "carol" else "bob@example.com"
        await setup.done(CreateUser(operation(), name, address, None))
    if "no_channel" in found:
        user = "carol"
    payer = "bob" if "foreign_wallet" in found else user
    balance, currency = 999 if "funds" in found else 1_000, "USD" if "currency" in found else "EUR"
    wallet = "wal_00none" if "no_wallet" in found else await setup.wallet(payer, balance, currency)
    payee = "bob" if "foreign_invoice" in found else user
    invoice = "inv_00none" if "no_invoice" in found else await setup.invoice(payee, 1_000)
    if "paid" in found or "processing" in found:
        payment = await setup.started(await setup.wallet(), invoice)
        claim = (await setup.confirm(payment)).details["claim"]
        if "paid" in found:
            assert (await setup.complete(payment, claim, "settled")).code == "ok"
    if "void" in found:
        assert (await setup.void(invoice)).code == "ok"
    if "expired" in found:
        await setup.write("invoice", invoice, expires_at=1)
    if "limit" in found:
        await setup.set_limit("EUR", 999)
    if "inactive" in found:
        await setup.set_wallet_status(wallet, "inactive")
    if "blocked" in found:
        await setup.set_user_status("blocked")
    return wallet, invoice, user


@pytest.mark.corrupts
@pytest.mark.parametrize(
    ("code", "flaws"),
    [
        ("wallet_not_found", "no_wallet"),
        ("wallet_not_found", "foreign_wallet"),
        ("invoice_not_found", "no_invoice"),
        ("invoice_not_found", "foreign_invoice"),
        ("user_blocked", "blocked inactive currency funds"),
        ("wallet_inactive", "inactive paid currency funds"),
        ("invoice_already_paid", "paid currency"),
        ("invoice_not_payable", "void currency"),
        ("payment_in_progress", "processing currency"),
        ("currency_mismatch", "currency expired"),
        ("invoice_expired", "expired no_channel funds"),
        ("no_channel", "no_channel funds"),
        ("insufficient_funds", "funds limit"),
        ("daily_limit_exceeded", "limit"),
    ],
)
async def test_a_refused_start_names_the_first_rule_and_changes_nothing(
    setup: Setup, code: str, flaws: str
) -> None:
    wallet, invoice, user = await flawed(setup, flaws)
    before = await dump(setup.store)

    outcome = await setup.run(start_command(wallet, invoice, user, identity=operation()))

    assert outcome.code == code
    assert await dump(setup.store) == before
    shows_the_other = code in ("payment_in_progress", "invoice_already_paid")
    assert (outcome.value.invoice_id if outcome.value else "") == (invoice if shows_the_other else "")


async def test_a_start_of_an_unknown_user_is_refused(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    before = await dump(setup.store)
    assert (await setup.start(wallet, invoice, "nobody")).code == "user_not_found"
    assert await dump(setup.store) == before


@pytest.mark.corrupts
async def test_a_refused_start_leaves_the_earlier_payment_alive(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    first = await setup.started(wallet, invoice)
    await setup.write("wallet", wallet, balance=999)
    assert (await setup.start(wallet, invoice)).code == "insufficient_funds"
    assert (await setup.payment(first)).status == "requires_confirmation"


async def test_the_balance_and_the_limit_suffice_to_the_last_unit_and_refusals_name_them(setup: Setup) -> None:
    await setup.set_limit("EUR", 2_000)
    wallet = await setup.wallet(balance=3_001)
    await setup.processing(wallet, 1_000)
    refused = await setup.start(wallet, await setup.invoice(amount=1_001))
    limit = refused.details["limit"]
    assert refused.code == "daily_limit_exceeded"
    assert (limit.currency, limit.limit, limit.used, limit.remaining) == ("EUR", 2_000, 1_000, 1_000)
    assert (await setup.start(wallet, await setup.invoice(amount=1_000))).code == "ok"
    await setup.set_limit("EUR", None)
    refused = await setup.start(wallet, await setup.invoice(amount=2_002))
    assert (refused.code, refused.details) == ("insufficient_funds", {"required": 2_002, "available": 2_001})
    assert (await setup.start(wallet, await setup.invoice(amount=2_001))).code == "ok"


async def test_a_start_with_the_id_of_a_payment_that_exists_returns_that_one(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment_id = await setup.started(wallet, invoice, payment_id=new_id("pay"))
    before = await dump(setup.store)
    outcome = await setup.start(wallet, invoice, payment_id=payment_id)
    assert (outcome.code, value_of(outcome).id, value_of(outcome).invoice_id) == ("ok", payment_id, invoice)
    assert await dump(setup.store) == before
