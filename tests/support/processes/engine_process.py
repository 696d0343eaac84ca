"""An engine in a process of its own that can be asked, stopped, continued and killed while it works.

The process reads one JSON object a line: a call with its number, or leave for something that waits. It answers
each call when it has its outcome, and tells what happens on the way as events.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Literal

from support.fixtures.engine_setup import quick_settings
from support.processes.worker import CLOSING_S, CODE, Call, open_store, purchase

from technopay.engine import Engine, FixedCode, MockChannel, MockSettlementService, TechnopayError
from technopay.engine.ports import OutgoingMessage
from technopay.engine.values import PaymentTerms
from technopay.storage import RedisStore

ANSWER_S_MAX = 60.0
LINE_MAX = 1 << 22


@dataclass(frozen=True)
class Role:
    """What an engine far away works on, and how those around it behave.

    With the settlement service 'asking', every settle is announced and waits for leave; with 'failing', every
    settle fails, and only questions and call-offs are answered. A channel that is 'telling' announces what it
    took; one that is 'gone' announces it, too, but its sender never hears of it.
    """

    url: str
    namespace: str
    timezone: str = "UTC"
    settings: Mapping[str, Any] = field(default_factory=dict)
    service: Literal["mock", "asking", "failing"] = "mock"
    channel: Literal["mock", "telling", "gone"] = "mock"


@dataclass(frozen=True)
class Answer:
    """What a call was answered: 'ok' or the code of the error, and the record."""

    code: str
    record: Mapping[str, Any]
    replayed: bool = False


def tell(said: Mapping[str, Any]) -> None:
    """Say something to whoever started this process."""
    print(json.dumps(said), flush=True)  # noqa: T201


class AskingSettlementService(MockSettlementService):
    """Sends a settle when it has leave, even if nobody waits for the answer any more: it is on its way."""

    def __init__(self, store: RedisStore) -> None:
        super().__init__(store)
        self.leave: dict[str, asyncio.Event] = {}
        self._under_way: set[asyncio.Task[Any]] = set()

    async def settle(self, terms: PaymentTerms) -> Any:
        """Announce it, wait for leave, settle, and tell the answer."""
        task = asyncio.create_task(self._settle(terms))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _settle(self, terms: PaymentTerms) -> str:
        leave = self.leave.setdefault(terms.payment_id, asyncio.Event())
        tell({"event": "about to settle", "payment": terms.payment_id})
        await leave.wait()
        answer = await super().settle(terms)
        tell({"event": "settle answered", "payment": terms.payment_id, "answer": answer})
        return answer


class FailingSettlementService(MockSettlementService):
    """Fails to settle anything; what it is asked, and what is called off, goes by the book."""

    async def settle(self, terms: PaymentTerms) -> Any:
        """Fail."""
        raise ConnectionRefusedError("the settlement service takes nothing")


class TellingChannel:
    """Announces every message that it took; one that is gone then stays silent for ever."""

    def __init__(self, *, is_gone: bool) -> None:
        self._is_gone = is_gone

    async def deliver(self, message: OutgoingMessage) -> None:
        """Take a message."""
        tell({"event": "delivered", "id": message.event_id, "kind": message.kind, "about": message.payment_id})
        if self._is_gone:
            await asyncio.get_running_loop().create_future()


async def make(engine: Engine, number: int, call: Call) -> None:
    """Make a call and tell its outcome."""
    name, arguments = call[0], dict(call[1])
    if "expires_at" in arguments:
        arguments["expires_at"] = datetime.fromisoformat(arguments["expires_at"])
    try:
        operation = purchase(engine, **arguments) if name == "purchase" else getattr(engine, name)(**arguments)
        record = await operation
        answer = Answer("ok", record.model_dump(mode="json"), record.replayed)
    except TechnopayError as error:
        payment = getattr(error, "payment", None)
        answer = Answer(error.code, payment.model_dump(mode="json") if payment else {})
    tell({"number": number, "answer": asdict(answer)})


async def work(role: Role) -> None:
    """Work until the input ends."""
    reader = asyncio.StreamReader(limit=LINE_MAX)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as calls:
        store = await stack.enter_async_context(open_store(role.url, role.namespace, role.timezone))
        services = {"mock": MockSettlementService, "failing": FailingSettlementService}
        asking = AskingSettlementService(store)
        service = asking if role.service == "asking" else services[role.service](store)
        telling = TellingChannel(is_gone=role.channel == "gone")
        channel = MockChannel(store) if role.channel == "mock" else telling
        engine = Engine(
            store, quick_settings(**role.settings), verifier=FixedCode(CODE), settlement_service=service,
            channels={"email": channel, "sms": channel},
        )  # fmt: skip
        await stack.enter_async_context(engine)
        tell({"event": "ready"})
        while line := await reader.readline():
            said = json.loads(line)
            if "leave" in said:
                asking.leave.setdefault(said["leave"], asyncio.Event()).set()
            else:
                calls.create_task(make(engine, said["number"], said["call"]))
    pipe.close()


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
        self._heard = asyncio.Condition()
        self._has_ended = False
        self._listening = asyncio.create_task(self._listen())

    def send(self, calls: Sequence[Call]) -> list[asyncio.Future[Answer]]:
        """Send calls, all at once; each is answered on its own."""
        lines, futures = [], []
        for call in calls:
            number = next(self._numbers)
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting[number] = future
            futures.append(future)
            lines.append(json.dumps({"number": number, "call": call}))
        self._input.write("".join(f"{line}\n" for line in lines).encode())
        return futures

    async def ask(self, name: str, **arguments: Any) -> Answer:
        """Make one call and wait for its answer."""
        async with asyncio.timeout(ANSWER_S_MAX):
            return await self.send([(name, arguments)])[0]

    def give_leave(self, payment_id: str) -> None:
        """Let a settlement go on that waits for leave."""
        self._input.write(json.dumps({"leave": payment_id}).encode() + b"\n")

    async def hear(self, event: str, **said: Any) -> Mapping[str, Any]:
        """Wait until it told of an event like this."""
        expected = {"event": event, **said}.items()
        async with asyncio.timeout(ANSWER_S_MAX), self._heard:
            while True:
                for told in self.events:
                    if expected <= told.items():
                        return told
                assert not self._has_ended, f"it ended before it told of {event}"
                await self._heard.wait()

    def signal(self, name: signal.Signals) -> None:
        """Send a signal: SIGSTOP, SIGCONT or SIGKILL."""
        # Popen.send_signal would take the exit status from the watcher of asyncio.
        if self.process.returncode is None:
            os.kill(self.process.pid, name)

    async def close(self) -> None:
        """End it by closing its input; one that was killed is over already."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
        self._input.close()
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._listening
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def _listen(self) -> None:
        while line := await self._output.readline():
            said = json.loads(line)
            if "number" in said:
                future = self._waiting.pop(said["number"])
                if not future.done():
                    future.set_result(Answer(**said["answer"]))
            else:
                async with self._heard:
                    self.events.append(said)
                    self._heard.notify_all()
        for future in self._waiting.values():
            future.cancel()  # it died before it answered
        async with self._heard:
            self._has_ended = True
            self._heard.notify_all()


@asynccontextmanager
async def running_far_engine(role: Role) -> AsyncIterator[FarEngine]:
    """Run an engine in a process of its own; it has to end well unless it was killed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    arguments = ["-W", "error", "-m", "support.processes.engine_process", json.dumps(asdict(role))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, env=environment, limit=LINE_MAX
    )
    far = FarEngine(process)
    try:
        await far.hear("ready")
        yield far
    finally:
        await far.close()
    assert process.returncode in (0, -signal.SIGKILL), f"it crashed: {process.returncode}"


if __name__ == "__main__":
    asyncio.run(work(Role(**json.loads(sys.argv[1]))))
