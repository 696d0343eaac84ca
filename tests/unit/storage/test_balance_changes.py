"""Deposits with a reference, withdrawals and adjustments."""

from typing import Any, Literal

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.dumps import dump
from support.fixtures.store_commands import entries_of
from support.fixtures.store_setup import Setup, client_of, operation

from technopay.engine.commands import ChangeBalance
from technopay.engine.models import Wallet
from technopay.engine.ports import Outcome

MOST = 2**53 - 1
Kind = Literal["deposited", "withdrawn", "adjusted"]


async def change(setup: Setup, wallet: str, amount: int, kind: Kind, **more: Any) -> Outcome[Wallet]:
    return await setup.run(ChangeBalance(operation(), wallet, amount, kind, **more))


@pytest.mark.any_partition
@pytest.mark.parametrize(
    ("kind", "amount", "shown"),
    [("withdrawn", -400, "withdrawal"), ("adjusted", -1, "adjustment"), ("adjusted", 5, "adjustment")],
)
async def test_a_correction_has_an_entry_with_its_note_and_operator(
    setup: Setup, kind: Kind, amount: int, shown: str
) -> None:
    wallet = await setup.wallet(balance=1_000)
    before = await setup.journal()

    changed = await change(setup, wallet, amount, kind, note="counted again", by="root")

    assert changed.code == "ok"
    assert changed.value is not None
    assert changed.value.balance == 1_000 + amount
    [entry] = await entries_of(setup.store, wallet, 1)
    assert (entry.kind, entry.amount, entry.balance_after) == (shown, amount, 1_000 + amount)
    assert (entry.note, entry.by, entry.payment_id, entry.reference) == ("counted again", "root", None, None)
    [(name, fields)] = await setup.news(before)
    assert (name, fields["version"]) == (f"wallet.{kind}", "2")
    await assert_clean(setup.store)


@pytest.mark.parametrize("kind", ["withdrawn", "adjusted"])
async def test_the_balance_never_goes_below_zero(setup: Setup, kind: Kind) -> None:
    wallet = await setup.wallet(balance=1_000)
    before = await dump(setup.store)

    refused = await change(setup, wallet, -1_001, kind)

    assert (refused.code, refused.details) == ("insufficient_funds", {"required": 1_001, "available": 1_000})
    assert await dump(setup.store) == before
    assert (await change(setup, wallet, -1_000, kind)).code == "ok"
    assert await setup.money(wallet) == (0, 0)
    await assert_clean(setup.store)


async def test_money_in_flight_cannot_be_withdrawn(setup: Setup) -> None:
    wallet = await setup.wallet(balance=1_500)
    payment_id, claim = await setup.processing(wallet, 1_000)
    assert (await change(setup, wallet, -501, "withdrawn")).code == "insufficient_funds"
    assert (await change(setup, wallet, -500, "withdrawn")).code == "ok"

    await setup.complete(payment_id, claim, "given_back")

    assert await setup.money(wallet) == (1_000, 0)
    await assert_clean(setup.store)


async def test_an_adjustment_fits_with_what_may_come_back(setup: Setup) -> None:
    wallet = await setup.wallet(balance=1_000)
    await setup.processing(wallet, 1_000)
    assert (await change(setup, wallet, MOST - 999, "adjusted")).code == "balance_too_large"
    assert (await change(setup, wallet, MOST - 1_000, "adjusted")).code == "ok"
    await assert_clean(setup.store)


async def test_blocked_users_and_inactive_wallets_are_corrected_too(setup: Setup) -> None:
    wallet = await setup.wallet(balance=1_000)
    await setup.set_wallet_status(wallet, "inactive")
    await setup.set_user_status("blocked")
    changes: dict[Kind, int] = {"withdrawn": -1, "adjusted": 1, "deposited": 1}
    for kind, amount in changes.items():
        assert (await change(setup, wallet, amount, kind)).code == "ok"


@pytest.mark.any_partition
async def test_a_reference_is_deposited_once_in_a_wallet_whatever_the_call(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    first = await change(setup, wallet, 500, "deposited", reference="2026-11-30/1", note="by bank", by="root")
    before = await dump(setup.store)

    again = await change(setup, wallet, 500, "deposited", reference="2026-11-30/1")
    other = await change(setup, wallet, 501, "deposited", reference="2026-11-30/1")

    assert (first.code, first.replayed) == ("ok", False)
    assert (again.code, again.replayed) == ("ok", True)
    assert again.value is not None
    assert again.value.balance == 500
    assert other.code == "reference_used"
    entry = other.details["entry"]
    assert (entry.amount, entry.reference, entry.note, entry.by) == (500, "2026-11-30/1", "by bank", "root")
    assert await dump(setup.store) == before
    elsewhere = await setup.wallet(balance=0)
    assert not (await change(setup, elsewhere, 500, "deposited", reference="2026-11-30/1")).replayed
    await assert_clean(setup.store)


@pytest.mark.corrupts
async def test_the_audit_finds_a_reference_that_is_not_kept_or_kept_twice(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    await change(setup, wallet, 500, "deposited", reference="1")
    await client_of(setup.store).hdel(setup.keys.key("deposits", wallet), "1")
    assert {each.what for each in (await setup.store.audit()).differences} == {"deposit of 1"}

    await change(setup, wallet, 500, "deposited", reference="1")

    assert "reference" in {each.what for each in (await setup.store.audit()).differences}
