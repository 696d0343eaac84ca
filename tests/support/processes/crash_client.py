"""A client whose memory survives its process: it records its calls and their results.

It runs a story, which is a sequence of calls. In a second life it starts over: it takes recorded results
from its memory, repeats the last call without a result with the same key, and then continues.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from support.fixtures.polling import see
from support.processes.killable_ports import Point

from technopay.engine import Engine, InboxMessage, TechnopayError, read_mock_inbox
from technopay.engine.models import Payment
from technopay.engine.ports import Store

Json = dict[str, Any]

REST_S_MAX = 60.0
USER = "alice"
BEGIN = "the story begins"


class ClientLog:
    """Lines in a file, each written at once: a killed process cannot lose them."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **line: Any) -> None:
        os.write(self._file, f"{json.dumps(line)}\n".encode())

    def write_point(self, point: Point) -> None:
        self.write(point=point)


class Memory:
    """The contents of a log."""

    def __init__(self, path: Path | None) -> None:
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path else []
        self.answers: dict[int, Json] = {
            line["answered"]: line["answer"] for line in lines if "answered" in line
        }
        self.asked = {line["asked"]: line["name"] for line in lines if "asked" in line}
        self.points: list[Point] = []
        for line in lines:
            if "point" in line:
                self.points.append(Point(*line["point"]))
            elif BEGIN in line:
                self.points.clear()

    @property
    def unanswered(self) -> list[str]:
        """The calls without a result."""
        return [name for number, name in self.asked.items() if number not in self.answers]


class CrashClient:
    """Makes the calls of a story, each once or until it has a result."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        memory: Memory,
        write: Callable[..., None] | None = None,
        is_calm: Callable[[], bool] = lambda: True,
        pause_s: float = 0.005,
    ) -> None:
        self.engine = engine
        self._store = store
        self._memory = memory
        self._write = write or (lambda **_: None)
        self._is_calm = is_calm
        self._pause_s = pause_s
        self._number = 0
        self._calls: list[tuple[int, str, Mapping[str, Any], Json]] = []
        self.wallet: Json = {}
        self.payments: list[str] = []

    def begin(self) -> None:
        """Record that the points count from here on."""
        self._write(**{BEGIN: True})

    async def ask(self, name: str, *, keyed: bool = True, **arguments: Any) -> Json:
        """Make a call, or recall its result: a record, with the code of a refusal."""
        self._number = number = self._number + 1
        if keyed:
            arguments["idempotency_key"] = f"call {number}"
        answer = self._memory.answers.get(number)
        if answer is None:
            self._write(asked=number, name=name)
            answer = await self._make(name, arguments)
            self._write(answered=number, answer=answer)
        self._calls.append((number, name, arguments, answer))
        return answer

    async def start(self, invoice: Json) -> Json:
        payment = await self.ask(
            "start_payment", user_id=USER, invoice_id=invoice["id"], wallet_id=self.wallet["id"]
        )
        self.payments.append(payment["id"])
        return payment

    async def confirm(self, payment: Json, nth: int = 1) -> Json:
        """Confirm with the nth code of the inbox, and wait until the payment is at rest."""
        code = (await self.message("confirmation.code", nth, payment["id"])).message.code
        of = {"user_id": USER, "payment_id": payment["id"]}
        answer = await self.ask("confirm_payment", keyed=False, **of, code=code, wait_s=10)
        assert answer["code"] in ("ok", "settlement_failed"), answer
        assert answer["id"] == payment["id"], answer
        return await self.rest(payment)

    async def rest(self, payment: Json) -> Json:
        """Wait until a payment is final or set aside."""

        async def look() -> Payment | None:
            seen = await self.engine.get_payment(user_id=USER, payment_id=payment["id"], wait_s=10)
            return seen if seen.is_at_rest else None

        return (await see(look, within_s=REST_S_MAX, pause_s=self._pause_s)).model_dump(mode="json")

    async def message(self, kind: str, nth: int = 1, payment_id: str | None = None) -> InboxMessage:
        """Wait for the nth message of a kind, and until no request is open."""

        async def look() -> InboxMessage | None:
            told = {
                each.message.event_id: each
                for each in reversed(await read_mock_inbox(self._store, USER))
                if each.message.kind == kind and payment_id in (None, each.message.payment_id)
            }
            return list(told.values())[nth - 1] if len(told) >= nth else None

        seen = await see(look, within_s=REST_S_MAX, pause_s=self._pause_s)
        await self.calm()
        return seen

    async def calm(self) -> None:
        """Wait until no request of this process is open, so that its points come in the same order."""

        async def look() -> bool:
            return self._is_calm()

        await see(look, within_s=REST_S_MAX, pause_s=self._pause_s)

    async def ask_all_again(self) -> None:
        """Repeat every call with its key: the result is the first one, marked as replayed."""
        for number, name, arguments, first in self._calls:
            if "idempotency_key" in arguments:
                again = await self._make(name, arguments)
                assert again == {**first, "replayed": True}, f"{number} {name}: {again}, first {first}"
            elif name == "confirm_payment" and first["code"] in ("ok", "settlement_failed"):
                again = await self._make(name, arguments)
                assert (again["id"], again["paid_at"]) == (first["id"], first["paid_at"]), (again, first)

    async def _make(self, name: str, arguments: Mapping[str, Any]) -> Json:
        try:
            record = await getattr(self.engine, name)(**arguments)
        except TechnopayError as error:
            payment = getattr(error, "payment", None)
            return {"code": error.code, **(payment.model_dump(mode="json") if payment else {})}
        return {"code": "ok", **record.model_dump(mode="json"), "replayed": record.replayed}
