"""The audit: recomputes all records from the journal, and compares. It runs beside traffic.

Records are read in batches, each at one position of the journal. The ledger is brought to that position, then
compared with the batch: so concurrent changes cause no false differences.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from technopay.engine.commands import Command
from technopay.engine.errors import InternalError
from technopay.engine.models import Audit, Checked, Difference
from technopay.engine.values import BEGINNING, Position
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.checkpoints import apply_entries, load_checkpoint
from technopay.storage.archive.commands import ReadRecords
from technopay.storage.archive.history import unfit_is_unavailable
from technopay.storage.audit.checks import (
    compare_invoice,
    compare_limit,
    compare_message,
    compare_payment,
    compare_type,
    compare_user,
    compare_wallet,
)
from technopay.storage.audit.effects import apply
from technopay.storage.audit.invariants import BALANCE, CHANGE, MESSAGE, READABLE, differ
from technopay.storage.audit.ledger import Ledger
from technopay.storage.audit.references import compare_references, compare_used_references
from technopay.storage.audit.slices import compare_slices
from technopay.storage.commands import (
    AuditInvoices,
    AuditKeys,
    AuditLimits,
    AuditMessages,
    AuditPayments,
    AuditPosition,
    AuditUsers,
    AuditWallets,
)
from technopay.storage.decode import Raw
from technopay.storage.partition import Partition
from technopay.storage.partitions import Partitions
from technopay.storage.records import UNREADABLE, fields_of
from technopay.storage.redis_keys import KINDS

BATCH = 500
"""Entries of the journal, or keys, that are read at a time; other work of the loop runs between."""
PORTION = 50
"""Records that one script reads: it blocks all other scripts."""
DIFFERENCES_MAX = 1_000
"""The bound of listed differences."""

Compare = Callable[[str, Any, Any], Iterable[Difference]]


async def audit(partitions: Partitions, *, full: bool = False) -> Audit:
    """Recompute the invariants from the journals and compare, in bounded memory.

    That of a trimmed journal begins at its checkpoint. With `full`, the references of invoices that left the
    store are compared with the archive, too.
    """
    counts: Counter[str] = Counter()
    differences: list[Difference] = []
    periods: set[tuple[str, str]] = set()
    for partition in partitions:
        auditor = Auditor(partition, is_alone=len(partitions) == 1)
        with closing(auditor.ledger), unfit_is_unavailable():
            verdict = await auditor.audit()
            counts.update(verdict.checked.model_dump())
            differences += verdict.differences
            periods |= auditor.ledger.periods()
            if len(partitions) > 1:
                invoices = auditor.ledger.ids("invoice", PORTION)
                differences += await compare_references(partitions, partition, invoices)
            if full:
                differences += await compare_used_references(partitions, partition)
    if len(partitions) > 1:
        differences += await compare_slices(partitions, periods)
    found = differences[:DIFFERENCES_MAX]
    return Audit(clean=not found, checked=Checked(**counts), differences=found)


class Auditor:
    """One audit: the ledger and the differences so far."""

    def __init__(self, partition: Partition, *, is_alone: bool) -> None:
        self._partition = partition
        self._is_alone = is_alone
        self._keys = partition.keys
        self._position = self._loaded = BEGINNING
        self._archive: Archive | None = None
        self._messages = 0
        self._differences: list[Difference] = []
        self.ledger = Ledger(self._report)

    async def audit(self) -> Audit:
        """Read the journal, compare its records, and find records that are not in it."""
        await self._begin()
        relay = await self._catch_up()
        if not POSITION.fullmatch(relay):
            self._report(differ(READABLE, "relay", "position", "a position of the journal", relay))
        elif Position.of(relay) > self._position:
            self._report(differ(MESSAGE, "relay", "position", f"at most {self._position}", relay))
        await self._compare_all("user", AuditUsers, compare_user)
        await self._compare_all("wallet", AuditWallets, self._compare_wallet, self._compare_entries)
        await self._compare_all("invoice", AuditInvoices, compare_invoice)
        await self._compare_all("payment", AuditPayments, self._compare_payment)
        await self._compare_all("spending_limit", AuditLimits, self._compare_limit)
        await self._check_keys()
        await self._check_agenda()
        for difference in self.ledger.compare_totals():
            self._report(difference)
        checked = Checked(
            entries=self.ledger.entries,
            users=self.ledger.count("user"),
            wallets=self.ledger.count("wallet"),
            invoices=self.ledger.count("invoice"),
            payments=self.ledger.count("payment"),
            limits=self.ledger.count("spending_limit"),
            messages=self._messages,
        )
        return Audit(clean=not self._differences, checked=checked, differences=self._differences)

    async def _begin(self) -> None:
        """Begin at the checkpoint of the partition, if its journal was trimmed."""
        trimmed = await self._partition.read_trimmed()
        if trimmed is None:
            return
        history = self._partition.through.history_of(trimmed)
        checkpoint = await history.checkpoint(trimmed)
        self._archive = history.archive
        await load_checkpoint(self._archive, trimmed.partition, checkpoint, self.ledger)
        self._position = self._loaded = checkpoint.position

    async def _compare_all(
        self,
        kind: str,
        read: Callable[[Sequence[str]], Command[Raw]],
        compare: Compare,
        then: Callable[[Sequence[str]], Awaitable[None]] | None = None,
    ) -> None:
        """Compare all present records of a kind in the ledger."""
        for ids in self.ledger.ids(kind, PORTION):
            position, found = await self._run(read(ids))
            await self._read_to(Position.of(position))
            for record_id, record in zip(ids, found, strict=True):
                expected = self.ledger.record(kind, record_id)
                self._report_all(kind, record_id, record, partial(compare, record_id, expected, record))
            if then:
                await then(ids)

    def _compare_wallet(self, wallet_id: str, expected: Any, found: Any) -> Iterator[Difference]:
        balance = int(fields_of(found[0]).get("balance", "0"))
        self.ledger.note_surplus(wallet_id, balance - expected["balance"])
        return compare_wallet(wallet_id, expected, self.ledger.deposits(wallet_id), found)

    def _compare_limit(self, name: str, expected: Any, found: Any) -> Iterator[Difference]:
        return compare_limit(name, expected, self.ledger.used(name), found)

    def _compare_payment(self, payment_id: str, expected: Any, found: Any) -> Iterator[Difference]:
        charges, refunds = self.ledger.charges(payment_id), self.ledger.refunds(payment_id)
        return compare_payment(payment_id, expected, charges, refunds, found)

    async def _compare_entries(self, wallets: Sequence[str]) -> None:
        """Compare the lists of entries, which only grow at their ends."""
        await asyncio.gather(*(self._compare_entries_of(wallet_id) for wallet_id in wallets))

    async def _compare_entries_of(self, wallet_id: str) -> None:
        following, key = 0, self._keys.key("entries", wallet_id)
        while True:
            first, expected = self.ledger.positions(wallet_id, following, BATCH)
            if not expected:
                return
            try:
                found = await self._partition.fetch("LRANGE", key, first, first + len(expected) - 1)
            except InternalError:
                self._report(differ(READABLE, wallet_id, "entries", "a list that can be read", "none"))
                return
            if found != expected:
                self._report(differ(BALANCE, wallet_id, f"entries from {first} on", expected, found))
            following = first + len(expected)

    async def _check_keys(self) -> None:
        """Find records without an entry in the journal, and compare the records of messages."""
        prefix, cursor = self._keys.key("meta").removesuffix("meta"), "0"
        while True:
            words = ("MATCH", f"{prefix}*", "COUNT", BATCH)
            scanned, keys = await self._partition.fetch("SCAN", cursor, *words)
            await self._catch_up()
            names = [key.removeprefix(prefix).partition(":") for key in keys]
            unknown = [(kind, record_id) for kind, _, record_id in names if self._is_unknown(kind, record_id)]
            ended = [record_id for kind, record_id in unknown if kind in ENDING and self._loaded > BEGINNING]
            for kind, record_id in unknown:
                if record_id not in ended:
                    self._report(differ(CHANGE, record_id, kind, "an entry of the journal", "none"))
            await self._compare_ended(ended)
            await self._compare_messages([record_id for kind, _, record_id in names if kind == "message"])
            await self._compare_types([key.removeprefix(prefix) for key in keys])
            cursor = str(scanned)
            if cursor == "0":
                return

    def _is_unknown(self, kind: str, record_id: str) -> bool:
        """Whether a record should be in the ledger, and is not."""
        table = {"limit": "spending_limit"}.get(kind, kind)
        # A partition knows limits that other ones keep and use.
        is_created = table in RECORDS and (self._is_alone or kind != "limit")
        return is_created and self.ledger.record(table, record_id) is None

    async def _compare_ended(self, ids: Sequence[str]) -> None:
        """Compare payments and invoices that ended before the checkpoint with the archive."""
        assert self._archive is not None or not ids
        for first in range(0, len(ids), PORTION):
            portion, number = ids[first : first + PORTION], self._partition.number
            position, found = await self._run(ReadRecords(number, portion))
            await self._read_to(Position.of(position))
            kept = await self._archive.read_records(number, portion) if self._archive else {}
            for record_id, flat in zip(portion, found, strict=True):
                compare = partial(self._compare_with_archive, record_id, kept.get(record_id), flat)
                self._report_all(KINDS_BY_ID[record_id[:4]], record_id, flat, compare)

    def _compare_with_archive(
        self, record_id: str, kept: Mapping[str, str] | None, flat: Sequence[str]
    ) -> Iterator[Difference]:
        record = fields_of(flat)
        payment_id = record_id if record_id.startswith("pay_") else record.get("payment", "")
        if not record or self.ledger.record("payment", payment_id):
            return  # it was removed or refunded meanwhile
        if kept is None:
            yield differ(CHANGE, record_id, "record", "an entry of the journal", "none")
            return
        for name in sorted({*kept, *record}):
            if kept.get(name) != record.get(name):
                yield differ(CHANGE, record_id, name, kept.get(name), record.get(name))

    async def _compare_types(self, names: Sequence[str]) -> None:
        """Compare the types of keys with those of their kinds."""
        known = [name for name in names if type_of(name)]
        if known:
            (found,) = await self._run(AuditKeys(known))
            for name, key_type in zip(known, found, strict=True):
                for difference in compare_type(name, type_of(name), key_type):
                    self._report(difference)

    async def _check_agenda(self) -> None:
        """Find members of the agenda of an unknown kind."""
        cursor = "0"
        while True:
            scanned, flat = await self._partition.fetch(
                "ZSCAN", self._keys.key("agenda"), cursor, "COUNT", BATCH
            )
            for member in flat[::2]:
                if not member.startswith(AGENDA):
                    self._report(differ(READABLE, member, "agenda", "a known kind of member", "none"))
            cursor = str(scanned)
            if cursor == "0":
                return

    async def _compare_messages(self, ids: Sequence[str]) -> None:
        for first in range(0, len(ids), PORTION):
            portion = ids[first : first + PORTION]
            _, found = await self._run(AuditMessages(portion))
            for message_id, message in zip(portion, found, strict=True):
                self._report_all("message", message_id, message, partial(compare_message, message_id, message))
            self._messages += len(portion)

    async def _catch_up(self) -> str:
        """Read the journal to its end; return the position of the relay."""
        position, relay = await self._run(AuditPosition())
        await self._read_to(Position.of(position))
        return str(relay)

    async def _read_to(self, position: Position) -> None:
        """Apply the journal up to a position."""
        while self._position < position:
            batch = await self._partition.read_journal(self._position, BATCH, str(position))
            if self._archive is None:
                for entry in batch.entries:
                    apply(self.ledger, entry)
            else:
                number = self._partition.number
                await apply_entries(self._archive, number, self.ledger, batch.entries, self._loaded)
            self._position = batch.end
            if batch.is_last:
                break  # its last entry is missing

    async def _run(self, command: Command[Raw]) -> Raw:
        return (await self._partition.run(command)).value or ()

    def _report_all(
        self, kind: str, record_id: str, found: Any, compare: Callable[[], Iterable[Difference]]
    ) -> None:
        """Report the differences of a record; an unreadable one is a difference, too."""
        try:
            if found == [record_id]:
                raise ValueError(found)
            differences = list(compare())
        except UNREADABLE as error:
            differences = [differ(READABLE, record_id, kind, "a record that can be read", type(error).__name__)]
        for difference in differences:
            self._report(difference)

    def _report(self, difference: Difference) -> None:
        if len(self._differences) < DIFFERENCES_MAX:
            self._differences.append(difference)


POSITION = re.compile("[0-9]+-[0-9]+")
TYPES = {kind: text.partition(":")[0].partition(" ")[0] for kind, text in KINDS.items()}
"""The types of keys, by kind."""
AGENDA = ("pay_", "msg_", "op_", "lim_", "quo_", "ref_", "whk_", "whd_", "dlv_")
"""The kinds of members of the agenda, by their beginning."""
KINDS_BY_ID = {"pay_": "payment", "inv_": "invoice"}
ENDING = frozenset(KINDS_BY_ID.values())
"""The kinds of records of which those that ended are not in a checkpoint."""
RECORDS = frozenset({"user", "wallet", "invoice", "payment", "spending_limit"})
"""The kinds of records whose creation is in the journal."""


def type_of(name: str) -> str:
    """Return the expected type of a key, by its name without the tag; '' for an unknown kind."""
    return TYPES.get(name) or TYPES.get(name.partition(":")[0]) or TYPES.get(":".join(name.split(":")[:2]), "")
