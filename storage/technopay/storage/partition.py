"""One hash slot of a store: it runs commands and reads its journal."""

import asyncio
import logging
from asyncio import Future
from binascii import crc_hqx
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, TypeVar, cast

from technopay.engine import tracing
from technopay.engine.commands import Command, CreateInvoice
from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.models import Invoice
from technopay.engine.ports import Outcome
from technopay.engine.statistics import ScriptTime, UnreadableRecords
from technopay.engine.values import JournalBatch, Lease, Position
from technopay.storage.archive.archive import LAST
from technopay.storage.archive.commands import RestoreRecords
from technopay.storage.archive.history import History, Trimmed
from technopay.storage.business_days import Calendar
from technopay.storage.commands import AuditUsed
from technopay.storage.decode import Reply, outcome_of
from technopay.storage.journal import batch_of, position_of_last
from technopay.storage.reading_through import NOT_FOUND, READS_HISTORY, ReadingThrough
from technopay.storage.records import UNREADABLE
from technopay.storage.redis_keys import Keys
from technopay.storage.references import reference_digest, referred_as
from technopay.storage.scripts.binding import Binding, bind
from technopay.storage.scripts.loader import OTHER_STORE, Script
from technopay.storage.server.client import Argument, Client, StoreClient

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

Send = Callable[[Command[Any], Lease | None, Callable[[Any], None]], None]
"""Sends a command; its outcome or a fault comes later."""

RETRY_S_MAX = 5.0
RETRY_PAUSE_S = 0.05
BOUNDS_MAX = 3
"""How often a command is sent again whose bounds were old, or whose record was restored."""
NO_LEASE = Lease("", "", keep=False)


class Partition:
    """Sends the commands of one partition.

    `client` is None while the store is closed. Scripts and statistics are shared by all partitions of a store.
    """

    def __init__(
        self,
        keys: Keys,
        scripts: Mapping[str, Script],
        calendar: Calendar,
        script_times: defaultdict[str, ScriptTime],
        unreadable: UnreadableRecords,
    ) -> None:
        self.keys = keys
        self.client: Client | None = None
        self.history: History | None = None
        self.reference_key = b""
        """The key of the digests of references: it is the same for the life of a store."""
        self.through = ReadingThrough(self)
        self._store_client: StoreClient | None = None
        self._scripts = scripts
        self._calendar = calendar
        self._script_times = script_times
        self._unreadable = unreadable
        self._tracing = tracing.active()
        self._bindings: dict[type[Command[Any]], Binding] = {}
        self._keys: tuple[str, ...] = (keys.journal,)
        self._completions: set[asyncio.Task[None]] = set()
        self.now_ms = 0

    @property
    def number(self) -> int:
        return self.keys.partition

    def sibling(self, number: int) -> "Partition":
        """Return another partition of the same store."""
        keys = replace(self.keys, partition=number)
        sibling = Partition(keys, self._scripts, self._calendar, self._script_times, self._unreadable)
        sibling._bindings = self._bindings
        sibling.reference_key = self.reference_key
        if self._store_client is not None:
            sibling.connect(self._store_client)
        return sibling

    def connect(self, client: StoreClient) -> None:
        """Send through the client of a store."""
        self._store_client = client
        self.client = client.of(self.keys)
        self.guard(None)

    def guard(self, incarnation: str | None) -> None:
        """Run scripts only in the store of this incarnation; None: in any. See shared/base.lua."""
        is_in_cluster = self._store_client is not None and self._store_client.is_cluster
        guards = (self.keys.guard(incarnation),) if incarnation or is_in_cluster else ()
        self._keys = (self.keys.journal, *guards)

    def send(
        self,
        command: Command[Value],
        lease: Lease | None,
        on_result: Callable[[Outcome[Value] | Fault], None],
    ) -> None:
        """Send a command with all others of this loop tick; see the engine's store port."""
        self._send(command, lease, partial(self._resolve, command, monotonic(), on_result))

    async def run(
        self, command: Command[Value], lease: Lease | None = None, send: Send | None = None
    ) -> Outcome[Value]:
        """Send a command and wait for its outcome. After a lost reply it is sent again, for a bounded time.

        `send` takes the place of the method.

        Raises:
            StoreUnavailable: it did not run.
            OutcomeUnknown: it may have run, and the store does not reply.

        """
        if isinstance(command, READS_HISTORY):
            return await self._run_read(command)
        if isinstance(command, CreateInvoice) and not command.digest:
            return cast("Outcome[Value]", await self._create_invoice(command))
        send_once = partial(self.send_once, command, lease, send)
        outcome = await retry_until_known(send_once)
        for _ in range(BOUNDS_MAX):
            if outcome.code != "bounds":
                break
            outcome = await retry_until_known(send_once)
        return outcome

    async def _create_invoice(self, command: CreateInvoice) -> Outcome[Invoice]:
        """Create an invoice, whose reference can be that of one that left the store."""
        reference = command.reference or ""
        outcome = await self.run(replace(command, digest=self.digest_of(command.merchant, reference)))
        if outcome.code != "reference_archived":
            return outcome
        holder = await self.through.find_holder(command.merchant, reference)
        return Outcome("reference_used", details={"invoice_id": holder})

    def send_once(
        self, command: Command[Value], lease: Lease | None = None, send: Send | None = None
    ) -> Future[Outcome[Value]]:
        """Send a command once and return the future of its outcome."""
        outcome: Future[Outcome[Value]] = asyncio.get_running_loop().create_future()
        (send or self.send)(command, lease, partial(_resolve_future, outcome))
        return outcome

    async def read(self, command: Command[Any]) -> Reply:
        """Run a command that only reads; return its reply, with what left the store."""
        reply = await self.read_raw(command)
        return await self.through.complete(command, reply) if isinstance(command, READS_HISTORY) else reply

    async def _run_read(self, command: Command[Value]) -> Outcome[Value]:
        """Read what may have left the store.

        Raises:
            InternalError: the reply cannot be read.

        """
        try:
            return self.decode(command, await self.read(command))
        except UNREADABLE:
            logger.exception("the reply of %s cannot be read", type(command).__name__)
            raise InternalError from None

    async def read_raw(self, command: Command[Any]) -> Reply:
        """Run a command that only reads, and return its reply as it is."""

        def send() -> Future[Sequence[Any]]:
            reply: Future[Sequence[Any]] = asyncio.get_running_loop().create_future()
            began_s = monotonic()

            def resolve(binding: Binding, raw: Sequence[Any] | Fault) -> None:
                self._note_time(binding, began_s, raw)
                _resolve_future(reply, raw)

            self._send(command, None, resolve)
            return reply

        return self._reply_of(await retry_until_known(send))

    async def fetch(self, *words: Argument) -> Any:
        """Run a read command of the server, without a script."""
        if self.client is None:
            raise StoreUnavailable("The store is not open.")
        return await fetch(self.client, *words)

    async def read_end(self) -> Position:
        """Return the position of the last entry of the journal."""
        return position_of_last(await self.fetch("XREVRANGE", self.keys.journal, "+", "-", "COUNT", 1))

    async def read_clock_step(self) -> int | None:
        """Return by how many milliseconds an entry's id is later than its time, at most; None if unknown."""
        found = await self.fetch("HGET", self.keys.key("meta"), "clock_behind_ms")
        return int(found) if found else None

    async def read_journal(self, after: Position, limit: int, until: str = "+") -> JournalBatch:
        """Read the entries after a position, also trimmed ones, without a script: the journal never changes."""
        found = await self.fetch("XRANGE", self.keys.journal, str(after), until, "COUNT", limit + 1)
        if found and found[0][0] == str(after):
            return batch_of(found[1:], after, limit, self._unreadable)  # what follows is there, too
        trimmed = await self.read_trimmed()
        if trimmed is not None and after < trimmed.to:
            last = LAST if until == "+" else Position.of(until)
            return await self.through.history_of(trimmed).read(trimmed, after, limit, last)
        return batch_of(found[:limit], after, limit, self._unreadable)

    async def read_trimmed(self) -> Trimmed | None:
        """Return up to which entry the journal left the store; None if all of it is there."""
        to, checkpoint = await self.fetch("HMGET", self.keys.key("archive"), "trimmed_to", "checkpoint")
        return Trimmed(self.number, Position.of(to), checkpoint) if to else None

    async def restore(self, records: Sequence[str]) -> int:
        """Restore records that left the store; return how many were not there. See restore_records.lua."""
        restored = (await self.run(RestoreRecords(self.number, records))).value
        return int(restored[0]) if restored else 0

    async def is_used(self, merchant: str, reference: str) -> bool:
        """Whether an invoice that left the store used a reference, whose home this is."""
        return any((await self.run(AuditUsed([self.digest_of(merchant, reference)]))).value or ())

    def digest_of(self, merchant: str, reference: str) -> str:
        """Return the digest of a reference."""
        return reference_digest(self.reference_key, referred_as(merchant, reference))

    def decode(self, command: Command[Value], reply: Reply) -> Outcome[Value]:
        """Turn a reply into the outcome of a command."""
        result = self._bindings[type(command)].result
        return outcome_of(result, reply, self.number, self._calendar, self._unreadable)

    def _send(
        self,
        command: Command[Any],
        lease: Lease | None,
        on_reply: Callable[[Binding, Sequence[Any] | Fault], None],
    ) -> None:
        binding = self._bindings.get(type(command))
        if binding is None:
            binding = self._bindings[type(command)] = bind(type(command), self._scripts)
        if self.client is None:
            fault = StoreUnavailable("The store is not open.")
            asyncio.get_running_loop().call_soon(on_reply, binding, fault)
            return
        if self._tracing is not None:
            on_reply = self._tracing.script(binding.script.name, on_reply)
        arguments = binding.arguments(command)
        if binding.takes_lease:
            owner, token, keep = lease or NO_LEASE
            arguments += (owner, token, "1" if keep else "0")
        if binding.is_dated:
            arguments += self._calendar.periods(self.now_ms)
        self.client.send(binding.script, self._keys, arguments, partial(on_reply, binding))

    def _resolve(
        self,
        command: Command[Any],
        began_s: float,
        on_result: Callable[[Any], None],
        binding: Binding,
        raw: Sequence[Any] | Fault,
    ) -> None:
        if isinstance(raw, Fault):
            on_result(raw)
            return
        self._note_time(binding, began_s, raw)
        result: Outcome[Any] | Fault
        try:
            reply = self._reply_of(raw)
            result = outcome_of(binding.result, reply, self.number, self._calendar, self._unreadable)
        except StoreUnavailable as error:
            result = error
        except Exception:
            logger.exception("the reply of %s cannot be read", binding.script.name)
            result = InternalError()
        if isinstance(result, Outcome) and (
            result.code in NOT_FOUND or isinstance(result.details.get("entry"), str)
        ):
            task = asyncio.get_running_loop().create_task(self._complete(command, result, on_result))
            self._completions.add(task)
            task.add_done_callback(self._completions.discard)
            return
        on_result(result)

    async def _complete(
        self, command: Command[Any], outcome: Outcome[Any], on_result: Callable[[Any], None]
    ) -> None:
        """Resolve an outcome that lacks what left the store; for a restored record, send again."""
        result: Outcome[Any] | Fault = outcome
        try:
            if outcome.code in NOT_FOUND:
                result = Outcome("bounds") if await self.through.bring_back(command) else outcome
            else:
                entry = await self.through.read_entry(outcome.details["entry"])
                result = outcome._replace(details={**outcome.details, "entry": entry})
        except Fault as fault:
            result = fault
        except Exception:
            logger.exception("history cannot be read")
            result = InternalError()
        on_result(result)

    def _note_time(self, binding: Binding, began_s: float, raw: Sequence[Any] | Fault) -> None:
        if isinstance(raw, Fault):
            return
        script_time = self._script_times[binding.script.name]
        script_time.calls += 1
        script_time.total_s += monotonic() - began_s

    def _reply_of(self, raw: Sequence[Any]) -> Reply:
        """Read a reply and its time.

        Raises:
            StoreUnavailable: it is of another store.

        """
        code, now, token, *body = raw
        if code == OTHER_STORE:
            raise StoreUnavailable("The store was replaced by another one. Nothing happened.")
        reply = Reply(code, int(now), token, body)
        # A replayed reply has the time of the first call.
        if code != "replayed":
            self.now_ms = reply.now_ms
        return reply


def home_of(partitions: Sequence[Partition], name: str) -> Partition:
    """Return the partition of a user, or the home of a limit, a reference or a key, by its name."""
    return partitions[crc_hqx(name.encode(), 0) % len(partitions)]


async def fetch(client: Client, *words: Argument) -> Any:
    """Run a read command of a server, without a script."""

    def send() -> Future[Any]:
        reply: Future[Any] = asyncio.get_running_loop().create_future()
        client.send_command(words, partial(_resolve_future, reply))
        return reply

    return await retry_until_known(send)


async def retry_until_known(send: Callable[[], Future[Value]]) -> Value:
    """Send again after a lost reply, for a bounded time."""
    began_s, was_lost = monotonic(), False
    while True:
        try:
            return await send()
        except OutcomeUnknown:
            was_lost = True
        except StoreUnavailable:
            if not was_lost:
                raise
        if monotonic() - began_s >= RETRY_S_MAX:
            raise OutcomeUnknown
        await asyncio.sleep(RETRY_PAUSE_S)


def _resolve_future(future: Future[Value], result: Value | Fault) -> None:
    """Resolve a future, unless its caller has left."""
    if future.done():
        return
    if isinstance(result, Fault):
        future.set_exception(result)
    else:
        future.set_result(result)
