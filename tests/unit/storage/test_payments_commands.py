"""Resends, cancellations, deposits and refusals of a state, and the lists of payments and entries."""

import pytest
from support.fixtures.dumps import dump
from support.fixtures.script_calls import ROWS, purchase_in
from support.fixtures.store_commands import list_entries, list_payments
from support.fixtures.store_setup import AMOUNT_MAX, DAY_MS, NEXT, RIGHT, WRONG, Setup, client_of, value_of

from technopay.engine.commands import Command
from technopay.engine.errors import InternalError
from technopay.engine.reads import SearchPayments


async def test_a_fresh_code_has_a_fresh_expiry_and_the_same_attempts_and_the_old_one_is_dead(
    setup: Setup,
) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    await setup.confirm(payment_id, WRONG)
    before = await setup.journal()

    outcome = await setup.resend(payment_id)

    assert outcome.code == "ok"
    confirmation = value_of(outcome).confirmation
    assert confirmation is not None
    assert (confirmation.attempts_remaining, confirmation.resends_remaining) == (4, 2)
    code = await setup.code(payment_id)
    assert abs(int(code["expires_at"]) - await setup.now_ms() - 60_000) < 5_000
    assert await setup.due_at(payment_id) == int(code["expires_at"])
    assert code["version"] == "2"
    assert await setup.news(before) == [
        ("payment.code_resent", {"payment": payment_id, "issue": "2", "version": "2"})
    ]
    old = await setup.confirm(payment_id, RIGHT)
    assert (old.code, old.details) == ("confirmation_invalid", {"attempts_remaining": 3})
    assert (await setup.confirm(payment_id, NEXT)).code == "ok"


async def test_a_code_is_sent_again_three_times_at_most_in_the_order_of_its_versions(setup: Setup) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    for version in (2, 3, 4):
        before = await dump(setup.store)
        for other in (version - 1, version + 1):
            outcome = await setup.resend(payment_id, other)
            assert (outcome.code, dict(outcome.details)) == ("code_version", {"code_version": version - 1})
        assert await dump(setup.store) == before
        assert (await setup.resend(payment_id, version)).code == "ok"
    before = await dump(setup.store)
    outcome = await setup.resend(payment_id, 5)
    assert (outcome.code, outcome.details["too_many"]) == ("rate_limited", "resends")
    assert 0 < outcome.details["retry_after_s"] <= 60
    assert await dump(setup.store) == before


async def test_a_code_is_not_sent_to_an_address_that_is_gone(setup: Setup) -> None:
    await setup.user("bob", phone="+15550100")
    payment_id = await setup.started(await setup.wallet("bob"), await setup.invoice("bob"), "bob")
    await client_of(setup.store).hdel(setup.keys.key("user", "bob"), "phone")
    before = await dump(setup.store)
    assert (await setup.resend(payment_id, user_id="bob")).code == "no_channel"
    assert await dump(setup.store) == before


async def test_a_waiting_payment_is_canceled_even_by_a_blocked_user(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment_id = await setup.started(wallet, invoice)
    await setup.set_user_status("blocked")
    before = await setup.journal()

    outcome = await setup.cancel(payment_id)

    canceled = value_of(outcome)
    assert (outcome.code, canceled.status, canceled.confirmation) == ("ok", "canceled", None)
    assert "payment" not in await setup.fields("invoice", invoice)
    assert await setup.money(wallet) == (10_000, 0)
    assert await setup.news(before) == [
        ("payment.canceled", {"payment": payment_id, "version": "2", "by": "user"})
    ]
    assert (await setup.fields("payment", payment_id))["version"] == "2", "the audit compares all versions"
    assert (await setup.due_at(payment_id) or 0) > await setup.now_ms() + 29 * DAY_MS


@pytest.mark.parametrize(
    ("state", "name", "code"),
    [
        ("waiting", "begin_refund", "payment_not_refundable"),
        ("processing", "begin_refund", "payment_not_refundable"),
        ("processing", "resolve_payment", "payment_not_resolvable"),
        ("processing", "cancel_payment__recorded", "payment_not_cancelable"),
        ("processing", "void_invoice", "invoice_not_voidable"),
        ("succeeded", "void_invoice", "invoice_not_voidable"),
        ("waiting", "complete_payment", "claim_lost"),
        ("waiting", "complete_payment__given_back", "claim_lost"),
        ("waiting", "complete_payment__reversed", "claim_lost"),
        ("open", "begin_refund", "payment_not_found"),
        ("open", "resolve_payment", "payment_not_found"),
        ("open", "complete_payment", "payment_not_found"),
        ("new", "void_invoice", "invoice_not_found"),
        ("new", "change_balance", "wallet_not_found"),
        ("new", "set_wallet_status", "wallet_not_found"),
    ],
)
async def test_a_command_that_does_not_fit_the_state_is_refused_and_changes_nothing(
    setup: Setup, state: str, name: str, code: str
) -> None:
    purchase = await purchase_in(setup, state)
    command = ROWS[name][1](purchase)
    assert isinstance(command, Command)
    before = await dump(setup.store)
    refused = await setup.run(command)
    assert refused.code == code
    assert await dump(setup.store) == before
    if code == "payment_not_cancelable":
        assert refused.value == await setup.payment(purchase.payment)
    elif code.startswith("payment_not_re"):
        assert refused.value == await setup.operator_payment(purchase.payment)
    elif code == "invoice_not_voidable":
        assert refused.details["payment"] == await setup.payment(purchase.payment)
        assert refused.value == await setup.read_invoice(purchase.invoice)


async def test_a_deposit_has_an_entry_and_reaches_an_inactive_wallet_of_a_blocked_user(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    before = await setup.journal()
    assert value_of(await setup.deposit(wallet, 2_500)).balance == 2_500
    assert await setup.money(wallet) == (2_500, 0)
    assert await setup.news(before) == [
        ("wallet.deposited", {"wallet": wallet, "amount": "2500", "balance": "2500"})
    ]
    await setup.set_user_status("blocked")
    await setup.set_wallet_status(wallet, "inactive")
    assert (await setup.deposit(wallet, 1)).code == "ok"


async def test_a_deposit_fits_with_what_the_wallet_holds_and_what_may_come_back(setup: Setup) -> None:
    wallet = await setup.wallet(balance=AMOUNT_MAX - 1)
    assert (await setup.deposit(wallet, 1)).code == "ok"
    payment_id, claim = await setup.processing(wallet, 1_000)
    before = await dump(setup.store)
    refused = await setup.deposit(wallet, 1)
    assert (refused.code, value_of(refused).id) == ("balance_too_large", wallet)
    assert await dump(setup.store) == before
    await setup.complete(payment_id, claim, "settled")
    assert (await setup.deposit(wallet, 1_001)).code == "balance_too_large"
    assert (await setup.deposit(wallet, 1_000)).code == "ok"
    assert await setup.money(wallet) == (AMOUNT_MAX, 0)


@pytest.mark.parametrize("amount", ["-5", "0", "1e3", "0x10", "nan", "1.5", "", " 1", str(AMOUNT_MAX + 1)])
async def test_an_invalid_amount_is_stopped_before_anything_is_written(
    setup: Setup, amount: str, caplog: pytest.LogCaptureFixture
) -> None:
    wallet = await setup.wallet()
    before = await dump(setup.store)
    with pytest.raises(InternalError):
        await setup.deposit(wallet, amount)  # type: ignore[arg-type]
    with pytest.raises(InternalError):
        await setup.invoice(amount=amount)  # type: ignore[arg-type]
    if amount not in ("", "0"):
        with pytest.raises(InternalError):
            await setup.set_limit("EUR", amount)  # type: ignore[arg-type]
    assert await dump(setup.store) == before
    assert "a script failed" in caplog.text


async def test_the_status_of_a_wallet_and_of_a_user_has_an_entry_when_it_changed(setup: Setup) -> None:
    wallet = await setup.wallet()
    before = await setup.journal()
    for changed, status in (("inactive", "blocked"), ("inactive", "blocked"), ("active", "active")):
        assert value_of(await setup.set_wallet_status(wallet, changed)).status == changed
        assert value_of(await setup.set_user_status(status)).status == status
    assert await setup.news(before) == [
        ("wallet.inactive", {"wallet": wallet}),
        ("user.blocked", {"user": "alice"}),
        ("wallet.active", {"wallet": wallet}),
        ("user.active", {"user": "alice"}),
    ]
    assert (await setup.set_user_status("blocked", "nobody")).code == "user_not_found"


async def test_entries_are_listed_page_by_page_while_new_ones_come(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    assert not value_of(await list_entries(setup.store, wallet, None, "", 2)).data
    for amount in range(1, 6):
        await setup.deposit(wallet, amount)
    pages, cursor = [], ""
    for _ in range(3):
        page = value_of(await list_entries(setup.store, wallet, "alice", cursor, 2))
        pages.append([entry.amount for entry in page.data])
        await setup.deposit(wallet, 6)
        cursor = page.next_cursor or ""
    assert (pages, page.has_more) == ([[5, 4], [3, 2], [1]], False)
    assert (await list_entries(setup.store, wallet, "bob", "", 2)).code == "wallet_not_found"
    assert (await list_entries(setup.store, "wal_00none", None, "", 2)).code == "wallet_not_found"


async def test_payments_are_listed_newest_first_and_found_by_state_and_user(setup: Setup) -> None:
    await setup.user("bob")
    wallet, bobs = await setup.wallet(), await setup.wallet("bob")
    waiting = await setup.started(wallet, await setup.invoice())
    expired = await setup.started(wallet, await setup.invoice(), lifetime_ms=0)
    taken, _ = await setup.processing(wallet)
    of_bob, _ = await setup.processing(bobs, user_id="bob")

    first = await list_payments(setup.store, "alice", "", 2)
    assert [payment.id for payment in first.data] == [taken, expired]
    second = await list_payments(setup.store, "alice", first.next_cursor or "", 2)
    assert ([payment.id for payment in second.data], second.has_more) == ([waiting], False)

    async def found(status: str | None = None, user: str | None = None, aside: bool | None = None) -> list[str]:
        page = await setup.done(SearchPayments(status, user, aside, "", 10))
        return [payment.id for payment in page.data]

    assert await found() == [of_bob, taken, expired, waiting]
    assert await found("processing") == [of_bob, taken]
    assert await found("expired") == [expired]
    assert await found("requires_confirmation") == [waiting]
    assert await found("processing", "alice") == [taken]
    assert await found(aside=False) == [of_bob, taken, expired, waiting]
    assert await found(aside=True) == []

    page = await setup.done(SearchPayments(None, None, None, "", 3))
    rest = await setup.done(SearchPayments(None, None, None, page.next_cursor or "", 3))
    assert [payment.id for payment in rest.data] == [waiting]
