"""What stays in memory of purchases that left a store: next to nothing, on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.dropping import paid_invoice
from support.fixtures.store_setup import Setup, client_of
from support.fixtures.trimming import new_trimming
from support.servers.real_servers import own_server

from technopay.storage import Archive, RedisStore

PURCHASES = 400
PLAIN_MAX, REFERRED_MAX = 60, 120
"""Bytes of a purchase that stay: of one without a reference, and of one with a reference of 20 characters."""
OF_A_PURCHASE = ("payment", "invoice", "payments", "invoices", "entries", "used", "references", "code")
"""The kinds of keys that a purchase has; the journal, operations and messages leave by their own rules."""


@pytest.fixture
async def setup(tmp_path: Path, namespace: str) -> AsyncIterator[Setup]:
    with own_server("valkey", tmp_path) as server:
        async with RedisStore.connect(server.url, initialise=True, namespace=namespace) as store:
            setup = Setup(store)
            await setup.user("alice")
            yield setup


async def bytes_of_purchases(setup: Setup) -> int:
    """Add up what the keys of purchases use."""
    client, total = client_of(setup.store), 0
    for kind in OF_A_PURCHASE:
        for name in (setup.keys.key(kind), setup.keys.key(kind, "*")):
            async for key in client.scan_iter(match=name, count=1_000):
                total += await client.memory_usage(key, samples=0)
    return total


@pytest.mark.parametrize("is_referred", [False, True])
async def test_a_purchase_that_left_uses_few_bytes(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_referred: bool
) -> None:
    async with Archive.at(str(tmp_path / "archive" / "archive.sqlite3")) as archive:
        trimming = await new_trimming(setup, archive, monkeypatch)
        wallet = await setup.wallet(balance=10**9)
        before = await bytes_of_purchases(setup)
        for number in range(PURCHASES):
            if is_referred:
                await paid_invoice(setup, wallet, f"order-{number:014d}")
            else:
                await setup.succeeded(wallet)
        whole = (await bytes_of_purchases(setup) - before) / PURCHASES
        await trimming.trim()
        left = (await bytes_of_purchases(setup) - before) / PURCHASES
        assert whole > 500
        assert left < (REFERRED_MAX if is_referred else PLAIN_MAX), left
