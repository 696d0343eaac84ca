"""Reads what codes are bound to: one script for all payments that begin in one loop tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from technopay.engine.errors import Fault, InternalError
from technopay.engine.ports import PaymentTerms
from technopay.storage.base import ScriptRunner, resolve
from technopay.storage.keys import Keys

logger = logging.getLogger(__name__)

Question = tuple[str, str, str, asyncio.Future[PaymentTerms | None]]

QUESTIONS_MAX = 256


class TermsScript(ScriptRunner):
    """Reads terms. They never change, so they may be read ahead of the script that decides."""

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys)
        self._questions: list[Question] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def read_terms(self, payment_id: str, invoice_id: str, user_id: str) -> PaymentTerms | None:
        """Read what the code of a payment of this user's invoice is bound to."""
        loop = asyncio.get_running_loop()
        if not self._questions:
            loop.call_soon(self._ask_all)
        answer: asyncio.Future[PaymentTerms | None] = loop.create_future()
        self._questions.append((payment_id, invoice_id, user_id, answer))
        return await answer

    def _ask_all(self) -> None:
        questions, self._questions = self._questions, []
        for first in range(0, len(questions), QUESTIONS_MAX):
            task = asyncio.get_running_loop().create_task(
                self._answer(questions[first : first + QUESTIONS_MAX])
            )
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _answer(self, questions: list[Question]) -> None:
        heard: Sequence[PaymentTerms | Fault | None]
        try:
            reply = await self._run("read_terms", invoices=[invoice_id for _, invoice_id, *_ in questions])
            heard = [
                PaymentTerms(payment_id, int(amount), currency, merchant) if holder == user_id else None
                for (payment_id, _, user_id, _), (holder, amount, currency, merchant) in zip(
                    questions, reply.record, strict=True
                )
            ]
        except Fault as fault:
            heard = [fault] * len(questions)
        except (TypeError, ValueError):
            logger.exception("read_terms answered %r", reply)
            heard = [InternalError()] * len(questions)
        for (*_, answer), each in zip(questions, heard, strict=True):
            resolve(answer, each)
