"""Whether money moved as it has to: the own journal, and the server's audit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import aiohttp
from pydantic import ValidationError

from technopay.cli.load.journal import Journal, Told, differences, told_by
from technopay.cli.load.result import Verdict
from technopay.cli.load.scene import CURRENCY, Scene, Shopper
from technopay.engine import Audit

AUDIT_DEADLINE_S = 620.0
READING_AT_A_TIME = 8
LOOKS = 30
LOOK_PAUSE_S = 1.0
"""What differs is looked at again: between two reads, a settlement may have ended."""

TRIES = 10
DEBITED = {"processing", "succeeded", "refunding"}
"""In these states the wallet's money is away."""


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
        problem = None
    clean = not found and audit is not None and audit.clean
    return Verdict(
        clean=clean,
        acknowledged=journal.acknowledged,
        audit=audit,
        differences=found,
        problem=problem,
    )


async def compare(reader: Reader, scene: Scene, journal: Journal) -> list[str]:
    """Answer what in the store is not as it has to be, by what was acknowledged."""
    told: dict[str, dict[str, Told]] = {shopper.wallet_id: {} for shopper in scene.everybody}
    for payment_id, each in journal.payments.items():
        told[each.wallet_id][payment_id] = each
    found: list[str] = []
    debited = 0
    waiting = iter(scene.everybody)

    async def read_some() -> None:
        nonlocal debited
        for shopper in waiting:
            lines, taken = await _compare_wallet(reader, shopper, told[shopper.wallet_id])
            found.extend(lines)
            debited += taken

    async with asyncio.TaskGroup() as reading:
        for _ in range(READING_AT_A_TIME):
            reading.create_task(read_some())
    return found + list(_compare_limit(scene.limit_before, await reader.limit(), debited))


async def _compare_wallet(
    reader: Reader, shopper: Shopper, told: Mapping[str, Told]
) -> tuple[Sequence[str], int]:
    """Answer what differs, and how much money of the wallet is away."""
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_PAUSE_S)
        found = {each["id"]: told_by(each) async for each in reader.payments(shopper.user_id)}
        balance = await reader.balance(shopper.wallet_id)
        debited = sum(each.amount for each in found.values() if each.status in DEBITED)
        lines = list(_look(shopper, told, found, shopper.deposited - debited, balance))
        if not lines:
            break
    return lines, debited


def _look(
    shopper: Shopper, told: Mapping[str, Told], found: Mapping[str, Told], expected: int, balance: int
) -> Iterator[str]:
    if balance != expected:
        yield (
            f"balance_is_sum_of_entries: {shopper.wallet_id} has {balance} "
            f"and should have {expected} by its payments"
        )
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


def _compare_limit(before: Mapping[str, Any], after: Mapping[str, Any] | None, debited: int) -> Iterator[str]:
    """Compare what was used of the limit; others may have used some, too, and at midnight it begins anew."""
    if after is None or after["resets_at"] != before["resets_at"]:
        return
    used = after["used"] - before["used"]
    if used < debited:
        yield f"limit_is_sum_of_debits: {CURRENCY} counts {used} used since the run began, not {debited}"
    if after["limit"] is not None and after["used"] > after["limit"]:
        yield f"limit_is_sum_of_debits: {CURRENCY} has {after['used']} used of a limit of {after['limit']}"


class Reader:
    """Reads the store's side of things, as an operator, and tries again while the server is busy."""

    def __init__(self, session: aiohttp.ClientSession, scene: Scene) -> None:
        self._session = session
        self._headers = scene.admin

    async def payments(self, user_id: str) -> AsyncIterator[Mapping[str, Any]]:
        """Answer all payments of a user."""
        cursor = ""
        while True:
            page = await self._get(f"/v1/admin/payments?user_id={user_id}&limit=100&cursor={cursor}")
            for payment in page["data"]:
                yield payment
            if not page["has_more"]:
                return
            cursor = page["next_cursor"]

    async def balance(self, wallet_id: str) -> int:
        """Answer the balance of a wallet."""
        return int((await self._get(f"/v1/admin/wallets/{wallet_id}"))["balance"])

    async def limit(self) -> Mapping[str, Any] | None:
        """Answer the limit of the currency."""
        limits = (await self._get("/v1/admin/limits?limit=100"))["data"]
        return next((each for each in limits if each["currency"] == CURRENCY), None)

    async def audit(self) -> Audit:
        """Answer the server's audit."""
        body = await self._get("/v1/admin/audit", deadline_s=AUDIT_DEADLINE_S)
        try:
            return Audit.model_validate(body)
        except ValidationError:
            raise UnreadableError("the server's audit is not in the form that it has to have") from None

    async def _get(self, path: str, deadline_s: float = 30.0) -> Any:
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(LOOK_PAUSE_S)
            timeout = aiohttp.ClientTimeout(total=deadline_s)
            try:
                async with self._session.get(path, headers=self._headers, timeout=timeout) as response:
                    if response.status == 200:
                        return await response.json()
                    problem = f"was answered {response.status}"
                    if response.status not in (429, 503, 504):
                        break
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                problem = f"was not answered: {type(error).__name__}"
        raise UnreadableError(f"GET {path.partition('?')[0]} {problem}")
