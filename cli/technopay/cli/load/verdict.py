"""The verdict on a run: the acknowledgements against the server's state, and the server's audit."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from technopay.cli.load.acknowledgements import Acknowledgements, KnownPayment, differences
from technopay.cli.load.fixtures import CURRENCY, Fixtures, VirtualUser
from technopay.cli.load.result import Verdict
from technopay.cli.process import for_each
from technopay.engine import Audit, Limit, TechnopayError
from technopay.http.client import all_of

AUDIT_WAIT_S = 600.0
READING_CONCURRENCY = 8
LOOKS = 30
LOOK_PAUSE_S = 1.0
"""A difference is looked at again: between two reads, a settlement may have ended."""

DEBITED = {"processing", "succeeded", "refunding"}
"""The statuses in which the money has left the wallet."""

UNDER_WAY = {"processing", "refunding"}


async def judge(
    fixtures: Fixtures, acknowledgements: Acknowledgements, on_step: Callable[[str], None]
) -> Verdict:
    """Compare the acknowledgements with the server's state, and ask the server for its audit."""
    found: list[str] = list(acknowledgements.violations)
    audit: Audit | None = None
    problem = None if acknowledgements.count else "no payment was acknowledged, so there is nothing to judge"
    step = "reading the payments"
    on_step("comparing acknowledgements with the store")
    try:
        found += await compare(fixtures, acknowledgements)
        step = "the audit"
        on_step("waiting for the server's audit")
        audit = await fixtures.operator.audit(wait_s=AUDIT_WAIT_S)
    except TechnopayError as error:
        problem = f"{step} failed: {error}"
    if audit and not audit.clean and not audit.differences:
        audit, problem = None, "the server's audit is not clean and does not name a difference"
    return Verdict(
        clean=not found and problem is None and audit is not None and audit.clean and not audit.differences,
        acknowledged=acknowledgements.count,
        audit=audit,
        differences=found,
        problem=problem,
    )


@dataclass(frozen=True, slots=True)
class WalletCheck:
    """One look at a wallet: differences, the sum of its debits, and whether more may happen."""

    lines: Sequence[str]
    debited: int
    is_under_way: bool


async def compare(fixtures: Fixtures, acknowledgements: Acknowledgements) -> list[str]:
    """Return the differences between the acknowledgements and the store.

    Wallets with a difference are looked at again, until the result is the same twice with nothing under way.
    """
    known: dict[str, dict[str, KnownPayment]] = {user.wallet_id: {} for user in fixtures.all_users}
    strange, refusals = [], acknowledgements.refusals
    for payment_id, each in acknowledgements.payments.items():
        if each.wallet_id in known:
            known[each.wallet_id][payment_id] = each
        else:
            strange.append(f"acknowledged_is_kept: {payment_id} is of a foreign wallet {each.wallet_id}")
    checks: dict[str, WalletCheck] = {}
    waiting: Sequence[VirtualUser] = fixtures.all_users
    before: list[str] = []

    async def check(user: VirtualUser) -> None:
        checks[user.wallet_id] = await _check_wallet(user, known[user.wallet_id], refusals)

    for number in range(LOOKS):
        if number:
            await asyncio.sleep(LOOK_PAUSE_S)
        await for_each(waiting, check, READING_CONCURRENCY)
        lines = [line for each in checks.values() for line in each.lines]
        debited = sum(each.debited for each in checks.values())
        lines += _compare_limit(fixtures, await fixtures.read_limit(), debited)
        again = {wallet_id for wallet_id, each in checks.items() if each.lines or each.is_under_way}
        waiting = [user for user in fixtures.all_users if user.wallet_id in again]
        is_under_way = any(each.is_under_way for each in checks.values())
        if not lines or (lines == before and not is_under_way):
            break
        before = lines
    return strange + lines


async def _check_wallet(
    user: VirtualUser, known: Mapping[str, KnownPayment], refusals: Mapping[str, str]
) -> WalletCheck:
    # As the user: an operator's list is of all users, and read whole.
    found = {payment.id: KnownPayment.of(payment) async for payment in all_of(user.client.list_payments)}
    balance = (await user.client.get_wallet(wallet_id=user.wallet_id)).balance
    debited = sum(each.amount for each in found.values() if each.status in DEBITED)
    lines = [
        *_check_balance(user, user.deposited - debited, balance),
        *_check_payments(known, found),
        *(
            f"acknowledged_is_kept: {payment_id} was refused as {refusals[payment_id]}, "
            f"and is {now.status} and paid at {now.paid_at}"
            for payment_id, now in found.items()
            if payment_id in refusals and now.paid_at is not None
        ),
    ]
    return WalletCheck(lines, debited, any(each.status in UNDER_WAY for each in found.values()))


def _check_balance(user: VirtualUser, expected: int, balance: int) -> Iterator[str]:
    subject = f"balance_is_sum_of_entries: {user.wallet_id} has {balance}"
    if balance != expected:
        yield f"{subject} and should have {expected} by its payments"
    if balance < 0:
        yield f"{subject}, which is below zero"


def _check_payments(known: Mapping[str, KnownPayment], found: Mapping[str, KnownPayment]) -> Iterator[str]:
    for payment_id, before in known.items():
        now = found.get(payment_id)
        if now is None:
            yield f"acknowledged_is_kept: {payment_id} was acknowledged as {before.status} and is missing"
        else:
            yield from differences(payment_id, before, now)
    paid = Counter(each.invoice_id for each in found.values() if each.status in DEBITED)
    for invoice_id, count in paid.items():
        if count > 1:
            yield f"one_payment_per_invoice: {invoice_id} was paid {count} times"


def _compare_limit(fixtures: Fixtures, after: Limit | None, debited: int) -> Iterator[str]:
    """Compare the use of the limit; other clients may have used some, too, and at midnight it is reset."""
    if after is None:
        yield f"limit_is_sum_of_debits: {CURRENCY} had a limit and has none now"
        return
    if after.resets_at != fixtures.limit_before.resets_at:
        return
    used = after.used - fixtures.limit_before.used
    if used < debited:
        yield f"limit_is_sum_of_debits: {CURRENCY} counts {used} used since the run began, not {debited}"
    # A limit that was set below its use refuses from then on: that is no violation.
    if after.limit is not None and after.used > max(after.limit, fixtures.used_when_set):
        yield f"limit_is_sum_of_debits: {CURRENCY} has {after.used} used of a limit of {after.limit}"
