"""Starts that name somebody else's wallet neither wait in its mailbox nor fill it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from support.scenes import make_scene, quick_settings

from technopay.engine import Engine, SequentialIds, Wallet, WalletNotFound
from technopay.engine.commands import Command, Deposit
from technopay.engine.ports import Outcome
from technopay.engine.values import Lease
from technopay.storage import RedisStore


async def test_a_start_of_somebody_elses_wallet_stays_out_of_its_mailbox(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Callable[[], None]] = []
    send = fake_store.send

    def hold(command: Command[Any], lease: Lease, hear: Callable[..., None]) -> None:
        call = partial(send, command, lease, hear)
        if isinstance(command, Deposit):
            held.append(call)
        else:
            call()

    async with Engine(fake_store, quick_settings(mailbox_capacity=2)) as engine:
        alice, eve = await make_scene(engine, fake_store), await make_scene(engine, fake_store, "eve")
        invoice = await eve.invoice()
        monkeypatch.setattr(fake_store, "send", hold)
        deposits = [asyncio.create_task(engine.deposit(wallet_id=alice.wallet_id, amount=1)) for _ in range(3)]
        await asyncio.sleep(0)
        assert engine.statistics.mailbox_depth_max == 2, "the mailbox is full"

        errors = []
        for wallet_id in (*[alice.wallet_id] * 5, SequentialIds().new("wal")):
            with pytest.raises(WalletNotFound) as error:
                async with asyncio.timeout(5):
                    await engine.start_payment(user_id="eve", invoice_id=invoice.id, wallet_id=wallet_id)
            errors.append(error.value)

        assert len({(str(each), repr(vars(each))) for each in errors}) == 1, "as one that does not exist"
        monkeypatch.undo()
        for call in held:
            call()
        assert [(await deposit).balance for deposit in deposits] == [10_001, 10_002, 10_003]


async def test_the_owner_of_a_wallet_is_read_once_and_only_while_it_is_busy(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read_wallet = fake_store.read_wallet

    async def count(wallet_id: str, user_id: str | None) -> Outcome[Wallet]:
        nonlocal reads
        reads += 1
        return await read_wallet(wallet_id, user_id)

    monkeypatch.setattr(fake_store, "read_wallet", count)
    monkeypatch.setattr("technopay.engine.owners.OWNERS_MAX", 1)
    async with Engine(fake_store, quick_settings()) as engine:
        alice, bob = await make_scene(engine, fake_store), await make_scene(engine, fake_store, "bob")
        await alice.start()
        await asyncio.gather(*(alice.start() for _ in range(5)))
        assert reads == 0, "its start made the owner known"

        invoice = await bob.invoice()
        deposit = asyncio.create_task(engine.deposit(wallet_id=bob.wallet_id, amount=1))
        await asyncio.sleep(0)
        await bob.start(invoice)
        await deposit
        assert reads == 1
        assert list(engine._owners._owners) == [bob.wallet_id], "what is remembered is bounded"
