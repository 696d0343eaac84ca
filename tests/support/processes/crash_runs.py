"""Kills processes at every point of a story, takes over with a fresh engine, and checks the result."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

from redis.asyncio import Redis
from support.fixtures.at_rest import Entries, RawStore, assert_at_rest, open_client
from support.fixtures.reconciliation import assert_books_agree
from support.processes.crash_client import CrashClient, Memory
from support.processes.crash_flows import REPLY_S_MAX, STORIES
from support.processes.killable_ports import Point
from support.processes.preforked import Preforked, running_preforked
from support.servers.services_stub import ServicesStub, open_service

from technopay.engine import Engine
from technopay.storage import RedisStore

PREFORKED = 3
ALARM_S = 60.0
OPENINGS_MAX = 4
"""The stores that are opened at a time; open ones wait together for the slow parts."""
PAUSE_S = 0.15


@dataclass
class Tally:
    """The counts of a run."""

    killed: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    unanswered: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class CrashRuns:
    """Victims on one server, each in a namespace of its own."""

    def __init__(
        self,
        url: str,
        client: Redis,
        namespace: str,
        folder: Path,
        preforked: Sequence[Preforked],
        stub: ServicesStub | None,
    ) -> None:
        self._url = url
        self._stub = stub
        self._services_url = stub.url if stub else None
        self._client = client
        self._namespace = namespace
        self._folder = folder
        self._free: asyncio.Queue[Preforked] = asyncio.Queue()
        for process in preforked:
            self._free.put_nowait(process)
        self._openings = asyncio.Semaphore(OPENINGS_MAX)
        self._number = 0
        self.tally = Tally()

    async def enumerate_points(self, story: str) -> list[Point]:
        """Run a story to its end; return the points of its process."""
        status, memory, raw = await self._live(story, None)
        assert status == 0, self._output(raw)
        await self._look(story, raw, memory)
        return memory.points

    async def kill_everywhere(
        self, story: str, counts: Callable[[Point], bool] = lambda _: True
    ) -> list[Point]:
        """Kill one process at each point of a story, and bring each story to its end; return the points."""
        points = [point for point in await self.enumerate_points(story) if counts(point)]
        assert points, story
        await asyncio.gather(*(self._kill_at(story, point) for point in points))
        return points

    def conclude(self) -> None:
        """Print the counts; fail on a wrong end or on too many points that were not reached."""
        tally = self.tally
        print(  # noqa: T201
            f"\nkilled at {tally.killed.total()} points {dict(tally.killed)}, {len(tally.missed)} not reached, "
            f"{tally.unanswered.total()} calls without an answer repeated, {len(tally.failures)} wrong ends"
        )
        assert not tally.failures, "\n\n".join(tally.failures)
        # The background work of a process comes in almost the same order every time.
        assert len(tally.missed) <= tally.killed.total() // 20, tally.missed

    async def _kill_at(self, story: str, point: Point) -> None:
        status, memory, raw = await self._live(story, point)
        if status == 0:
            self.tally.missed.append(f"{story}: {point}")
        elif status != -SIGKILL:
            self.tally.failures.append(f"{story}, {point}: ended with {status}\n{self._output(raw)}")
            return
        else:
            self.tally.killed[story] += 1
            assert memory.points[-1] == point
        self.tally.unanswered.update(memory.unanswered)
        try:
            await self._look(story, raw, memory)
        except Exception as error:  # try every point, also after a failure
            notes = " ".join(getattr(error, "__notes__", ()))
            self.tally.failures.append(f"{story}, killed {point}: {error!r} {notes}, {error.__cause__!r}")

    async def _live(self, story: str, point: Point | None) -> tuple[int, Memory, RawStore]:
        """Run a process, in a namespace of its own; return its exit status and the memory of its client."""
        self._number += 1
        raw = RawStore(self._client, f"{self._namespace}n{self._number}")
        log = self._folder / raw.namespace
        log.touch()
        preforked = await self._free.get()
        try:
            await preforked.raise_child(
                story=story, point=point, url=self._url, namespace=raw.namespace,
                log=str(log), output=f"{log}.log", alarm_s=ALARM_S, services_url=self._services_url,
            )  # fmt: skip
            status = await preforked.wait_for_end()
        finally:
            self._free.put_nowait(preforked)
        return status, Memory(log), raw

    async def _look(self, name: str, raw: RawStore, memory: Memory) -> None:
        """Take over: continue the client with a fresh engine, and check all ends."""
        story = STORIES[name]
        async with AsyncExitStack() as stack:
            async with self._openings:
                store = RedisStore.connect(
                    self._url, initialise=True, namespace=raw.namespace, reply_timeout_s=REPLY_S_MAX
                )
                await stack.enter_async_context(store)
                service = await stack.enter_async_context(open_service(store, self._services_url))
                settings = story.settings_of_heir(over_http=self._stub is not None)
                engine = await stack.enter_async_context(Engine(store, settings, settlement_service=service))
            client = CrashClient(engine, store, memory, pause_s=PAUSE_S)
            await story.tell(client)
            journal = await self._compare(name, raw, client)
            await client.ask_all_again()
            assert await raw.journal() == journal, "a repeat was done once more"

    async def _compare(self, name: str, raw: RawStore, client: CrashClient) -> Entries:
        story = STORIES[name]
        journal = await assert_at_rest(self._url, raw)
        started = [said["payment"] for _, said in journal if said["type"] == "payment.started"]
        assert started == client.payments, f"started {started}, the client knows {client.payments}"
        debits = [said for _, said in journal if said["type"] == "payment.processing"]
        assert len(debits) == story.debits, debits
        for payment_id, end in zip(started, story.ends, strict=True):
            payment = await raw.read("payment", payment_id)
            book = (await raw.read("mock:settlement", payment_id)).get("state")
            if self._stub:
                assert book is None, "the mock was asked"
                book = self._stub.state_of(payment_id)
            assert (payment["status"], book) == (end.status, end.book), f"{payment} {book}"
        if self._stub:
            await assert_books_agree(raw, self._stub, has_others=True)
        wallet = await raw.read("wallet", client.wallet["id"])
        assert int(wallet["balance"]) == story.deposited - sum(end.paid for end in story.ends), wallet
        return journal

    def _output(self, raw: RawStore) -> str:
        return (self._folder / f"{raw.namespace}.log").read_text()


@asynccontextmanager
async def running_crash_runs(
    url: str, namespace: str, folder: Path, stub: ServicesStub | None = None
) -> AsyncIterator[CrashRuns]:
    """Start the processes and the client of crash runs, by default with the mock settlement service."""
    async with AsyncExitStack() as stack:
        preforked = [await stack.enter_async_context(running_preforked("story")) for _ in range(PREFORKED)]
        client = await stack.enter_async_context(open_client(url))
        yield CrashRuns(url, client, namespace, folder, preforked, stub)
