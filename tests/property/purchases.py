"""All operations of users, operators and the settlement service, as rules that a machine draws at random."""

from datetime import UTC, datetime
from functools import partial
from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from property import snapshot
from property.corrections import NUMBERS, RARELY, Corrections, has_payments
from property.machine import GHOST, LONG_MS
from property.model import ATTEMPTS, RESENDS, WAITING, Verdict
from support.fixtures.store_commands import renew_claims, take_due
from support.fixtures.store_setup import KEY_ID, evidence_of

from technopay.engine.commands import (
    CancelPayment,
    CompletePayment,
    ConfirmPayment,
    CreateInvoice,
    CreateUser,
    CreateWallet,
    ResendCode,
    ResolvePayment,
    SetAside,
    SetLimit,
    SetUserStatus,
    SetWalletStatus,
    StartPayment,
    UpdateUser,
    VoidInvoice,
)

FAR, MERCHANT = datetime(2100, 1, 1, tzinfo=UTC), "shop"

NAMES = ["ann", "ben", "cat", "dan"]
USERS, USERS_OR_GHOST = st.sampled_from(NAMES), st.sampled_from([*NAMES, GHOST])
CURRENCIES = st.sampled_from(snapshot.CURRENCIES)
AMOUNTS = st.integers(1, 30)


class Purchases(Corrections):
    @initialize(repeats=st.integers(0, 2**50 - 1), limit=st.sampled_from([None, 60]))
    def open_for_business(self, repeats: int, limit: int | None) -> None:
        for user, email, phone in (("ann", True, True), ("ben", False, True), ("cat", False, False)):
            self.create_user(user, email, phone)
            for currency in snapshot.CURRENCIES if email or phone else ("EUR",):
                self.create_wallet(user, currency, 0)
                self.create_invoice(user, 10, currency, None)
        for wallet in list(self.contract.wallets):
            self.change_balance(wallet, 20)
        self.set_limit("EUR", limit)
        self.repeats = repeats

    @rule(user=USERS, email=st.booleans(), phone=st.booleans())
    def create_user(self, user: str, email: bool, phone: bool) -> None:
        addresses = f"{user}@example.com" if email else None, "+15550100" if phone else None
        command = CreateUser(self.operation(), user, *addresses)
        self.check(command, partial(self.contract.create_user, user, email=email, phone=phone))

    @rule(user=USERS_OR_GHOST, email=st.booleans(), phone=st.booleans())
    def update_user(self, user: str, email: bool, phone: bool) -> None:
        addresses = f"{user}@example.com" if email else None, "+15550100" if phone else None
        command = UpdateUser(self.operation(), user, True, addresses[0], True, addresses[1])
        self.check(command, partial(self.contract.update_user, user, email=email, phone=phone))

    @rule(user=USERS_OR_GHOST, status=st.sampled_from(["active", "active", "blocked"]))
    def set_user_status(self, user: str, status: str) -> None:
        self.check(
            SetUserStatus(self.operation(), user, status),
            partial(self.contract.set_user_status, user, status),
        )

    @precondition(lambda self: len(self.contract.wallets) < 10)
    @rule(user=USERS_OR_GHOST, currency=CURRENCIES, number=NUMBERS)
    def create_wallet(self, user: str, currency: str, number: int) -> None:
        wallet = self.new_id("wal", user)
        self.check(
            CreateWallet(self.operation(), wallet, user, currency),
            partial(self.contract.create_wallet, wallet, user, currency),
        )

    @rule(number=NUMBERS, status=st.sampled_from(["active", "active", "inactive"]))
    def set_wallet_status(self, number: int, status: str) -> None:
        wallet = self.pick(list(self.contract.wallets), number)
        command = SetWalletStatus(self.operation(), wallet, status)
        self.check(
            command,
            partial(self.contract.set_wallet_status, wallet, status),
        )

    @precondition(lambda self: len(self.contract.invoices) < 20)
    @rule(
        user=USERS_OR_GHOST, amount=AMOUNTS, currency=CURRENCIES, reference=st.sampled_from([None, None, "1"])
    )
    def create_invoice(self, user: str, amount: int, currency: str, reference: str | None) -> None:
        invoice = self.new_id("inv", user)
        command = CreateInvoice(
            self.operation(), invoice, user, amount, currency, MERCHANT, None, reference, FAR
        )
        self.check(
            command,
            partial(self.contract.create_invoice, invoice, user, amount, currency, reference),
        )

    @rule(number=NUMBERS)
    def void_invoice(self, number: int) -> None:
        invoice = self.pick(list(self.contract.invoices), number)
        self.check(
            VoidInvoice(self.operation(), invoice),
            partial(self.contract.void_invoice, invoice),
        )

    @rule(currency=CURRENCIES, amount=st.none() | st.integers(0, 80))
    def set_limit(self, currency: str, amount: int | None) -> None:
        self.check(
            SetLimit(self.operation(), currency, amount),
            partial(self.contract.set_limit, currency, amount),
        )

    @precondition(has_payments)
    @rule(number=NUMBERS, short=st.booleans())
    def leave_room_for_one_payment(self, number: int, short: bool) -> None:
        payment = self._waiting(number)
        known = self.contract.payments.get(payment)
        if known:
            self.set_limit(known.currency, self.contract.used.get(known.currency, 0) + known.amount - short)
            self._confirm(payment, "right", stranger=False)

    @precondition(has_payments)
    @rule(number=NUMBERS, answer=st.sampled_from(["right", "wrong"]))
    def try_with_user_and_wallet_closed(self, number: int, answer: str) -> None:
        payment = self._waiting(number)
        known = self.contract.payments.get(payment)
        if known:
            wallet = list(self.contract.wallets).index(known.wallet)
            self.set_user_status(known.user, "blocked")
            self.set_wallet_status(wallet, "inactive")
            self._start(known.user, known.wallet, known.invoice, "", keyed=True)
            self._resend(payment, stranger=False, keyed=True)
            self._confirm(payment, answer, stranger=False)
            self.set_user_status(known.user, "active")
            self._resend(payment, stranger=False, keyed=True)
            self._confirm(payment, answer, stranger=False)
            self.set_wallet_status(wallet, "active")

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
        self._start(user, wallet, invoice, method, keyed=keyed)

    def _start(self, user: str, wallet: str, invoice: str, method: str, *, keyed: bool) -> None:
        payment, operation = self.new_id("pay", user), self.operation(keyed=keyed)
        command = StartPayment(
            operation, payment, user, wallet, invoice, method, KEY_ID, LONG_MS, ATTEMPTS, RESENDS
        )
        self.check(
            command,
            partial(self.contract.start, payment, user, wallet, invoice, method),
            recorded=keyed,
        )

    @precondition(has_payments)
    @rule(number=NUMBERS, answer=st.sampled_from(["right", "right", "right", "wrong", "old"]), stranger=RARELY)
    def confirm(self, number: int, answer: Literal["right", "wrong", "old"], stranger: bool) -> None:
        self._confirm(self._waiting(number), answer, stranger=stranger)

    @precondition(lambda self: len(self.contract.invoices) < 20)
    @rule(number=NUMBERS, exactly=st.booleans())
    def pay_twice_what_is_there(self, number: int, exactly: bool) -> None:
        wallet_id = self.pick(list(self.contract.wallets), number)
        wallet = self.contract.wallets.get(wallet_id)
        if not wallet or not 0 < wallet.balance < 1000:
            return
        amount = wallet.balance if exactly else wallet.balance // 2 + 1
        for _ in range(2):
            self.create_invoice(wallet.user, amount, wallet.currency, None)
            self._start(wallet.user, wallet_id, list(self.contract.invoices)[-1], "", keyed=True)
        for payment in list(self.contract.payments)[-2:]:
            self._confirm(payment, "right", stranger=False)

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
        if not any(payment.status == WAITING for payment in self.contract.payments.values()):
            self.start(number, number, stray="", method="", keyed=True)
        return self.pick_payment(number, WAITING)

    def _confirm(self, payment: str, answer: str, *, stranger: bool) -> None:
        known = self.contract.payments.get(payment)
        issue = known.issue if known else 1
        digest = {"right": f"{payment}/{issue}", "old": f"{payment}/{issue - 1}"}.get(answer, "guessed")
        user = self.owner_of(payment, stranger=stranger)
        versions = [int(digest.rpartition("/")[2])] if "/" in digest else []
        evidence = evidence_of(digest, *versions)
        command = ConfirmPayment(self.new_id("op"), payment, user, evidence)
        replays = bool(known and known.took_money and answer == "right" and not stranger)
        outcome = self.check(command, partial(self.contract.confirm, payment, user, digest), recorded=False)
        if outcome.code == "confirmation_invalid":
            self.guesses.append((payment, command, outcome))
        assert outcome.replayed == replays, f"replayed or not: {outcome}"
        self.answers["confirm_payment replayed"] += replays
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
        command = ResendCode(self.operation(keyed=keyed), payment, user, issue, LONG_MS)
        self.check(command, partial(self.contract.resend, payment, user), recorded=keyed)

    @precondition(has_payments)
    @rule(number=NUMBERS, stranger=RARELY, keyed=st.booleans())
    def cancel(self, number: int, stranger: bool, keyed: bool) -> None:
        payment = self._waiting(number)
        user = self.owner_of(payment, stranger=stranger)
        command = CancelPayment(self.operation(keyed=keyed), payment, user)
        self.check(
            command,
            partial(self.contract.cancel, payment, user),
            recorded=keyed,
        )

    @precondition(has_payments)
    @rule(number=NUMBERS, verdict=st.sampled_from(["settled", "settled", "given_back"]), forged=RARELY)
    def settle_or_decline(self, number: int, verdict: Verdict, forged: bool) -> None:
        self._complete(self.pick_payment(number, "processing"), verdict, forged=forged)

    @precondition(has_payments)
    @rule(number=NUMBERS, verdict=st.sampled_from(["reversed", "reversed", "refund_failed"]), forged=RARELY)
    def reverse(self, number: int, verdict: Verdict, forged: bool) -> None:
        self._complete(self.pick_payment(number, "refunding"), verdict, forged=forged)

    def _complete(self, payment: str, verdict: Verdict, *, forged: bool) -> None:
        known = self.contract.payments.get(payment)
        claim = "forged" if forged or not known else known.claim or "1"
        self.check(
            CompletePayment(payment, claim, verdict),
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
        if set_aside:
            renewed = self.send(SetAside(payment, claim, LONG_MS)).code == "ok"
        else:
            renewed = self.run(renew_claims(self.store, [("payment", payment, claim)], keep=not give_up))[0]
        give_up = give_up and not set_aside
        assert renewed == self.contract.renew_claim(payment, claim, set_aside=set_aside, give_up=give_up)

    @rule()
    def take_due(self) -> None:
        due = self.run(take_due(self.store, 100))
        taken = {claimed.payment.id: claimed.claim for claimed in due.payments}
        given_up = {each for each, payment in self.contract.payments.items() if payment.given_up}
        assert taken.keys() == given_up, f"due {taken}, given up {given_up}"
        for claimed in due.payments:
            known = self.contract.payments[claimed.payment.id]
            assert claimed.claim != known.claim, "a claim was handed out twice"
            sleeper = CompletePayment(claimed.payment.id, known.claim, "settled")
            assert self.send(sleeper).code == "claim_lost", "a sleeper was let in"
            known.claim, known.given_up = claimed.claim, False

    @precondition(has_payments)
    @rule(number=NUMBERS, outcome=st.sampled_from(["settled", "refund"]))
    def resolve(self, number: int, outcome: str) -> None:
        if number < 48:
            self.renew_claim(number, set_aside=True, give_up=False, forged=False)
        aside = [each for each, payment in self.contract.payments.items() if payment.set_aside]
        payment = self.pick(aside if aside and number < 48 else list(self.contract.payments), number)
        self.check(
            ResolvePayment(self.operation(), payment, outcome, "a note", "an operator"),
            partial(self.contract.resolve, payment, outcome),
        )

    @precondition(lambda self: self.guesses)
    @rule(number=NUMBERS)
    def repeat_a_guess_of_long_ago(self, number: int) -> None:
        payment, command, first = self.guesses[number % len(self.guesses)]
        if self.contract.payments[payment].status == WAITING:
            before = self.read_snapshot()
            again = self.send(command)
            assert (again.code, again.details) == (first.code, first.details), f"first {first}, then {again}"
            assert self.read_snapshot() == before, "a repeated guess changed the store"
            self.answers["confirm_payment guessed_again"] += 1

    @precondition(lambda self: self.kept)
    @rule(number=NUMBERS)
    def repeat_a_command_of_long_ago(self, number: int) -> None:
        command, value = self.kept[number % len(self.kept)]
        self.agrees = False
        self.send_again(command, "ok", value)
