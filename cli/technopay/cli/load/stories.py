"""Kinds of purchases: what a user does, and what has to come of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from technopay.cli.load.purchase import Purchase, SurpriseError, TurnedAwayError, expect, expect_same
from technopay.cli.load.scene import AMOUNT
from technopay.cli.load.wire import Reply

Story = Callable[[Purchase], Awaitable[Reply]]
"""Plays a purchase and answers how it ended; raises where something else came of it."""

EXPIRES_IN_S = 2.0


async def pay(buy: Purchase) -> Reply:
    """Pay an invoice."""
    payment = await _started(buy)
    return await _paid(buy, await buy.confirm(payment, await buy.code(payment)))


async def pay_within_limit(buy: Purchase) -> Reply:
    """Pay an invoice, or be refused by the limit: at the start, or at the confirm."""
    invoice = expect(await buy.invoice(), 201, "open")
    payment = await buy.start(invoice)
    if payment.code != "daily_limit_exceeded":
        expect(payment, 201, "requires_confirmation")
        payment = await buy.confirm(payment, await buy.code(payment))
    if payment.code == "daily_limit_exceeded":
        return expect(payment, 402, "daily_limit_exceeded")
    return await _paid(buy, payment)


async def wrong_code(buy: Purchase) -> Reply:
    """Give a wrong code, then the right one."""
    payment = await _started(buy)
    code = await buy.code(payment)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    refused = expect(await buy.confirm(payment, wrong), 422, "confirmation_invalid")
    if refused.body["attempts_remaining"] != 4:
        raise SurpriseError("a wrong code did not cost one attempt", refused)
    return await _paid(buy, await buy.confirm(payment, code))


async def confirm_twice(buy: Purchase) -> Reply:
    """Confirm twice at the same time: money moves once, and both are told so."""
    payment = await _started(buy)
    return await _confirm_twice(buy, payment)


async def start_twice(buy: Purchase) -> Reply:
    """Start twice at the same time: the later one lives, and only its code counts."""
    invoice = expect(await buy.invoice(), 201, "open")
    started = await asyncio.gather(buy.start(invoice), buy.start(invoice))
    payments = [expect(reply, 201, "requires_confirmation") for reply in started]
    payments = [await buy.look(payment) for payment in payments]
    payments.sort(key=lambda payment: payment.code)
    dead, live = expect(payments[0], 200, "canceled"), expect(payments[1], 200, "requires_confirmation")
    code = await buy.code(live)
    refused, paid = await asyncio.gather(buy.confirm(dead, code), buy.confirm(live, code))
    expect(refused, 409, "payment_not_confirmable")
    return await _paid(buy, paid)


async def send_everything_twice(buy: Purchase) -> Reply:
    """Send every request twice at the same time, as a client does that gets no answers."""
    key = secrets.token_hex(8)
    one, other = await asyncio.gather(buy.invoice(key=key), buy.invoice(key=key))
    expect_same(expect(one, 201, "open"), expect(other, 201, "open"), "id")
    first, again = await asyncio.gather(buy.start(one, key=key), buy.start(one, key=key))
    expect(again, 201, "requires_confirmation")
    expect_same(expect(first, 201, "requires_confirmation"), again, "id", "created_at")
    return await _confirm_twice(buy, first)


async def too_poor(buy: Purchase) -> Reply:
    """Start to pay what is not in the wallet."""
    invoice = expect(await buy.invoice(), 201, "open")
    refused = expect(await buy.start(invoice), 402, "insufficient_funds")
    if (refused.body["required"], refused.body["available"]) != (AMOUNT, AMOUNT - 1):
        raise SurpriseError("insufficient_funds with wrong amounts", refused)
    return refused


async def blocked(buy: Purchase) -> Reply:
    """Start to pay as a user who is blocked."""
    return expect(await buy.start(expect(await buy.invoice(), 201, "open")), 403, "user_blocked")


async def expired(buy: Purchase) -> Reply:
    """Start to pay too late."""
    buy.is_slow = True
    reply = await buy.invoice(open_for_s=EXPIRES_IN_S)
    if reply.code == "validation_failed":
        # The request was so long on its way that the time was over already.
        raise TurnedAwayError(reply)
    invoice = expect(reply, 201, "open")
    await asyncio.sleep(EXPIRES_IN_S + 0.1)
    return expect(await buy.start(invoice), 410, "invoice_expired")


async def declined(buy: Purchase) -> Reply:
    """Pay what the settlement service declines: the money comes back."""
    payment = await _started(buy, "load-declines")
    reply = await buy.confirm(payment, await buy.code(payment))
    if reply.code == "processing":
        reply = await buy.final(reply)
        return expect(reply, 200, "failed")
    expect(reply, 402, "settlement_failed")
    if [refund["amount"] for refund in reply.body["payment"]["refunds"]] != [AMOUNT]:
        raise SurpriseError("a declined payment was not given back once", reply)
    return reply


async def slow(buy: Purchase) -> Reply:
    """Pay what takes three seconds to settle."""
    return await _pay_slowly(buy, "load-slow")


async def lost(buy: Purchase) -> Reply:
    """Pay what is settled while the answer is lost on its way."""
    return await _pay_slowly(buy, "load-lost")


async def _confirm_twice(buy: Purchase, payment: Reply) -> Reply:
    code = await buy.code(payment)
    one, other = await asyncio.gather(buy.confirm(payment, code), buy.confirm(payment, code))
    one, other = await _paid(buy, one), await _paid(buy, other)
    expect_same(one, other, "id", "paid_at", "balance_after")
    return one


async def _paid(buy: Purchase, confirmed: Reply) -> Reply:
    """Answer the payment when it has succeeded; the settlement can take longer than the confirm waits."""
    if confirmed.code == "processing":
        confirmed = await buy.final(expect(confirmed, 202, "processing"))
    return expect(confirmed, 200, "succeeded")


async def _pay_slowly(buy: Purchase, merchant: str) -> Reply:
    buy.is_slow = True
    payment = await _started(buy, merchant)
    return await _paid(buy, await buy.confirm(payment, await buy.code(payment), is_slow=True))


async def _started(buy: Purchase, merchant: str = "Load test") -> Reply:
    invoice = expect(await buy.invoice(merchant), 201, "open")
    payment = expect(await buy.start(invoice), 201, "requires_confirmation")
    if (payment.body["invoice_id"], payment.body["amount"]) != (invoice.body["id"], AMOUNT):
        raise SurpriseError("a payment of something else", payment, invariant="payment_is_of_its_invoice")
    return payment
