"""A wallet's lease that another process keeps: commands wait for it, the ends of debits and refunds do not.

The store takes far longer leases here, so that one is held to the end without being renewed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import make_setup, quick_settings
from support.fixtures.figures import report
from support.fixtures.store_setup import Setup, client_of
from support.processes.worker import CODE, open_store

from technopay.engine import Engine, FixedCode, ScriptedSettlementService
from technopay.storage.scripts.loader import Library, Script, load_scripts

LEASE_MS = 3_600_000
END_S_MAX = 10.0
DEADLINE_S = 60.0

End = Literal["settled", "given back", "refunded"]
STATUS = {"settled": "succeeded", "given back": "failed", "refunded": "refunded"}


@pytest.fixture(autouse=True)
def long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put long leases into the scripts."""

    def load() -> Mapping[str, Script]:
        scripts = load_scripts()
        library = next(iter(scripts.values())).library
        digest = library.name.removeprefix("technopay_")
        text = library.text.replace("local LEASE_MS = 100\n", f"local LEASE_MS = {LEASE_MS}\n")
        assert text != library.text
        # Under names of its own: other tests use the same server.
        long = Library("technopay_long_leases", text.replace(digest, "long_leases"))
        return {
            name: replace(script, function=script.function.replace(digest, "long_leases"), library=long)
            for name, script in scripts.items()
        }

    monkeypatch.setattr("technopay.storage.store.load_scripts", load)


@asynccontextmanager
async def held_lease(setup: Setup, wallet_id: str) -> AsyncIterator[None]:
    """Be a process that keeps the lease of a wallet."""
    await client_of(setup.store).hincrby(setup.keys.key("wallet", wallet_id), "token", 1)
    until = await setup.now_ms() + LEASE_MS
    held = {"lease_owner": "eng_elsewhere", "lease_until": str(until)}
    await setup.write("wallet", wallet_id, **held)
    yield
    assert held.items() <= (await setup.fields("wallet", wallet_id)).items(), (
        "the lease was not held to the end"
    )
    await setup.write("wallet", wallet_id, lease_until=0)


class Gate:
    """A settlement service that answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    def answering(self, answer: str) -> Callable[[Any], Any]:
        async def wait(_: Any) -> str:
            self.asked.set()
            await self.let.wait()
            return answer

        return wait


@pytest.mark.parametrize("queue", [0, 20], ids=["nothing waits", "commands wait for the wallet"])
@pytest.mark.parametrize("end", ["settled", "given back", "refunded"])
async def test_a_foreign_lease_delays_no_settlement_and_no_refund(
    server_url: str, namespace: str, end: End, queue: int
) -> None:
    gate = Gate()
    settle = {"settled": gate.answering("settled"), "given back": gate.answering("declined")}.get(
        end, "settled"
    )
    service = ScriptedSettlementService(settle=[settle], reverse=[gate.answering("reversed")])
    settings = quick_settings(settlement_timeout_s=30.0, command_deadline_s=DEADLINE_S)
    async with (
        open_store(server_url, namespace, "UTC") as store,
        Engine(store, settings, verifier=FixedCode(CODE), settlement_service=service) as engine,
    ):
        alice, setup = await make_setup(engine, store), Setup(store)
        payment = await alice.start()
        paying = asyncio.create_task(alice.confirm(payment, CODE, wait_s=0))
        if end == "refunded":
            await paying
            paid = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=4)
            assert paid.status == "succeeded"
            paying = asyncio.create_task(engine.refund_payment(payment_id=payment.id))
        await gate.asked.wait()

        async with held_lease(setup, alice.wallet_id):
            deposits = [
                asyncio.create_task(engine.deposit(wallet_id=alice.wallet_id, amount=1)) for _ in range(queue)
            ]
            assert (await setup.deposit(alice.wallet_id, 1)).code == "busy"
            gate.let.set()
            let_at = time.monotonic()
            ended = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=END_S_MAX)
            took_s = time.monotonic() - let_at

        report(f"{end} {took_s * 1000:.0f} ms after the service answered, {queue} waiting")
        await asyncio.wait([paying])
        await asyncio.gather(*deposits)
        assert ended.status == STATUS[end]
    await assert_books_balance(server_url, namespace)
