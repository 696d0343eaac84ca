"""The partitions of a store: each command goes to the partition of its user or record.

A record of another partition than the user's does not exist for that user: the user's partition is read, by the
same script and in the same time as for one that does not exist.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

from technopay.engine.commands import (
    BindSecret,
    Command,
    ConfirmPayment,
    CreateInvoice,
    CreateUser,
    CreateWallet,
    FinishDue,
    SetLimit,
    StartPayment,
)
from technopay.engine.errors import Fault
from technopay.engine.fields import named_partition
from technopay.engine.models import ArchiveStatus, Invoice
from technopay.engine.ports import Outcome
from technopay.engine.reads import (
    ListMessages,
    ReadArchive,
    ReadInvoice,
    ReadLimits,
    SearchInvoices,
    SearchPayments,
    SearchUsers,
    SearchWallets,
)
from technopay.engine.record import Page
from technopay.engine.values import Lease
from technopay.engine.webhooks.commands import ListDeliveries
from technopay.storage.archive.history import History
from technopay.storage.creations import Creations
from technopay.storage.limit_slices import LimitSlices
from technopay.storage.merged_lists import Listing, merge
from technopay.storage.partition import Partition, home_of

Value = TypeVar("Value")

CHECKS_LIMITS = (StartPayment, ConfirmPayment)
RECORDS = ("payment_id", "wallet_id", "invoice_id")
"""The fields of commands that name a record, the first one first."""


class Partitions:
    """Routes commands. Those about several partitions can only be run, not sent."""

    def __init__(self, first: Partition, count: int) -> None:
        self._all = [first, *(first.sibling(number) for number in range(1, count))]
        self._slices = LimitSlices(self._all)
        self._creations = Creations(self._all)
        self._routes: dict[type[Command[Any]], Callable[[Any], Partition]] = {}
        self._composites: dict[type[Command[Any]], Callable[[Any], Awaitable[Outcome[Any]]]] = {
            **dict.fromkeys((SearchPayments, SearchUsers, SearchWallets, ListMessages), self._list),
            SearchInvoices: self._list_invoices,
            ListDeliveries: partial(merge, self._all),
            SetLimit: self._slices.set_limit,
            CreateUser: self._creations.create,
            CreateWallet: self._creations.create,
            CreateInvoice: self._creations.create_invoice,
            FinishDue: self._finish,
            BindSecret: self._bind_secret,
            ReadLimits: self._slices.read_limits,
            ReadArchive: self._read_archive,
        }

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Partition:
        return self._all[number]

    def attach(self, history: History) -> None:
        """Read from there what left the store."""
        for each in self._all:
            each.history = history

    def of_user(self, user_id: str) -> int:
        """Return the number of the partition of a user, and of everything that is the user's."""
        return home_of(self._all, user_id).number

    def send(
        self,
        command: Command[Value],
        lease: Lease | None,
        on_result: Callable[[Outcome[Value] | Fault], None],
    ) -> None:
        """Send a command to its partition; see the engine's store port."""
        partition = self.of(command)
        if isinstance(command, CHECKS_LIMITS):
            self._slices.send(partition, command, lease, on_result)
        else:
            partition.send(command, lease, on_result)

    async def run(self, command: Command[Value], lease: Lease | None = None) -> Outcome[Value]:
        """Run a command, in its partition or in all."""
        composite = self._composites.get(type(command))
        if composite is not None:
            return await composite(command)
        partition = self.of(command)
        send = partial(self._slices.send, partition) if isinstance(command, CHECKS_LIMITS) else None
        outcome = await partition.run(command, lease, send)
        if returned := outcome.details.get("slice"):
            self._slices.report(partition, returned)
        return outcome

    def home_of_limit(self, name: str) -> Partition:
        """Return the home of a limit, by rule and currency."""
        return self._slices.home_of(name)

    async def run_each(self, command: Command[Value]) -> list[Outcome[Value]]:
        """Run a command in every partition; return the outcomes in their order."""
        return await asyncio.gather(*(each.run(command) for each in self._all))

    def of(self, command: Command[Any]) -> Partition:
        """Return the partition of a command; the first one for a command about the whole store."""
        route = self._routes.get(type(command))
        if route is None:
            route = self._routes[type(command)] = self._route_of(type(command))
        return route(command)

    def _route_of(self, command_type: type[Command[Any]]) -> Callable[[Any], Partition]:
        names, partitions = {each.name for each in fields(command_type)}, self._all
        if "partition" in names:
            return lambda command: partitions[command.partition]
        record = next((name for name in RECORDS if name in names), None)

        def by_record(command: Any) -> Partition:
            number = named_partition(getattr(command, record)) if record else 0
            return partitions[number if number < len(partitions) else 0]  # 0: an id of no record of this store

        if "user_id" not in names:
            return by_record
        return lambda command: (
            by_record(command) if command.user_id is None else home_of(partitions, command.user_id)
        )

    async def _read_archive(self, command: ReadArchive) -> Outcome[ArchiveStatus]:
        """Merge the states of all partitions; one in which nothing waits is archived up to now."""
        found = [each.value for each in await self.run_each(command)]
        known = [each for each in found if each is not None and each.lag_s is not None]
        lag_s = max((each.lag_s or 0.0 for each in known), default=None)
        ends = [each.archived_to for each in known if each.lag_s] or [
            max((each.archived_to for each in known if each.archived_to), default=None)
        ]
        archived_to = None if None in ends else min(each for each in ends if each)
        checkpoint = max((each.checkpoint for each in known if each.checkpoint), default=None)
        return Outcome("ok", ArchiveStatus.trusted(lag_s=lag_s, archived_to=archived_to, checkpoint=checkpoint))

    async def _bind_secret(self, command: BindSecret) -> Outcome[str]:
        """Bind all partitions: each has codes."""
        outcome, *_ = await self.run_each(command)
        return outcome

    async def _finish(self, command: FinishDue) -> Outcome[None]:
        kind, name = command.member[:4], command.member[4:]
        if kind == "lim_":
            await self._slices.spread(name)
        else:
            await self._creations.finish(self._all[command.partition], name)
        return Outcome("ok")

    async def _list(self, command: Listing) -> Outcome[Any]:
        """List in one partition if the user or the invoice names it, else in all."""
        if any(getattr(command, name, None) is not None for name in ("user_id", "invoice_id")):
            return await self.of(command).run(command)
        return await merge(self._all, command)

    async def _list_invoices(self, command: SearchInvoices) -> Outcome[Any]:
        if command.merchant is None or command.reference is None:
            return await self._list(command)
        holder = await self._creations.holder_of(command.merchant, command.reference)
        found = [await self.run(ReadInvoice(holder, command.user_id))] if holder else []
        invoices = [each.value for each in found if each.value and command.status in (None, each.value.status)]
        return Outcome("ok", Page[Invoice](data=invoices, has_more=False, next_cursor=None))
