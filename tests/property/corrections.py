"""What operators do with money: deposits, withdrawals, adjustments and refunds, as rules of the machine."""

from functools import partial
from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from property.machine import LONG_MS, StoreMachine
from property.model import Refused

from technopay.engine.commands import BeginRefund, ChangeBalance
from technopay.engine.models import Wallet
from technopay.engine.ports import Outcome
from technopay.engine.values import Operation

NUMBERS, RARELY = st.integers(0, 63), st.sampled_from([False] * 9 + [True])
DEPOSITS = st.sampled_from([*range(5, 50, 5), 2**53 - 1])
REFERENCES = st.sampled_from([None, None, "line 1", "line 2"])
Kind = Literal["deposited", "withdrawn", "adjusted"]


def has_payments(machine: StoreMachine) -> bool:
    return bool(machine.contract.payments)


def refuse_reused_key() -> None:
    raise Refused("idempotency_key_reused")


class Corrections(StoreMachine):
    @rule(number=NUMBERS, amount=DEPOSITS, reference=REFERENCES, reuse_key=RARELY)
    def deposit(self, number: int, amount: int, reference: str | None, reuse_key: bool) -> None:
        wallet, operation = self.pick(list(self.contract.wallets), number), self.operation()
        is_known = (wallet, reference) in self.contract.deposits
        outcome = self.change_balance(wallet, amount, operation=operation, reference=reference)
        assert outcome.replayed == (is_known and outcome.code == "ok"), f"replayed or not: {outcome}"
        if reuse_key and outcome.code == "ok" and not is_known:
            other = Operation(operation.operation_id, "other arguments", LONG_MS)
            self.check(ChangeBalance(other, wallet, amount), refuse_reused_key)

    @rule(number=NUMBERS, amount=st.integers(1, 60))
    def withdraw(self, number: int, amount: int) -> None:
        self.change_balance(self.pick(list(self.contract.wallets), number), -amount, "withdrawn")

    @rule(number=NUMBERS, amount=st.integers(-40, 20).filter(bool))
    def adjust(self, number: int, amount: int) -> None:
        self.change_balance(self.pick(list(self.contract.wallets), number), amount, "adjusted")

    def change_balance(
        self,
        wallet: str,
        amount: int,
        kind: Kind = "deposited",
        *,
        operation: Operation | None = None,
        reference: str | None = None,
    ) -> Outcome[Wallet]:
        command = ChangeBalance(operation or self.operation(), wallet, amount, kind, reference)
        return self.check(command, partial(self.contract.change_balance, wallet, amount, reference))

    @precondition(has_payments)
    @rule(number=NUMBERS, amount=st.sampled_from([None, None, 1, 1, 3, 8, 20]), again=RARELY)
    def refund(self, number: int, amount: int | None, again: bool) -> None:
        payment = self.pick_payment(number, *(("refunding", "refunded") if again else ("succeeded",)))
        known = self.contract.payments.get(payment)
        succeeded = known and known.status == "succeeded"
        refund_id = f"ref_{len(known.refunds) if known else 0:03}"
        command = BeginRefund(self.operation(), payment, refund_id, amount)
        outcome = self.check(command, partial(self.contract.refund, payment, amount))
        if known and succeeded and outcome.code == "ok":
            known.claim = outcome.details["claim"]
