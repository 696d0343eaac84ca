"""Clients that do one thing after the other, at random, and check that each answer is their own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from support.cutting_proxy import CuttingProxy
from support.diary import ATTEMPTS, RESENDS, Account, Diary, Fate, Movement, Purchase, Step, is_of, merchant_of
from support.doors import Door

from technopay.engine import (
    BalanceTooLarge,
    ConfirmationInvalid,
    InsufficientFunds,
    OutcomeUnknown,
    Overloaded,
    PaymentNotFound,
    StoreUnavailable,
    WalletBusy,
    WalletNotFound,
)
from technopay.engine.models import Record

ANSWER_S_MAX = 30.0
HUGE = 10**12
"""More than any wallet holds."""
TOO_LARGE = 2**53 - 10**6
"""More than a wallet can take that holds something."""

RecordT = TypeVar("RecordT", bound=Record)


class Client:
    """Comes in by two doors, by the first one more often, and writes down what it is told."""

    def __init__(
        self,
        chance: random.Random,
        doors: Sequence[Door],
        accounts: Sequence[Account],
        diary: Diary,
        proxy: CuttingProxy,
    ) -> None:
        self._chance = chance
        self._doors = doors
        self._accounts = accounts
        self._diary = diary
        self._proxy = proxy

    async def work(self, enough: int) -> None:
        """Go on until all clients together have this many answers."""
        actions: dict[Callable[[], Awaitable[None]], int] = {
            self.put_money: 60, self.look: 20, self.buy: 9, self.be_refused: 2
        }  # fmt: skip
        for _ in range(enough):
            if self._diary.answered >= enough:
                return
            [action] = self._chance.choices(list(actions), list(actions.values()))
            await action()

    async def ask(self, step: Step, ask: Callable[[], Awaitable[RecordT]]) -> RecordT | None:
        """Ask for a step; in doubt, sometimes again at once. Answer the record if it was acknowledged."""
        record = await self._ask_once(step, ask())
        if step.fate is Fate.UNKNOWN and self._is_lucky(0.5):
            await self._proxy.reachable.wait()
            record = await self._ask_once(step, ask())
        return record

    async def _ask_once(self, step: Step, answer: Awaitable[RecordT]) -> RecordT | None:
        record, fate = None, Fate.DONE
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                record = await step.take(answer)
            fate = Fate.DONE if record else Fate.REFUSED
        except OutcomeUnknown:
            fate = Fate.UNKNOWN
        except (StoreUnavailable, Overloaded, WalletBusy):
            fate = Fate.NOTHING
            await self._proxy.reachable.wait()
        except TimeoutError:
            raise AssertionError(f"{step}: no answer within {ANSWER_S_MAX} s") from None
        except Exception as error:
            error.add_note(f"asked for {step}")
            raise
        self._diary.answers[fate] += 1
        step.hear(fate)
        return record

    async def put_money(self) -> None:
        """Make a deposit; sometimes ask for it again."""
        movement = self._diary.deposit(self._pick_account(), self._pick_door())
        await self._put(movement)
        if movement.fate is Fate.DONE and self._is_lucky(0.15):
            await self._put(movement)

    async def look(self) -> None:
        """Read a wallet."""
        account, door = self._pick_account(), self._doors[self._pick_door()]
        wallet = await self.ask(Step(), lambda: door.wallet(account.user_id, account.wallet_id))
        if wallet:
            assert (wallet.id, wallet.user_id) == (account.wallet_id, account.user_id), f"{account}: {wallet}"

    async def be_refused(self) -> None:
        """Ask for what the rules forbid."""
        account, door = self._pick_account(), self._pick_door()
        stranger = Account(account.user_id, "wal_00none")
        await self._put(self._diary.deposit(account, door, more=TOO_LARGE, must_be=BalanceTooLarge))
        await self._put(self._diary.deposit(stranger, door, must_be=WalletNotFound))
        purchase = self._diary.purchase(account, door, more=HUGE, must_be=InsufficientFunds)
        if await self._bill(purchase):
            await self._start(purchase)
            refusal = purchase.started.refusal
            assert refusal is None or refusal.required == purchase.amount, f"{purchase}: {refusal}"

    async def buy(self) -> None:
        """Start to pay an invoice, and confirm it, cancel it or leave it alone."""
        purchase = self._diary.purchase(self._pick_account(), self._pick_door())
        if not await self._bill(purchase) or not await self._start(purchase):
            return
        if self._is_lucky(0.15):
            await self._start(purchase)
        if self._is_lucky(0.15):
            await self._resend(purchase)
        for _ in range(self._chance.choice((0, 0, 0, 1, 3))):
            if not await self._guess(purchase):
                return
        [end] = self._chance.choices((self._confirm, self._cancel, None), (7, 2, 1))
        if end and await end(purchase) and self._is_lucky(0.3):
            await end(purchase)
        await self._look_at(purchase)

    async def _put(self, movement: Movement) -> None:
        was_done, account = movement.fate is Fate.DONE, movement.account
        wallet = await self.ask(movement, lambda: self._doors[movement.door].deposit(movement))
        if wallet:
            assert (wallet.id, wallet.user_id) == (account.wallet_id, account.user_id), f"{movement}: {wallet}"
            assert movement.balance in (None, wallet.balance), f"{movement}: {wallet}"
            assert wallet.replayed or not was_done, f"{movement}: {wallet}"
            movement.balance = wallet.balance

    async def _bill(self, purchase: Purchase) -> bool:
        invoice = await self.ask(Step(), lambda: self._doors[purchase.door].invoice(purchase))
        if invoice:
            assert invoice.user_id == purchase.account.user_id, f"{purchase}: {invoice}"
            assert invoice.amount == purchase.amount, f"{purchase}: {invoice}"
            assert invoice.merchant == merchant_of(purchase), f"{purchase}: {invoice}"
            purchase.invoice_id = invoice.id
        return invoice is not None

    async def _start(self, purchase: Purchase) -> bool:
        payment = await self.ask(purchase.started, lambda: self._doors[purchase.door].start(purchase))
        if payment:
            assert is_of(payment, purchase), f"{purchase}: {payment}"
            assert payment.confirmation, f"{purchase}: {payment}"
            assert payment.confirmation.attempts_remaining == ATTEMPTS, f"{purchase}: {payment}"
            purchase.payment_id = purchase.debit.payment_id = payment.id
        return payment is not None

    async def _resend(self, purchase: Purchase) -> None:
        payment = await self.ask(Step(), lambda: self._doors[purchase.door].resend(purchase))
        if payment:
            assert is_of(payment, purchase), f"{purchase}: {payment}"
            assert payment.confirmation, f"{purchase}: {payment}"
            assert payment.confirmation.resends_remaining == RESENDS - 1, f"{purchase}: {payment}"

    async def _guess(self, purchase: Purchase) -> bool:
        """Confirm with a wrong code, which costs one attempt. In doubt, to ask again would cost another one."""
        step = Step(ConfirmationInvalid)
        await self._ask_once(step, self._doors[purchase.door].confirm(purchase, is_right=False))
        purchase.guessed_in_doubt = step.fate is Fate.UNKNOWN
        if step.refusal:
            purchase.guesses += 1
            assert step.refusal.payment, f"{purchase}: {step}"
            assert is_of(step.refusal.payment, purchase), f"{purchase}: {step.refusal.payment}"
            remaining = step.refusal.attempts_remaining
            assert remaining == purchase.attempts, f"{purchase}: {remaining} attempts remain"
        return step.refusal is not None

    async def _confirm(self, purchase: Purchase) -> bool:
        door, debit, wait_s = self._doors[purchase.door], purchase.debit, self._chance.choice((0, 0, 2))
        payment = await self.ask(debit, lambda: door.confirm(purchase, is_right=True, wait_s=wait_s))
        if payment:
            assert is_of(payment, purchase), f"{purchase}: {payment}"
            assert payment.status in ("processing", "succeeded"), f"{purchase}: {payment}"
            assert debit.balance in (None, payment.balance_after), f"{purchase}: {payment}"
            debit.balance = payment.balance_after
        return payment is not None

    async def _cancel(self, purchase: Purchase) -> bool:
        payment = await self.ask(purchase.canceled, lambda: self._doors[purchase.door].cancel(purchase))
        if payment:
            assert is_of(payment, purchase), f"{purchase}: {payment}"
            assert payment.status == "canceled", f"{purchase}: {payment}"
        return payment is not None

    async def _look_at(self, purchase: Purchase) -> None:
        """Read the payment, which nobody else can."""
        door, payment_id = self._doors[purchase.door], purchase.payment_id
        payment = await self.ask(Step(), lambda: door.payment(purchase.account.user_id, payment_id))
        assert payment is None or is_of(payment, purchase), f"{purchase}: {payment}"
        other = self._pick_account()
        if other != purchase.account:
            await self.ask(Step(PaymentNotFound), lambda: door.payment(other.user_id, payment_id))

    def _pick_account(self) -> Account:
        return self._chance.choice(self._accounts)

    def _pick_door(self) -> int:
        return self._chance.choices(range(len(self._doors)), (8, 1))[0]

    def _is_lucky(self, chance: float) -> bool:
        return self._chance.random() < chance
