"""Whether money moved as it has to: the own journal, and the server's audit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from technopay.cli.load.journal import Journal, Told, differences, told_by
from technopay.cli.load.result import Verdict
from technopay.cli.load.scene import CURRENCY, Headers, Scene, Shopper
from technopay.engine import Audit

AUDIT_DEADLINE_S = 620.0
READING_AT_A_TIME = 8
LOOKS = 30
LOOK_PAUSE_S = 1.0
"""What differs is looked at again: between two reads, a settlement may have ended."""

TRIES = 10
DEBITED = {"processing", "succeeded", "refunding"}
"""In these states the wallet's money is away."""

UNDER_WAY = {"processing", "refunding"}


class UnreadableError(Exception):
    """Raised when the server does not tell what is needed for a verdict; says what."""


async def judge(
    session: aiohttp.ClientSession, scene: Scene, journal: Journal, on_step: Callable[[str], None]
) -> Verdict:
    """Compare what was acknowledged with what the server says now, and ask it for its audit."""
    reader = Reader(session, scene)
    found: list[str] = list(journal.broken)
    audit = None
    try:
        on_step("comparing what was acknowledged with what is in the store")
        found += await compare(reader, scene, journal)
        on_step("waiting for the server's audit")
        audit = await reader.audit()
    except UnreadableError as error:
        problem: str | None = str(error)
    else:
        problem = None if journal.acknowledged else "nothing was acknowledged, so there is nothing to judge"
    return Verdict(
        clean=not found and problem is None and audit is not None and audit.clean and not audit.differences,
        acknowledged=journal.acknowledged,
        audit=audit,
        differences=found,
        problem=problem,
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a wallet: what differs, how much of its money is away, and whether more may happen."""

    lines: Sequence[str]
    debited: int
    is_under_way: bool


async def compare(reader: Reader, scene: Scene, journal: Journal) -> list[str]:
    """Answer what in the store is not as it has to be, by what was acknowledged.

    What differs is looked at again, until it is the same as before with nothing under way.
    """
    told: dict[str, dict[str, Told]] = {shopper.wallet_id: {} for shopper in scene.everybody}
    strange, refusals = [], journal.refusals
    for payment_id, each in journal.payments.items():
        if each.wallet_id in told:
            told[each.wallet_id][payment_id] = each
        else:
            strange.append(
                f"acknowledged_is_kept: {payment_id} was told to be of a stranger's {each.wallet_id}"
            )
    looks: dict[str, Look] = {}
    waiting: Sequence[Shopper] = scene.everybody
    before: list[str] = []
    for number in range(LOOKS):
        if number:
            await asyncio.sleep(LOOK_PAUSE_S)
        looks |= await _look_at_wallets(reader, waiting, told, refusals)
        lines = [line for look in looks.values() for line in look.lines]
        lines += _compare_limit(scene, await reader.limit(), sum(look.debited for look in looks.values()))
        waiting = [each for each in scene.everybody if _may_change(looks[each.wallet_id])]
        is_under_way = any(look.is_under_way for look in looks.values())
        if not lines or (lines == before and not is_under_way):
            break
        before = lines
    return strange + lines


def _may_change(look: Look) -> bool:
    return bool(look.lines) or look.is_under_way


async def _look_at_wallets(
    reader: Reader,
    shoppers: Iterable[Shopper],
    told: Mapping[str, Mapping[str, Told]],
    refusals: Mapping[str, str],
) -> dict[str, Look]:
    looks: dict[str, Look] = {}
    waiting = iter(shoppers)

    async def look_at_some() -> None:
        for shopper in waiting:
            look = await _look_at_wallet(reader, shopper, told[shopper.wallet_id], refusals)
            looks[shopper.wallet_id] = look

    try:
        async with asyncio.TaskGroup() as looking:
            for _ in range(READING_AT_A_TIME):
                looking.create_task(look_at_some())
    except* UnreadableError as errors:
        raise errors.exceptions[0] from None
    return looks


async def _look_at_wallet(
    reader: Reader, shopper: Shopper, told: Mapping[str, Told], refusals: Mapping[str, str]
) -> Look:
    with _understood(f"what the server tells of {shopper.user_id}"):
        found = {each["id"]: told_by(each) async for each in reader.payments(shopper)}
        balance = await reader.balance(shopper.wallet_id)
    debited = sum(each.amount for each in found.values() if each.status in DEBITED)
    lines = list(_look(shopper, told, found, shopper.deposited - debited, balance))
    lines += _look_for_refused(refusals, found)
    return Look(lines, debited, any(each.status in UNDER_WAY for each in found.values()))


def _look(
    shopper: Shopper, told: Mapping[str, Told], found: Mapping[str, Told], expected: int, balance: int
) -> Iterator[str]:
    if balance != expected:
        yield (
            f"balance_is_sum_of_entries: {shopper.wallet_id} has {balance} "
            f"and should have {expected} by its payments"
        )
    if balance < 0:
        yield f"balance_is_sum_of_entries: {shopper.wallet_id} has {balance}, which is less than nothing"
    for payment_id, before in told.items():
        now = found.get(payment_id)
        if now is None:
            yield f"acknowledged_is_kept: {payment_id} was told {before.status} and is not there"
        else:
            yield from differences(payment_id, before, now)
    paid = Counter(each.invoice_id for each in found.values() if each.status in DEBITED)
    for invoice_id, count in paid.items():
        if count > 1:
            yield f"one_payment_per_invoice: {invoice_id} was paid {count} times"


def _look_for_refused(refusals: Mapping[str, str], found: Mapping[str, Told]) -> Iterator[str]:
    """Answer what was paid although its user was told that it was not."""
    for payment_id, now in found.items():
        if payment_id in refusals and now.paid_at is not None:
            yield (
                f"acknowledged_is_kept: {payment_id} was refused as {refusals[payment_id]}, "
                f"and is {now.status} and paid at {now.paid_at}"
            )


def _compare_limit(scene: Scene, after: Mapping[str, Any] | None, debited: int) -> Iterator[str]:
    """Compare what was used of the limit; others may have used some, too, and at midnight it begins anew."""
    with _understood("the server's limit"):
        if after is None:
            yield f"limit_is_sum_of_debits: {CURRENCY} had a limit and has none now"
            return
        if after["resets_at"] != scene.limit_before["resets_at"]:
            return
        used = after["used"] - scene.limit_before["used"]
        if used < debited:
            yield f"limit_is_sum_of_debits: {CURRENCY} counts {used} used since the run began, not {debited}"
        # Set lower than what is used already, a limit refuses from then on: there is nothing wrong with it.
        if after["limit"] is not None and after["used"] > max(after["limit"], scene.used_when_set):
            yield f"limit_is_sum_of_debits: {CURRENCY} has {after['used']} used of a limit of {after['limit']}"


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Take an answer of another form than it has to have for one that cannot be read."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnreadableError(f"{what} is not in the form that it has to have") from None


class Reader:
    """Reads the store's side of things, and tries again while the server is busy."""

    def __init__(self, session: aiohttp.ClientSession, scene: Scene) -> None:
        self._session = session
        self._admin = scene.admin

    async def payments(self, shopper: Shopper) -> AsyncIterator[Mapping[str, Any]]:
        """Answer all payments of a user, as the user: an operator's list is of all users, and walked whole."""
        cursor = ""
        while True:
            page = await self._get(f"/v1/payments?limit=100&cursor={cursor}", shopper.headers)
            for payment in page["data"]:
                yield payment
            if not page["has_more"]:
                return
            cursor = page["next_cursor"]

    async def balance(self, wallet_id: str) -> int:
        """Answer the balance of a wallet."""
        return int((await self._get(f"/v1/admin/wallets/{wallet_id}", self._admin))["balance"])

    async def limit(self) -> Mapping[str, Any] | None:
        """Answer the limit of the currency."""
        page = await self._get("/v1/admin/limits?limit=100", self._admin)
        with _understood("the server's limits"):
            return next((each for each in page["data"] if each["currency"] == CURRENCY), None)

    async def audit(self) -> Audit:
        """Answer the server's audit."""
        body = await self._get("/v1/admin/audit", self._admin, deadline_s=AUDIT_DEADLINE_S)
        with _understood("the server's audit"):
            audit = Audit.model_validate(body)
        if not audit.clean and not audit.differences:
            raise UnreadableError("the server's audit is not clean and does not say what differs")
        return audit

    async def _get(self, path: str, headers: Headers, deadline_s: float = 30.0) -> Any:
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(LOOK_PAUSE_S)
            timeout = aiohttp.ClientTimeout(total=deadline_s)
            try:
                async with self._session.get(path, headers=headers, timeout=timeout) as response:
                    if response.status == 200:
                        return await response.json()
                    problem = f"was answered {response.status}"
                    if response.status not in (429, 503, 504):
                        break
            except TimeoutError:
                # Nobody else asks any more: it had all the time there is.
                problem = f"was not answered within {deadline_s:.0f} s"
                break
            except (aiohttp.ClientError, OSError, ValueError) as error:
                problem = f"was not answered: {type(error).__name__}"
        raise UnreadableError(f"GET {path.partition('?')[0]} {problem}")
