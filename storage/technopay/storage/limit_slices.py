"""Slices of limits: how a limit for all users holds on a store of several partitions.

Each limit has a home, which grants slices of it to the partitions. A debit stays one atomic script: it needs
room in the slice of its own partition. Only when that is short, the home is asked; when the home has nothing
left, the unused parts of other slices are recalled. See scripts/shared/slices.lua for why the totals hold.

The totals are rights that only grow, after Balegas et al. (2015), "Extending eventually consistent cloud
databases for enforcing numeric invariants", with one granting side.
"""

import asyncio
import logging
from asyncio import Future
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

from technopay.engine.commands import Command, SetLimit
from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.models import Limit, Wallet
from technopay.engine.ports import Outcome
from technopay.engine.reads import ListWallets, ReadLimits
from technopay.engine.record import Page
from technopay.engine.values import Lease
from technopay.storage.commands import (
    AskSlice,
    LimitState,
    ReadUsage,
    RecallSlice,
    ReportSlices,
    Slice,
    SliceReport,
    SliceTotals,
    SpreadLimit,
    TakeSlice,
)
from technopay.storage.decode import LIMIT_SHORT, SliceRequest
from technopay.storage.partition import Partition, home_of
from technopay.storage.records import with_used

logger = logging.getLogger(__name__)

OnResult = Callable[[Outcome[Any] | Fault], None]

GIVE_UP_S = 2.0
"""How long a payment waits for a slice."""
PAUSE_S = 0.02
"""Between two questions while another caller recalls."""
WANTED_PAYMENTS = 32
"""A partition wants room for so many payments like the short one, or for a quarter of what it used."""
PATIENCE_S = 0.25
"""How long the report of a recall waits for its slowest partition."""
PAGE = 100
TASKS_MAX = 10_000
"""Beyond them, amounts that came back are not reported, but found by the next recall of everything."""


class LimitSlices:
    """Fetches slices for the partitions, and spreads a limit that is set to all of them."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self._partitions = partitions
        self._fetching: defaultdict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._fetched: defaultdict[tuple[int, str], int] = defaultdict(int)
        self._tasks: set[asyncio.Task[None]] = set()

    def send(
        self, partition: Partition, command: Command[Any], lease: Lease | None, on_result: OnResult
    ) -> None:
        """Send a command that checks limits; if its slice is short, fetch one and send it again."""
        partition.send(command, lease, partial(self._on_result, partition, command, lease, on_result))

    def home_of(self, name: str) -> Partition:
        """Return the home of a limit, by rule and currency."""
        return home_of(self._partitions, name)

    def report(self, partition: Partition, returned: SliceRequest) -> None:
        """Report an amount that came back to a partition to the home of the limit, soon."""
        if len(self._tasks) < TASKS_MAX:
            self._begin(self._report(partition, returned))

    async def set_limit(self, command: SetLimit) -> Outcome[Limit]:
        """Set a limit; return when every partition knows it.

        Raises:
            OutcomeUnknown: it has not reached all of them yet; the agenda goes on with it.

        """
        name = f"{command.rule}:{command.currency}"
        home = self.home_of(name)
        others = await self._used(command.rule, command.currency, besides=home)
        outcome = await home.run(replace(command, others=others))
        if outcome.code == "ok":
            try:
                await self.spread(name)
            except StoreUnavailable as error:
                raise OutcomeUnknown from error
        return outcome

    async def spread(self, name: str) -> None:
        """Spread a limit to all partitions, and take back what they have not used of the one before."""
        home, (rule, currency) = self.home_of(name), name.split(":")
        command = SpreadLimit(name, len(self._partitions))
        mode, epoch, limit, period, *granted = (await home.run(command)).value or [""] * 4
        state, part = LimitState(mode, epoch, limit), Slice(rule, currency, period)
        await self._recall(home, part, state, list(zip(self._partitions, granted, strict=True)))
        await home.run(command)

    async def read_limits(self, command: ReadLimits) -> Outcome[list[Limit]]:
        """Read the limits, with what all partitions together used."""
        found = await asyncio.gather(*(each.run(ReadLimits()) for each in self._partitions))
        limits = [limit for outcome in found for limit in outcome.value or ()]
        if command.user_id is not None:
            currencies = await self._currencies_of(command.user_id)
            limits = [each for each in limits if each.currency in currencies and each.limit is not None]
        used = await asyncio.gather(*(self._used(each.rule, each.currency) for each in limits))
        counted = [with_used(each, amount) for each, amount in zip(limits, used, strict=True)]
        return Outcome("ok", sorted(counted, key=lambda each: (each.rule, each.currency)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_result(
        self,
        partition: Partition,
        command: Command[Any],
        lease: Lease | None,
        on_result: OnResult,
        result: Outcome[Any] | Fault,
    ) -> None:
        if isinstance(result, Fault) or result.code != LIMIT_SHORT:
            on_result(result)
            return
        self._begin(
            self._send_again_or_fail(on_result, self._send_again(partition, command, lease, on_result, result))
        )

    async def _send_again(
        self,
        partition: Partition,
        command: Command[Any],
        lease: Lease | None,
        on_result: OnResult,
        short: Outcome[Any],
    ) -> None:
        """Fetch a slice and send the command under the token that its reply raised, until it is not short."""
        result: Outcome[Any] | Fault = short
        give_up_at_s = monotonic() + GIVE_UP_S
        while isinstance(result, Outcome) and result.code == LIMIT_SHORT:
            if monotonic() > give_up_at_s:
                result = StoreUnavailable("The limit cannot be checked now. Nothing happened; try again.")
                break
            lease = lease and lease._replace(token=result.token)
            try:
                sent = await self._fetch(partition, result.details["slice"], command, lease)
            except Fault:
                result = StoreUnavailable()  # the home has a fault; the command did not run
                break
            try:
                result = await sent
            except Fault as fault:
                result = fault
        on_result(result)

    async def _send_again_or_fail(self, on_result: OnResult, sending: Coroutine[Any, Any, None]) -> None:
        """Resolve the command in any case."""
        try:
            await sending
        except Exception:
            logger.exception("a slice could not be fetched")
            on_result(InternalError())

    async def _fetch(
        self, partition: Partition, need: SliceRequest, command: Command[Any], lease: Lease | None
    ) -> Future[Outcome[Any]]:
        """Fetch a slice and send the command right behind it, so that nobody takes it away between them."""
        key = partition.number, f"{need.rule}:{need.currency}"
        before = self._fetched[key]
        async with self._fetching[key]:
            # Those that wait for the same slice try first whether there is room by now.
            if self._fetched[key] == before:
                partition.send(await self._ask(partition, need), None, _ignore)
                self._fetched[key] += 1
            return partition.send_once(command, lease)

    async def _ask(self, partition: Partition, need: SliceRequest) -> TakeSlice:
        """Ask the home of a limit for a slice, until it grants one or has nothing left."""
        wanted = max(WANTED_PAYMENTS * need.amount, int(need.used) // 4)
        home = self.home_of(f"{need.rule}:{need.currency}")
        part, recalled_at = Slice(need.rule, need.currency, need.period), ""
        totals = SliceTotals(need.granted, need.returned, need.used)
        give_up_at_s = monotonic() + GIVE_UP_S
        while monotonic() < give_up_at_s:
            question = AskSlice(part, f"{partition.number:02x}", totals, need.amount, wanted, recalled_at)
            outcome = await home.run(question)
            (mode, epoch, limit, granted, others, left), holders = outcome.value or ([""] * 6, ())
            state, recalled_at = LimitState(mode, epoch, limit), ""
            if outcome.code == "recalling":
                await asyncio.sleep(PAUSE_S)
            elif outcome.code == "recall":
                numbers, totals_granted = holders[::2], holders[1::2]
                named = [self._partitions[int(number, 16)] for number in numbers]
                await self._recall(home, part, state, list(zip(named, totals_granted, strict=True)))
                recalled_at = left
            else:
                return TakeSlice(part, state, granted, others, left)
        raise StoreUnavailable

    async def _recall(
        self, home: Partition, part: Slice, state: LimitState, holders: Sequence[tuple[Partition, str]]
    ) -> None:
        """Have partitions return what they have not used of their grants, and report that to the home.

        Raises:
            Fault: of a partition or of the home; the other partitions are reported.

        """
        recalls = {
            asyncio.create_task(partition.run(RecallSlice(part, state, granted))): partition
            for partition, granted in holders
        }
        waiting = set(recalls)
        try:
            while waiting:  # a slow partition does not hold up the reports of the others
                ended, waiting = await asyncio.wait(waiting, timeout=PATIENCE_S)
                reports = [
                    SliceReport(f"{recalls[each].number:02x}", *(each.result().value or ()))
                    for each in ended
                    if each.exception() is None
                ]
                if reports:
                    await home.run(ReportSlices(part, state.epoch, reports))
        finally:
            for each in waiting:
                each.cancel()
        for each in recalls:
            each.result()

    async def _report(self, partition: Partition, returned: SliceRequest) -> None:
        home, part = self.home_of(f"{returned.rule}:{returned.currency}"), Slice(*returned[:3])
        report = SliceReport(f"{partition.number:02x}", returned.granted, returned.returned, returned.used)
        with suppress(Fault):  # the next recall of everything finds it
            await home.run(ReportSlices(part, "0", [report]))

    async def _used(self, rule: str, currency: str, besides: Partition | None = None) -> int:
        """Return what all partitions, or all but one, used of a limit."""
        asked = [each for each in self._partitions if each is not besides]
        found = await asyncio.gather(*(each.run(ReadUsage(rule, currency)) for each in asked))
        return sum(int(used) for outcome in found for used in outcome.value or ())

    async def _currencies_of(self, user_id: str) -> set[str]:
        """Return the currencies of a user's wallets."""
        partition = home_of(self._partitions, user_id)
        currencies: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            page: Page[Wallet] | None = (await partition.run(ListWallets(user_id, cursor, PAGE))).value
            currencies.update(each.currency for each in page.data) if page else None
            cursor = page.next_cursor if page else None
        return currencies


def _ignore(_: object) -> None:
    """Ignore whether a slice arrived: without it, the command behind it is short again."""
