"""Packed replies of scripts can hold any text: the separator, too, and in recorded replies."""

import pytest
from support.fixtures.relaying import read
from support.fixtures.store_commands import list_payments, read_owned, search_payments, set_aside
from support.fixtures.store_setup import DAY_MS, Setup, operation

from technopay.engine.commands import ResolvePayment
from technopay.engine.reads import ReadPayment

pytestmark = pytest.mark.corrupts

TEXTS = ["\x1f", "a\x1fb", "\x1f\x1f\x1f", "\x1e\x1b\x00\n", " ", "|,:", "é\x1f👩\u200d👧", '"\\\x1f\u2028']


@pytest.mark.parametrize("text", TEXTS)
async def test_a_payment_and_its_message_hold_any_text(setup: Setup, text: str) -> None:
    store = setup.store
    wallet = await setup.wallet()
    payment_id = await setup.started(wallet, await setup.invoice())
    await setup.write("payment", payment_id, merchant=text)
    await setup.write("user", "alice", email=text, phone=text)

    payment = (await store.run(ReadPayment(payment_id, "alice"))).value

    assert payment is not None
    assert (payment.id, payment.merchant, payment.user_id, payment.amount) == (payment_id, text, "alice", 1_000)
    assert (await list_payments(store, "alice", "", 10)).data == [payment]
    assert (await search_payments(store, None, "alice", set_aside=None, cursor="", limit=10)).data == [
        await setup.operator_payment(payment_id)
    ]
    assert await read_owned(store, [payment_id], ["alice"]) == {payment_id: payment}
    [context] = [notice.context for notice in (await read(setup)).notifications]
    assert context is not None
    assert (context.merchant, context.email, context.phone, context.status) == (
        text,
        text,
        text,
        payment.status,
    )
    assert not store.unreadable.counts


@pytest.mark.parametrize("text", TEXTS)
async def test_a_recorded_reply_holds_any_text(setup: Setup, text: str) -> None:
    payment_id, claim = await setup.processing(await setup.wallet())
    assert await set_aside(setup.store, payment_id, claim, DAY_MS)
    call = operation()

    first = await setup.run(ResolvePayment(call, payment_id, "refund", text, "operator"))
    again = await setup.run(ResolvePayment(call, payment_id, "refund", text, "operator"))

    assert first.value is not None
    assert first.value.resolution is not None
    assert first.value.resolution.note == text
    assert (again.value, again.replayed) == (first.value, True)
