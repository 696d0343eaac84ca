"""The stories in which a process is killed, and how each has to end, whoever brings it to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from support.scenes import other_than, quick_settings
from support.storyteller import USER, Json, Storyteller

from technopay.engine import EngineSettings

QUIET = {"agenda_interval_s": 30.0, "settlement_silence_s": 5.0}
PATIENT = {
    "agenda_interval_s": 0.4, "settlement_timeout_s": 1.0, "settlement_silence_s": 5.0,
    "message_timeout_s": 2.0, "command_deadline_s": 30.0,
}  # fmt: skip
REPLY_S_MAX = 20.0
"""How long a store may take to answer while many processes and engines share a machine."""
DEPOSITED = 10_000
AMOUNT = 2_500
CROWD = 5
EXPIRES_AT = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class End:
    """How a payment has to end: its status, what the settlement service wrote down, what the wallet paid."""

    status: str
    book: str | None
    paid: int = 0


PAID = End("succeeded", "settled", AMOUNT)
CALLED_OFF = End("failed", "called_off")
DECLINED = End("failed", "declined")
REFUNDED = End("refunded", "reversed")
CANCELED = End("canceled", None)
EXPIRED = End("expired", None)
"""The ends that there are."""


@dataclass(frozen=True, slots=True)
class Story:
    """What a client does, and how its payments end."""

    tell: Callable[[Storyteller], Awaitable[None]]
    ends: Sequence[End]
    debits: int = 1
    deposited: int = DEPOSITED
    changes: Mapping[str, Any] = field(default_factory=dict)
    deaf_to: Sequence[str] = ()

    def settings_of_victim(self) -> EngineSettings:
        """Answer settings under which a process adds no points by what it does from time to time."""
        return quick_settings(**(QUIET | dict(self.changes)))

    def settings_of_heir(self) -> EngineSettings:
        """Answer settings for whoever takes over: patient, because there are many of them in one process."""
        return quick_settings(**(PATIENT | dict(self.changes)))


async def set_up(teller: Storyteller) -> None:
    """Make the user with a wallet that holds something."""
    await teller.ask("create_user", user_id=USER, email="alice@example.com")
    teller.wallet = await teller.ask("create_wallet", user_id=USER, currency="EUR")
    await teller.ask("deposit", wallet_id=teller.wallet["id"], amount=DEPOSITED)
    await teller.ask("set_limit", keyed=False, currency="EUR", amount=2 * DEPOSITED)


async def bill(teller: Storyteller, merchant: str = "bookshop") -> Json:
    """Enter an invoice."""
    return await teller.ask(
        "create_invoice", user_id=USER, amount=AMOUNT, currency="EUR", merchant=merchant, expires_at=EXPIRES_AT
    )


async def purchase(teller: Storyteller) -> None:
    """All from the beginning of the store to the receipt."""
    await set_up(teller)
    payment = await teller.confirm(await teller.start(await bill(teller)))
    await teller.message("payment.succeeded", payment_id=payment["id"])


async def refund(teller: Storyteller) -> None:
    """A purchase that an operator gives back."""
    await set_up(teller)
    payment = await teller.confirm(await teller.start(await bill(teller)))
    await teller.message("payment.succeeded")
    teller.begin()
    await teller.ask("refund_payment", payment_id=payment["id"])
    await teller.rest(payment)
    await teller.message("payment.refunded")


async def second_thoughts(teller: Storyteller) -> None:
    """A second code and a wrong one, a cancel; another payment, put replaced by a third; a void."""
    await set_up(teller)
    invoice = await bill(teller)
    teller.begin()
    payment = await teller.start(invoice)
    of = {"user_id": USER, "payment_id": payment["id"]}
    await teller.message("confirmation.code")
    await teller.ask("resend_code", **of)
    code = (await teller.message("confirmation.code", 2)).message.code or ""
    await teller.ask("confirm_payment", keyed=False, **of, code=other_than(code))
    await teller.ask("cancel_payment", **of)
    await teller.calm()
    for nth in (3, 4):
        await teller.start(invoice)
        await teller.message("confirmation.code", nth)
    await teller.ask("void_invoice", invoice_id=invoice["id"])
    await teller.message("payment.canceled")


async def late_message(teller: Storyteller) -> None:
    """A code that the channel does not take at the first attempt."""
    await set_up(teller)
    invoice = await bill(teller)
    teller.begin()
    payment = await teller.start(invoice)
    await teller.confirm(payment)
    await teller.message("payment.succeeded")


async def forgotten(teller: Storyteller) -> None:
    """A payment that nobody confirms."""
    await set_up(teller)
    invoice = await bill(teller)
    teller.begin()
    payment = await teller.start(invoice)
    await teller.rest(payment)
    await teller.message("payment.expired")


async def crowd(teller: Storyteller) -> None:
    """Deposits that come all at once, so that the process keeps the wallet's lease while it works on them."""
    await set_up(teller)
    teller.begin()
    more = [teller.ask("deposit", wallet_id=teller.wallet["id"], amount=AMOUNT) for _ in range(CROWD)]
    await asyncio.gather(*more)
    await teller.calm()


def settlement(merchant: str) -> Callable[[Storyteller], Awaitable[None]]:
    """A purchase whose settlement is what counts."""

    async def tell(teller: Storyteller) -> None:
        await set_up(teller)
        payment = await teller.start(await bill(teller, merchant))
        await teller.message("confirmation.code")
        teller.begin()
        rested = await teller.confirm(payment)
        if rested["set_aside"]:
            of = {"payment_id": payment["id"], "note": "they say so on the phone", "by": "bob"}
            await teller.ask("resolve_payment", outcome="settled", **of)
            rested = await teller.rest(payment)
        await teller.message(f"payment.{rested['status']}")

    return tell


CROWDED = DEPOSITED + CROWD * AMOUNT
LATE = ("confirmation.code", "payment.succeeded")
PURCHASES: Mapping[str, Story] = {
    "purchase": Story(purchase, [PAID]),
    "refund": Story(refund, [REFUNDED]),
    "second_thoughts": Story(second_thoughts, [CANCELED] * 3, debits=0),
    "crowd": Story(crowd, [], debits=0, deposited=CROWDED),
    "late_message": Story(late_message, [PAID], changes={"agenda_interval_s": 0.5}, deaf_to=LATE),
    "forgotten": Story(
        forgotten, [EXPIRED], debits=0, changes={"agenda_interval_s": 0.5, "code_lifetime_s": 1}
    ),
}
"""What happens to payments."""

SLOW = {"settlement_timeout_s": 5.0, "settlement_silence_s": 15.0}
HURRIED = {"settlement_attempts": 3}
SETTLEMENTS: Mapping[str, Story] = {
    "plain": Story(settlement("bookshop"), [PAID]),
    "declines": Story(settlement("bookshop-declines"), [DECLINED]),
    "errors": Story(settlement("bookshop-errors"), [CALLED_OFF], changes=HURRIED),
    "slow": Story(settlement("bookshop-slow"), [PAID], changes=SLOW),
    "timeout": Story(settlement("bookshop-timeout"), [CALLED_OFF], changes=HURRIED),
    "lost": Story(settlement("bookshop-lost"), [PAID]),
    "flaky": Story(settlement("bookshop-flaky"), [PAID]),
    "stuck": Story(
        settlement("bookshop-stuck"), [End("succeeded", None, AMOUNT)], changes={"settlement_silence_s": 0.5}
    ),
}
"""What the settlement service answers, by the ending of the merchant's name."""

STORIES: Mapping[str, Story] = {**PURCHASES, **SETTLEMENTS}
