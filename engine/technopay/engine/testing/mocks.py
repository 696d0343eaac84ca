"""The mock services with fixed answers. Their state is in the store: shared by all processes, and durable."""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NoReturn

from technopay.engine.commands import Command
from technopay.engine.ports import OutgoingMessage, Store
from technopay.engine.record import from_ms
from technopay.engine.values import PaymentTerms, RefundTerms

SLOW_S = 3.0
FLAKY_ERRORS = 2
NO_REFUND = RefundTerms("", 0)
EVERY_TIME = 1_000_000
HIDDEN_CODE = "••••••"
INBOX_LENGTH = 200
"""Messages that the store keeps for each user."""
ADDED_LATER = {"amount": 0, "currency": "", "payee": ""}
"""Fields that messages of an earlier version lack."""


@dataclass(frozen=True, slots=True)
class MockSettlement(Command[None]):
    """Update the book of the mock settlement service; the code of the outcome is the state in it."""

    action: str
    payment_id: str
    amount: int
    errors: int = 0
    refund_id: str = ""
    refund_amount: int = 0


@dataclass(frozen=True, slots=True)
class AddToMockInbox(Command[None]):
    """Put a message into a user's mock inbox."""

    user_id: str
    message: str


@dataclass(frozen=True, slots=True)
class ReadMockInbox(Command[list[str]]):
    """Read a user's mock inbox, newest first."""

    user_id: str
    limit: int


class MockSettlementError(Exception):
    """Raised by the mock settlement service in place of a reply."""


class MockSettlementService:
    """Replies by the suffix of the merchant's name.

    `-declines`; `-errors` always fails; `-slow` takes three seconds; `-timeout` never replies to a settle;
    `-lost` settles, but the reply is lost; `-flaky` fails twice, then settles; `-stuck` replies to a reverse
    only. Every other name settles at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def settle(self, terms: PaymentTerms) -> Literal["settled", "declined"]:
        name, _, ending = terms.merchant.rpartition("-")
        if not name:
            ending = ""  # "slow" is a name, "shop-slow" has a suffix
        if ending in ("timeout", "stuck"):
            await _silence()
        if ending == "slow":
            await asyncio.sleep(SLOW_S)
        action = "decline" if ending == "declines" else "settle"
        errors = {"errors": EVERY_TIME, "flaky": FLAKY_ERRORS}.get(ending, 0)
        state = await self._book(action, terms, errors)
        if ending == "lost":
            await _silence()
        if state == "error":
            raise MockSettlementError("settle failed")
        # A payment that was called off is not settled any more.
        return "settled" if state in ("settled", "reversed") else "declined"

    async def status(
        self, terms: PaymentTerms
    ) -> Literal["settled", "declined", "called_off", "pending", "not_found"]:
        if terms.merchant.endswith("-stuck"):
            await _silence()
        state = await self._book("status", terms)
        match state:
            case "settled" | "reversed":
                return "settled"
            case "declined":
                return "declined"
            case "called_off":
                return "called_off"
            case _:
                return "not_found"

    async def call_off(
        self, terms: PaymentTerms
    ) -> Literal["called_off", "already_settled", "already_declined"]:
        """Leave a tombstone, unless the payment is decided."""
        if terms.merchant.endswith("-stuck"):
            await _silence()
        state = await self._book("call_off", terms)
        match state:
            case "settled" | "reversed":
                return "already_settled"
            case "declined":
                return "already_declined"
            case _:
                return "called_off"

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed", "declined"]:
        """Reverse each refund once; decline one of more than what is left of the payment."""
        state = await self._book("reverse", terms, refund=refund)
        return "declined" if state == "declined" else "reversed"

    async def _book(
        self, action: str, terms: PaymentTerms, errors: int = 0, refund: RefundTerms = NO_REFUND
    ) -> str:
        command = MockSettlement(
            action, terms.payment_id, terms.amount, errors, refund_id=refund.id, refund_amount=refund.amount
        )
        return (await self._store.run(command)).code


class MockChannel:
    """Puts messages into the user's mock inbox, except for addresses that begin with 'dead'."""

    def __init__(self, store: Store, *, keeps_codes: bool = True) -> None:
        """Without `keeps_codes`, the store gets messages without their code."""
        self._store = store
        self._keeps_codes = keeps_codes

    async def deliver(self, message: OutgoingMessage) -> None:
        require_live(message)
        if message.code is not None and not self._keeps_codes:
            message = message._replace(code=None, text=message.text.replace(message.code, HIDDEN_CODE))
        fields = {name: value for name, value in message._asdict().items() if value is not None}
        user_id = fields.pop("user_id")
        await self._store.run(AddToMockInbox(user_id, json.dumps(fields, separators=(",", ":"))))


def require_live(message: OutgoingMessage) -> None:
    """Refuse a message to an address that begins with 'dead'.

    Raises:
        ConnectionRefusedError.

    """
    if message.to.startswith("dead"):
        raise ConnectionRefusedError("the address does not take messages")


@dataclass(frozen=True, slots=True)
class InboxMessage:
    at: datetime
    message: OutgoingMessage


async def read_mock_inbox(store: Store, user_id: str, *, most: int = INBOX_LENGTH) -> list[InboxMessage]:
    """Read the mock inbox of a user, newest first."""
    found = []
    for line in (await store.run(ReadMockInbox(user_id, most))).value or []:
        at_ms, _, message = line.partition(" ")
        try:
            fields = {"user_id": user_id, **ADDED_LATER, **json.loads(message)}
            found.append(InboxMessage(from_ms(at_ms), OutgoingMessage(**fields)))
        except (ArithmeticError, TypeError, ValueError) as error:
            store.unreadable.note("mock_inbox", user_id, error)
    return found


async def _silence() -> NoReturn:
    """Never reply."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable")
