"""The relay: its claim, and the notifications that entries of the journal cause."""

import re

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.relaying import read
from support.fixtures.store_commands import (
    failed_delivery,
    list_messages,
    read_outbox,
    record_deliveries,
    take_due,
)
from support.fixtures.store_setup import RIGHT, WRONG, Setup, client_of, message_id

from technopay.engine.notifications.texts import MESSAGE_KINDS
from technopay.engine.values import Notification
from technopay.storage.scripts.loader import load_scripts

pytestmark = pytest.mark.any_partition


async def test_one_process_relays_at_a_time_and_goes_on_behind_the_last_delivery(setup: Setup) -> None:
    assert not await record_deliveries(setup.store, "1", "1-1", 0, []), "no relay has a claim"
    first = await read(setup, "relay-a", 1)
    ((entry, _),) = await setup.entries()
    assert (first.cursor, first.is_last, list(first.notifications)) == (entry, False, [])
    assert await read_outbox(setup.store, "relay-b", 1) is None
    assert await record_deliveries(setup.store, first.claim, first.cursor, 0, [])
    await setup.user("bob")
    second = await read(setup, "relay-b", 10)
    assert (second.cursor, second.is_last) == ((await setup.entries())[-1][0], True)
    assert await record_deliveries(setup.store, second.claim, second.cursor, 0, [])
    before = await dump(setup.store)
    assert await read_outbox(setup.store, "relay-a", 10) is None
    assert await dump(setup.store) == before


async def test_a_relay_that_slept_is_fenced(clocked: Setup, fake_clock: FakeClock) -> None:
    await clocked.started(await clocked.wallet(), await clocked.invoice())
    slept = await read(clocked)
    fake_clock.advance(3_999)
    assert await read_outbox(clocked.store, "relay-b", 10) is None
    fake_clock.advance(1)
    awake = await read(clocked, "relay-b")
    before = await dump(clocked.store)
    late = [failed_delivery(notice, "email", "waiting", "it bounced") for notice in slept.notifications]
    assert len(late) == 1
    assert not await record_deliveries(clocked.store, slept.claim, slept.cursor, 0, late)
    assert await dump(clocked.store) == before
    assert await record_deliveries(clocked.store, awake.claim, awake.cursor, 0, [])


async def test_a_relay_claim_from_a_clock_that_jumped_back_does_not_count(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    await read_outbox(clocked.store, "relay-a", 10)
    fake_clock.advance(-1)
    assert await read_outbox(clocked.store, "relay-b", 10) is not None


def test_the_kinds_of_messages_are_those_of_the_scripts() -> None:
    table = re.findall(r"\['([\w.]+)'\] = '([\w.]+)'", load_scripts()["list_messages"].text)
    assert dict(table) == MESSAGE_KINDS
    assert len(table) == len(MESSAGE_KINDS)


async def every_kind(setup: Setup) -> dict[str, str]:
    """Bring payments to each possible end; return the payments by end."""
    wallet = await setup.wallet()
    ends = {}
    for end in ("refunded", "given_back", "guessed", "refused", "canceled", "restarted", "voided", "expired"):
        lifetime_ms = 0 if end == "expired" else 60_000
        invoice = await setup.invoice(amount=100_000 if end == "refused" else 1_000)
        if end == "refused":
            await setup.write("wallet", wallet, balance=100_000)
        ends[end] = payment = await setup.started(wallet, invoice, lifetime_ms=lifetime_ms)
        match end:
            case "refunded" | "given_back":
                await setup.confirm(payment)
                await setup.complete(payment, "1", "settled" if end == "refunded" else "given_back")
                for amount in (400, None) if end == "refunded" else ():
                    claim = (await setup.begin_refund(payment, amount=amount)).details["claim"]
                    await setup.complete(payment, claim, "reversed")
            case "guessed":
                for _ in range(5):
                    await setup.confirm(payment, WRONG)
            case "refused":
                await setup.write("wallet", wallet, balance=10_000)
                await setup.confirm(payment, RIGHT)
            case "canceled":
                await setup.cancel(payment)
            case "restarted":
                ends["the second start"] = await setup.started(wallet, invoice)
                await setup.cancel(ends["the second start"])
            case "voided":
                await setup.void(invoice)
            case "expired":
                await take_due(setup.store, 10)
    assert (await setup.resend(ends["refused"])).code == "ok"
    return ends


def code(payment: str, issue: int = 1) -> tuple[str, str, int | None, str]:
    return payment, "confirmation.code", issue, ""


def told(payment: str, kind: str, reason: str = "") -> tuple[str, str, int | None, str]:
    return payment, f"payment.{kind}", None, reason


async def test_entries_cause_notifications_of_what_users_do_not_know_in_their_order(
    setup: Setup,
) -> None:
    ends = await every_kind(setup)
    outbox = await read(setup)
    notices = [
        (named(notice), notice.kind, notice.code_version, notice.reason) for notice in outbox.notifications
    ]
    assert notices == [
        code(ends["refunded"]),
        told(ends["refunded"], "succeeded"),
        told(ends["refunded"], "partially_refunded", "400"),
        told(ends["refunded"], "refunded"),
        code(ends["given_back"]),
        told(ends["given_back"], "failed", "settlement_failed"),
        code(ends["guessed"]),
        told(ends["guessed"], "failed", "too_many_attempts"),
        code(ends["refused"]),
        told(ends["refused"], "refused", "insufficient_funds"),
        code(ends["canceled"]),
        code(ends["restarted"]),
        code(ends["the second start"]),
        code(ends["voided"]),
        told(ends["voided"], "canceled"),
        code(ends["expired"]),
        told(ends["expired"], "expired"),
        code(ends["refused"], issue=2),
    ]
    journal = await setup.entries()
    ids = [entry for entry, _ in journal]
    places = [ids.index(notice.entry_id) for notice in outbox.notifications]
    assert places == sorted(places)
    assert {journal[place][1]["type"] for place in places} == set(MESSAGE_KINDS)
    assert (outbox.cursor, outbox.is_last) == (ids[-1], True)
    assert list(outbox.canceled) == 3 * ["EUR"], "by their user: one of them by a new start"


def named(notice: Notification) -> str:
    assert notice.context is not None
    return notice.context.payment_id


async def test_a_notification_comes_with_its_context(setup: Setup) -> None:
    wallet = await setup.wallet()
    payment_id = await setup.started(wallet, await setup.invoice(amount=700))
    (notice,) = (await read(setup)).notifications
    assert notice.context is not None
    assert notice.context == await setup.context(payment_id)


async def test_a_payment_that_was_reaped_causes_no_notification(setup: Setup) -> None:
    wallet = await setup.wallet()
    gone = await setup.started(wallet, await setup.invoice(), lifetime_ms=0)
    kept = await setup.started(wallet, await setup.invoice())
    await take_due(setup.store, 10)
    await setup.make_due(gone)
    await take_due(setup.store, 10)
    assert await setup.fields("payment", gone) == {}
    outbox = await read(setup)
    assert [named(notice) for notice in outbox.notifications] == [kept]
    assert outbox.cursor == (await setup.entries())[-1][0]
    assert await record_deliveries(setup.store, outbox.claim, outbox.cursor, 0, [])
    messages = (await list_messages(setup.store, None, None, "", 10)).data
    assert [message.id for message in messages] == [message_id(outbox.notifications[0].entry_id)]


async def test_a_long_journal_is_read_in_parts_and_the_list_has_the_messages_of_the_relay(setup: Setup) -> None:
    await every_kind(setup)
    journal = [entry for entry, _ in await setup.entries()]
    read_on: list[str] = []
    relayed: list[tuple[str, str]] = []
    while outbox := await read_outbox(setup.store, "relay-a", 7):
        assert outbox.cursor == journal[min(len(journal), len(read_on) * 7 + 7) - 1]
        assert outbox.is_last == (len(journal) < 7 * len(read_on) + 7)
        assert await record_deliveries(setup.store, outbox.claim, outbox.cursor, 0, [])
        read_on.append(outbox.cursor)
        relayed += [(message_id(notice.entry_id), notice.kind) for notice in outbox.notifications]
    assert (read_on[-1], len(relayed)) == (journal[-1], 18)
    page = await list_messages(setup.store, None, None, "", 100)
    assert [(message.id, message.kind) for message in page.data] == relayed[::-1]


@pytest.mark.corrupts
async def test_a_canceled_payment_that_cannot_be_read_is_passed_over(setup: Setup) -> None:
    wallet = await setup.wallet()
    broken, whole = [await setup.started(wallet, await setup.invoice()) for _ in range(2)]
    for payment in (broken, whole):
        await setup.cancel(payment)
    name, client = setup.keys.key("payment", broken), client_of(setup.store)
    await client.delete(name)
    await client.set(name, "rubbish")

    outbox = await read(setup)

    assert list(outbox.canceled) == ["EUR"]
    assert outbox.cursor == (await setup.entries())[-1][0]
