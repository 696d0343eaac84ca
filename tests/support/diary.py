"""What clients of an unreliable store were told, and whether the store says the same in the end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import TypeVar

from support.store import list_entries, list_payments

from technopay.engine import Entry, Payment, Refusal
from technopay.engine.models import Record
from technopay.storage import RedisStore

ATTEMPTS, RESENDS = 5, 3
PAGE, PAGES_MAX = 200, 1_000

RecordT = TypeVar("RecordT", bound=Record)


class Fate(Enum):
    """What a client knows of a command."""

    UNASKED = "was not asked for"
    DONE = "was acknowledged"
    REFUSED = "was refused"
    NOTHING = "is said not to have happened"
    UNKNOWN = "is unknown"


@dataclass(frozen=True)
class Account:
    """A user with a wallet."""

    user_id: str
    wallet_id: str


@dataclass(eq=False)
class Step:
    """A command that may be asked for again: what it must be refused with, and what its client knows."""

    must_be: type[Refusal] | None = None
    fate: Fate = Fate.UNASKED
    refusal: Refusal | None = None

    def hear(self, fate: Fate) -> None:
        """Take in an answer. What was acknowledged stays so, and only an answer ends the doubt."""
        settled = fate in (Fate.DONE, Fate.REFUSED)
        if self.fate is not Fate.DONE and (settled or self.fate is not Fate.UNKNOWN):
            self.fate = fate

    async def take(self, answer: Awaitable[RecordT]) -> RecordT | None:
        """Await the answer. What must be refused has to be, and nothing else."""
        try:
            record = await answer
        except Refusal as refusal:
            if not self.must_be or not isinstance(refusal, self.must_be):
                raise
            self.refusal = refusal
            self.hear(Fate.REFUSED)
            return None
        assert not self.must_be, f"{self}: {record}"
        self.hear(Fate.DONE)
        return record


@dataclass(eq=False)
class Movement(Step):
    """A deposit or a debit. No two have the same amount, so an entry tells whose it is."""

    number: int = 0
    account: Account = field(default_factory=lambda: Account("", ""))
    amount: int = 0
    door: int = 0
    balance: int | None = None
    payment_id: str | None = None


@dataclass(eq=False)
class Purchase:
    """A payment of an invoice of its own, which ends with its debit, or canceled, or is left alone."""

    number: int
    account: Account
    amount: int
    door: int
    debit: Movement
    started: Step
    canceled: Step = field(default_factory=Step)
    invoice_id: str = ""
    payment_id: str = ""
    guesses: int = 0
    guessed_in_doubt: bool = False

    @property
    def attempts(self) -> int:
        """How many attempts there are left for sure."""
        return ATTEMPTS - self.guesses


@dataclass
class Diary:
    """The commands of all clients. An answered one is one that the store acknowledged or refused."""

    answers: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    movements: list[Movement] = field(default_factory=list)
    purchases: list[Purchase] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def answered(self) -> int:
        """How many commands were answered."""
        return self.answers[Fate.DONE] + self.answers[Fate.REFUSED]

    def deposit(
        self, account: Account, door: int, *, more: int = 0, must_be: type[Refusal] | None = None
    ) -> Movement:
        """Write down a deposit of as much as its number says, and more; and how it has to be refused."""
        number = next(self.numbers)
        movement = Movement(must_be, number=number, account=account, amount=number + more, door=door)
        self.movements.append(movement)
        return movement

    def purchase(
        self, account: Account, door: int, *, more: int = 0, must_be: type[Refusal] | None = None
    ) -> Purchase:
        """Write down a purchase for as much as its number says, and more; and how it has to be refused."""
        number = next(self.numbers)
        amount = number + more
        debit = Movement(number=number, account=account, amount=-amount, door=door)
        purchase = Purchase(number, account, amount, door, debit, Step(must_be))
        self.movements.append(debit)
        self.purchases.append(purchase)
        return purchase

    def doubts(self) -> list[Step]:
        """Answer the steps of which no client knows what became of them."""
        steps: list[Step] = [*self.movements]
        for purchase in self.purchases:
            steps += (purchase.started, purchase.canceled)
        return [step for step in steps if step.fate is Fate.UNKNOWN]


async def read_entries(store: RedisStore, accounts: Sequence[Account]) -> dict[int, list[tuple[str, Entry]]]:
    """Read all movements of the wallets, by their amounts."""
    found: defaultdict[int, list[tuple[str, Entry]]] = defaultdict(list)

    async def read(account: Account, cursor: str) -> str | None:
        page = (await list_entries(store, account.wallet_id, account.user_id, cursor, PAGE)).value
        assert page
        for entry in page.data:
            found[entry.amount].append((account.wallet_id, entry))
        return page.next_cursor

    await asyncio.gather(*(_read_all(account, read) for account in accounts))
    return found


async def read_payments(store: RedisStore, accounts: Sequence[Account]) -> dict[str, list[Payment]]:
    """Read all payments of the users, by their invoices."""
    found: defaultdict[str, list[Payment]] = defaultdict(list)

    async def read(account: Account, cursor: str) -> str | None:
        page = await list_payments(store, account.user_id, cursor, PAGE)
        for payment in page.data:
            found[payment.invoice_id].append(payment)
        return page.next_cursor

    await asyncio.gather(*(_read_all(account, read) for account in accounts))
    return found


async def _read_all(account: Account, read: Callable[[Account, str], Awaitable[str | None]]) -> None:
    cursor: str | None = ""
    for _ in range(PAGES_MAX):
        if cursor is None:
            return
        cursor = await read(account, cursor)
    raise AssertionError(f"{account}: there is no end")


def assert_movements(diary: Diary, entries: Mapping[int, Sequence[tuple[str, Entry]]]) -> None:
    """What was acknowledged is there once, as it was told; what is in doubt at most once; no more."""
    owned: set[int] = set()
    for movement in diary.movements:
        found = entries.get(movement.amount, [])
        wrong = f"{movement.fate.value}: {movement}: {found}"
        assert len(found) in {Fate.DONE: {1}, Fate.UNKNOWN: {0, 1}}.get(movement.fate, {0}), wrong
        for wallet_id, entry in found:
            owned.add(movement.amount)
            kind = "deposit" if movement.amount > 0 else "payment"
            assert (wallet_id, entry.kind) == (movement.account.wallet_id, kind), wrong
            assert entry.payment_id == movement.payment_id, wrong
            assert movement.balance in (None, entry.balance_after), wrong
    assert set(entries) == owned, "money moved that nobody asked for"


def assert_purchases(diary: Diary, payments: Mapping[str, Sequence[Payment]]) -> None:
    """Each payment is where its client was told, and there is no other."""
    for purchase in diary.purchases:
        found = payments.get(purchase.invoice_id, [])
        wrong = f"started {purchase.started.fate.value}: {purchase}: {found}"
        assert len(found) in {Fate.DONE: {1}, Fate.UNKNOWN: {0, 1}}.get(purchase.started.fate, {0}), wrong
        for payment in found:
            assert is_of(payment, purchase), wrong
            assert payment.status in _statuses(purchase), wrong
            if payment.confirmation:
                lost = 1 if purchase.guessed_in_doubt else 0
                remaining = payment.confirmation.attempts_remaining
                assert purchase.attempts - lost <= remaining <= purchase.attempts, wrong
    invoices = {purchase.invoice_id for purchase in diary.purchases}
    assert set(payments) <= invoices, "payments that nobody started"


def is_of(payment: Payment, purchase: Purchase) -> bool:
    """Answer whether a payment is the one of a purchase, in everything that never changes."""
    return (
        payment.id == (purchase.payment_id or payment.id)
        and payment.invoice_id == purchase.invoice_id
        and payment.wallet_id == purchase.account.wallet_id
        and payment.user_id == purchase.account.user_id
        and payment.amount == purchase.amount
        and payment.merchant == merchant_of(purchase)
    )


def merchant_of(purchase: Purchase) -> str:
    """Answer the payee, which is another one for each purchase."""
    return f"shop {purchase.number}"


def _statuses(purchase: Purchase) -> set[str]:
    ends: list[tuple[Step, set[str]]] = [
        (purchase.debit, {"processing", "succeeded"}),
        (purchase.canceled, {"canceled"}),
    ]
    for step, statuses in ends:
        if step.fate is Fate.DONE:
            return statuses
        if step.fate is Fate.UNKNOWN:
            return {"requires_confirmation", *statuses}
    return {"requires_confirmation"}
