"""How the store runs scripts: one reply each, asked for again when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from technopay.engine.errors import OutcomeUnknown, StoreUnavailable
from technopay.engine.ports import Lease, Operation, Outcome
from technopay.storage.days import Calendar
from technopay.storage.keys import Keys
from technopay.storage.link import Link
from technopay.storage.scripts import load_scripts
from technopay.storage.wire import LostReplyError

Value = TypeVar("Value")

ASK_AGAIN_S_MAX = 5.0
ASK_AGAIN_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Reply:
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
        flat = self.body[1] if len(self.body) > 1 else []
        return dict(zip(flat[::2], flat[1::2], strict=True))


class ScriptRunner:
    """Runs the scripts of one store."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._scripts = load_scripts()
        self._link: Link | None = None
        self._calendar = Calendar("UTC")
        self._now_ms = 0

    async def _run(self, name: str, **arguments: str | int | Sequence[str | int]) -> Reply:
        """Run a script by name with the arguments that its header names.

        A lost reply is asked for again: every script knows its own earlier result.

        Raises:
            StoreUnavailable: it did not run.
            OutcomeUnknown: it may have run, and the store does not answer.

        """
        if self._link is None:
            raise StoreUnavailable("The store is not open.")
        script = self._scripts[name]
        assert len(arguments) == len(script.arguments), f"{name} takes {script.arguments}"
        values: list[str | int] = []
        for argument in script.arguments:
            value = arguments[argument.removesuffix("...")]
            if isinstance(value, str | int):
                values.append(value)
            else:
                values.extend(value)
        reply = await self._ask_until_known(self._link, name, values)
        self._now_ms = int(reply[1])
        return Reply(reply[0], self._now_ms, reply[2], reply[3:])

    async def _ask_until_known(self, link: Link, name: str, values: list[str | int]) -> Any:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + ASK_AGAIN_S_MAX
        was_lost = False
        while True:
            try:
                return await link.run(self._scripts[name], values)
            except LostReplyError:
                was_lost = True
            except StoreUnavailable:
                if not was_lost:
                    raise
            if loop.time() >= give_up_at:
                raise OutcomeUnknown
            await asyncio.sleep(ASK_AGAIN_PAUSE_S)

    async def _run_dated(self, name: str, **arguments: str | int) -> Reply:
        """Run a script that needs the calendar around the store's clock."""
        reply = await self._run(name, **arguments, days=self._calendar.days(self._now_ms))
        if reply.code == "bounds":
            reply = await self._run(name, **arguments, days=self._calendar.days(reply.now_ms))
        return reply


def operated(operation: Operation) -> dict[str, str | int]:
    """Answer the arguments that name an operation."""
    return {"operation": operation.id, "fingerprint": operation.fingerprint, "kept_ms": operation.kept_ms}


def leased(lease: Lease) -> dict[str, str | int]:
    """Answer the arguments that carry a lease."""
    return {"owner": lease.owner, "token": lease.token, "keep_it": "1" if lease.keep else "0"}


def outcome_of(
    reply: Reply, build: Callable[[Any], Value], details: dict[str, Any] | None = None
) -> Outcome[Value]:
    """Turn a reply into an outcome. A recorded reply is as good as a fresh one."""
    replayed = reply.code == "replayed"
    return Outcome(
        code="ok" if replayed else reply.code,
        value=build(reply.record) if reply.record else None,
        details=details or {},
        token="" if replayed else reply.token,
        replayed=replayed,
    )
