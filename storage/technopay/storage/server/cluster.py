"""A client of a cluster: each partition's calls go to the primary of its slot, in order.

A call that another node has to run (MOVED) is sent there, before all later calls of the partition. A slot that
is being moved key by key is never followed (ASK): its calls are refused until it has moved.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import Any

from hiredis import ReplyError
from redis.asyncio import ConnectionPool

from technopay.engine.errors import Fault, InternalError, StoreUnavailable, StoreUnfit
from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.loader import Script
from technopay.storage.server.address import HostPort, parse_address
from technopay.storage.server.client import (
    CALLS_MAX,
    OTHER_LOOP,
    Argument,
    OnResult,
    ServerClient,
    refusal,
)
from technopay.storage.server.connection import MOVED, Command, PendingCall, pack, pack_call
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.health import ServerInfo, StoreFull
from technopay.storage.server.reasons import meaning_of
from technopay.storage.server.slot_map import NO_SLOTS, ask_slots, slot_of

MOVES_MAX = 8
"""For one call: nodes can name each other until they agree."""
LOOK_INTERVAL_S = 0.1
"""Between two looks at the slots: a failover takes longer."""
LOOK_S_MAX = 2.0
NO_PRIMARY = ("READONLY ", "CLUSTERDOWN ", "MASTERDOWN ")
"""Error replies with these prefixes mean that the slot has no primary, or another one."""

NewClient = Callable[[HostPort, Callable[[], Sequence[int]], Callable[[], Sequence[str]]], ServerClient]
"""Makes the client of a node. The functions return the partitions of the node, and the keys of one of them."""


@dataclass(slots=True)
class RoutedCall:
    """A call of a partition, which may have to be sent to several nodes."""

    script: Script | None
    command: bytes
    on_result: OnResult
    moves: int = 0


class ClusterClient:
    """Has a client for each primary that has a partition of the store, with a gate of its own.

    Data that are not the expected ones close all of them: limits bind the users of all partitions.
    """

    is_cluster = True

    def __init__(self, url: str, *, data: DataCheck, new_client: NewClient) -> None:
        self._address = parse_address(url)
        self._sign_in: ConnectionPool = ConnectionPool.from_url(self._address.url)
        self.data = data
        self._new_client = new_client
        self._loop = asyncio.get_running_loop()
        self._slots = NO_SLOTS
        self._looking: asyncio.Task[None] | None = None
        self._looked_at_s = -LOOK_INTERVAL_S
        self._nodes: dict[HostPort, ServerClient] = {}
        self._routes: dict[str, Route] = {}
        self._at: dict[HostPort, list[Route]] = {}
        """The routes by the primary of their slot, as of the last look."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._interval_s: float | None = None
        self._turn = count()
        self._closed = False
        self.held = 0
        """The number of calls that wait until the node of their partition is known."""

    def of(self, keys: Keys) -> "Route":
        route = self._routes.get(keys.journal)
        if route is None:
            route = self._routes[keys.journal] = Route(self, keys)
            self._place(route)
        return route

    @property
    def servers(self) -> Sequence[ServerClient]:
        return list(self._nodes.values())

    def sample(self) -> Sequence[int]:
        """Return a partition of each node."""
        return [routes[0].number for routes in self._at.values()]

    @property
    def server_info(self) -> ServerInfo | None:
        """The figures of the node whose memory is nearest to its bound."""
        found = [each.server_info for each in self._nodes.values() if each.server_info is not None]
        return max(found, key=lambda each: (each.used_bytes / (each.max_bytes or inf), each), default=None)

    def watch(self, interval_s: float) -> None:
        """Check the nodes at this interval from now on, each on its own, and look at the slots."""
        self._interval_s = interval_s
        for client in self._nodes.values():
            client.watch(interval_s)
        begin(self._watch(interval_s), self._tasks)

    async def check(self) -> None:
        """Check the nodes of the partitions that are in use now; connect if need be.

        Raises:
            StoreUnfit: one must not be used.
            StoreUnavailable: one cannot be reached, or does not reply.

        """
        await self.look()
        clients = {self.client_of(route) for route in self._routes.values()}
        if None in clients:
            raise StoreUnavailable("The store cannot be reached: some slots of the cluster have no node.")
        await asyncio.gather(*(client.check() for client in clients if client is not None))

    async def look(self, named: HostPort | None = None) -> None:
        """Ask the cluster for its slots, `named` first; then follow the partitions that have moved.

        Raises:
            StoreUnavailable: no node replies.

        """
        if self._looking is None:
            self._looking = self._loop.create_task(self._look(named))
        await asyncio.shield(self._looking)

    async def aclose(self) -> None:
        """Refuse calls that wait for their node, wait for pending replies, then disconnect."""
        self._closed = True  # from here on, no client is made
        work = [*self._tasks, *((self._looking,) if self._looking else ())]
        for task in work:
            task.cancel()
        if work:
            await asyncio.wait(work)
        await asyncio.gather(*(client.aclose() for client in self._nodes.values()))
        if self._retiring:
            await asyncio.wait(self._retiring)
        self._nodes.clear()
        await asyncio.sleep(0)  # until aborted connections are closed

    def client_of(self, route: "Route") -> ServerClient | None:
        """Return the client of the primary of a partition; None if no node has its slot."""
        address = self._slots.primary_of(route.slot)
        if address is None or self._closed:
            return None
        client = self._nodes.get(address)
        if client is None:
            client = self._nodes[address] = self._new_client(
                address, partial(self._partitions_at, address), partial(self._keys_at, address)
            )
            if self._interval_s is not None:
                client.watch(self._interval_s)
        return client

    def settle(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to settle a route."""
        begin(work, self._tasks)

    def require_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(OTHER_LOOP)

    def retire(self) -> None:
        """Close the clients of nodes that have no partition any more, and whose calls have ended."""
        used = {id(route.client) for route in self._routes.values()}
        for address, client in list(self._nodes.items()):
            if id(client) not in used and address not in self._at:
                del self._nodes[address]
                begin(client.aclose(), self._retiring)

    async def _watch(self, interval_s: float) -> None:
        """Follow partitions that moved while nobody called them; retire nodes that are not used."""
        while True:
            await asyncio.sleep(interval_s)
            with suppress(StoreUnavailable):  # the calls say so
                await self.look()
            self.retire()

    async def _look(self, named: HostPort | None) -> None:
        try:
            await asyncio.sleep(self._looked_at_s + LOOK_INTERVAL_S - self._loop.time())
            known = list(dict.fromkeys((*self._slots.nodes, *self._address.nodes)))
            # Another one first each time: one that hangs or is out of touch must not be asked first for ever.
            place = next(self._turn) % len(known)
            asked = (*((named,) if named else ()), *known[place:], *known[:place])
            try:
                async with asyncio.timeout(LOOK_S_MAX):
                    self._slots = await ask_slots(self._sign_in, asked)
            except (StoreUnavailable, TimeoutError) as error:
                raise StoreUnavailable(f"The store cannot be reached: {meaning_of(error)}") from error
            finally:
                self._looked_at_s = self._loop.time()
            before, self._at = self._at, {}
            for route in self._routes.values():
                self._place(route)
            await self._follow(before)
        finally:
            self._looking = None

    def _place(self, route: "Route") -> None:
        address = self._slots.primary_of(route.slot)
        if address is not None:
            self._at.setdefault(address, []).append(route)

    async def _follow(self, before: "Mapping[HostPort, Sequence[Route]]") -> None:
        """Check the partitions that moved to a node in use; then send the calls of all that moved there."""
        checks = [
            client.check(all_partitions=True)
            for address, client in self._nodes.items()
            if client.is_connected and set(self._at.get(address, ())) - set(before.get(address, ()))
        ]
        # A node that must not be used refuses the calls itself.
        await asyncio.gather(*checks, return_exceptions=True)
        for route in self._routes.values():
            if route.client is not None and self.client_of(route) is not route.client:
                route.settle(look=False)

    def _partitions_at(self, address: HostPort) -> Sequence[int]:
        """Return the partitions of the store at a node."""
        return [each.number for each in self._at.get(address, ()) if each.number in self.data.partitions]

    def _keys_at(self, address: HostPort) -> Sequence[str]:
        """Return the keys of a partition at a node, of another one each time."""
        routes = self._at.get(address) or list(self._routes.values())
        return routes[next(self._turn) % len(routes)].keys


class Route:
    """The calls of one partition. `client` is the one of the node that had its last call."""

    def __init__(self, cluster: ClusterClient, keys: Keys) -> None:
        self.keys = (keys.journal, keys.guard(None))
        self.number = keys.partition
        self.slot = slot_of(keys.tag)
        self.client: ServerClient | None = None
        self._cluster = cluster
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._moved: list[RoutedCall] = []
        """Calls that the former node has refused; they go first."""
        self._waiting: list[RoutedCall] = []
        """Calls that came later."""
        self._is_settling = self._needs_look = False
        self._named: HostPort | None = None

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        self._send(RoutedCall(script, pack_call(script, keys, arguments), on_result))

    def send_command(self, command: Command, on_result: OnResult) -> None:
        self._send(RoutedCall(None, pack(command), on_result))

    def settle(self, named: HostPort | None = None, *, look: bool = True) -> None:
        """Hold new calls until those under way have their outcomes, then use the node that has the slot now.

        With `look` the cluster is asked for it, `named` first.
        """
        self._needs_look |= look
        self._named = named or self._named
        if not self._is_settling:
            self._is_settling = True
            self._cluster.settle(self._settle())

    def _send(self, call: RoutedCall) -> None:
        self._cluster.require_loop()
        if self._cluster.data.unfit:
            self._refuse(call, refusal(next(iter(self._cluster.data.unfit.values()))))
        elif self._is_settling or self.client is None:
            if self._cluster.held >= CALLS_MAX:
                self._refuse(call, StoreUnavailable())
                return
            self._hold(self._waiting, call)
            self.settle(look=False)
        else:
            self._send_to(self.client, call)

    def _send_to(self, client: ServerClient, call: RoutedCall) -> None:
        self._in_flight += 1
        client.send_call(PendingCall(call.script, call.command, partial(self._on_reply, call)))

    def _hold(self, calls: list[RoutedCall], call: RoutedCall) -> None:
        calls.append(call)
        self._cluster.held += 1

    def _refuse(self, call: RoutedCall, fault: Fault) -> None:
        asyncio.get_running_loop().call_soon(call.on_result, fault)

    def _on_reply(self, call: RoutedCall, reply: Any) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        if isinstance(reply, Fault):
            text = str(reply.__cause__)
            if text.startswith(MOVED) and isinstance(reply, StoreUnavailable) and call.moves < MOVES_MAX:
                call.moves += 1
                self._hold(self._moved, call)
                self.settle(_named(text))
                return
            if self.client is not None and may_have_moved(reply, self.client):
                self.settle()
        call.on_result(reply)

    async def _settle(self) -> None:
        client = None
        try:
            while self._in_flight:
                self._idle.clear()
                await self._idle.wait()  # the client of the node bounds it
            if self._needs_look or self._cluster.client_of(self) is None:
                self._needs_look = False
                await self._cluster.look(self._named)
            client = self._cluster.client_of(self)
        except StoreUnavailable:
            pass
        finally:
            self.client, self._is_settling, self._named = client, False, None
            calls = self._moved + self._waiting
            self._moved, self._waiting = [], []
            self._cluster.held -= len(calls)
            for call in calls:
                if client is None:
                    self._refuse(call, StoreUnavailable())
                else:
                    self._send_to(client, call)
        self._cluster.retire()


def begin(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Begin work; keep its task until it ends."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def may_have_moved(fault: Fault, client: ServerClient) -> bool:
    """Whether another node can have the slot of a call that got this fault from a node."""
    cause = fault.__cause__
    if isinstance(fault, InternalError):
        return False
    if isinstance(cause, ReplyError):
        return str(cause).startswith(NO_PRIMARY)
    if isinstance(cause, StoreUnfit):
        return not isinstance(cause, StoreFull)
    return cause is not None or not client.is_connected


def _named(text: str) -> HostPort | None:
    """Return the node that a MOVED reply names; None if it is to be reached at the same host."""
    host, _, port = text.split()[-1].rpartition(":")
    return (host, int(port)) if host else None
