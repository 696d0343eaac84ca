"""Starts with another user's wallet neither wait in its mailbox nor fill it."""

import asyncio
from typing import Any

import pytest
from support.fixtures.doubles import held_commands
from support.fixtures.engine_setup import make_setup, quick_settings

from technopay.engine import Engine, SequentialIds, WalletNotFound
from technopay.engine.commands import Command
from technopay.engine.ports import Outcome
from technopay.engine.reads import ReadWallet
from technopay.storage import RedisStore


async def test_a_start_of_somebody_elses_wallet_stays_out_of_its_mailbox(
    fake_store: RedisStore,
) -> None:
    async with Engine(fake_store, quick_settings(mailbox_capacity=2)) as engine:
        alice, eve = await make_setup(engine, fake_store), await make_setup(engine, fake_store, "eve")
        invoice = await eve.invoice()
        with held_commands(fake_store):
            deposits = [
                asyncio.create_task(engine.deposit(wallet_id=alice.wallet_id, amount=1)) for _ in range(3)
            ]
            await asyncio.sleep(0)
            assert engine.statistics.mailbox_depth_max == 2, "the mailbox is full"

            errors = []
            for wallet_id in (*[alice.wallet_id] * 5, SequentialIds().new("wal", 0)):
                with pytest.raises(WalletNotFound) as error:
                    async with asyncio.timeout(5):
                        await engine.start_payment(user_id="eve", invoice_id=invoice.id, wallet_id=wallet_id)
                errors.append(error.value)

            assert len({(str(each), repr(vars(each))) for each in errors}) == 1, "as one that does not exist"
        assert [(await deposit).balance for deposit in deposits] == [10_001, 10_002, 10_003]


async def test_the_owner_of_a_wallet_is_read_once_and_only_while_it_is_busy(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    run = fake_store.run

    async def count(command: Command[Any]) -> Outcome[Any]:
        nonlocal reads
        reads += isinstance(command, ReadWallet)
        return await run(command)

    monkeypatch.setattr(fake_store, "run", count)
    monkeypatch.setattr("technopay.engine.actors.owners.OWNERS_MAX", 1)
    async with Engine(fake_store, quick_settings()) as engine:
        alice, bob = await make_setup(engine, fake_store), await make_setup(engine, fake_store, "bob")
        await alice.start()
        await asyncio.gather(*(alice.start() for _ in range(5)))
        assert reads == 0, "its start made the owner known"

        invoice = await bob.invoice()
        deposit = asyncio.create_task(engine.deposit(wallet_id=bob.wallet_id, amount=1))
        await asyncio.sleep(0)
        await bob.start(invoice)
        await deposit
        assert reads == 1
        assert list(engine._runtime.owners._owners) == [bob.wallet_id], "what is remembered is bounded"
