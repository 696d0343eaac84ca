"""The stories of processes that are killed, and their required ends, in any engine."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from support.fixtures.engine_setup import other_than, quick_settings
from support.processes.crash_client import USER, CrashClient, Json

from technopay.engine import EngineSettings

QUIET = {"agenda_interval_s": 30.0, "settlement_silence_s": 5.0}
PATIENT = {
    "agenda_interval_s": 0.4, "settlement_timeout_s": 1.0, "settlement_silence_s": 5.0,
    "message_timeout_s": 2.0, "command_deadline_s": 30.0,
}  # fmt: skip
SLOW = {"settlement_timeout_s": 5.0, "settlement_silence_s": 15.0}
"""For a settlement service that takes its time."""
REPLY_S_MAX = 20.0
"""The time for a reply of a store while many processes and engines share a machine."""
DEPOSITED = 10_000
AMOUNT = 2_500
CROWD = 5
EXPIRES_AT = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class End:
    """The required end of a payment: its status, its state at the settlement service, the amount paid."""

    status: str
    book: str | None
    paid: int = 0


LINE, TAKEN_OUT, ADJUSTED = 50, 20, 3
"""The amounts of the corrections."""

PAID = End("succeeded", "settled", AMOUNT)
CALLED_OFF = End("failed", "called_off")
DECLINED = End("failed", "declined")
REFUNDED = End("refunded", "reversed")
CANCELED = End("canceled", None)
EXPIRED = End("expired", None)
"""The possible ends."""


@dataclass(frozen=True, slots=True)
class Story:
    """The actions of a client, and the ends of its payments."""

    tell: Callable[[CrashClient], Awaitable[None]]
    ends: Sequence[End]
    debits: int = 1
    deposited: int = DEPOSITED
    changes: Mapping[str, Any] = field(default_factory=dict)
    deaf_to: Sequence[str] = ()

    def settings_of_child(self, *, over_http: bool = False) -> EngineSettings:
        """Return settings under which the periodic work of a process adds no points."""
        return quick_settings(**(QUIET | dict(self.changes) | (SLOW if over_http else {})))

    def settings_of_heir(self, *, over_http: bool = False) -> EngineSettings:
        """Return patient settings for the engines that take over, many of which share a process."""
        return quick_settings(**(PATIENT | dict(self.changes) | (SLOW if over_http else {})))


async def set_up(client: CrashClient) -> None:
    """Make the user with a wallet and a balance."""
    await client.ask("create_user", user_id=USER, email="alice@example.com")
    client.wallet = await client.ask("create_wallet", user_id=USER, currency="EUR")
    await client.ask("deposit", wallet_id=client.wallet["id"], amount=DEPOSITED)
    await client.ask("set_limit", keyed=False, currency="EUR", amount=2 * DEPOSITED)


async def bill(client: CrashClient, merchant: str = "bookshop") -> Json:
    """Create an invoice."""
    return await client.ask(
        "create_invoice", user_id=USER, amount=AMOUNT, currency="EUR", merchant=merchant, expires_at=EXPIRES_AT
    )


async def purchase(client: CrashClient) -> None:
    """The whole flow from the beginning of the store to the receipt."""
    await set_up(client)
    payment = await client.confirm(await client.start(await bill(client)))
    await client.message("payment.succeeded", payment_id=payment["id"])


async def refund(client: CrashClient) -> None:
    """A purchase refunded by an operator."""
    await set_up(client)
    payment = await client.confirm(await client.start(await bill(client)))
    await client.message("payment.succeeded")
    client.begin()
    await client.ask("refund_payment", payment_id=payment["id"])
    await client.rest(payment)
    await client.message("payment.refunded")


async def corrections(client: CrashClient) -> None:
    """A purchase refunded in two parts, a bank's line sent twice, a withdrawal and an adjustment."""
    await set_up(client)
    payment = await client.confirm(await client.start(await bill(client)))
    await client.message("payment.succeeded")
    client.begin()
    for part, kind in ((AMOUNT // 3, "payment.partially_refunded"), (None, "payment.refunded")):
        amount: dict[str, Any] = {} if part is None else {"amount": part, "note": "a scratch"}
        await client.ask("refund_payment", payment_id=payment["id"], **amount)
        await client.rest(payment)
        await client.message(kind)
    wallet = {"wallet_id": client.wallet["id"]}
    line: dict[str, Any] = {"amount": LINE, "reference": "line 1"}
    await client.ask("deposit", **wallet, **line)
    await client.ask("withdraw", **wallet, amount=TAKEN_OUT, note="in cash", by="bob")
    await client.ask("adjust", **wallet, amount=-ADJUSTED, note="a fee", by="bob")
    await client.ask("deposit", **wallet, **line)  # nothing happens, so this reply is not recorded


async def second_thoughts(client: CrashClient) -> None:
    """A second code and a wrong one, a cancel; another payment, replaced by a third; a void."""
    await set_up(client)
    invoice = await bill(client)
    client.begin()
    payment = await client.start(invoice)
    of = {"user_id": USER, "payment_id": payment["id"]}
    await client.message("confirmation.code")
    await client.ask("resend_code", **of)
    code = (await client.message("confirmation.code", 2)).message.code or ""
    await client.ask("confirm_payment", keyed=False, **of, code=other_than(code))
    await client.ask("cancel_payment", **of)
    await client.calm()
    for nth in (3, 4):
        await client.start(invoice)
        await client.message("confirmation.code", nth)
    await client.ask("void_invoice", invoice_id=invoice["id"])
    await client.message("payment.canceled")


async def late_message(client: CrashClient) -> None:
    """A code refused by the channel at the first attempt."""
    await set_up(client)
    invoice = await bill(client)
    client.begin()
    payment = await client.start(invoice)
    await client.confirm(payment)
    await client.message("payment.succeeded")


async def forgotten(client: CrashClient) -> None:
    """A payment without a confirm."""
    await set_up(client)
    invoice = await bill(client)
    client.begin()
    payment = await client.start(invoice)
    await client.rest(payment)
    await client.message("payment.expired")


async def crowd(client: CrashClient) -> None:
    """Simultaneous deposits, so that the process keeps the wallet's lease while it processes them."""
    await set_up(client)
    client.begin()
    more = [client.ask("deposit", wallet_id=client.wallet["id"], amount=AMOUNT) for _ in range(CROWD)]
    await asyncio.gather(*more)
    await client.calm()


def settlement(merchant: str) -> Callable[[CrashClient], Awaitable[None]]:
    """A purchase, for the points of its settlement."""

    async def tell(client: CrashClient) -> None:
        await set_up(client)
        payment = await client.start(await bill(client, merchant))
        await client.message("confirmation.code")
        client.begin()
        rested = await client.confirm(payment)
        if rested["set_aside"]:
            of = {"payment_id": payment["id"], "note": "they say so on the phone", "by": "bob"}
            await client.ask("resolve_payment", outcome="settled", **of)
            rested = await client.rest(payment)
        await client.message(f"payment.{rested['status']}")

    return tell


CORRECTED = DEPOSITED + LINE - TAKEN_OUT - ADJUSTED
CROWDED = DEPOSITED + CROWD * AMOUNT
LATE = ("confirmation.code", "payment.succeeded")
PURCHASES: Mapping[str, Story] = {
    "purchase": Story(purchase, [PAID]),
    "refund": Story(refund, [REFUNDED]),
    "corrections": Story(corrections, [REFUNDED], deposited=CORRECTED),
    "second_thoughts": Story(second_thoughts, [CANCELED] * 3, debits=0),
    "crowd": Story(crowd, [], debits=0, deposited=CROWDED),
    "late_message": Story(late_message, [PAID], changes={"agenda_interval_s": 0.5}, deaf_to=LATE),
    "forgotten": Story(
        forgotten, [EXPIRED], debits=0, changes={"agenda_interval_s": 0.5, "code_lifetime_s": 1}
    ),
}
"""The stories of payments."""

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
"""The replies of the settlement service, by the ending of the merchant's name."""

STORIES: Mapping[str, Story] = {**PURCHASES, **SETTLEMENTS}
