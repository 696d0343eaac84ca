"""One hash slot of a store: it runs commands and reads its journal."""

import asyncio
import logging
from asyncio import Future
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from technopay.engine.commands import Command
from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.ports import Outcome
from technopay.engine.statistics import ScriptTime, UnreadableRecords
from technopay.engine.values import JournalBatch, Lease, Position
from technopay.storage.business_days import Calendar
from technopay.storage.decode import Reply, outcome_of
from technopay.storage.journal import batch_of, position_of_last
from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.binding import Binding, bind
from technopay.storage.scripts.loader import Script
from technopay.storage.server.client import Argument, Client

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

RETRY_S_MAX = 5.0
RETRY_PAUSE_S = 0.05
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
        self._scripts = scripts
        self._calendar = calendar
        self._script_times = script_times
        self._unreadable = unreadable
        self._bindings: dict[type[Command[Any]], Binding] = {}
        self._keys = (keys.journal,)
        self.now_ms = 0

    def send(
        self,
        command: Command[Value],
        lease: Lease | None,
        on_result: Callable[[Outcome[Value] | Fault], None],
    ) -> None:
        """Send a command with all others of this loop tick; see the engine's store port."""
        if self.client is None:
            fault = StoreUnavailable("The store is not open.")
            asyncio.get_running_loop().call_soon(on_result, fault)
            return
        binding = self._bindings.get(type(command))
        if binding is None:
            binding = self._bindings[type(command)] = bind(type(command), self._scripts)
        arguments = binding.arguments(command)
        if binding.takes_lease:
            owner, token, keep = lease or NO_LEASE
            arguments += (owner, token, "1" if keep else "0")
        if binding.is_dated:
            arguments += self._calendar.periods(self.now_ms)
        on_reply = partial(self._resolve, binding, monotonic(), on_result)
        self.client.send(binding.script, self._keys, arguments, on_reply)

    async def run(self, command: Command[Value], lease: Lease | None = None) -> Outcome[Value]:
        """Send a command and wait for its outcome. After a lost reply it is sent again, for a bounded time.

        Raises:
            StoreUnavailable: it did not run.
            OutcomeUnknown: it may have run, and the store does not reply.

        """
        outcome = await retry_until_known(partial(self.send_once, command, lease))
        if outcome.code == "bounds":
            outcome = await retry_until_known(partial(self.send_once, command, lease))
        return outcome

    def send_once(self, command: Command[Value], lease: Lease | None = None) -> Future[Outcome[Value]]:
        """Send a command once and return the future of its outcome."""
        outcome: Future[Outcome[Value]] = asyncio.get_running_loop().create_future()
        self.send(command, lease, partial(_resolve_future, outcome))
        return outcome

    async def fetch(self, *words: Argument) -> Any:
        """Run a read command of the server, without a script."""

        def send() -> Future[Any]:
            reply: Future[Any] = asyncio.get_running_loop().create_future()
            if self.client is None:
                reply.set_exception(StoreUnavailable("The store is not open."))
            else:
                self.client.send_command(words, partial(_resolve_future, reply))
            return reply

        return await retry_until_known(send)

    async def read_end(self) -> Position:
        """Return the position of the last entry of the journal."""
        return position_of_last(await self.fetch("XREVRANGE", self.keys.journal, "+", "-", "COUNT", 1))

    async def read_journal(self, after: Position, limit: int, until: str = "+") -> JournalBatch:
        """Read the entries after a position, without a script: the journal never changes."""
        found = await self.fetch("XRANGE", self.keys.journal, f"({after}", until, "COUNT", limit)
        return batch_of(found, after, limit, self._unreadable)

    def _resolve(
        self,
        binding: Binding,
        began_s: float,
        on_result: Callable[[Any], None],
        raw: Sequence[Any] | Fault,
    ) -> None:
        if isinstance(raw, Fault):
            on_result(raw)
            return
        script_time = self._script_times[binding.script.name]
        script_time.calls += 1
        script_time.total_s += monotonic() - began_s
        try:
            code, now, token, *body = raw
            reply = Reply(code, int(now), token, body)
            # A replayed reply has the time of the first call.
            if code != "replayed":
                self.now_ms = reply.now_ms
            result: Outcome[Any] | Fault = outcome_of(
                binding.result, reply, self.keys.partition, self._calendar, self._unreadable
            )
        except Exception:
            logger.exception("the reply of %s cannot be read", binding.script.name)
            result = InternalError()
        on_result(result)


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
