"""Records of webhooks that cannot be read: their deliveries fail in sight, all others go on."""

import pytest
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for
from support.fixtures.store_setup import Setup as Records
from support.fixtures.webhooks import RecordingSender, deliveries, sent, settled

from technopay.engine import Delivery, Engine
from technopay.storage import RedisStore

URL, OTHER = "https://example.com/webhooks", "https://example.org/webhooks"


async def test_a_secret_that_was_tampered_with_signs_nothing(fake_store: RedisStore) -> None:
    sender = RecordingSender()
    async with Engine(fake_store, quick_settings()) as engine:
        broken, fine = [await engine.create_webhook(url=url) for url in (URL, OTHER)]
    records = Records(fake_store)
    stolen = (await records.fields("endpoint", fine.id))["secrets"]
    await records.write("endpoint", broken.id, secrets=stolen)
    async with Engine(fake_store, quick_settings(), webhook_sender=sender) as engine:
        await (await make_setup(engine, fake_store)).invoice()
        await sent(sender, 1)
        await settled(engine, fine.id)

        async def failed() -> list[Delivery]:
            return [each for each in await deliveries(engine, broken.id, "waiting") if each.attempts]

        [shown] = await wait_for(failed)
        assert (shown.last_status, shown.last_answer) == (None, "the secret of the webhook cannot be decrypted")
        assert {each.url for each in sender.sent} == {OTHER}


@pytest.mark.corrupts
async def test_an_event_whose_record_cannot_be_read_is_dead_and_others_go_on(fake_store: RedisStore) -> None:
    sender = RecordingSender()
    async with Engine(fake_store, quick_settings()) as engine:
        webhook = await engine.create_webhook(url=URL, types=["payment.started"])
        setup = await make_setup(engine, fake_store)
        broken, fine = await setup.start(), await setup.start()
        await Records(fake_store).write("payment", broken.id, amount="none")
    async with Engine(fake_store, quick_settings(), webhook_sender=sender) as engine:
        await sent(sender, 1)
        await settled(engine, webhook.id)
        found = {each.payment_id: each for each in await deliveries(engine, webhook.id)}
        assert (found[broken.id].status, found[fine.id].status) == ("dead", "delivered")
        assert found[broken.id].last_answer == "the record of the event cannot be read"
        assert len(sender.sent) == 1
