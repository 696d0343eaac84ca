"""An engine in a process of its own that can be called, stopped, continued and killed while it works.

The process reads one JSON object a line: the role of its engine, a call with its number, or leave for a waiting
settle. It returns the result of each call as soon as it has it, and announces events in between.
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Literal

from support.fixtures.engine_setup import quick_settings
from support.fixtures.fixed_code import CODE, make_verifier, open_store
from support.processes.python_process import LINE_MAX, running_python, send_signal

from technopay.engine import Engine, MockChannel, MockSettlementService, TechnopayError
from technopay.engine.values import PaymentTerms
from technopay.http.webhooks import HttpWebhookSender
from technopay.storage import Archive, RedisStore

ANSWER_S_MAX = 60.0

Call = tuple[str, Mapping[str, Any]]
"""The name of an operation of the engine, or 'purchase', and its arguments."""


@dataclass(frozen=True)
class Role:
    """The store and the settings of an engine in a process, and the behaviour of its settlement service.

    An 'asking' service announces every settle and waits for leave; a 'failing' one fails every settle, and
    replies only to status requests and call-offs.
    """

    url: str
    namespace: str
    timezone: str = "UTC"
    settings: Mapping[str, Any] = field(default_factory=dict)
    service: Literal["mock", "asking", "failing"] = "mock"
    store: Mapping[str, Any] = field(default_factory=dict)
    archive: str = ""
    """The place of the archive from which it reads what left the store."""


@dataclass(frozen=True)
class Answer:
    """The result of a call: 'ok' or the code of the error, and the record."""

    code: str
    record: Mapping[str, Any]
    replayed: bool = False
    attempts_remaining: int | None = None


def announce(event: Mapping[str, Any]) -> None:
    print(json.dumps(event), flush=True)  # noqa: T201


class AskingSettlementService(MockSettlementService):
    """Sends a settle when it has leave, even if its caller has left: the request is on its way."""

    def __init__(self, store: RedisStore) -> None:
        super().__init__(store)
        self.leave: dict[str, asyncio.Event] = {}
        self._under_way: set[asyncio.Task[Any]] = set()

    async def settle(self, terms: PaymentTerms) -> Any:
        """Announce it, wait for leave, settle, and announce the reply."""
        task = asyncio.create_task(self._settle(terms))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _settle(self, terms: PaymentTerms) -> str:
        announce({"event": "about to settle", "payment": terms.payment_id})
        await self.leave.setdefault(terms.payment_id, asyncio.Event()).wait()
        answer = await super().settle(terms)
        announce({"event": "settle answered", "payment": terms.payment_id, "answer": answer})
        return answer


class FailingSettlementService(MockSettlementService):
    """Fails every settle; replies to status requests and call-offs as the mock does."""

    async def settle(self, terms: PaymentTerms) -> Any:
        raise ConnectionRefusedError("the settlement service takes nothing")


SERVICES = {
    "mock": MockSettlementService,
    "asking": AskingSettlementService,
    "failing": FailingSettlementService,
}


async def purchase(engine: Engine, *, user_id: str, invoice_id: str, wallet_id: str) -> Any:
    payment = await engine.start_payment(user_id=user_id, invoice_id=invoice_id, wallet_id=wallet_id)
    return await engine.confirm_payment(user_id=user_id, payment_id=payment.id, code=CODE, wait_s=10)


async def make(engine: Engine, number: int, call: Call) -> None:
    """Make a call and return its result."""
    name, arguments = call[0], dict(call[1])
    if "expires_at" in arguments:
        arguments["expires_at"] = datetime.fromisoformat(arguments["expires_at"])
    try:
        operation = purchase(engine, **arguments) if name == "purchase" else getattr(engine, name)(**arguments)
        record = await operation
        answer = Answer("ok", record.model_dump(mode="json"), record.replayed)
    except TechnopayError as error:
        payment = getattr(error, "payment", None)
        answer = Answer(
            error.code,
            payment.model_dump(mode="json") if payment else {},
            attempts_remaining=getattr(error, "attempts_remaining", None),
        )
    announce({"number": number, "answer": asdict(answer)})


async def work() -> None:
    """Work until the input ends."""
    reader = asyncio.StreamReader(limit=LINE_MAX)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as calls:
        while line := await reader.readline():
            said = json.loads(line)
            if "role" in said:
                await stack.aclose()
                if role := said["role"]:
                    engine, service = await open_engine(stack, Role(**role))
                announce({"event": "ready"})
            elif "leave" in said:
                service.leave.setdefault(said["leave"], asyncio.Event()).set()
            else:
                calls.create_task(make(engine, said["number"], said["call"]))
    pipe.close()


async def open_engine(stack: AsyncExitStack, role: Role) -> tuple[Engine, Any]:
    store = await stack.enter_async_context(open_store(role.url, role.namespace, role.timezone, **role.store))
    if role.archive:
        await store.attach(await stack.enter_async_context(Archive.at(role.archive)))
    sender = await stack.enter_async_context(HttpWebhookSender(private="allow"))
    service, channel = SERVICES[role.service](store), MockChannel(store)
    engine = Engine(
        store, quick_settings(**role.settings), verifier=make_verifier(dict(role.settings)),
        settlement_service=service, channels={"email": channel, "sms": channel}, webhook_sender=sender,
    )  # fmt: skip
    return await stack.enter_async_context(engine), service


class FarEngine:
    """The near end of a process with an engine."""

    def __init__(self, process: Process) -> None:
        assert process.stdin
        assert process.stdout
        self.process = process
        self.events: list[Mapping[str, Any]] = []
        self._input, self._output = process.stdin, process.stdout
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._changed = asyncio.Condition()
        self._has_ended = False
        self.listening = asyncio.create_task(self._listen())

    async def begin(self, role: Role | None) -> None:
        """Close the engine, whose calls have all ended, and open another one if there is a role."""
        self.events.clear()
        self._write({"role": asdict(role) if role else None})
        await self.wait_for("ready")

    def send(self, calls: Sequence[Call]) -> list[asyncio.Future[Answer]]:
        """Send calls, all at once; each has a result of its own."""
        loop, sent = asyncio.get_running_loop(), {next(self._numbers): call for call in calls}
        futures: dict[int, asyncio.Future[Answer]] = {number: loop.create_future() for number in sent}
        self._waiting |= futures
        self._write(*({"number": number, "call": call} for number, call in sent.items()))
        return [*futures.values()]

    async def call(self, name: str, **arguments: Any) -> Answer:
        """Make one call and wait for its result."""
        async with asyncio.timeout(ANSWER_S_MAX):
            return await self.send([(name, arguments)])[0]

    def give_leave(self, payment_id: str) -> None:
        """Release a settle that waits for leave."""
        self._write({"leave": payment_id})

    async def wait_for(self, event: str, **fields: Any) -> Mapping[str, Any]:
        """Wait for an event with these fields."""
        expected = {"event": event, **fields}.items()
        async with asyncio.timeout(ANSWER_S_MAX), self._changed:
            while True:
                for found in self.events:
                    if expected <= found.items():
                        return found
                assert not self._has_ended, f"it ended before the event {event}"
                await self._changed.wait()

    def signal(self, name: signal.Signals) -> None:
        """Send a signal: SIGSTOP, SIGCONT or SIGKILL."""
        send_signal(self.process, name)

    def _write(self, *said: Mapping[str, Any]) -> None:
        self._input.write("".join(f"{json.dumps(each)}\n" for each in said).encode())

    async def _listen(self) -> None:
        while line := await self._output.readline():
            said = json.loads(line)
            if "number" in said:
                future = self._waiting.pop(said["number"])
                if not future.done():
                    future.set_result(Answer(**said["answer"]))
            else:
                async with self._changed:
                    self.events.append(said)
                    self._changed.notify_all()
        for future in self._waiting.values():
            future.cancel()  # it died before the result
        async with self._changed:
            self._has_ended = True
            self._changed.notify_all()


@asynccontextmanager
async def running_far_engine(role: Role | None = None) -> AsyncIterator[FarEngine]:
    """Run a process for engines, with an engine in it if there is a role."""
    async with running_python("-W", "error", "-m", "support.processes.engine_process") as process:
        far = FarEngine(process)
        await far.begin(role)
        yield far
    await far.listening


if __name__ == "__main__":
    asyncio.run(work())
