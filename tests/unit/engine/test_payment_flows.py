"""Payments up to their confirmation: the commands that the engine sends for them."""

from typing import Any

import pytest
from support.fixtures.engine_setup import make_setup, quick_settings

from technopay.engine import Engine, RateLimited
from technopay.engine.commands import Command, StartPayment
from technopay.engine.ports import Outcome
from technopay.engine.reads import ReadInvoice
from technopay.storage import RedisStore


async def test_a_start_that_is_refused_for_its_code_costs_no_other_command(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[type[Command[Any]]] = []
    run, send = fake_store.run, fake_store.send

    async def note_run(command: Command[Any]) -> Outcome[Any]:
        ran.append(type(command))
        return await run(command)

    def note_send(command: Command[Any], *rest: Any) -> None:
        ran.append(type(command))
        send(command, *rest)

    async with Engine(fake_store, quick_settings(codes_per_hour=1)) as engine:
        alice = await make_setup(engine, fake_store)
        await alice.start()
        invoice = await alice.invoice()
        monkeypatch.setattr(fake_store, "run", note_run)
        monkeypatch.setattr(fake_store, "send", note_send)

        with pytest.raises(RateLimited):
            await alice.start(invoice)

        assert ran.count(StartPayment) == 1
        assert ReadInvoice not in ran
