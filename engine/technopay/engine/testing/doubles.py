"""Doubles of the ports, for tests of programs that embed the engine (and of the engine itself)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

from technopay.engine.ports import ANY, MatchingVersions, OutgoingMessage
from technopay.engine.values import PaymentTerms, RefundTerms


class SequentialIds:
    """Ids that count: a run can be repeated exactly."""

    def __init__(self, first: int = 1) -> None:
        self._next = first

    def new(self, prefix: str, partition: int) -> str:
        number, self._next = self._next, self._next + 1
        return f"{prefix}_{partition:02x}{number:022d}"


class FixedCode:
    """A verifier with one fixed answer for every payment, which sends nothing."""

    def __init__(self, answer: str = "123456") -> None:
        self._answer = answer

    async def code(self, terms: PaymentTerms, version: int) -> str | None:  # noqa: ARG002
        """Return None: the user has the code from elsewhere."""
        return None

    async def check(
        self,
        terms: PaymentTerms,  # noqa: ARG002
        answer: str,
        versions: AbstractSet[int],  # noqa: ARG002
    ) -> MatchingVersions:
        return ANY if answer == self._answer else frozenset()


class RecordingChannel:
    """A channel that records its messages; while `error` is set, it raises that."""

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []
        self.error: Exception | None = None

    async def deliver(self, message: OutgoingMessage) -> None:
        if self.error:
            raise self.error
        self.messages.append(message)


SILENCE = "silence"
"""As a scripted answer: never reply."""


class ScriptedSettlementService:
    """A settlement service with scripted answers to each request, in order; the last one is repeated.

    Answers are strings of the port, SILENCE, an exception to raise, or a function of the terms to call. `calls`
    has the requests, `refunds` the refunds to reverse.
    """

    def __init__(self, **answers: list[Any]) -> None:
        self._answers = answers
        self.calls: list[str] = []
        self.refunds: list[RefundTerms] = []

    async def settle(self, terms: PaymentTerms) -> Any:
        return await self._answer("settle", terms)

    async def status(self, terms: PaymentTerms) -> Any:
        return await self._answer("status", terms)

    async def call_off(self, terms: PaymentTerms) -> Any:
        return await self._answer("call_off", terms)

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Any:
        self.refunds.append(refund)
        return await self._answer("reverse", terms)

    async def _answer(self, request: str, terms: PaymentTerms) -> Any:
        self.calls.append(request)
        script = self._answers[request]
        answer: str | Exception | Callable[[PaymentTerms], Any] = (
            script.pop(0) if len(script) > 1 else script[0]
        )
        if answer == SILENCE:
            await asyncio.get_running_loop().create_future()
        if isinstance(answer, Exception):
            raise answer
        return await answer(terms) if callable(answer) else answer
