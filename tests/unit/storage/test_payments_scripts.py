"""Resend, cancel, wallets and their entries, and the lists of payments."""

from __future__ import annotations

import pytest
from support.scene import ALONE, AMOUNT_MAX, NEXT, RIGHT, WRONG, Scene, dump, operation, unrecorded
from support.store import list_entries, list_payments, search_payments

from technopay.engine import commands
from technopay.engine.commands import SetUserStatus
from technopay.engine.errors import InternalError
from technopay.engine.models import Payment
from technopay.engine.ports import Outcome


async def resend(scene: Scene, payment_id: str, issue: int) -> Outcome[Payment]:
    command = commands.ResendCode(unrecorded(), payment_id, "alice", issue, 60_000)
    return await scene.store.run(command, ALONE)


async def test_a_fresh_code_has_a_fresh_expiry_and_the_same_attempts_and_the_old_one_is_dead(
    scene: Scene,
) -> None:
    payment_id = await scene.started(await scene.wallet(), await scene.invoice())
    await scene.confirm(payment_id, WRONG)
    before = await scene.journal()

    outcome = await resend(scene, payment_id, 2)

    assert outcome.code == "ok"
    assert outcome.value is not None
    confirmation = outcome.value.confirmation
    assert confirmation is not None
    assert (confirmation.attempts_remaining, confirmation.resends_remaining) == (4, 2)
    code = await scene.code(payment_id)
    assert abs(int(code["expires_at"]) - await scene.now_ms() - 60_000) < 5_000
    assert await scene.due_at(payment_id) == int(code["expires_at"])
    assert code["version"] == "2"
    assert await scene.news(before) == [
        ("payment.code_resent", {"payment": payment_id, "issue": "2", "version": "2"})
    ]
    old = await scene.confirm(payment_id, RIGHT)
    assert (old.code, old.details) == ("confirmation_invalid", {"attempts_remaining": 3})
    assert (await scene.confirm(payment_id, NEXT)).code == "ok"


async def test_a_code_is_sent_again_three_times_at_most(scene: Scene) -> None:
    payment_id = await scene.started(await scene.wallet(), await scene.invoice())
    for issue in (2, 3, 4):
        assert (await resend(scene, payment_id, issue)).code == "ok"
    before = await dump(scene.store)
    outcome = await resend(scene, payment_id, 5)
    assert outcome.code == "rate_limited"
    assert 0 < outcome.details["retry_after_s"] <= 60
    assert await dump(scene.store) == before


async def test_a_code_whose_number_does_not_follow_is_not_taken(scene: Scene) -> None:
    payment_id = await scene.started(await scene.wallet(), await scene.invoice())
    before = await dump(scene.store)
    for issue in (1, 3):
        outcome = await resend(scene, payment_id, issue)
        assert (outcome.code, dict(outcome.details)) == ("code_version", {"code_version": 1})
    assert await dump(scene.store) == before


async def test_a_code_is_not_sent_to_an_address_that_is_gone(scene: Scene) -> None:
    await scene.user("bob", phone="+15550100")
    payment_id = await scene.started(await scene.wallet("bob"), await scene.invoice("bob"), "bob")
    await scene.write_code(payment_id, method="email")
    before = await dump(scene.store)
    command = commands.ResendCode(operation(), payment_id, "bob", 2, 60_000)
    assert (await scene.store.run(command, ALONE)).code == "no_channel"
    assert await dump(scene.store) == before


async def test_a_waiting_payment_is_canceled_even_by_a_blocked_user(scene: Scene) -> None:
    wallet, invoice = await scene.wallet(), await scene.invoice()
    payment_id = await scene.started(wallet, invoice)
    await scene.store.run(SetUserStatus(operation(), "alice", "blocked"))
    before = await scene.journal()

    outcome = await scene.cancel(payment_id)

    assert outcome.code == "ok"
    assert outcome.value is not None
    assert (outcome.value.status, outcome.value.confirmation) == ("canceled", None)
    assert "payment" not in await scene.fields("invoice", invoice)
    assert await scene.money(wallet) == (10_000, 0)
    assert await scene.news(before) == [
        ("payment.canceled", {"payment": payment_id, "version": "2", "by": "user"})
    ]
    assert (await scene.due_at(payment_id) or 0) > await scene.now_ms() + 29 * 24 * 3600 * 1000


async def test_what_does_not_wait_for_a_code_is_not_canceled(scene: Scene) -> None:
    wallet = await scene.wallet()
    expired = await scene.started(wallet, await scene.invoice(), lifetime_ms=0)
    taken, _ = await scene.processing(wallet)
    before = await dump(scene.store)
    for payment_id in (expired, taken):
        command = commands.CancelPayment(operation(), payment_id, "alice")
        outcome = await scene.store.run(command, ALONE)
        assert (outcome.code, outcome.value) == ("payment_not_cancelable", await scene.payment(payment_id))
    assert await dump(scene.store) == before


async def test_a_deposit_is_an_entry_and_a_line_of_the_journal(scene: Scene) -> None:
    wallet = await scene.wallet(balance=0)
    before = await scene.journal()
    outcome = await scene.deposit(wallet, 2_500)
    assert outcome.code == "ok"
    assert outcome.value is not None
    assert outcome.value.balance == 2_500
    assert await scene.money(wallet) == (2_500, 0)
    assert await scene.news(before) == [
        ("wallet.deposited", {"wallet": wallet, "amount": "2500", "balance": "2500"})
    ]
    assert (await scene.deposit("wal_00none", 1)).code == "wallet_not_found"


async def test_a_deposit_reaches_an_inactive_wallet_of_a_blocked_user(scene: Scene) -> None:
    wallet = await scene.wallet(balance=0)
    await scene.store.run(SetUserStatus(operation(), "alice", "blocked"))
    await scene.set_wallet_status(wallet, "inactive")
    assert (await scene.deposit(wallet, 1)).code == "ok"


async def test_a_deposit_fits_with_what_the_wallet_holds_and_what_may_come_back(scene: Scene) -> None:
    wallet = await scene.wallet(balance=AMOUNT_MAX - 1)
    assert (await scene.deposit(wallet, 1)).code == "ok"
    payment_id, claim = await scene.processing(wallet, 1_000)
    before = await dump(scene.store)
    refused = await scene.deposit(wallet, 1)
    assert refused.code == "balance_too_large"
    assert refused.value is not None
    assert await dump(scene.store) == before
    await scene.complete(payment_id, claim, "settled")
    assert (await scene.deposit(wallet, 1_001)).code == "balance_too_large"
    assert (await scene.deposit(wallet, 1_000)).code == "ok"
    assert await scene.money(wallet) == (AMOUNT_MAX, 0)


@pytest.mark.parametrize("amount", ["-5", "0", "1e3", "0x10", "nan", "1.5", "", " 1", str(AMOUNT_MAX + 1)])
async def test_what_is_no_amount_is_stopped_before_anything_is_written(
    scene: Scene, amount: str, caplog: pytest.LogCaptureFixture
) -> None:
    wallet = await scene.wallet()
    before = await dump(scene.store)
    with pytest.raises(InternalError):
        await scene.deposit(wallet, amount)  # type: ignore[arg-type]
    with pytest.raises(InternalError):
        await scene.invoice(amount=amount)  # type: ignore[arg-type]
    if amount not in ("", "0"):
        with pytest.raises(InternalError):
            await scene.set_limit("EUR", amount)  # type: ignore[arg-type]
    assert await dump(scene.store) == before
    assert "a script failed" in caplog.text


async def test_a_wallet_is_deactivated_and_activated_and_said_only_when_it_changed(scene: Scene) -> None:
    wallet = await scene.wallet()
    before = await scene.journal()
    for status in ("inactive", "inactive", "active"):
        command = commands.SetWalletStatus(operation(), wallet, status)
        outcome = await scene.store.run(command, ALONE)
        assert outcome.code == "ok"
        assert outcome.value is not None
        assert outcome.value.status == status
    assert await scene.news(before) == [
        ("wallet.inactive", {"wallet": wallet}),
        ("wallet.active", {"wallet": wallet}),
    ]
    missing = commands.SetWalletStatus(operation(), "wal_00none", "active")
    assert (await scene.store.run(missing, ALONE)).code == "wallet_not_found"


async def test_entries_are_listed_page_by_page_while_new_ones_come(scene: Scene) -> None:
    wallet = await scene.wallet(balance=0)
    for amount in range(1, 6):
        await scene.deposit(wallet, amount)
    first = (await list_entries(scene.store, wallet, "alice", "", 2)).value
    assert first is not None
    assert [entry.amount for entry in first.data] == [5, 4]
    await scene.deposit(wallet, 6)
    second = (await list_entries(scene.store, wallet, "alice", first.next_cursor or "", 2)).value
    assert second is not None
    assert [entry.amount for entry in second.data] == [3, 2]
    third = (await list_entries(scene.store, wallet, "alice", second.next_cursor or "", 2)).value
    assert third is not None
    assert ([entry.amount for entry in third.data], third.has_more) == ([1], False)
    assert (await list_entries(scene.store, wallet, "bob", "", 2)).code == "wallet_not_found"
    assert (await list_entries(scene.store, "wal_00none", None, "", 2)).code == "wallet_not_found"
    empty = (await list_entries(scene.store, await scene.wallet(balance=0), None, "", 2)).value
    assert empty is not None
    assert (empty.data, empty.has_more) == ([], False)


async def test_payments_are_listed_newest_first_and_found_by_state_and_user(scene: Scene) -> None:
    await scene.user("bob")
    wallet, bobs = await scene.wallet(), await scene.wallet("bob")
    waiting = await scene.started(wallet, await scene.invoice())
    expired = await scene.started(wallet, await scene.invoice(), lifetime_ms=0)
    taken, _ = await scene.processing(wallet)
    of_bob, _ = await scene.processing(bobs, user_id="bob")

    first = await list_payments(scene.store, "alice", "", 2)
    assert [payment.id for payment in first.data] == [taken, expired]
    second = await list_payments(scene.store, "alice", first.next_cursor or "", 2)
    assert ([payment.id for payment in second.data], second.has_more) == ([waiting], False)

    async def found(status: str | None, user: str | None, *, aside: bool | None = None) -> list[str]:
        page = await search_payments(scene.store, status, user, set_aside=aside, cursor="", limit=10)
        return [payment.id for payment in page.data]

    assert await found(None, None) == [of_bob, taken, expired, waiting]
    assert await found("processing", None) == [of_bob, taken]
    assert await found("expired", None) == [expired]
    assert await found("requires_confirmation", None) == [waiting]
    assert await found("processing", "alice") == [taken]
    assert await found(None, None, aside=False) == [of_bob, taken, expired, waiting]
    assert await found(None, None, aside=True) == []

    page = await search_payments(scene.store, None, None, set_aside=None, cursor="", limit=3)
    rest = await search_payments(
        scene.store, None, None, set_aside=None, cursor=page.next_cursor or "", limit=3
    )
    assert [payment.id for payment in rest.data] == [waiting]
