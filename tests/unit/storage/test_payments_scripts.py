"""Resend, cancel, wallets and their entries, and the lists of payments."""

from __future__ import annotations

import pytest
from support.fixtures.store_commands import list_entries, list_payments, search_payments
from support.fixtures.store_setup import (
    ALONE,
    AMOUNT_MAX,
    NEXT,
    RIGHT,
    WRONG,
    Setup,
    dump,
    operation,
    unrecorded,
)

from technopay.engine import commands
from technopay.engine.commands import SetUserStatus
from technopay.engine.errors import InternalError
from technopay.engine.models import Payment
from technopay.engine.ports import Outcome


async def resend(setup: Setup, payment_id: str, issue: int) -> Outcome[Payment]:
    command = commands.ResendCode(unrecorded(), payment_id, "alice", issue, 60_000)
    return await setup.store.run(command, ALONE)


async def test_a_fresh_code_has_a_fresh_expiry_and_the_same_attempts_and_the_old_one_is_dead(
    setup: Setup,
) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    await setup.confirm(payment_id, WRONG)
    before = await setup.journal()

    outcome = await resend(setup, payment_id, 2)

    assert outcome.code == "ok"
    assert outcome.value is not None
    confirmation = outcome.value.confirmation
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


async def test_a_code_is_sent_again_three_times_at_most(setup: Setup) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    for issue in (2, 3, 4):
        assert (await resend(setup, payment_id, issue)).code == "ok"
    before = await dump(setup.store)
    outcome = await resend(setup, payment_id, 5)
    assert outcome.code == "rate_limited"
    assert 0 < outcome.details["retry_after_s"] <= 60
    assert await dump(setup.store) == before


async def test_a_code_whose_number_does_not_follow_is_not_taken(setup: Setup) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    before = await dump(setup.store)
    for issue in (1, 3):
        outcome = await resend(setup, payment_id, issue)
        assert (outcome.code, dict(outcome.details)) == ("code_version", {"code_version": 1})
    assert await dump(setup.store) == before


async def test_a_code_is_not_sent_to_an_address_that_is_gone(setup: Setup) -> None:
    await setup.user("bob", phone="+15550100")
    payment_id = await setup.started(await setup.wallet("bob"), await setup.invoice("bob"), "bob")
    await setup.write_code(payment_id, method="email")
    before = await dump(setup.store)
    command = commands.ResendCode(operation(), payment_id, "bob", 2, 60_000)
    assert (await setup.store.run(command, ALONE)).code == "no_channel"
    assert await dump(setup.store) == before


async def test_a_waiting_payment_is_canceled_even_by_a_blocked_user(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment_id = await setup.started(wallet, invoice)
    await setup.store.run(SetUserStatus(operation(), "alice", "blocked"))
    before = await setup.journal()

    outcome = await setup.cancel(payment_id)

    assert outcome.code == "ok"
    assert outcome.value is not None
    assert (outcome.value.status, outcome.value.confirmation) == ("canceled", None)
    assert "payment" not in await setup.fields("invoice", invoice)
    assert await setup.money(wallet) == (10_000, 0)
    assert await setup.news(before) == [
        ("payment.canceled", {"payment": payment_id, "version": "2", "by": "user"})
    ]
    assert (await setup.fields("payment", payment_id))["version"] == "2", "the audit compares all versions"
    assert (await setup.due_at(payment_id) or 0) > await setup.now_ms() + 29 * 24 * 3600 * 1000


async def test_what_does_not_wait_for_a_code_is_not_canceled(setup: Setup) -> None:
    wallet = await setup.wallet()
    expired = await setup.started(wallet, await setup.invoice(), lifetime_ms=0)
    taken, _ = await setup.processing(wallet)
    before = await dump(setup.store)
    for payment_id in (expired, taken):
        command = commands.CancelPayment(operation(), payment_id, "alice")
        outcome = await setup.store.run(command, ALONE)
        assert (outcome.code, outcome.value) == ("payment_not_cancelable", await setup.payment(payment_id))
    assert await dump(setup.store) == before


async def test_a_deposit_is_an_entry_and_a_line_of_the_journal(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    before = await setup.journal()
    outcome = await setup.deposit(wallet, 2_500)
    assert outcome.code == "ok"
    assert outcome.value is not None
    assert outcome.value.balance == 2_500
    assert await setup.money(wallet) == (2_500, 0)
    assert await setup.news(before) == [
        ("wallet.deposited", {"wallet": wallet, "amount": "2500", "balance": "2500"})
    ]
    assert (await setup.deposit("wal_00none", 1)).code == "wallet_not_found"


async def test_a_deposit_reaches_an_inactive_wallet_of_a_blocked_user(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    await setup.store.run(SetUserStatus(operation(), "alice", "blocked"))
    await setup.set_wallet_status(wallet, "inactive")
    assert (await setup.deposit(wallet, 1)).code == "ok"


async def test_a_deposit_fits_with_what_the_wallet_holds_and_what_may_come_back(setup: Setup) -> None:
    wallet = await setup.wallet(balance=AMOUNT_MAX - 1)
    assert (await setup.deposit(wallet, 1)).code == "ok"
    payment_id, claim = await setup.processing(wallet, 1_000)
    before = await dump(setup.store)
    refused = await setup.deposit(wallet, 1)
    assert refused.code == "balance_too_large"
    assert refused.value is not None
    assert await dump(setup.store) == before
    await setup.complete(payment_id, claim, "settled")
    assert (await setup.deposit(wallet, 1_001)).code == "balance_too_large"
    assert (await setup.deposit(wallet, 1_000)).code == "ok"
    assert await setup.money(wallet) == (AMOUNT_MAX, 0)


@pytest.mark.parametrize("amount", ["-5", "0", "1e3", "0x10", "nan", "1.5", "", " 1", str(AMOUNT_MAX + 1)])
async def test_what_is_no_amount_is_stopped_before_anything_is_written(
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


async def test_a_wallet_is_deactivated_and_activated_and_said_only_when_it_changed(setup: Setup) -> None:
    wallet = await setup.wallet()
    before = await setup.journal()
    for status in ("inactive", "inactive", "active"):
        command = commands.SetWalletStatus(operation(), wallet, status)
        outcome = await setup.store.run(command, ALONE)
        assert outcome.code == "ok"
        assert outcome.value is not None
        assert outcome.value.status == status
    assert await setup.news(before) == [
        ("wallet.inactive", {"wallet": wallet}),
        ("wallet.active", {"wallet": wallet}),
    ]
    missing = commands.SetWalletStatus(operation(), "wal_00none", "active")
    assert (await setup.store.run(missing, ALONE)).code == "wallet_not_found"


async def test_entries_are_listed_page_by_page_while_new_ones_come(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    for amount in range(1, 6):
        await setup.deposit(wallet, amount)
    first = (await list_entries(setup.store, wallet, "alice", "", 2)).value
    assert first is not None
    assert [entry.amount for entry in first.data] == [5, 4]
    await setup.deposit(wallet, 6)
    second = (await list_entries(setup.store, wallet, "alice", first.next_cursor or "", 2)).value
    assert second is not None
    assert [entry.amount for entry in second.data] == [3, 2]
    third = (await list_entries(setup.store, wallet, "alice", second.next_cursor or "", 2)).value
    assert third is not None
    assert ([entry.amount for entry in third.data], third.has_more) == ([1], False)
    assert (await list_entries(setup.store, wallet, "bob", "", 2)).code == "wallet_not_found"
    assert (await list_entries(setup.store, "wal_00none", None, "", 2)).code == "wallet_not_found"
    empty = (await list_entries(setup.store, await setup.wallet(balance=0), None, "", 2)).value
    assert empty is not None
    assert (empty.data, empty.has_more) == ([], False)


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

    async def found(status: str | None, user: str | None, *, aside: bool | None = None) -> list[str]:
        page = await search_payments(setup.store, status, user, set_aside=aside, cursor="", limit=10)
        return [payment.id for payment in page.data]

    assert await found(None, None) == [of_bob, taken, expired, waiting]
    assert await found("processing", None) == [of_bob, taken]
    assert await found("expired", None) == [expired]
    assert await found("requires_confirmation", None) == [waiting]
    assert await found("processing", "alice") == [taken]
    assert await found(None, None, aside=False) == [of_bob, taken, expired, waiting]
    assert await found(None, None, aside=True) == []

    page = await search_payments(setup.store, None, None, set_aside=None, cursor="", limit=3)
    rest = await search_payments(
        setup.store, None, None, set_aside=None, cursor=page.next_cursor or "", limit=3
    )
    assert [payment.id for payment in rest.data] == [waiting]
