"""Random purchases: the store and a plain model of the contract answer alike and hold the same, all the way."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test
from property import snapshot
from property.machine import GHOST, LONG_MS, StoreMachine
from property.model import ATTEMPTS, RESENDS, WAITING, Refused, Verdict

from technopay.engine.commands import (
    BeginRefund,
    CancelPayment,
    ConfirmPayment,
    Deposit,
    NewInvoice,
    ResendCode,
    SetWalletStatus,
    StartPayment,
)
from technopay.engine.models import Wallet
from technopay.engine.ports import Operation, Outcome

FAR = datetime(2100, 1, 1, tzinfo=UTC)
MERCHANT = "shop"

NUMBERS = st.integers(0, 63)
RARELY = st.sampled_from([False] * 9 + [True])
USERS = st.sampled_from(["ann", "ben", "cat", "dan"])
USERS_OR_GHOST = st.sampled_from(["ann", "ben", "cat", "dan", GHOST])
CURRENCIES = st.sampled_from(snapshot.CURRENCIES)
AMOUNTS = st.integers(1, 30)
DEPOSITS = st.sampled_from([*range(1, 40), 2**53 - 1])


def has_payments(machine: StoreMachine) -> bool:
    """Say whether there is something to confirm."""
    return bool(machine.contract.payments)


EXPECTED_ANSWERS = {
    "ok", "replayed", "fenced", "user_exists", "reference_used", "idempotency_key_reused",
    "user_not_found", "wallet_not_found", "invoice_not_found", "payment_not_found", "user_blocked",
    "wallet_inactive", "invoice_already_paid", "invoice_not_payable", "invoice_not_voidable",
    "payment_in_progress", "payment_not_confirmable", "payment_not_cancelable", "payment_not_refundable",
    "payment_not_resolvable", "currency_mismatch", "no_channel", "confirmation_invalid", "rate_limited",
    "insufficient_funds", "daily_limit_exceeded", "balance_too_large",
}  # fmt: skip
"""What a run without expiries can be answered."""


def refuse_reused_key() -> None:
    """Say what is answered to a key that was used with other arguments."""
    raise Refused("idempotency_key_reused")


class Purchases(StoreMachine):
    """Users, operators and the settlement service, all at random."""

    @initialize(repeats=st.integers(0, 2**50 - 1), limit=st.sampled_from([None, 60]))
    def open_for_business(self, repeats: int, limit: int | None) -> None:
        for user, email, phone in (("ann", True, True), ("ben", False, True), ("cat", False, False)):
            self.create_user(user, email, phone)
            for currency in snapshot.CURRENCIES if email or phone else ("EUR",):
                self.create_wallet(user, currency, 0)
                self.create_invoice(user, 10, currency, None)
        for wallet in list(self.contract.wallets):
            self._deposit(wallet, 25, self.operation())
        self.set_limit("EUR", limit)
        self.repeats = repeats

    @rule(user=USERS, email=st.booleans(), phone=st.booleans())
    def create_user(self, user: str, email: bool, phone: bool) -> None:
        addresses = f"{user}@example.com" if email else None, "+15550100" if phone else None
        self.check(
            partial(self.store.create_user, self.operation(), user, *addresses),
            partial(self.contract.create_user, user, email=email, phone=phone),
        )

    @rule(user=USERS_OR_GHOST, status=st.sampled_from(["active", "active", "blocked"]))
    def set_user_status(self, user: str, status: str) -> None:
        self.check(
            partial(self.store.set_user_status, self.operation(), user, status),
            partial(self.contract.set_user_status, user, status),
        )

    @precondition(lambda self: len(self.contract.wallets) < 10)
    @rule(user=USERS_OR_GHOST, currency=CURRENCIES, number=NUMBERS)
    def create_wallet(self, user: str, currency: str, number: int) -> None:
        wallet = self.ids.new("wal")
        self.check(
            partial(self.store.create_wallet, self.operation(), wallet, user, currency),
            partial(self.contract.create_wallet, wallet, user, currency),
        )

    @rule(number=NUMBERS, status=st.sampled_from(["active", "active", "inactive"]))
    def set_wallet_status(self, number: int, status: str) -> None:
        wallet = self.pick(list(self.contract.wallets), number)
        command = SetWalletStatus(self.operation(), wallet, status)
        self.check(
            partial(self.store.set_wallet_status, command, self.lease()),
            partial(self.contract.set_wallet_status, wallet, status),
        )

    @rule(number=NUMBERS, amount=DEPOSITS, reuse_key=RARELY)
    def deposit(self, number: int, amount: int, reuse_key: bool) -> None:
        wallet, operation = self.pick(list(self.contract.wallets), number), self.operation()
        outcome = self._deposit(wallet, amount, operation)
        if reuse_key and outcome.code == "ok":
            other = Deposit(Operation(operation.id, "other arguments", LONG_MS), wallet, amount)
            self.check(partial(self.store.deposit, other, self.lease()), refuse_reused_key)

    def _deposit(self, wallet: str, amount: int, operation: Operation) -> Outcome[Wallet]:
        command = Deposit(operation, wallet, amount)
        return self.check(
            partial(self.store.deposit, command, self.lease()), partial(self.contract.deposit, wallet, amount)
        )

    @precondition(lambda self: len(self.contract.invoices) < 20)
    @rule(
        user=USERS_OR_GHOST, amount=AMOUNTS, currency=CURRENCIES, reference=st.sampled_from([None, None, "1"])
    )
    def create_invoice(self, user: str, amount: int, currency: str, reference: str | None) -> None:
        invoice = self.ids.new("inv")
        entered = NewInvoice(invoice, user, amount, currency, MERCHANT, None, reference, FAR)
        self.check(
            partial(self.store.create_invoice, self.operation(), entered),
            partial(self.contract.create_invoice, invoice, user, amount, currency, reference),
        )

    @rule(number=NUMBERS)
    def void_invoice(self, number: int) -> None:
        invoice = self.pick(list(self.contract.invoices), number)
        self.check(
            partial(self.store.void_invoice, self.operation(), invoice),
            partial(self.contract.void_invoice, invoice),
        )

    @rule(currency=CURRENCIES, amount=st.none() | st.integers(0, 80))
    def set_limit(self, currency: str, amount: int | None) -> None:
        self.check(
            partial(self.store.set_limit, currency, amount),
            partial(self.contract.set_limit, currency, amount),
            recorded=False,
        )

    @rule(
        number=NUMBERS,
        other=NUMBERS,
        stray=st.sampled_from(["", "", "", "", "user", "wallet", "currency", "invoice"]),
        method=st.sampled_from(["", "", "email", "sms"]),
        keyed=st.booleans(),
    )
    def start(self, number: int, other: int, stray: str, method: str, keyed: bool) -> None:
        is_open = [each for each, invoice in self.contract.invoices.items() if invoice.status == "open"]
        invoice = self.pick(is_open if number < 48 else list(self.contract.invoices), number)
        owed = self.contract.invoices.get(invoice)
        user = owed.user if owed else "ann"
        currency = owed.currency if owed else "EUR"
        if stray == "currency":
            currency = "USD" if currency == "EUR" else "EUR"
        wallets = [
            each
            for each, wallet in self.contract.wallets.items()
            if stray == "wallet" or (wallet.user, wallet.currency) == (user, currency)
        ]
        wallet = self.pick(wallets, other)
        if stray == "user":
            user = "dan" if user == "ann" else "ann"
        elif stray == "invoice":
            invoice = self.pick(list(self.contract.invoices), other)
        payment, operation = self.ids.new("pay"), self.operation(keyed=keyed)
        command = StartPayment(
            operation, payment, user, wallet, invoice, method, f"{payment}/1", LONG_MS, ATTEMPTS, RESENDS
        )
        self.check(
            partial(self.store.start_payment, command, self.lease()),
            partial(self.contract.start, payment, user, wallet, invoice, method),
            recorded=keyed,
        )

    @precondition(has_payments)
    @rule(number=NUMBERS, answer=st.sampled_from(["right", "right", "right", "wrong", "old"]), stranger=RARELY)
    def confirm(self, number: int, answer: Literal["right", "wrong", "old"], stranger: bool) -> None:
        self._confirm(self._waiting(number), answer, stranger=stranger)

    @rule(number=NUMBERS, other=NUMBERS)
    def pay(self, number: int, other: int) -> None:
        self._pay(number, other)

    @rule(number=NUMBERS, other=NUMBERS)
    def pay_and_settle(self, number: int, other: int) -> None:
        self._complete(self._pay(number, other), "settled", forged=False)

    @rule(number=NUMBERS, other=NUMBERS)
    def pay_and_decline(self, number: int, other: int) -> None:
        self._complete(self._pay(number, other), "given_back", forged=False)

    def _pay(self, number: int, other: int) -> str:
        self.start(number, other, stray="", method="", keyed=True)
        payment = self.pick_payment(0, WAITING)
        self._confirm(payment, "right", stranger=False)
        return payment

    @precondition(has_payments)
    @rule(number=NUMBERS)
    def confirm_once_more(self, number: int) -> None:
        self._confirm(self.pick_payment(number, "processing", "succeeded", "failed"), "right", stranger=False)

    @precondition(has_payments)
    @rule(number=NUMBERS, times=st.integers(2, ATTEMPTS + 1))
    def guess(self, number: int, times: int) -> None:
        payment = self._waiting(number)
        for _ in range(times):
            self._confirm(payment, "wrong", stranger=False)

    def _waiting(self, number: int) -> str:
        """Choose a payment, mostly one that waits for its code; try to start one when none does."""
        if not any(payment.status == WAITING for payment in self.contract.payments.values()):
            self.start(number, number, stray="", method="", keyed=True)
        return self.pick_payment(number, WAITING)

    def _confirm(self, payment: str, answer: str, *, stranger: bool) -> None:
        known = self.contract.payments.get(payment)
        issue = known.issue if known else 1
        digest = {"right": f"{payment}/{issue}", "old": f"{payment}/{issue - 1}"}.get(answer, "guessed")
        user = self.owner_of(payment, stranger=stranger)
        command = ConfirmPayment(Operation(self.ids.new("op")), payment, user, digest)
        replays = bool(known and known.took_money and answer == "right" and not stranger)
        if replays:
            outcome = self.run(self.store.confirm_payment(command, self.lease()))
            assert outcome.replayed, f"not replayed: {outcome}"
        outcome = self.check(
            partial(self.store.confirm_payment, command, self.lease()),
            partial(self.contract.confirm, payment, user, digest),
            recorded=False,
        )
        self.answers["replayed"] += outcome.replayed
        if known and outcome.code == "ok" and not outcome.replayed:
            known.claim = outcome.details["claim"]

    @precondition(has_payments)
    @rule(number=NUMBERS, stranger=RARELY, keyed=st.booleans())
    def resend(self, number: int, stranger: bool, keyed: bool) -> None:
        self._resend(self._waiting(number), stranger=stranger, keyed=keyed)

    @precondition(has_payments)
    @rule(number=NUMBERS)
    def resend_too_often(self, number: int) -> None:
        payment = self._waiting(number)
        for _ in range(RESENDS + 1):
            self._resend(payment, stranger=False, keyed=True)

    def _resend(self, payment: str, *, stranger: bool, keyed: bool) -> None:
        known = self.contract.payments.get(payment)
        issue = known.issue + 1 if known else 2
        user = self.owner_of(payment, stranger=stranger)
        command = ResendCode(self.operation(keyed=keyed), payment, user, issue, f"{payment}/{issue}", LONG_MS)
        self.check(
            partial(self.store.resend_code, command, self.lease()),
            partial(self.contract.resend, payment, user),
            recorded=keyed,
        )

    @precondition(has_payments)
    @rule(number=NUMBERS, stranger=RARELY, keyed=st.booleans())
    def cancel(self, number: int, stranger: bool, keyed: bool) -> None:
        payment = self._waiting(number)
        user = self.owner_of(payment, stranger=stranger)
        command = CancelPayment(self.operation(keyed=keyed), payment, user)
        self.check(
            partial(self.store.cancel_payment, command, self.lease()),
            partial(self.contract.cancel, payment, user),
            recorded=keyed,
        )

    @precondition(has_payments)
    @rule(number=NUMBERS)
    def refund(self, number: int) -> None:
        payment = self.pick_payment(number, "succeeded")
        known = self.contract.payments.get(payment)
        succeeded = known and known.status == "succeeded"
        command = BeginRefund(self.operation(), payment)
        outcome = self.check(
            partial(self.store.begin_refund, command, self.lease()), partial(self.contract.refund, payment)
        )
        if known and succeeded and outcome.code == "ok":
            known.claim = outcome.details["claim"]

    @precondition(has_payments)
    @rule(number=NUMBERS, verdict=st.sampled_from(["settled", "settled", "given_back"]), forged=RARELY)
    def settle_or_decline(self, number: int, verdict: Verdict, forged: bool) -> None:
        self._complete(self.pick_payment(number, "processing"), verdict, forged=forged)

    @precondition(has_payments)
    @rule(number=NUMBERS, forged=RARELY)
    def reverse(self, number: int, forged: bool) -> None:
        self._complete(self.pick_payment(number, "refunding"), "reversed", forged=forged)

    def _complete(self, payment: str, verdict: Verdict, *, forged: bool) -> None:
        known = self.contract.payments.get(payment)
        claim = "forged" if forged or not known else known.claim or "1"
        self.check(
            partial(self.store.complete_payment, payment, claim, verdict),
            partial(self.contract.complete, payment, claim, verdict),
            recorded=False,
        )

    @precondition(has_payments)
    @rule(number=NUMBERS, set_aside=st.booleans(), give_up=st.booleans(), forged=RARELY)
    def renew_claim(self, number: int, set_aside: bool, give_up: bool, forged: bool) -> None:
        payment = self.pick_payment(number, "processing", "refunding")
        known = self.contract.payments.get(payment)
        if known is None or not known.claim:
            return
        claim = "forged" if forged else known.claim
        claim_ms = 0 if give_up else LONG_MS
        renewed = self.run(self.store.renew_claim(payment, claim, claim_ms, set_aside=set_aside))
        assert renewed == self.contract.renew_claim(payment, claim, set_aside=set_aside, give_up=give_up)

    @rule()
    def take_due(self) -> None:
        due = self.run(self.store.take_due(100))
        taken = {claimed.payment.id: claimed.claim for claimed in due.payments}
        given_up = {each for each, payment in self.contract.payments.items() if payment.given_up}
        assert taken.keys() == given_up, f"due {taken}, given up {given_up}"
        for claimed in due.payments:
            known = self.contract.payments[claimed.payment.id]
            assert claimed.claim != known.claim, "a claim was handed out twice"
            sleeper = self.store.complete_payment(claimed.payment.id, known.claim, "settled")
            assert self.run(sleeper).code == "fenced", "a sleeper was let in"
            known.claim, known.given_up = claimed.claim, False

    @precondition(has_payments)
    @rule(number=NUMBERS, outcome=st.sampled_from(["settled", "refund"]))
    def resolve(self, number: int, outcome: str) -> None:
        aside = [each for each, payment in self.contract.payments.items() if payment.set_aside]
        payment = self.pick(aside if aside and number < 48 else list(self.contract.payments), number)
        self.check(
            partial(self.store.resolve_payment, self.operation(), payment, outcome, "a note", "an operator"),
            partial(self.contract.resolve, payment, outcome),
        )

    @precondition(lambda self: self.kept)
    @rule(number=NUMBERS)
    def repeat_a_command_of_long_ago(self, number: int) -> None:
        call, value = self.kept[number % len(self.kept)]
        self.agrees = False
        self.send_again(call, "ok", value)


@pytest.mark.timeout(600)
def test_whatever_happens_the_store_answers_and_holds_what_the_contract_says(
    server_url: str, namespace: str
) -> None:
    in_ci = bool(os.environ.get("CI"))
    answers: Counter[str] = Counter()

    class PurchasesHere(Purchases):
        url = server_url

    PurchasesHere.namespace, PurchasesHere.answers = namespace, answers
    run_state_machine_as_test(
        PurchasesHere,
        settings=settings(
            max_examples=300,
            stateful_step_count=50,
            deadline=None,
            derandomize=in_ci,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert set(answers) == EXPECTED_ANSWERS, f"not met: {EXPECTED_ANSWERS - set(answers)}"
