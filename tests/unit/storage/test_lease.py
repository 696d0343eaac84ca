"""The wallet's lease, judged in every script that works on a wallet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_setup import ALONE, RIGHT, Setup, dump, new_id, operation, start_command, unrecorded

from technopay.engine import commands
from technopay.engine.ports import Outcome
from technopay.engine.values import Lease

OTHERS = Lease("owner-b", "", keep=True)
LEASE_MS = 100

Call = Callable[[Lease], Awaitable[Outcome[Any]]]


async def prepare(setup: Setup, name: str) -> tuple[str, Call]:
    """Bring a wallet to where a script would go through; answer the wallet and the call."""
    store, wallet = setup.store, await setup.wallet()
    if name == "deposit":
        deposit = commands.Deposit(operation(), wallet, 5)
        return wallet, lambda lease: store.run(deposit, lease)
    if name == "set_wallet_status":
        status = commands.SetWalletStatus(operation(), wallet, "inactive")
        return wallet, lambda lease: store.run(status, lease)
    if name == "begin_refund":
        refund = commands.BeginRefund(operation(), await setup.succeeded(wallet), "ref_001")
        return wallet, lambda lease: store.run(refund, lease)
    if name == "start_payment":
        start = start_command(wallet, await setup.invoice())
        return wallet, lambda lease: store.run(start, lease)
    payment = await setup.started(wallet, await setup.invoice())
    if name == "confirm_payment":
        confirm = commands.ConfirmPayment(new_id("op"), payment, "alice", RIGHT)
        return wallet, lambda lease: store.run(confirm, lease)
    if name == "resend_code":
        resend = commands.ResendCode(unrecorded(), payment, "alice", 2, 60_000)
        return wallet, lambda lease: store.run(resend, lease)
    cancel = commands.CancelPayment(unrecorded(), payment, "alice")
    return wallet, lambda lease: store.run(cancel, lease)


SCRIPTS = [
    "start_payment", "confirm_payment", "resend_code", "cancel_payment", "deposit", "set_wallet_status",
    "begin_refund",
]  # fmt: skip
every_script = pytest.mark.parametrize("name", SCRIPTS)


async def hold(setup: Setup, wallet: str, *, until_in_ms: int, owner: str = "owner-b", token: int = 7) -> None:
    """Write a lease as another process would have left it."""
    until = await setup.now_ms() + until_in_ms
    await setup.write("wallet", wallet, lease_owner=owner, lease_until=until, token=token)


@every_script
async def test_while_another_owner_holds_the_lease_a_command_is_busy_and_changes_nothing(
    clocked: Setup, name: str
) -> None:
    wallet, call = await prepare(clocked, name)
    await hold(clocked, wallet, until_in_ms=LEASE_MS)
    before = await dump(clocked.store)
    for lease in (ALONE, Lease("owner-a", "", keep=True), Lease("owner-a", "7", keep=True)):
        assert (await call(lease)).code == "busy"
    assert await dump(clocked.store) == before


@every_script
async def test_an_old_token_is_fenced_and_changes_nothing(clocked: Setup, name: str) -> None:
    wallet, call = await prepare(clocked, name)
    await hold(clocked, wallet, until_in_ms=-1, token=7)
    before = await dump(clocked.store)
    assert (await call(Lease("owner-a", "6", keep=False))).code == "fenced"
    assert await dump(clocked.store) == before
    assert (await call(Lease("owner-a", "7", keep=False))).code == "ok"


@every_script
async def test_the_own_earlier_result_is_answered_before_the_lease_is_judged(clocked: Setup, name: str) -> None:
    wallet, call = await prepare(clocked, name)
    first = await call(ALONE)
    assert first.code == "ok"
    await hold(clocked, wallet, until_in_ms=LEASE_MS)
    before = await dump(clocked.store)
    for lease in (ALONE, Lease("owner-a", "6", keep=True)):
        second = await call(lease)
        assert (second.code, second.value) == ("ok", first.value)
    assert await dump(clocked.store) == before


@every_script
async def test_a_lease_is_kept_while_more_is_to_come_and_given_up_after_that(clocked: Setup, name: str) -> None:
    wallet, call = await prepare(clocked, name)
    outcome = await call(Lease("owner-a", "", keep=True))
    assert (outcome.code, outcome.token) == ("ok", "1")
    fields = await clocked.fields("wallet", wallet)
    assert (fields["lease_owner"], fields["token"]) == ("owner-a", "1")
    assert int(fields["lease_until"]) == await clocked.now_ms() + LEASE_MS

    last = await clocked.deposit(wallet, 1, Lease("owner-a", "1", keep=False))
    assert (last.code, last.token) == ("ok", "1")
    fields = await clocked.fields("wallet", wallet)
    assert fields["lease_owner"] == "owner-a", "who comes back before anybody else finds the same token"
    assert "lease_until" not in fields
    assert fields["token"] == "1"


async def test_a_refusal_keeps_and_gives_up_the_lease_too(clocked: Setup) -> None:
    wallet = await clocked.wallet(balance=0)
    invoice = await clocked.invoice()
    kept = await clocked.start(wallet, invoice, lease=Lease("owner-a", "", keep=True))
    assert (kept.code, kept.token) == ("insufficient_funds", "1")
    assert (await clocked.fields("wallet", wallet))["lease_owner"] == "owner-a"
    given_up = await clocked.start(wallet, invoice, lease=Lease("owner-a", "1", keep=False))
    assert (given_up.code, given_up.token) == ("insufficient_funds", "1")
    assert "lease_until" not in await clocked.fields("wallet", wallet)


async def test_a_lease_is_live_to_its_last_millisecond(clocked: Setup, fake_clock: FakeClock) -> None:
    wallet = await clocked.wallet()
    await clocked.deposit(wallet, 1, OTHERS)
    fake_clock.advance(LEASE_MS - 1)
    assert (await clocked.deposit(wallet, 1)).code == "busy"
    fake_clock.advance(1)
    assert (await clocked.deposit(wallet, 1)).code == "ok"


async def test_a_clock_that_jumped_back_does_not_make_a_lease_longer(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    await clocked.deposit(wallet, 1, OTHERS)
    fake_clock.advance(-1)
    taken = await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    assert (taken.code, taken.token) == ("ok", "2")


async def test_a_new_owner_raises_the_token_and_the_old_one_is_fenced(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    sleeper = await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    fake_clock.advance(LEASE_MS)
    taken = await clocked.deposit(wallet, 1, OTHERS)
    assert (sleeper.token, taken.token) == ("1", "2")
    fake_clock.advance(LEASE_MS)
    assert (await clocked.deposit(wallet, 1, Lease("owner-a", "1", keep=True))).code == "fenced"
    newcomer = await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    assert (newcomer.code, newcomer.token) == ("ok", "3")


async def test_the_owner_renews_its_lease_under_the_same_token(clocked: Setup, fake_clock: FakeClock) -> None:
    wallet = await clocked.wallet()
    await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    fake_clock.advance(LEASE_MS - 1)
    renewed = await clocked.deposit(wallet, 1, Lease("owner-a", "1", keep=True))
    assert renewed.token == "1"
    fake_clock.advance(LEASE_MS - 1)
    assert (await clocked.deposit(wallet, 1, OTHERS)).code == "busy"


@every_script
@pytest.mark.parametrize(("elapsed_ms", "renewed"), [(0, False), (49, False), (50, True), (100, True)])
async def test_a_lease_is_renewed_when_no_more_than_half_of_it_is_left(
    clocked: Setup, fake_clock: FakeClock, name: str, elapsed_ms: int, renewed: bool
) -> None:
    wallet, call = await prepare(clocked, name)
    began_at = await clocked.now_ms()
    await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    fake_clock.advance(elapsed_ms)
    kept = await call(Lease("owner-a", "1", keep=True))
    assert (kept.code, kept.token) == ("ok", "1")
    fields = await clocked.fields("wallet", wallet)
    assert fields["lease_owner"] == "owner-a"
    assert int(fields["lease_until"]) == began_at + LEASE_MS + (elapsed_ms if renewed else 0)


async def test_a_lease_from_before_the_clock_jumped_back_is_renewed_by_its_owner(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    fake_clock.advance(-3_600_000)
    renewed = await clocked.deposit(wallet, 1, Lease("owner-a", "1", keep=True))
    assert (renewed.code, renewed.token) == ("ok", "1")
    assert (await clocked.deposit(wallet, 1, OTHERS)).code == "busy"


async def test_the_token_survives_the_release(clocked: Setup) -> None:
    wallet = await clocked.wallet()
    await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    await clocked.deposit(wallet, 1, Lease("owner-a", "1", keep=False))
    again = await clocked.deposit(wallet, 1, Lease("owner-a", "", keep=True))
    assert again.token == "1", "nobody else was here"
    await clocked.deposit(wallet, 1, Lease("owner-a", "1", keep=False))
    other = await clocked.deposit(wallet, 1, Lease("owner-b", "", keep=True))
    assert other.token == "2"


async def test_who_comes_after_a_lease_ran_out_fences_off_its_owner(clocked: Setup) -> None:
    """The owner may have sent more under the token that the other one is told."""
    wallet = await clocked.wallet()
    await hold(clocked, wallet, until_in_ms=-1)
    token = int((await clocked.fields("wallet", wallet)).get("token", "0"))
    assert (await clocked.deposit(wallet, 1)).token == str(token + 1)
    assert "lease_owner" not in await clocked.fields("wallet", wallet)
    late = await clocked.deposit(wallet, 1, Lease("owner-b", str(token), keep=False))
    assert late.code == "fenced"


async def test_every_kind_of_server_judges_leases_alike(setup: Setup) -> None:
    wallet = await setup.wallet()
    await hold(setup, wallet, until_in_ms=60_000)
    assert (await setup.deposit(wallet, 1)).code == "ok"
    await hold(setup, wallet, until_in_ms=-1, token=7)
    assert (await setup.deposit(wallet, 1, Lease("owner-a", "6", keep=False))).code == "fenced"
    taken = await setup.deposit(wallet, 1, Lease("owner-a", "7", keep=True))
    assert (taken.code, taken.token) == ("ok", "8")
    assert (await setup.deposit(wallet, 1, Lease("owner-a", "8", keep=False))).code == "ok"
