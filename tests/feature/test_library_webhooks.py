"""Webhooks of the library: what is sent, when, and how operators see it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import SECRET, Setup, make_setup, quick_settings, wait_for
from support.fixtures.webhooks import OK, RecordingSender, deliveries, sent, settled, verify

from technopay.engine import (
    DeliveryNotFound,
    Engine,
    IdempotencyKeyReused,
    StoreUnavailable,
    ValidationFailed,
    WebhookAnswer,
    WebhookNotFound,
)
from technopay.engine.webhooks import deliveries as module
from technopay.engine.webhooks.commands import FinishWebhook, NoteWebhook
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

URL, OTHER, ANOTHER = (f"https://example.{name}/webhooks" for name in ("com", "org", "net"))
PAYMENT_TYPES = ["payment.started", "payment.processing", "payment.succeeded"]
NEXT = "the next secret, of tests and of tests alone"
HOUR_MS = 3_600_000


@pytest.fixture
def sender() -> RecordingSender:
    return RecordingSender()


@pytest.fixture(autouse=True)
def quick_refreshes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_INTERVAL_S", 0.05)


@pytest.fixture
async def setup(store: RedisStore, sender: RecordingSender) -> AsyncIterator[Setup]:
    async with Engine(store, quick_settings(), webhook_sender=sender) as engine:
        yield await make_setup(engine, store)


async def test_every_event_is_sent_signed_in_order_and_with_the_masked_record(
    setup: Setup, sender: RecordingSender
) -> None:
    webhook = await setup.engine.create_webhook(url=URL)
    assert webhook.secret is not None
    assert (webhook.status, webhook.types, webhook.merchant) == ("active", [], None)
    payment = await setup.start()
    await sent(sender, 2)
    await setup.confirm(payment)
    first, *found = await sent(sender, 4)
    if "payment" in first.event:  # an invoice and its payment have no order
        first, found[0] = found[0], first
    assert (first.event["type"], first.event["invoice"]["id"]) == ("invoice.created", payment.invoice_id)
    assert [each.event["type"] for each in found] == PAYMENT_TYPES
    for version, each in enumerate(found, 1):
        verify(webhook.secret, each)
        assert set(each.event) == {"id", "type", "at", "version", "payment"}
        assert (each.event["id"], each.event["version"]) == (each.id, version)
        assert each.event["payment"]["id"] == payment.id
        assert "resolution" not in each.event["payment"]
    assert found[0].event["payment"]["confirmation"]["sent_to"] == "a***@example.com"
    assert "alice@example.com" not in str([each.body for each in found])
    assert found[2].event["payment"]["status"] == "succeeded"
    await settled(setup.engine, webhook.id)
    listed = await deliveries(setup.engine, webhook.id)
    assert [each.event_id for each in listed] == [each.id for each in (*reversed(found), first)]
    assert {(each.status, each.attempts, each.last_status, each.last_answer) for each in listed} == {
        ("delivered", 1, 200, "thank you")
    }
    assert [each.payment_id for each in listed] == [payment.id] * 3 + [None]


async def test_a_retry_has_the_same_body_and_later_events_wait_for_it(
    setup: Setup, sender: RecordingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "retry_ms", lambda *_: 1_000)
    webhook = await setup.engine.create_webhook(url=URL, types=PAYMENT_TYPES)
    assert webhook.secret is not None
    sender.answers[URL] = [WebhookAnswer(500, "not\x1b[31m now\x00"), ConnectionError("no route")]
    payment = await setup.pay()
    await sent(sender, 1)
    [shown] = await wait_for(lambda: failed(setup, webhook.id))
    assert (shown.attempts, shown.last_status, shown.last_answer) == (1, 500, "not\ufffd[31m now\ufffd")
    failing = await setup.engine.find_webhook(webhook_id=webhook.id)
    assert failing.failing_since is not None
    first, second, third, *rest = await sent(sender, 5)
    assert first.id == second.id == third.id
    assert first.body == second.body == third.body
    assert [each.event["type"] for each in (first, *rest)] == PAYMENT_TYPES
    assert all(each.event["payment"]["id"] == payment.id for each in sender.sent)
    for each in sender.sent:
        verify(webhook.secret, each)
    await settled(setup.engine, webhook.id)
    assert (await setup.engine.find_webhook(webhook_id=webhook.id)).failing_since is None


async def failed(setup: Setup, webhook_id: str) -> list[Any]:
    return [each for each in await deliveries(setup.engine, webhook_id, "waiting") if each.attempts]


async def test_a_slow_endpoint_delays_no_other_one(setup: Setup, sender: RecordingSender) -> None:
    sender.closed.add(URL)
    slow = await setup.engine.create_webhook(url=URL)
    fast = await setup.engine.create_webhook(url=OTHER)
    for _ in range(module.SENDS_MAX + 4):
        await setup.invoice()
    number = module.SENDS_MAX + 4

    async def all_fast() -> bool:
        return len(sender.types(OTHER)) == number

    await wait_for(all_fast)
    await settled(setup.engine, fast.id)
    assert len(sender.types(URL)) <= module.SENDS_MAX, "the slow one takes its share, and no more"
    assert len(await deliveries(setup.engine, slow.id, "waiting")) == number


async def test_an_endpoint_that_is_gone_is_switched_off_until_it_is_active_again(
    setup: Setup, sender: RecordingSender
) -> None:
    webhook = await setup.engine.create_webhook(url=URL)
    sender.answers[URL] = [WebhookAnswer(410, "gone")]
    await setup.invoice()
    await wait_for(lambda: has_status(setup, webhook.id, "disabled"), within_s=15)
    await deliver_to_another(setup, sender)
    assert len(sender.to(URL)) == 1
    with pytest.raises(ValidationFailed):
        await setup.engine.update_webhook(webhook_id=webhook.id, status="disabled")  # type: ignore[arg-type]
    active = await setup.engine.update_webhook(webhook_id=webhook.id, status="active")
    assert (active.status, active.failing_since) == ("active", None)
    await settled(setup.engine, webhook.id)
    assert len({each.id for each in sender.to(URL)}) == 2


async def deliver_to_another(setup: Setup, sender: RecordingSender) -> None:
    """Deliver an event to another webhook: what this engine sends to the first one is sent by then, too."""
    await setup.engine.create_webhook(url=ANOTHER)
    await setup.invoice()

    async def look() -> bool:
        return bool(sender.to(ANOTHER))

    await wait_for(look)


async def has_status(setup: Setup, webhook_id: str, status: str) -> bool:
    return (await setup.engine.find_webhook(webhook_id=webhook_id)).status == status


async def test_a_redirect_fails(setup: Setup, sender: RecordingSender) -> None:
    webhook = await setup.engine.create_webhook(url=URL)
    sender.answer = WebhookAnswer(307, "")
    await setup.invoice()
    [shown] = await wait_for(lambda: failed(setup, webhook.id))
    assert (shown.status, shown.last_status) == ("waiting", 307)


async def test_a_paused_webhook_sends_nothing_and_goes_on_where_it_stopped(
    setup: Setup, sender: RecordingSender
) -> None:
    webhook = await setup.engine.create_webhook(url=URL)
    paused = await setup.engine.update_webhook(webhook_id=webhook.id, status="paused")
    assert paused.status == "paused"
    await deliver_to_another(setup, sender)
    assert sender.to(URL) == []
    await setup.engine.update_webhook(
        webhook_id=webhook.id, status="active", url=OTHER, types=["invoice.created"]
    )
    await settled(setup.engine, webhook.id)
    await sent(sender, 2)
    assert sender.types(OTHER) == ["invoice.created"]


async def test_a_rotated_secret_signs_beside_the_earlier_one(setup: Setup, sender: RecordingSender) -> None:
    webhook = await setup.engine.create_webhook(url=URL)
    rotated = await setup.engine.rotate_webhook_secret(webhook_id=webhook.id, overlap_s=60)
    assert webhook.secret
    assert rotated.secret
    await setup.invoice()
    [both] = await sent(sender, 1)
    assert webhook.secret != rotated.secret
    verify(webhook.secret, both)
    verify(rotated.secret, both)
    last = await setup.engine.rotate_webhook_secret(webhook_id=webhook.id, overlap_s=0)
    await setup.invoice()
    only = (await sent(sender, 2))[1]
    assert last.secret
    verify(last.secret, only)
    assert len(only.headers["webhook-signature"].split()) == 1


async def test_a_secret_is_shown_once_and_a_replay_has_none(setup: Setup) -> None:
    engine = setup.engine
    webhook = await engine.create_webhook(url=URL, idempotency_key="one")
    again = await engine.create_webhook(url=URL, idempotency_key="one")
    assert webhook.secret
    assert (again.id, again.secret, again.replayed, webhook.replayed) == (webhook.id, None, True, False)
    with pytest.raises(IdempotencyKeyReused):
        await engine.create_webhook(url=OTHER, idempotency_key="one")
    rotated = await engine.rotate_webhook_secret(webhook_id=webhook.id, idempotency_key="two")
    replay = await engine.rotate_webhook_secret(webhook_id=webhook.id, idempotency_key="two")
    assert rotated.secret not in (None, webhook.secret)
    assert (replay.secret, replay.replayed) == (None, True)
    assert (await engine.find_webhook(webhook_id=webhook.id)).secret is None
    assert [each.secret for each in (await engine.list_webhooks()).data] == [None]


async def test_a_deleted_webhook_is_gone_and_a_repeat_succeeds(setup: Setup, sender: RecordingSender) -> None:
    engine = setup.engine
    webhook = await engine.create_webhook(url=URL)
    await engine.delete_webhook(webhook_id=webhook.id)
    await engine.delete_webhook(webhook_id=webhook.id)
    assert (await engine.list_webhooks()).data == []
    await deliver_to_another(setup, sender)
    assert sender.to(URL) == []
    for unknown in (webhook.id, "whk_00none", "whk_ff\ud800", "pay_001", ""):
        for call in (engine.find_webhook, engine.list_deliveries, engine.send_dead_deliveries_again,
                     engine.update_webhook, engine.rotate_webhook_secret):  # fmt: skip
            with pytest.raises(WebhookNotFound):
                await call(webhook_id=unknown)
    with pytest.raises(WebhookNotFound):
        await engine.delete_webhook(webhook_id="whk_00none")


async def test_bad_arguments_name_the_field_and_the_rule(setup: Setup) -> None:
    create = setup.engine.create_webhook
    for url in ("http://example.com", "https://10.0.0.1/", "https://user@example.com"):
        with pytest.raises(ValidationFailed, match=r"^url: "):
            await create(url=url)
    for types in (["payment.paid"], ["payment.started"] * 2, "payment.started", [1], [["payment.started"]]):
        with pytest.raises(ValidationFailed, match=r"^types: has to be"):
            await create(url=URL, types=types)  # type: ignore[arg-type]
    with pytest.raises(ValidationFailed, match=r"^merchant: "):
        await create(url=URL, merchant="")
    webhook = await create(url=URL)
    for overlap_s in (-1, 604_801, True):
        with pytest.raises(ValidationFailed, match=r"^overlap_s: "):
            await setup.engine.rotate_webhook_secret(webhook_id=webhook.id, overlap_s=overlap_s)
    for unknown in ("", "dlv_00", "dlv_001-1", "dlv_ff1-1", "evt_001-1"):
        with pytest.raises(DeliveryNotFound):
            await setup.engine.send_delivery_again(webhook_id=webhook.id, delivery_id=unknown)


async def test_dead_deliveries_are_sent_again_one_by_one_or_all(
    setup: Setup, sender: RecordingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "retry_ms", lambda *_: 73 * HOUR_MS)
    sender.answer = WebhookAnswer(503, "closed")
    engine = setup.engine
    webhook = await engine.create_webhook(url=URL)
    for _ in range(3):
        await setup.invoice()
    await wait_for(lambda: dead_ones(setup, webhook.id, 3))
    sender.answer = OK
    first, *_ = await deliveries(engine, webhook.id, "dead")
    assert (first.attempts, first.last_status, first.last_answer, first.next_at) == (1, 503, "closed", None)
    one = await engine.send_delivery_again(webhook_id=webhook.id, delivery_id=first.id, idempotency_key="k")
    assert (one.id, one.status) == (first.id, "waiting")
    await wait_for(lambda: dead_ones(setup, webhook.id, 2))
    assert (await engine.send_delivery_again(webhook_id=webhook.id, delivery_id=first.id)).status != "dead"
    assert (await engine.send_dead_deliveries_again(webhook_id=webhook.id, idempotency_key="all")).resent == 2
    replay = await engine.send_dead_deliveries_again(webhook_id=webhook.id, idempotency_key="all")
    assert (replay.resent, replay.replayed) == (2, True)
    await wait_for(lambda: dead_ones(setup, webhook.id, 0))
    await settled(setup.engine, webhook.id)
    assert [each.status for each in await deliveries(engine, webhook.id)] == ["delivered"] * 3
    await engine.delete_webhook(webhook_id=webhook.id)
    again = await engine.send_delivery_again(webhook_id=webhook.id, delivery_id=first.id, idempotency_key="k")
    assert (again.id, again.replayed) == (first.id, True)
    assert await engine.send_dead_deliveries_again(webhook_id=webhook.id, idempotency_key="all") == replay
    for key in (None, "other"):
        with pytest.raises(WebhookNotFound):
            await engine.send_delivery_again(webhook_id=webhook.id, delivery_id=first.id, idempotency_key=key)


async def dead_ones(setup: Setup, webhook_id: str, number: int) -> bool:
    return len(await deliveries(setup.engine, webhook_id, "dead")) == number


async def test_an_engine_learns_of_the_webhooks_of_another_one(
    setup: Setup, store: RedisStore, sender: RecordingSender
) -> None:
    async with Engine(store, quick_settings()) as without_sender:
        webhook = await without_sender.create_webhook(url=URL)
        await setup.invoice()
        await sent(sender, 1)
        await settled(setup.engine, webhook.id)


async def test_a_creation_that_was_broken_off_is_finished(
    setup: Setup, store: RedisStore, sender: RecordingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, broken = store.run, True

    async def run_once(command: Any, lease: Any = None) -> Any:
        if broken and isinstance(command, NoteWebhook | FinishWebhook):
            raise StoreUnavailable
        return await run(command, lease)

    monkeypatch.setattr(store, "run", run_once)
    with pytest.raises(Exception, match=r"reply in time|not available"):
        await setup.engine.create_webhook(url=URL)
    broken = False
    [webhook] = (await setup.engine.list_webhooks()).data

    async def is_known() -> bool:
        await setup.invoice()
        return bool(sender.sent)

    await wait_for(is_known)
    await settled(setup.engine, webhook.id)


async def test_an_engine_with_the_next_secret_signs_and_one_without_the_earlier_leaves_it_to_others(
    store: RedisStore, sender: RecordingSender
) -> None:
    async with Engine(store, quick_settings()) as engine:
        webhook = await engine.create_webhook(url=URL)
    rolling = quick_settings(secret=NEXT, previous_secrets=(SECRET,))
    async with Engine(store, rolling, webhook_sender=sender) as engine:
        setup = await make_setup(engine, store)
        await setup.invoice()
        [first] = await sent(sender, 1)
        assert webhook.secret
        verify(webhook.secret, first)
        await settled(setup.engine, webhook.id)
    async with Engine(store, quick_settings(secret=NEXT), webhook_sender=sender) as alone:
        setup = Setup(alone, store, "alice", setup.wallet)
        await deliver_to_another(setup, sender)
        assert len(sender.to(URL)) == 1
    async with Engine(store, rolling) as engine:
        await engine.update_webhook(webhook_id=webhook.id, types=[])
    async with Engine(store, quick_settings(secret=NEXT), webhook_sender=sender) as alone:
        await sent(sender, 3)
        await settled(alone, webhook.id)
        verify(webhook.secret, sender.to(URL)[1])
    assert {key_id for key_id, number in (await store.count_encrypted()).items() if number} == {
        alone._runtime.keys.ids[0]
    }


async def test_no_webhook_no_call(store: RedisStore, sender: RecordingSender) -> None:
    async with Engine(store, quick_settings(), webhook_sender=sender) as engine:
        setup = await make_setup(engine, store)
        await setup.pay()
        assert store.script_times["take_deliveries"].calls == 0


async def test_a_delivery_is_tried_on_the_schedule_until_it_is_dead(
    fake_clock: FakeClock, sender: RecordingSender
) -> None:
    sender.answer = WebhookAnswer(500, "")
    async with (
        RedisStore.fake() as store,
        Engine(store, quick_settings(), webhook_sender=sender) as engine,
    ):
        setup = await make_setup(engine, store)
        webhook = await engine.create_webhook(url=URL)
        await engine.create_invoice(
            user_id="alice", amount=100, currency="EUR", merchant="Shop",
            expires_at=webhook.created_at + timedelta(days=30),
        )  # fmt: skip
        delays_s: list[float] = []
        tried_at = None
        while True:
            number = len(sender.sent)
            [shown] = await wait_for(lambda: tried(setup, webhook.id, len(delays_s) + 1))
            assert number in (len(delays_s), len(delays_s) + 1)
            if shown.status == "dead":
                break
            now_ms = fake_clock.now_ms
            assert shown.next_at is not None
            due_ms = round(shown.next_at.timestamp() * 1000)
            delays_s.append((due_ms - now_ms) / 1000)
            tried_at = tried_at or now_ms
            fake_clock.advance(due_ms - now_ms)
    planned = [1, 5, 30, 120, 600, 3_600, 10_800] + [21_600] * (len(delays_s) - 7)
    assert all(0.8 * each <= delay <= 1.2 * each for each, delay in zip(planned, delays_s, strict=True))
    assert sum(delays_s) <= 72 * 3_600 < sum(delays_s) + 1.2 * 21_600
    assert len(sender.sent) == len(delays_s) + 1
    assert len({each.body for each in sender.sent}) == 1


async def tried(setup: Setup, webhook_id: str, attempts: int) -> list[Any]:
    return [each for each in await deliveries(setup.engine, webhook_id) if each.attempts == attempts]
