"""Webhooks as operators keep them: their list, and how partitions get to know their changes."""

import asyncio

import pytest
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for
from support.fixtures.store_setup import client_of
from support.fixtures.webhooks import RecordingSender, sent

from technopay.engine import Engine, OutcomeUnknown, StoreUnavailable, ValidationFailed
from technopay.engine.webhooks.models import Endpoint
from technopay.storage import RedisStore

URL = "https://example.com/webhooks"


async def test_a_partition_out_of_reach_gets_a_change_later_and_holds_up_no_agenda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender = RecordingSender()
    async with (
        RedisStore.fake(partitions=3) as store,
        Engine(store, quick_settings(), webhook_sender=sender) as engine,
    ):
        registry, agenda = engine._runtime.webhooks.registry, store._partition.keys.key("agenda")
        note, is_asked, is_back = registry._note, asyncio.Event(), asyncio.Event()

        async def note_in_two(partition: int, endpoint: Endpoint) -> None:
            if partition == 2:
                raise StoreUnavailable
            await note(partition, endpoint)

        async def note_late(partition: int, endpoint: Endpoint) -> None:
            is_asked.set()
            await is_back.wait()
            await note(partition, endpoint)

        monkeypatch.setattr(registry, "_note", note_in_two)
        with pytest.raises(OutcomeUnknown):
            await engine.create_webhook(url=URL)
        monkeypatch.setattr(registry, "_note", note_late)
        [webhook] = (await engine.list_webhooks()).data
        await client_of(store).zadd(agenda, {webhook.id: 0})
        async with asyncio.timeout(10):
            await engine._runtime._take_due_of(0)
            await is_asked.wait()
            await engine._runtime._take_due_of(0)
        is_back.set()

        async def is_known() -> bool:
            return await client_of(store).zscore(agenda, webhook.id) is None

        await wait_for(is_known)
        user = next(each for each in ("alice", "bob", "carol", "dave") if store.partition_of(each) == 2)
        setup = await make_setup(engine, store, user)
        await setup.invoice()
        await sent(sender, 1)


@pytest.mark.any_partition
async def test_webhooks_are_listed_newest_first_page_by_page(engine: Engine) -> None:
    made = [await engine.create_webhook(url=f"{URL}/{number}") for number in range(5)]
    seen, cursor = [], ""
    while True:
        page = await engine.list_webhooks(limit=2, cursor=cursor)
        seen += [each.id for each in page.data]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == [each.id for each in reversed(made)]
    with pytest.raises(ValidationFailed):
        await engine.list_webhooks(cursor="?")
