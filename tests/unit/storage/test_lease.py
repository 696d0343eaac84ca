"""The wallet's lease, checked in every script that changes a wallet."""

from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.script_calls import PREPARED
from support.fixtures.store_setup import ALONE, Setup

from technopay.engine.values import Lease
from technopay.storage.scripts.loader import load_scripts

KEPT = Lease("owner-a", "", keep=True)
OTHERS = Lease("owner-b", "", keep=True)
KEPT_ON = Lease("owner-a", "1", keep=True)
GIVEN_UP = Lease("owner-a", "1", keep=False)
LEASE_MS = 100

SCRIPTS = sorted(name for name, script in load_scripts().items() if "token" in script.arguments)
every_script = pytest.mark.parametrize("name", SCRIPTS)


async def hold(setup: Setup, wallet: str, *, until_in_ms: int) -> None:
    """Write a lease like one of another process."""
    until = await setup.now_ms() + until_in_ms
    await setup.write("wallet", wallet, lease_owner="owner-b", lease_until=until, token=7)


async def prepare(setup: Setup, name: str) -> tuple[str, Any]:
    """Bring a wallet into the state that a script needs; return the wallet and the command."""
    command: Any = await PREPARED[name](setup)
    (wallet,) = [key for key in await dump(setup.store) if key.startswith("wallet:")]
    return wallet.removeprefix("wallet:"), command


@every_script
async def test_while_another_owner_holds_the_lease_a_command_is_busy_and_changes_nothing(
    clocked: Setup, name: str
) -> None:
    wallet, command = await prepare(clocked, name)
    await hold(clocked, wallet, until_in_ms=LEASE_MS)
    before = await dump(clocked.store)
    for lease in (ALONE, KEPT, Lease("owner-a", "7", keep=True)):
        assert (await clocked.run(command, lease)).code == "busy"
    assert await dump(clocked.store) == before


@every_script
async def test_an_old_token_is_fenced_and_changes_nothing(clocked: Setup, name: str) -> None:
    wallet, command = await prepare(clocked, name)
    await hold(clocked, wallet, until_in_ms=-1)
    before = await dump(clocked.store)
    assert (await clocked.run(command, Lease("owner-a", "6", keep=False))).code == "fenced"
    assert await dump(clocked.store) == before
    assert (await clocked.run(command, Lease("owner-a", "7", keep=False))).code == "ok"


@every_script
async def test_the_own_earlier_result_is_answered_before_the_lease_is_judged(clocked: Setup, name: str) -> None:
    wallet, command = await prepare(clocked, name)
    first = await clocked.run(command)
    assert first.code == "ok"
    await hold(clocked, wallet, until_in_ms=LEASE_MS)
    before = await dump(clocked.store)
    for lease in (ALONE, Lease("owner-a", "6", keep=True)):
        second = await clocked.run(command, lease)
        assert (second.code, second.value) == ("ok", first.value)
    assert await dump(clocked.store) == before


@every_script
async def test_a_lease_is_kept_while_more_is_to_come_and_given_up_after_that(clocked: Setup, name: str) -> None:
    wallet, command = await prepare(clocked, name)
    outcome = await clocked.run(command, KEPT)
    assert (outcome.code, outcome.token) == ("ok", "1")
    fields = await clocked.fields("wallet", wallet)
    assert (fields["lease_owner"], fields["token"]) == ("owner-a", "1")
    assert int(fields["lease_until"]) == await clocked.now_ms() + LEASE_MS

    last = await clocked.deposit(wallet, 1, GIVEN_UP)
    assert (last.code, last.token) == ("ok", "1")
    fields = await clocked.fields("wallet", wallet)
    assert (fields["lease_owner"], fields["token"]) == ("owner-a", "1"), "the owner may come back with it"
    assert "lease_until" not in fields


async def test_a_refusal_keeps_and_gives_up_the_lease_too(clocked: Setup) -> None:
    wallet = await clocked.wallet(balance=0)
    invoice = await clocked.invoice()
    kept = await clocked.start(wallet, invoice, lease=KEPT)
    assert (kept.code, kept.token) == ("insufficient_funds", "1")
    assert (await clocked.fields("wallet", wallet))["lease_owner"] == "owner-a"
    given_up = await clocked.start(wallet, invoice, lease=GIVEN_UP)
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
    taken = await clocked.deposit(wallet, 1, KEPT)
    assert (taken.code, taken.token) == ("ok", "2")


async def test_a_new_owner_raises_the_token_and_the_old_one_is_fenced(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    sleeper = await clocked.deposit(wallet, 1, KEPT)
    fake_clock.advance(LEASE_MS)
    taken = await clocked.deposit(wallet, 1, OTHERS)
    assert (sleeper.token, taken.token) == ("1", "2")
    fake_clock.advance(LEASE_MS)
    assert (await clocked.deposit(wallet, 1, KEPT_ON)).code == "fenced"
    newcomer = await clocked.deposit(wallet, 1, KEPT)
    assert (newcomer.code, newcomer.token) == ("ok", "3")


@every_script
@pytest.mark.parametrize(("elapsed_ms", "renewed"), [(0, False), (49, False), (50, True), (100, True)])
async def test_a_lease_is_renewed_when_no_more_than_half_of_it_is_left(
    clocked: Setup, fake_clock: FakeClock, name: str, elapsed_ms: int, renewed: bool
) -> None:
    wallet, command = await prepare(clocked, name)
    began_at = await clocked.now_ms()
    await clocked.deposit(wallet, 1, KEPT)
    fake_clock.advance(elapsed_ms)
    kept = await clocked.run(command, KEPT_ON)
    assert (kept.code, kept.token) == ("ok", "1")
    fields = await clocked.fields("wallet", wallet)
    ends_at = began_at + LEASE_MS + (elapsed_ms if renewed else 0)
    assert (fields["lease_owner"], int(fields["lease_until"])) == ("owner-a", ends_at)


async def test_a_lease_from_before_the_clock_jumped_back_is_renewed_by_its_owner(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    await clocked.deposit(wallet, 1, KEPT)
    fake_clock.advance(-3_600_000)
    renewed = await clocked.deposit(wallet, 1, KEPT_ON)
    assert (renewed.code, renewed.token) == ("ok", "1")
    assert (await clocked.deposit(wallet, 1, OTHERS)).code == "busy"


async def test_the_token_survives_the_release(clocked: Setup) -> None:
    wallet = await clocked.wallet()
    await clocked.deposit(wallet, 1, KEPT)
    await clocked.deposit(wallet, 1, GIVEN_UP)
    again = await clocked.deposit(wallet, 1, KEPT)
    assert again.token == "1", "nobody else was here"
    await clocked.deposit(wallet, 1, GIVEN_UP)
    other = await clocked.deposit(wallet, 1, OTHERS)
    assert other.token == "2"


async def test_a_command_after_a_lease_ran_out_fences_off_its_owner(clocked: Setup) -> None:
    """The owner may have sent more commands under the token of the other command."""
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
    await hold(setup, wallet, until_in_ms=-1)
    assert (await setup.deposit(wallet, 1, Lease("owner-a", "6", keep=False))).code == "fenced"
    taken = await setup.deposit(wallet, 1, Lease("owner-a", "7", keep=True))
    assert (taken.code, taken.token) == ("ok", "8")
    assert (await setup.deposit(wallet, 1, Lease("owner-a", "8", keep=False))).code == "ok"
