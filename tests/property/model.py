"""The contract as a plain program: the order of refusals, and the changes of every command.

Written from the contract, not from the scripts. Time does not pass in it: no record expires.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeVar

AMOUNT_MAX = 2**53 - 1
ATTEMPTS = 5
RESENDS = 3

WAITING = "requires_confirmation"

Found = TypeVar("Found")
Verdict = Literal["settled", "given_back", "reversed", "refund_failed"]


class Refused(Exception):
    """Raised when a rule refuses; `details` are the members of the refusal beside the code."""

    def __init__(self, code: str, **details: int) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


def refuse_if(condition: object, code: str, **details: int) -> None:
    """Apply a rule."""
    if condition:
        raise Refused(code, **details)


@dataclass
class User:
    """The state of a payer."""

    email: bool
    phone: bool
    status: str = "active"
    addresses: int = 0
    """How often they were changed."""


@dataclass
class Wallet:
    """A user's money. `in_flight` may come back, and its room is reserved."""

    user: str
    currency: str
    balance: int = 0
    in_flight: int = 0
    status: str = "active"


@dataclass
class Invoice:
    """A demand on a user."""

    user: str
    amount: int
    currency: str
    status: str = "open"
    live: str | None = None
    refunded: int = 0


@dataclass
class Refund:
    """An amount of a payment that goes back."""

    amount: int
    status: str


@dataclass
class Payment:
    """One attempt to pay an invoice."""

    invoice: str
    wallet: str
    user: str
    amount: int
    currency: str
    method: str
    status: str = WAITING
    attempts: int = ATTEMPTS
    resends: int = RESENDS
    issue: int = 1
    addresses: int = 0
    """How often those of its user had been changed when the code was sent."""
    claim: str = ""
    given_up: bool = False
    set_aside: bool = False
    failure: str | None = None
    refunds: list[Refund] = field(default_factory=list)
    balance_after: int | None = None

    @property
    def refunded(self) -> int:
        return sum(each.amount for each in self.refunds if each.status == "done")

    @property
    def moving(self) -> int:
        """The amount that a verdict moves."""
        return self.refunds[-1].amount if self.status == "refunding" else self.amount

    def has_ended(self, status: str) -> bool:
        """Whether the last refund ended so; none counts as failed."""
        return (self.refunds[-1].status if self.refunds else "failed") == status

    @property
    def took_money(self) -> bool:
        """Whether the accepted code's repeat returns the current state."""
        return self.status in ("processing", "succeeded") or self.failure == "settlement_failed"


@dataclass
class Contract:
    """The whole state, and one method per command: it returns on success and raises Refused on refusal."""

    users: dict[str, User] = field(default_factory=dict)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    deposits: dict[tuple[str, str], int] = field(default_factory=dict)

    def create_user(self, user_id: str, *, email: bool, phone: bool) -> None:
        refuse_if(user_id in self.users, "user_exists")
        self.users[user_id] = User(email, phone)

    def update_user(self, user_id: str, *, email: bool, phone: bool) -> None:
        user = _find(self.users, user_id, "user_not_found")
        user.addresses += (email, phone) != (user.email, user.phone)
        user.email, user.phone = email, phone

    def set_user_status(self, user_id: str, status: str) -> None:
        _find(self.users, user_id, "user_not_found").status = status

    def create_wallet(self, wallet_id: str, user_id: str, currency: str) -> None:
        _find(self.users, user_id, "user_not_found")
        self.wallets[wallet_id] = Wallet(user_id, currency)

    def set_wallet_status(self, wallet_id: str, status: str) -> None:
        _find(self.wallets, wallet_id, "wallet_not_found").status = status

    def change_balance(self, wallet_id: str, amount: int, reference: str | None = None) -> None:
        wallet = _find(self.wallets, wallet_id, "wallet_not_found")
        if reference and (earlier := self.deposits.get((wallet_id, reference))):
            refuse_if(earlier != amount, "reference_used")
            return
        refuse_if(wallet.balance + wallet.in_flight + amount > AMOUNT_MAX, "balance_too_large")
        refuse_if(wallet.balance + amount < 0, "insufficient_funds", required=-amount, available=wallet.balance)
        wallet.balance += amount
        if reference:
            self.deposits[wallet_id, reference] = amount

    def create_invoice(
        self, invoice_id: str, user_id: str, amount: int, currency: str, reference: str | None
    ) -> None:
        _find(self.users, user_id, "user_not_found")
        if reference:
            holder = self.references.get(reference)
            refuse_if(holder is not None and self.invoices[holder].status != "void", "reference_used")
            self.references[reference] = invoice_id
        self.invoices[invoice_id] = Invoice(user_id, amount, currency)

    def void_invoice(self, invoice_id: str) -> None:
        invoice = _find(self.invoices, invoice_id, "invoice_not_found")
        refuse_if(invoice.status in ("processing", "paid"), "invoice_not_voidable")
        self._cancel_live(invoice)
        invoice.status = "void"

    def set_limit(self, currency: str, amount: int | None) -> None:
        self.limits[currency] = amount

    def start(self, payment_id: str, user_id: str, wallet_id: str, invoice_id: str, method: str) -> None:
        user = _find(self.users, user_id, "user_not_found")
        wallet = self._own_wallet(wallet_id, user_id)
        invoice = self._own_invoice(invoice_id, user_id)
        refuse_if(user.status == "blocked", "user_blocked")
        refuse_if(wallet.status == "inactive", "wallet_inactive")
        refuse_if(invoice.status == "paid", "invoice_already_paid")
        refuse_if(invoice.status == "void", "invoice_not_payable")
        refuse_if(invoice.status == "processing", "payment_in_progress")
        refuse_if(wallet.currency != invoice.currency, "currency_mismatch")
        method = method or ("email" if user.email else "sms")
        refuse_if(not (user.email if method == "email" else user.phone), "no_channel")
        self._refuse_for_money(wallet, invoice)
        self._cancel_live(invoice)
        invoice.live = payment_id
        self.payments[payment_id] = Payment(
            invoice_id, wallet_id, user_id, invoice.amount, invoice.currency, method, addresses=user.addresses
        )

    def confirm(self, payment_id: str, user_id: str, code: str) -> None:
        payment = self._own_payment(payment_id, user_id)
        is_right = code == self.code_of(payment_id)
        if payment.took_money and is_right:
            return  # the accepted code again: the current state
        wallet, invoice = self.wallets[payment.wallet], self.invoices[payment.invoice]
        self._refuse_for_state(payment)
        if not is_right or payment.addresses != self.users[user_id].addresses:
            payment.attempts -= 1
            if payment.attempts == 0:
                payment.status, payment.failure, invoice.live = "failed", "too_many_attempts", None
            raise Refused("confirmation_invalid", attempts_remaining=payment.attempts)
        self._refuse_for_money(wallet, invoice)
        wallet.balance -= payment.amount
        wallet.in_flight += payment.amount
        self.used[payment.currency] = self.used.get(payment.currency, 0) + payment.amount
        invoice.status = payment.status = "processing"
        payment.balance_after = wallet.balance

    def resend(self, payment_id: str, user_id: str) -> None:
        payment = self._own_payment(payment_id, user_id)
        self._refuse_for_state(payment)
        user = self.users[user_id]
        refuse_if(not (user.email or user.phone), "no_channel")
        refuse_if(payment.resends == 0, "rate_limited")
        payment.resends -= 1
        payment.addresses = user.addresses
        if not (user.email if payment.method == "email" else user.phone):
            payment.method = "email" if user.email else "sms"
        payment.issue += 1

    def cancel(self, payment_id: str, user_id: str) -> None:
        payment = self._own_payment(payment_id, user_id)
        refuse_if(payment.status != WAITING, "payment_not_cancelable")
        self._cancel_live(self.invoices[payment.invoice])

    def refund(self, payment_id: str, amount: int | None) -> None:
        payment = _find(self.payments, payment_id, "payment_not_found")
        left = payment.amount - payment.refunded
        if payment.status == "refunding":
            refuse_if(amount is not None or payment.refunds[-1].amount != left, "refund_in_progress")
            return
        if payment.status == "refunded" and amount is None:
            return
        refuse_if(payment.status not in ("succeeded", "refunded"), "payment_not_refundable")
        refuse_if(amount is not None and amount > left, "refund_too_large", refundable=left)
        amount = amount or left
        wallet = self.wallets[payment.wallet]
        refuse_if(wallet.balance + wallet.in_flight + amount > AMOUNT_MAX, "balance_too_large")
        wallet.in_flight += amount
        payment.status = "refunding"
        payment.refunds.append(Refund(amount, "pending"))

    def complete(self, payment_id: str, claim: str, verdict: Verdict) -> None:
        payment = _find(self.payments, payment_id, "payment_not_found")
        was_recorded = {
            "settled": payment.status == "succeeded",
            "given_back": payment.status == "failed",
            "reversed": payment.status in ("succeeded", "refunded") and payment.has_ended("done"),
            "refund_failed": payment.status == "succeeded" and payment.has_ended("failed"),
        }
        if was_recorded[verdict]:
            return
        begins = "refunding" if verdict in ("reversed", "refund_failed") else "processing"
        refuse_if(payment.status != begins or payment.claim != claim, "claim_lost")
        self._conclude(payment, verdict)

    def resolve(self, payment_id: str, outcome: str) -> None:
        payment = _find(self.payments, payment_id, "payment_not_found")
        refuse_if(not payment.set_aside, "payment_not_resolvable")
        if payment.status == "processing":
            self._conclude(payment, "settled" if outcome == "settled" else "given_back")
        else:
            self._conclude(payment, "reversed" if outcome == "refund" else "refund_failed")

    def renew_claim(self, payment_id: str, claim: str, *, set_aside: bool, give_up: bool) -> bool:
        payment = self.payments[payment_id]
        if payment.claim != claim:
            return False
        payment.given_up = give_up
        payment.set_aside = payment.set_aside or set_aside
        return True

    def code_of(self, payment_id: str) -> str:
        """Return the current code: every issue has its own."""
        return f"{payment_id}/{self.payments[payment_id].issue}"

    def _conclude(self, payment: Payment, verdict: Verdict) -> None:
        wallet, invoice = self.wallets[payment.wallet], self.invoices[payment.invoice]
        amount = payment.moving
        self._leave_flight(payment, amount)
        if verdict == "refund_failed":
            payment.status, payment.refunds[-1].status = "succeeded", "failed"
            return
        if verdict == "settled":
            payment.status, invoice.status = "succeeded", "paid"
            return
        wallet.balance += amount
        if verdict == "reversed":
            payment.refunds[-1].status = "done"
            payment.status = "refunded" if payment.refunded == payment.amount else "succeeded"
            invoice.refunded = payment.refunded
            return
        payment.refunds.append(Refund(amount, "done"))
        payment.status, payment.failure = "failed", "settlement_failed"
        invoice.status, invoice.live = "open", None
        self.used[payment.currency] -= payment.amount

    def _leave_flight(self, payment: Payment, amount: int) -> None:
        self.wallets[payment.wallet].in_flight -= amount
        payment.claim, payment.given_up, payment.set_aside = "", False, False

    def _cancel_live(self, invoice: Invoice) -> None:
        if invoice.live:
            self.payments[invoice.live].status = "canceled"
            invoice.live = None

    def _refuse_for_state(self, payment: Payment) -> None:
        """Apply the common rules of confirm and resend."""
        refuse_if(self.users[payment.user].status == "blocked", "user_blocked")
        refuse_if(self.wallets[payment.wallet].status == "inactive", "wallet_inactive")
        refuse_if(payment.status != WAITING, "payment_not_confirmable")

    def _refuse_for_money(self, wallet: Wallet, invoice: Invoice) -> None:
        amount, balance = invoice.amount, wallet.balance
        refuse_if(amount > balance, "insufficient_funds", required=amount, available=balance)
        limit, used = self.limits.get(invoice.currency), self.used.get(invoice.currency, 0)
        if limit is not None:
            refuse_if(used + amount > limit, "daily_limit_exceeded", limit=limit, used=used)
        refuse_if(used + amount > AMOUNT_MAX, "balance_too_large")

    def _own_wallet(self, wallet_id: str, user_id: str) -> Wallet:
        wallet = _find(self.wallets, wallet_id, "wallet_not_found")
        refuse_if(wallet.user != user_id, "wallet_not_found")
        return wallet

    def _own_invoice(self, invoice_id: str, user_id: str) -> Invoice:
        invoice = _find(self.invoices, invoice_id, "invoice_not_found")
        refuse_if(invoice.user != user_id, "invoice_not_found")
        return invoice

    def _own_payment(self, payment_id: str, user_id: str) -> Payment:
        payment = _find(self.payments, payment_id, "payment_not_found")
        refuse_if(payment.user != user_id, "payment_not_found")
        return payment


def _find(records: dict[str, Found], record_id: str, code: str) -> Found:
    record = records.get(record_id)
    if record is None:
        raise Refused(code)
    return record
