"""A store that is out of memory: a refused command changes nothing, and no command is applied partly."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from redis import Redis
from support.fixtures.audit import assert_books_balance
from support.fixtures.dumps import dump
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for
from support.fixtures.gated import is_ready
from support.fixtures.script_calls import CASES, Call, Case
from support.fixtures.store_commands import take_due
from support.fixtures.store_setup import ALONE, Setup, operation
from support.servers.real_servers import OwnServer, own_server

from technopay.engine import (
    Engine,
    ScriptedSettlementService,
    StoreUnavailable,
    StoreUnfit,
    commands,
)
from technopay.engine.values import Lease
from technopay.storage import RedisStore
from technopay.storage.scripts.loader import load_scripts

WRITING = {name for name, script in load_scripts().items() if script.flag != "no-writes"}
KEPT = Lease("owner-a", "", keep=True)


async def deposit__under_a_lease(setup: Setup) -> Call:
    wallet = await setup.wallet(balance=5)
    await setup.deposit(wallet, 1, KEPT)
    command = commands.ChangeBalance(operation(), wallet, 1)
    return lambda: setup.store.run(command, ALONE)


async def set_wallet_status__under_a_lease(setup: Setup) -> Call:
    """Gives the lease up before its other writes."""
    wallet = await setup.wallet()
    await setup.deposit(wallet, 1, KEPT)
    command = commands.SetWalletStatus(operation(), wallet, "inactive")
    return lambda: setup.store.run(command, ALONE)


async def set_limit__removed(setup: Setup) -> Call:
    await setup.set_limit("EUR", 5)
    return lambda: setup.set_limit("EUR", None)


async def start_payment__instead_of_an_earlier_one(setup: Setup) -> Call:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    await setup.started(wallet, invoice)
    return lambda: setup.start(wallet, invoice)


async def take_due__with_something_to_forget_first(setup: Setup) -> Call:
    """Forgets the record of an operation, then ends a payment and claims another."""
    wallet = await setup.wallet()
    expired, (taken, _) = await setup.started(wallet, await setup.invoice()), await setup.processing(wallet)
    await setup.write_code(expired, expires_at=1)
    records = [member for member in (await dump(setup.store))["agenda"] if member.startswith("op_")]
    # Members due at the same time are taken in the order of their names.
    for member in (*records, expired, taken):
        await setup.make_due(member)
    return lambda: take_due(setup.store, 100)


MORE: dict[str, Case] = {
    case.__name__: case
    for case in (
        deposit__under_a_lease, set_wallet_status__under_a_lease, set_limit__removed,
        start_payment__instead_of_an_earlier_one, take_due__with_something_to_forget_first,
    )
}  # fmt: skip
ALL = {
    name: case for name, case in (CASES | MORE).items() if name.partition("__")[0] in WRITING - {"initialise"}
}
EXEMPT = {
    "complete_payment", "take_due", "renew_claims", "set_aside", "record_attempt", "mock_settlement",
    "write_tick", "record_loss", "record_delivery", "claim_archive", "record_archived",
    "claim_trim", "trim_journal",
    "drop_records", "settle_references",
}  # fmt: skip
"""Scripts that work on accepted commands: no money already taken waits for memory. History is archived, and
leaves the store, too."""
WITHOUT_HISTORY = ("trim_journal", "drop_records")
"""Leave books that cannot be audited: there is no archive."""


@contextmanager
def without_memory(url: str) -> Iterator[None]:
    """Set the server's limit below any possible use."""
    with Redis.from_url(url, decode_responses=True) as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@pytest.fixture(scope="module", params=["valkey", "redis"])
def crowded(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """A server whose memory limit a test may lower."""
    with own_server(request.param) as server:
        yield server


@pytest.fixture
async def small(crowded: OwnServer, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    # The subject is the scripts, not the gate.
    monkeypatch.setattr("technopay.storage.store.CHECK_INTERVAL_S", 3600)
    async with RedisStore.connect(crowded.url, initialise=True, namespace=namespace) as store:
        setup = Setup(store)
        await setup.user("alice")
        yield setup


def test_every_script_that_writes_is_met() -> None:
    assert {name.partition("__")[0] for name in ALL} | {"initialise"} == WRITING


@pytest.mark.parametrize("name", ALL)
async def test_a_script_without_memory_does_nothing_or_all_of_it(
    crowded: OwnServer, small: Setup, name: str
) -> None:
    call = await ALL[name](small)
    is_allowed = name.partition("__")[0] in EXEMPT
    before = await dump(small.store)
    with without_memory(crowded.url):
        if is_allowed:
            await call()
        else:
            with pytest.raises(StoreUnavailable) as refused:
                await call()
            assert str(refused.value.__cause__).startswith("OOM ")
            assert await dump(small.store) == before
    await call()
    assert await dump(small.store) != before, "the call has something to write"
    if is_allowed and name not in WITHOUT_HISTORY:
        await assert_books_balance(crowded.url, small.keys.namespace)


async def test_a_store_is_not_initialised_by_half_and_demo_data_are_not_claimed_without_memory(
    crowded: OwnServer, namespace: str
) -> None:
    store = RedisStore.connect(crowded.url, initialise=True, namespace=namespace)
    with without_memory(crowded.url), pytest.raises(StoreUnfit, match="the store is full"):
        await store.open()
    async with store:
        before = await dump(store)
        with without_memory(crowded.url), pytest.raises(StoreUnavailable):
            await store.mark_demo()
        assert await dump(store) == before
        assert await store.mark_demo()


@pytest.mark.parametrize(("answer", "ending"), [("settled", "succeeded"), ("declined", "failed")])
async def test_money_that_was_taken_is_settled_or_given_back_without_memory(
    crowded: OwnServer, namespace: str, quick_look: None, answer: str, ending: str
) -> None:
    decided = asyncio.Event()

    async def decide(_: object) -> str:
        await decided.wait()
        return answer

    service = ScriptedSettlementService(settle=[decide], status=[decide])
    settings = quick_settings(settlement_timeout_s=5)
    async with (
        RedisStore.connect(crowded.url, initialise=True, namespace=namespace) as store,
        Engine(store, settings, settlement_service=service) as engine,
    ):
        alice = await make_setup(engine, store)
        payment = await alice.confirm(await alice.start(), wait_s=0)

        async def is_closed() -> bool:
            try:
                await engine.check()
            except StoreUnavailable as refused:
                return "the store is full" in str(refused)
            return False

        async def has_ended() -> bool:
            return (await Setup(store).fields("payment", payment.id))["status"] == ending

        with without_memory(crowded.url):
            await wait_for(is_closed)
            with pytest.raises(StoreUnavailable):
                await alice.invoice()
            decided.set()
            await wait_for(has_ended)
            await wait_for(is_closed)
        await wait_for(partial(is_ready, engine))
    await assert_books_balance(crowded.url, namespace)
