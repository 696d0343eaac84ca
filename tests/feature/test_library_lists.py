"""Lists in pages: each is newest first and complete, for any length of its pages."""

from typing import Any

import pytest
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for

from technopay.engine import Engine
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition


async def all_pages(method: Any, limit: int, **arguments: Any) -> list[Any]:
    """Read a list to its end, page by page."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = await method(**arguments, limit=limit, cursor=cursor)
        assert len(page.data) <= limit
        assert page.has_more == (page.next_cursor is not None)
        found += page.data
        if not page.has_more:
            return found
        cursor = page.next_cursor


@pytest.mark.any_partition
async def test_every_list_is_newest_first_and_complete_whatever_the_length_of_a_page(store: RedisStore) -> None:
    async with Engine(store, quick_settings()) as engine:
        alice = await make_setup(engine, store)
        invoices = [(await alice.invoice(100)).id for _ in range(5)]
        payments = [
            (await engine.start_payment(user_id="alice", invoice_id=each, wallet_id=alice.wallet_id)).id
            for each in invoices
        ]
        more = [(await engine.create_wallet(user_id="alice", currency="EUR")).id for _ in range(4)]
        for amount in range(1, 5):
            await engine.deposit(wallet_id=alice.wallet_id, amount=amount)

        async def sent() -> list[Any]:
            messages = (await engine.list_messages(user_id="alice", status="sent")).data
            return messages if len(messages) == 5 else []

        messages = await wait_for(sent)
        assert [each.at for each in messages] == sorted((each.at for each in messages), reverse=True)
        for limit in (1, 2, 5, 100):
            for method, expected in (
                (engine.list_invoices, invoices),
                (engine.list_payments, payments),
                (engine.search_payments, payments),
                (engine.search_invoices, invoices),
                (engine.search_wallets, [alice.wallet_id, *more]),
                (engine.search_users, ["alice"]),
                (engine.list_wallets, [alice.wallet_id, *more]),
                (engine.list_messages, [each.id for each in messages[::-1]]),
            ):
                found = await all_pages(method, limit, user_id="alice")
                assert [each.id for each in found] == expected[::-1]
            entries = await all_pages(engine.list_entries, limit, user_id="alice", wallet_id=alice.wallet_id)
            assert [each.amount for each in entries] == [4, 3, 2, 1, 10_000]
            assert await all_pages(engine.search_entries, limit, wallet_id=alice.wallet_id) == entries
