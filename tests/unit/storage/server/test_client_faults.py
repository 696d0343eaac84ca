"""Lost replies, cut connections, silence: every call gets its own true outcome; each effect happens once."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from support.fixtures.store_commands import read_journal
from support.fixtures.store_setup import Setup, operation
from support.proxies.faulty_proxy import Fault, Proxy, running_proxy

from technopay.engine import commands
from technopay.engine.errors import OutcomeUnknown, StoreUnavailable
from technopay.engine.reads import ReadWallet
from technopay.storage import RedisStore
from technopay.storage.server.client import ServerClient

REPLY_TIMEOUT_S = 0.5


@pytest.fixture
async def proxy(valkey_url: str) -> AsyncIterator[Proxy]:
    async with running_proxy(valkey_url) as proxy:
        yield proxy


@pytest.fixture
async def truth(valkey_url: str, namespace: str) -> AsyncIterator[Setup]:
    """The same store without the proxy: the actual effects."""
    async with RedisStore.connect(valkey_url, initialise=True, namespace=namespace) as store:
        setup = Setup(store)
        await setup.user("alice")
        yield setup


@pytest.fixture
async def far(proxy: Proxy, truth: Setup, namespace: str) -> AsyncIterator[Setup]:
    """A store behind the proxy. The scripts are loaded, so that the first reply is a reply."""
    await truth.deposit(await truth.wallet(balance=0), 1)
    async with RedisStore.connect(proxy.url, namespace=namespace, reply_timeout_s=REPLY_TIMEOUT_S) as store:
        yield Setup(store)
        # This ends the calls that still wait for a reply.
        await proxy.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the retries."""
    monkeypatch.setattr("technopay.storage.partition.RETRY_S_MAX", 0.3)


async def disconnect(setup: Setup) -> None:
    """Abort the connection, so that the next call needs a new one."""
    link = setup.store._partition.client
    assert isinstance(link, ServerClient)
    assert link._connection is not None
    link._connection.abort()
    await asyncio.sleep(0)


async def wait_for_money(setup: Setup, wallet: str) -> None:
    """Wait until a deposit has arrived."""
    async with asyncio.timeout(5):
        while await setup.money(wallet) == (0, 0):  # noqa: ASYNC110 - the change comes from another process
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("fault", Fault)
async def test_a_lost_reply_is_asked_for_again_and_the_money_moves_once(
    far: Setup, truth: Setup, proxy: Proxy, fault: Fault
) -> None:
    wallet = await truth.wallet(balance=0)
    await far.now_ms()
    sent = proxy.batches
    proxy.strike(fault)
    outcome = await far.deposit(wallet, 7)
    assert outcome.code == "ok"
    assert outcome.replayed == (fault not in (Fault.CUT_BEFORE, Fault.SWALLOW))
    assert await truth.money(wallet) == (7, 0)
    # The partition retries; no layer below it does.
    assert proxy.batches - sent <= 3


@pytest.mark.parametrize("fault", Fault)
async def test_while_the_store_does_not_answer_the_outcome_is_unknown_and_known_afterwards(
    far: Setup, truth: Setup, proxy: Proxy, impatient: None, fault: Fault
) -> None:
    wallet = await truth.wallet(balance=0)
    command = commands.ChangeBalance(operation(), wallet, 7)
    proxy.strike(fault, times=1_000)
    with pytest.raises(OutcomeUnknown):
        await far.run(command)
    proxy.heal()
    assert (await far.run(command)).code == "ok"
    assert await truth.money(wallet) == (7, 0)


@pytest.mark.parametrize("fault", Fault)
async def test_a_lost_reply_of_a_read_without_a_script_is_asked_for_again(
    far: Setup, truth: Setup, proxy: Proxy, fault: Fault
) -> None:
    proxy.strike(fault, child=b"XRANGE")
    batch = await read_journal(far.store, "0-0", 100)
    assert len(batch.entries) == len(await truth.entries()) > 0


async def test_a_store_that_refuses_connections_is_unavailable_and_nothing_happened(
    far: Setup, truth: Setup, proxy: Proxy
) -> None:
    wallet = await truth.wallet(balance=0)
    await proxy.stop()
    await disconnect(far)
    with pytest.raises(StoreUnavailable):
        await far.deposit(wallet, 7)
    assert await truth.money(wallet) == (0, 0)
    await proxy.start()
    assert (await far.deposit(wallet, 7)).code == "ok"


async def test_a_server_that_accepts_and_says_nothing_is_unavailable_soon(
    far: Setup, truth: Setup, proxy: Proxy
) -> None:
    wallet = await truth.wallet(balance=0)
    proxy.is_deaf = True
    await disconnect(far)
    async with asyncio.timeout(10 * REPLY_TIMEOUT_S):
        with pytest.raises(StoreUnavailable):
            await far.deposit(wallet, 7)
    proxy.heal()
    assert (await far.deposit(wallet, 7)).code == "ok"
    assert await truth.money(wallet) == (7, 0)


async def test_a_call_that_may_have_run_is_unknown_even_if_the_store_is_gone_afterwards(
    far: Setup, truth: Setup, proxy: Proxy, impatient: None
) -> None:
    wallet = await truth.wallet(balance=0)
    proxy.strike(Fault.NEVER_ANSWER)
    asking = asyncio.create_task(far.deposit(wallet, 7))
    await wait_for_money(truth, wallet)
    await proxy.stop()
    with pytest.raises(OutcomeUnknown):
        await asking
    await proxy.start()


@pytest.mark.parametrize("fault", [Fault.HALF_REPLY, Fault.DROP_REPLY, Fault.NEVER_ANSWER])
async def test_a_cut_in_the_middle_of_a_batch_leaves_each_call_its_own_outcome(
    far: Setup, truth: Setup, proxy: Proxy, fault: Fault
) -> None:
    wallets = [await truth.wallet(balance=0) for _ in range(40)]
    proxy.strike(fault)
    outcomes = await asyncio.gather(*(far.deposit(wallet, 1 + i) for i, wallet in enumerate(wallets)))
    for i, (wallet, outcome) in enumerate(zip(wallets, outcomes, strict=True)):
        assert outcome.code == "ok"
        assert outcome.value is not None
        assert (outcome.value.id, outcome.value.balance) == (wallet, 1 + i)
        assert await truth.money(wallet) == (1 + i, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_no_answer_is_ever_given_to_another_call(
    far: Setup, truth: Setup, proxy: Proxy, seed: int
) -> None:
    chance = random.Random(seed)
    wallets = [await truth.wallet(balance=0) for _ in range(10)]
    deposited = dict.fromkeys(wallets, 0)

    async def read(wallet: str) -> None:
        outcome = await far.run(ReadWallet(wallet, "alice"))
        assert outcome.value is not None
        assert outcome.value.id == wallet

    async def put(wallet: str) -> None:
        deposited[wallet] += 3
        outcome = await far.deposit(wallet, 3)
        assert outcome.code == "ok"
        assert outcome.value is not None
        assert outcome.value.id == wallet

    for _ in range(12):
        if chance.random() < 0.5:
            proxy.strike(chance.choice([Fault.CUT_BEFORE, Fault.DROP_REPLY, Fault.HALF_REPLY]))
        calls = [chance.choice((read, put))(wallet) for wallet in chance.choices(wallets, k=20)]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(chance.choice((0, 0.001)))
        killable = chance.sample(tasks, 3)
        for task in killable:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for task, result in zip(tasks, results, strict=True):
            assert result is None or task in killable, repr(result)
    for wallet in wallets:
        balance, _ = await truth.money(wallet)
        assert balance % 3 == 0
        assert balance <= deposited[wallet]
