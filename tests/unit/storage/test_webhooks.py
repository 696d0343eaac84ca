"""Webhooks in the store: what is collected, in which order it waits, and what is left of it."""

import pytest
from support.fixtures import store_commands as run
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.store_setup import FAR, Setup, client_of, new_invoice, operation, value_of
from support.fixtures.webhook_calls import WEBHOOK, dead, record, save, saving, take, taken

from technopay.engine.commands import TakeDue
from technopay.engine.webhooks.commands import (
    FinishWebhook,
    ListDeliveries,
    NoteFailing,
    NoteWebhook,
    ReadWebhooks,
    RecordDelivery,
    SendDeadAgain,
    SendDeliveryAgain,
)
from technopay.engine.webhooks.models import Delivery, DeliveryFate, TakenDeliveries

pytestmark = pytest.mark.any_partition

HOUR_MS = 3_600_000


async def listed(setup: Setup, status: str | None = None, limit: int = 50, cursor: str = "") -> list[Delivery]:
    return list(value_of(await setup.store.run(ListDeliveries(WEBHOOK, status, cursor, limit))).data)


def types(found: TakenDeliveries) -> list[str]:
    return [each.type for each in found.deliveries]


async def paid(setup: Setup) -> str:
    """Bring a payment to its success; its events are started, processing, succeeded."""
    return await setup.succeeded(await setup.wallet())


async def waiting(setup: Setup) -> str:
    return await setup.started(await setup.wallet(), await setup.invoice())


async def test_a_webhook_gets_the_events_from_its_creation_on(setup: Setup) -> None:
    await setup.invoice()
    await save(setup)
    assert types(await take(setup)) == []
    await setup.invoice()
    assert types(await take(setup)) == ["invoice.created"]


async def test_an_event_waits_until_the_earlier_one_of_its_payment_was_delivered(setup: Setup) -> None:
    await save(setup, types=("payment.started", "payment.processing", "payment.succeeded"))
    await paid(setup)
    for version, expected in enumerate(("payment.started", "payment.processing", "payment.succeeded"), 1):
        [delivery] = (await take(setup)).deliveries
        assert (delivery.type, delivery.version, delivery.attempts) == (expected, version, 0)
        assert types(await take(setup)) == [], "it is claimed"
        assert await record(setup, delivery) == "ok"
    assert types(await take(setup)) == []
    assert {each.status for each in await listed(setup)} == {"delivered"}


async def test_a_later_event_is_sent_after_the_earlier_one_is_dead(setup: Setup) -> None:
    await save(setup, types=("payment.started", "payment.canceled"))
    payment = await waiting(setup)
    await setup.cancel(payment)
    [started] = (await take(setup)).deliveries
    assert await record(setup, started, "failed", 60_000) == "ok"
    assert types(await take(setup)) == []
    await clear_delay(setup, payment)
    [again] = (await take(setup)).deliveries
    assert (again.event_id, again.attempts) == (started.event_id, 1)
    assert await record(setup, again, "dead") == "ok"
    assert types(await take(setup)) == ["payment.canceled"]


async def clear_delay(setup: Setup, subject: str) -> None:
    """Let the delivery of a subject be due now."""
    await client_of(setup.store).zadd(setup.keys.key("due", WEBHOOK), {subject: 1})


async def test_every_attempt_has_the_subject_as_it_was_when_the_event_was_read(setup: Setup) -> None:
    await save(setup, types=("payment.started",))
    payment = await waiting(setup)
    [first] = (await take(setup)).deliveries
    assert await record(setup, first, "failed", 0) == "ok"
    await setup.cancel(payment)
    [second] = (await take(setup)).deliveries
    assert first.subject is not None
    assert first.subject.status == "requires_confirmation"
    assert second._replace(claim=first.claim, attempts=0, now_ms=first.now_ms) == first


async def test_only_events_of_the_merchant_and_the_types_are_collected(setup: Setup) -> None:
    await save(setup, merchant="Shop", types=("invoice.created",))
    for merchant in ("Shop", "Shopping", "Shop"):
        invoice = await setup.done(new_invoice("alice", 100, "EUR", FAR, merchant=merchant))
    await setup.started(await setup.wallet(), invoice.id)
    found = await take(setup)
    assert types(found) == ["invoice.created"] * 2
    assert all(getattr(each.subject, "merchant", None) == "Shop" for each in found.deliveries)


async def test_an_old_claim_records_nothing_and_a_repeat_changes_nothing(setup: Setup) -> None:
    delivery = await taken(setup)
    before = await dump(setup.store)
    assert await record(setup, delivery._replace(claim="7")) == "fenced"
    assert await dump(setup.store) == before
    assert await record(setup, delivery) == "ok"
    between = await dump(setup.store)
    assert await record(setup, delivery) == "ok"
    assert await dump(setup.store) == between


async def test_a_claim_ends_after_15_seconds(clocked: Setup, fake_clock: FakeClock) -> None:
    first = await taken(clocked)
    fake_clock.advance(14_999)
    assert types(await take(clocked)) == []
    fake_clock.advance(1)
    [second] = (await take(clocked)).deliveries
    assert second.event_id == first.event_id
    assert await record(clocked, first) == "fenced"
    assert await record(clocked, second) == "ok"


async def test_a_delivery_is_dead_72_hours_after_its_first_attempt(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    delivery = await taken(clocked)
    fake_clock.advance(66 * HOUR_MS)
    [delivery] = (await take(clocked)).deliveries
    assert await record(clocked, delivery, "failed", 6 * HOUR_MS) == "ok"
    [shown] = await listed(clocked, "waiting")
    assert (shown.status, shown.attempts, shown.last_status, shown.last_answer) == (
        "waiting", 1, 500, "its answer"
    )  # fmt: skip
    fake_clock.advance(6 * HOUR_MS)
    [delivery] = (await take(clocked)).deliveries
    assert await record(clocked, delivery, "failed", 1) == "ok"
    [shown] = await listed(clocked, "dead")
    assert (shown.status, shown.attempts, shown.next_at) == ("dead", 2, None)


async def test_the_time_that_a_webhook_is_paused_does_not_count(clocked: Setup, fake_clock: FakeClock) -> None:
    delivery = await taken(clocked)
    assert await record(clocked, delivery, "failed", HOUR_MS) == "ok"
    await save(clocked, 1, "paused")
    fake_clock.advance(100 * HOUR_MS)
    await save(clocked, 2, "active")
    [delivery] = (await take(clocked)).deliveries
    assert await record(clocked, delivery, "failed", HOUR_MS) == "ok"
    assert [each.attempts for each in await listed(clocked, "waiting")] == [2]


async def test_a_dead_delivery_sent_again_has_its_place_before_the_later_ones(setup: Setup) -> None:
    await save(setup, types=("payment.started", "payment.processing", "payment.succeeded"))
    await paid(setup)
    dead_ones = []
    for _ in range(2):
        [delivery] = (await take(setup)).deliveries
        assert await record(setup, delivery, "dead") == "ok"
        dead_ones.append(delivery)
    own = run.partition(setup.store)
    for each in reversed(dead_ones):
        shown = await setup.done(SendDeliveryAgain(operation(), own, WEBHOOK, each.entry_id))
        assert (shown.status, shown.attempts) == ("waiting", 0)
    sent = []
    while found := (await take(setup)).deliveries:
        sent += [each.type for each in found]
        assert await record(setup, found[0]) == "ok"
    assert sent == ["payment.started", "payment.processing", "payment.succeeded"]


async def test_all_dead_deliveries_are_sent_again_and_others_stay(setup: Setup) -> None:
    await save(setup)
    for _ in range(3):
        await setup.invoice()
    found = await take(setup)
    fates: tuple[DeliveryFate, ...] = ("dead", "dead", "delivered")
    for fate, delivery in zip(fates, found.deliveries, strict=True):
        assert await record(setup, delivery, fate) == "ok"
    outcome = await setup.store.run(SendDeadAgain(run.partition(setup.store), WEBHOOK))
    assert (outcome.code, outcome.value) == ("ok", ["2"])
    assert len((await take(setup)).deliveries) == 2
    assert [each.status for each in await listed(setup, "delivered")] == ["delivered"]


async def test_deliveries_are_listed_newest_event_first_by_status_and_page_by_page(setup: Setup) -> None:
    await save(setup)
    for _ in range(5):
        await setup.invoice()
    found = (await take(setup)).deliveries
    fates: tuple[DeliveryFate, ...] = ("delivered", "dead", "failed", "delivered", "dead")
    for fate, delivery in zip(fates, found, strict=True):
        assert await record(setup, delivery, fate, 60_000) == "ok"
    shown = [(each.event_id, each.status) for each in await listed(setup)]
    names = {"failed": "waiting"}
    assert (
        shown == [(each.event_id, names.get(fate, fate)) for each, fate in zip(found, fates, strict=True)][::-1]
    )
    assert [each.event_id for each in await listed(setup, "dead")] == [found[4].event_id, found[1].event_id]
    pages, cursor = [], ""
    while True:
        page = value_of(await setup.store.run(ListDeliveries(WEBHOOK, None, cursor, 2)))
        pages += [(each.event_id, each.status) for each in page.data]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert pages == shown


async def test_no_more_deliveries_than_allowed_wait_and_the_rest_stays_in_the_journal(setup: Setup) -> None:
    await save(setup)
    delivery = None
    for _ in range(3):
        await setup.invoice()
    await setup.write("webhook", WEBHOOK, waiting="998")
    found = await take(setup)
    assert (len(found.deliveries), found.has_more) == (2, False)
    [delivery, _] = found.deliveries
    assert await record(setup, delivery) == "ok"
    assert len((await take(setup)).deliveries) == 1


async def test_a_paused_webhook_keeps_its_place_in_the_journal(setup: Setup) -> None:
    saved = await save(setup)
    paused = await save(setup, saved.epoch, "paused")
    await setup.invoice()
    before = await dump(setup.store)
    assert types(await take(setup)) == []
    assert await dump(setup.store) == before
    await save(setup, paused.epoch, "active")
    assert types(await take(setup)) == ["invoice.created"]


async def test_a_deleted_webhook_leaves_nothing_behind(clocked: Setup, fake_clock: FakeClock) -> None:
    empty = set(await dump(clocked.store))
    await save(clocked, types=("payment.started", "payment.processing", "payment.succeeded", "invoice.created"))
    fates: tuple[DeliveryFate, ...] = ("delivered", "dead", "failed")
    for fate in fates:
        await paid(clocked)
        for delivery in (await take(clocked)).deliveries:
            assert await record(clocked, delivery, fate, 60_000) == "ok"
    await save(clocked, 1, "deleted")
    assert value_of(await clocked.store.run(ReadWebhooks())).endpoints == []
    late = NoteWebhook(0, WEBHOOK, 1, "active", "", ())
    assert (await clocked.store.run(late)).code == "ok"
    assert (await clocked.fields("webhook", WEBHOOK))["status"] == "deleted", "a late copy changes nothing"
    fake_clock.advance(2 * HOUR_MS)
    await run.take_due(clocked.store, 100)
    left = {name.partition(":")[0] for name in set(await dump(clocked.store)) - empty}
    assert left <= {
        "webhooks", "wallet", "entries", "invoice", "invoices", "payment", "payments", "code", "journal",
        "limit", "agenda", "operation",
    }  # fmt: skip
    agenda = (await dump(clocked.store)).get("agenda", {})
    assert not [member for member in agenda if member.startswith(("whk_", "whd_", "dlv_"))]
    assert set((await clocked.fields("webhooks", "")) or {"version"}) == {"version"}


async def test_delivered_ones_are_kept_for_72_hours_and_dead_ones_for_30_days(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    await save(clocked)
    for _ in range(2):
        await clocked.invoice()
    one, other = (await take(clocked)).deliveries
    assert await record(clocked, one) == await record(clocked, other, "dead") == "ok"
    fake_clock.advance(72 * HOUR_MS)
    await run.take_due(clocked.store, 100)
    assert [each.event_id for each in await listed(clocked)] == [other.event_id]
    fake_clock.advance((30 * 24 - 72) * HOUR_MS)
    await run.take_due(clocked.store, 100)
    assert await listed(clocked) == []
    assert not [name for name in await dump(clocked.store) if name.startswith("deliver")]


async def test_a_change_of_another_epoch_is_a_conflict_and_a_repeat_has_no_secret(setup: Setup) -> None:
    called = operation()
    saved = value_of(await setup.store.run(saving(called=called)))
    assert (saved.epoch, saved.secrets) == (1, ())
    repeat = await setup.store.run(saving(called=called))
    assert (repeat.replayed, repeat.value) == (True, saved)
    key = setup.store._partition.keys.key("operation", called.operation_id)
    assert "c2VhbGVk" not in await client_of(setup.store).hget(key, "reply")
    assert (await setup.store.run(saving(0))).code == "conflict"
    assert (await setup.store.run(saving(2, "paused"))).code == "conflict"
    assert value_of(await setup.store.run(saving(1, "paused"))).epoch == 2
    assert (await setup.store.run(saving(1, webhook_id="whk_00none"))).code == "webhook_not_found"
    [found] = value_of(await setup.store.run(ReadWebhooks())).endpoints
    assert (found.status, found.secrets[0].sealed) == ("paused", "c2VhbGVk")


async def test_a_store_has_at_most_64_webhooks(setup: Setup) -> None:
    for number in range(64):
        await setup.done(saving(webhook_id=f"whk_00{number}"))
    assert (await setup.store.run(saving(webhook_id="whk_00more"))).code == "webhooks_full"
    await setup.done(saving(1, "deleted", webhook_id="whk_007"))
    await setup.store.run(FinishWebhook("whk_007", 2))
    await setup.done(saving(webhook_id="whk_00more"))


async def test_webhooks_are_read_again_only_after_a_change(setup: Setup) -> None:
    await save(setup)
    version = value_of(await setup.store.run(ReadWebhooks())).version
    assert (await setup.store.run(ReadWebhooks(version))).code == "nothing"
    await setup.store.run(NoteFailing(WEBHOOK, is_failing=True))
    found = value_of(await setup.store.run(ReadWebhooks(version)))
    since = found.endpoints[0].failing_since_ms
    assert since is not None
    await setup.store.run(NoteFailing(WEBHOOK, is_failing=True))
    assert (await setup.store.run(ReadWebhooks(found.version))).code == "nothing", "it fails since then"
    await setup.store.run(NoteFailing(WEBHOOK, is_failing=False))
    assert value_of(await setup.store.run(ReadWebhooks(found.version))).endpoints[0].failing_since_ms is None


async def test_an_unfinished_change_stays_on_the_agenda(clocked: Setup, fake_clock: FakeClock) -> None:
    await clocked.done(saving())
    fake_clock.advance(5_000)
    assert (await clocked.done(TakeDue(0, 10))).unfinished == [WEBHOOK]
    await clocked.store.run(FinishWebhook(WEBHOOK, 0))
    fake_clock.advance(5_000)
    assert (await clocked.done(TakeDue(0, 10))).unfinished == [WEBHOOK], "that was an older change"
    await clocked.store.run(FinishWebhook(WEBHOOK, 1))
    fake_clock.advance(5_000)
    assert (await clocked.done(TakeDue(0, 10))).unfinished == []


@pytest.mark.corrupts
async def test_an_unreadable_subject_does_not_stop_others(setup: Setup) -> None:
    await save(setup, types=("payment.started",))
    broken = await waiting(setup)
    fine = await waiting(setup)
    await setup.write("payment", broken, amount="none")
    found = {each.subject and each.subject.id: each for each in (await take(setup)).deliveries}
    assert set(found) == {None, fine}


@pytest.mark.corrupts
async def test_a_record_of_another_type_ends_its_own_deliveries_only(setup: Setup) -> None:
    await save(setup, types=("payment.started", "invoice.created"))
    payment = await waiting(setup)
    await setup.invoice()
    key = setup.keys.key("payment", payment)
    await client_of(setup.store).delete(key)
    await client_of(setup.store).set(key, "no hash")
    found = (await take(setup)).deliveries
    assert {(each.type, each.subject is None) for each in found} == {
        ("payment.started", True), ("invoice.created", True), ("invoice.created", False),
    }  # fmt: skip
    assert types(await take(setup)) == [], "they are claimed, and collected once"


async def test_an_unknown_delivery_is_not_found(setup: Setup) -> None:
    await dead(setup)
    own = run.partition(setup.store)
    unknown = await setup.store.run(SendDeliveryAgain(operation(), own, WEBHOOK, "1-1"))
    assert unknown.code == "delivery_not_found"
    gone = RecordDelivery(own, WEBHOOK, "1-1", "1", "delivered", "200", "", 0)
    assert (await setup.store.run(gone)).code == "fenced"
