"""A machine that sends random commands to a store and to the contract's model, and compares after each one."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar, cast

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant
from property import views
from property.model import Contract, Refused
from property.snapshot import differences, expected_fields, read_snapshot
from support.fixtures.audit import assert_clean
from support.fixtures.script_names import script_of
from support.fixtures.store_commands import read_limits
from support.fixtures.zones import zone_at_midday
from support.servers.raw_client import raw_client

from technopay.engine import Page, Refusal, SequentialIds
from technopay.engine.commands import Command, CompletePayment, ResolvePayment
from technopay.engine.ports import Outcome
from technopay.engine.reads import ListInvoices, ListPayments, ListWallets
from technopay.engine.runtime import unwrap
from technopay.engine.values import Lease, Operation
from technopay.storage import RedisStore

Result = TypeVar("Result")

LONG_MS = 600_000
"""Longer than any run: no record expires."""

LEASE = Lease("the machine", "", keep=False)
"""A lease that is free, or held by the machine."""

GHOST = "xxx_00ghost"
WITH_PAYMENT = {
    "payment_in_progress",
    "invoice_already_paid",
    "invoice_not_voidable",
    "payment_not_confirmable",
    "payment_not_cancelable",
    "payment_not_refundable",
    "refund_in_progress",
    "refund_too_large",
    "payment_not_resolvable",
}
"""Refusals that include the payment that they are about."""

_runs = itertools.count()


REFUSAL_S = 0.26
"""How long a partition remembers a refusal of the home of a limit, see shared/slices.lua."""


def gives_back(command: Command[Any]) -> bool:
    if isinstance(command, CompletePayment):
        return command.verdict == "given_back"
    return isinstance(command, ResolvePayment) and command.outcome == "refund"


class StoreMachine(RuleBasedStateMachine):
    """A store in a namespace of its own, and the sending of a command to it and to the model.

    Random commands are sent twice, as after a lost reply: the second outcome has to equal the first one,
    without a change in the store.
    """

    url: ClassVar[str]
    namespace: ClassVar[str]
    partitions: ClassVar[int] = 1
    answers: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.contract = Contract()
        self.ids = SequentialIds()
        self.kept: list[tuple[Command[Any], Any]] = []
        self.guesses: list[tuple[str, Command[Any], Outcome[Any]]] = []
        self.repeats = 0
        self.agrees = True
        self.snapshot: dict[str, Any] | None = None
        self.place = f"{self.namespace}x{next(_runs)}"
        self.runner = asyncio.Runner()
        self.raw = raw_client(self.url)
        self.store = RedisStore(
            url=self.run(self.connect()),
            initialise=True,
            timezone=zone_at_midday(),
            namespace=self.place,
            durability="always",
            partitions=self.partitions,
        )
        self.run(self.store.open())

    def teardown(self) -> None:
        """Compare all records of users and audit the store, unless the run failed already."""
        try:
            if self.agrees:
                found, expected = self.run(self.read_lists()), views.expected_records(self.contract)
                assert found == expected, different(found, expected)
                self.run(assert_clean(self.store))
        finally:
            self.run(self.store.aclose())
            self.run(self.disconnect())
            self.run(self.raw.aclose())
            self.runner.close()

    async def connect(self) -> str:
        """Return the address of the server for the store."""
        return self.url

    async def disconnect(self) -> None:
        """Close the resources of the address."""

    def run(self, steps: Coroutine[Any, Any, Result]) -> Result:
        """Run steps in the loop of this machine."""
        self.snapshot = None
        return self.runner.get_loop().run_until_complete(steps)

    def new_id(self, prefix: str, user: str = "alice") -> str:
        """Make an id in the partition of a user."""
        return self.ids.new(prefix, self.store.partition_of(user))

    def operation(self, *, keyed: bool = True) -> Operation:
        """Make the identity of a call."""
        return Operation(self.new_id("op"), "the arguments" if keyed else "", LONG_MS)

    def send(self, command: Command[Any]) -> Outcome[Any]:
        return self.run(self.store.run(command, LEASE))

    def check(
        self, command: Command[Any], rule: Callable[[], object], *, recorded: bool = True
    ) -> Outcome[Any]:
        """Send a command, at random twice, and compare the outcomes with the model's."""
        self.agrees = False
        before = expected_fields(self.contract)
        expected, details = "ok", {}
        try:
            rule()
        except Refused as refused:
            expected, details = refused.code, refused.details
        first = self.send(command)
        if self.partitions > 1 and gives_back(command):
            time.sleep(REFUSAL_S)  # other partitions may remember that the limit was used up
        assert (expected, details) == (first.code, told_by(first)), (
            f"expected {expected} {details}, got {first}"
        )
        self.compare_value(first)
        self.answers[f"{script_of(command)} {first.code}"] += 1
        self.repeats, twice = divmod(self.repeats, 2)
        if twice:
            self.send_again(command, first.code, first.value)
        # Keep only outcomes that changed a record.
        if recorded and first.code == "ok" and expected_fields(self.contract) != before:
            self.kept.append((command, first.value))
        self.agrees = True
        return first

    def send_again(self, command: Command[Any], code: str, value: object) -> None:
        """Send a command another time: the same outcome, without a change in the store."""
        before = self.read_snapshot()
        second = self.send(command)
        # A completion returns a settled payment only in a repeat.
        if value is None and isinstance(command, CompletePayment):
            self.compare_value(second)
            value = second.value
        assert (second.code, second.value) == (code, value), f"first {code} {value}, then {second}"
        assert self.read_snapshot() == before, f"a repeat changed the store: {second}"

    def compare_value(self, outcome: Outcome[Any]) -> None:
        """Compare the record in an outcome with the model's."""
        if outcome.value is not None:
            found = views.found(outcome.value)
            expected = views.expected(self.contract, outcome.value)
            assert found == expected, f"answered {found}, expected {expected}"

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        different = differences(self.read_snapshot(), self.contract)
        self.agrees = not different
        assert not different, "\n".join(different)

    def read_snapshot(self) -> dict[str, Any]:
        """Read all records as stored, unless they were read after the last command."""
        keys = [each.keys for each in self.store._partitions]
        snapshot = self.snapshot or self.run(read_snapshot(self.raw, keys, self.contract))
        self.snapshot = snapshot
        return snapshot

    async def read_lists(self) -> dict[str, Any]:
        """Read all records of users by the lists, and the limits."""
        lists: tuple[type[Any], ...] = (ListWallets, ListInvoices, ListPayments)
        users = self.contract.users
        pages = await asyncio.gather(*(self.store.run(kind(user, "", 100)) for kind in lists for user in users))
        limits = await read_limits(self.store, None)
        records: list[Any] = [record for page in pages for record in cast("Page[Any]", page.value).data]
        found = {record.id: views.found(record) for record in records}
        return found | {limit.currency: views.found(limit) for limit in limits}

    def pick(self, ids: Sequence[str], number: int) -> str:
        """Choose an id; a missing one if there is none, or now and then."""
        return ids[number % len(ids)] if ids and number < 60 else GHOST

    def pick_payment(self, number: int, *statuses: str) -> str:
        """Choose a payment: mostly the newest one in these statuses."""
        ids = list(reversed(self.contract.payments))
        fitting = [each for each in ids if self.contract.payments[each].status in statuses]
        return self.pick(fitting if fitting and number < 48 else ids, number)

    def owner_of(self, payment_id: str, *, stranger: bool) -> str:
        """Return the payer of a payment, or another user."""
        payment = self.contract.payments.get(payment_id)
        owner = payment.user if payment else "ann"
        return ("ben" if owner == "ann" else "ann") if stranger else owner


def told_by(outcome: Outcome[Any]) -> dict[str, int]:
    """Return the figures of a refusal, taken from the engine's exception."""
    if outcome.code in ("ok", "claim_lost"):
        return {}
    with pytest.raises(Refusal) as caught:
        unwrap(outcome)
    refusal = caught.value
    assert refusal.code == outcome.code
    assert (refusal.payment is not None) == shows_payment(outcome), f"payment not as it should be: {outcome}"
    figures = ("required", "available", "refundable", "attempts_remaining")
    told = {name: getattr(refusal, name) for name in figures if getattr(refusal, name) is not None}
    if refusal.limit:
        assert refusal.limit.limit is not None
        told |= {"limit": refusal.limit.limit, "used": refusal.limit.used}
    return told


def shows_payment(outcome: Outcome[Any]) -> bool:
    """Whether a refusal has to include a payment: always with a payment's own command."""
    return outcome.code in WITH_PAYMENT or type(outcome.value).__name__ in ("Payment", "OperatorPayment")


def different(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Return a line for each difference."""
    ids = sorted(found.keys() | expected.keys())
    return "\n".join(
        f"{each}: found {found.get(each)}, expected {expected.get(each)}"
        for each in ids
        if found.get(each) != expected.get(each)
    )
