"""How the store runs scripts: one reply each, asked for again when it is lost."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.ports import Operation, Outcome
from technopay.engine.statistics import ScriptTime, UnreadableRecords
from technopay.storage.days import Calendar
from technopay.storage.keys import Keys
from technopay.storage.records import UNREADABLE, id_of
from technopay.storage.scripts import load_scripts
from technopay.storage.server.client import Argument, Client

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

ASK_AGAIN_S_MAX = 5.0
ASK_AGAIN_PAUSE_S = 0.05


class Reply(NamedTuple):
    """What every script answers: a code, the store's time, a lease or claim token, and the rest."""

    code: str
    now_ms: int
    token: str
    body: Sequence[Any]

    @property
    def record(self) -> Any:
        """The record that the reply is about; empty when there is none."""
        return self.body[0] if self.body else None

    @property
    def details(self) -> dict[str, str]:
        """What a payment's script says beside the payment."""
        flat = self.body[1] if len(self.body) > 1 else None
        return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}


class ScriptRunner:
    """Runs the scripts of one store."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._scripts = load_scripts()
        self._link: Client | None = None
        self._calendar = Calendar("UTC")
        self._now_ms = 0
        self.unreadable = UnreadableRecords()
        self._script_times: defaultdict[str, ScriptTime] = defaultdict(ScriptTime)

    @property
    def script_times(self) -> Mapping[str, ScriptTime]:
        """How long the scripts took that this process sent."""
        return self._script_times

    @property
    def is_open(self) -> bool:
        """Whether there is a link to a server, which may be down."""
        return self._link is not None

    def _send(self, name: str, values: Sequence[Argument], hear: Callable[[Reply | Fault], None]) -> None:
        """Send a script with its arguments in their order; `hear` gets its reply or a fault, later and once."""
        if self._link is None:
            asyncio.get_running_loop().call_soon(hear, StoreUnavailable("The store is not open."))
            return

        script_time, began = self._script_times[name], monotonic()

        def read(raw: Sequence[Any] | Fault) -> None:
            if isinstance(raw, Fault):
                hear(raw)
                return
            script_time.calls += 1
            script_time.total_s += monotonic() - began
            try:
                code, now, token, *body = raw
                now_ms = int(now)
            except (TypeError, ValueError):
                logger.exception("%s answered %r", name, raw)
                hear(InternalError())
            else:
                # An answer given again says what time it was then.
                if code != "replayed":
                    self._now_ms = now_ms
                hear(Reply(code, now_ms, token, body))

        self._link.send(self._scripts[name], (self._keys.journal,), values, read)

    def _ask(self, name: str, values: Sequence[Argument]) -> Future[Reply]:
        """Send a script and answer where its reply will be."""
        reply: Future[Reply] = asyncio.get_running_loop().create_future()
        self._send(name, values, partial(resolve, reply))
        return reply

    async def _fetch(self, *words: Argument) -> Any:
        """Run a command that only reads, without a script. A lost reply is asked for again."""

        def ask() -> Future[Any]:
            reply: Future[Any] = asyncio.get_running_loop().create_future()
            if self._link is None:
                reply.set_exception(StoreUnavailable("The store is not open."))
            else:
                self._link.send_command(words, partial(resolve, reply))
            return reply

        return await ask_until_known(ask)

    async def _run(self, name: str, **arguments: Argument | Sequence[Argument]) -> Reply:
        """Run a script by name with the arguments that its header names.

        A lost reply is asked for again: every script knows its own earlier result.

        Raises:
            StoreUnavailable: it did not run.
            OutcomeUnknown: it may have run, and the store does not answer.

        """
        script = self._scripts[name]
        assert len(arguments) == len(script.arguments), f"{name} takes {script.arguments}"
        values: list[Any] = [arguments[each] for each in script.names]
        if script.takes_many:
            values[-1:] = values[-1]
        return await ask_until_known(lambda: self._ask(name, values))

    def _read_each(
        self,
        kind: str,
        replies: Iterable[Any],
        build: Callable[[Any], Value],
        name: Callable[[Any], str] = id_of,
    ) -> list[Value]:
        """Build many records; one that cannot be read is noted and left out."""
        found = []
        for reply in replies:
            try:
                found.append(build(reply))
            except UNREADABLE as error:
                self.unreadable.note(kind, name(reply), error)
        return found

    async def _run_dated(self, name: str, **arguments: Argument) -> Reply:
        """Run a script that needs the calendar around the store's clock."""
        reply = await self._run(name, **arguments, days=self._calendar.days(self._now_ms))
        if reply.code == "bounds":
            reply = await self._run(name, **arguments, days=self._calendar.days(reply.now_ms))
        return reply


async def ask_until_known(ask: Callable[[], Future[Value]]) -> Value:
    """Ask again while a reply is lost, but not for ever."""
    began, was_lost = monotonic(), False
    while True:
        try:
            return await ask()
        except OutcomeUnknown:
            was_lost = True
        except StoreUnavailable:
            if not was_lost:
                raise
        if monotonic() - began >= ASK_AGAIN_S_MAX:
            raise OutcomeUnknown
        await asyncio.sleep(ASK_AGAIN_PAUSE_S)


def resolve(future: Future[Value], heard: Value | Fault) -> None:
    """Let a future have what was heard, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(heard, Fault):
        future.set_exception(heard)
    else:
        future.set_result(heard)


def operated(operation: Operation) -> dict[str, str | int]:
    """Answer the arguments that name an operation."""
    return {"operation": operation.id, "fingerprint": operation.fingerprint, "kept_ms": operation.kept_ms}


def outcome_of(
    reply: Reply, build: Callable[[Any], Value], details: Mapping[str, Any] | None = None
) -> Outcome[Value]:
    """Turn a reply into an outcome. A recorded reply is as good as a fresh one.

    Raises:
        InternalError: the record cannot be read.

    """
    replayed = reply.code == "replayed"
    try:
        value = build(reply.record) if reply.record else None
    except UNREADABLE as error:
        logger.error("%.200r cannot be read", id_of(reply.record))
        raise InternalError from error
    if replayed:
        return Outcome("ok", value, details or {}, replayed=True)
    return Outcome(reply.code, value, details or {}, reply.token)
