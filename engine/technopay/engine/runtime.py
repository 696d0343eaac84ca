"""The parts of an engine and its life: start, drain, close; and the follow-up of outcomes."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from itertools import count
from typing import TypeVar

from technopay.engine.actors.directory import Directory
from technopay.engine.actors.owners import Owners
from technopay.engine.background import Loop
from technopay.engine.claims import RENEW_INTERVAL_S, Claims
from technopay.engine.commands import BindSecret, Command, FinishDue, TakeDue
from technopay.engine.errors import REFUSALS, EngineClosed, Fault, InternalError, StoreUnfit
from technopay.engine.events.feed import Feed
from technopay.engine.events.waiters import Waiters
from technopay.engine.fields import partition_in
from technopay.engine.models import Audit, Method, Payment
from technopay.engine.notifications.relay import Relay
from technopay.engine.polling import ANNOUNCE_INTERVAL_S, PartitionOwners, Polls
from technopay.engine.ports import (
    Channel,
    Clock,
    Ids,
    Outcome,
    SettlementService,
    Store,
    Verifier,
    WebhookSender,
)
from technopay.engine.reads import FindPayment
from technopay.engine.record import Record
from technopay.engine.settings import EngineSettings
from technopay.engine.settlement.settlements import Settlements
from technopay.engine.statistics import Statistics
from technopay.engine.system import RandomIds, SystemClock
from technopay.engine.testing.doubles import FixedCode
from technopay.engine.testing.mocks import MockChannel, MockSettlementService
from technopay.engine.values import Claimed, Due, Operation
from technopay.engine.verifiers.code_keys import CodeKeys
from technopay.engine.verifiers.second_step import PaymentRoute, SecondStep
from technopay.engine.webhooks.deliveries import Webhooks

Value = TypeVar("Value")

MOCKS = (MockSettlementService, MockChannel, FixedCode)
ROUTES_MAX = 50_000
DUE_MAX = 100
RELAY_PAUSE_S = 0.01
"""Between two reads of the journal: entries of that time are relayed together."""
NOTIFIED_REFUSALS = frozenset({"insufficient_funds", "daily_limit_exceeded", "confirmation_invalid"})
"""Refusals of a confirm that are in the journal, and so cause a message."""
UNNOTIFIED_STATES = frozenset({"processing", "refunding"})
"""States of payments whose entries cause no message."""
CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
UNKEYED_KEPT_MS = 600_000
"""How long a call without an idempotency key is recorded, for our own retries after a lost reply."""


class State(Enum):
    """The life of an engine, in this order."""

    UNSTARTED = "was not started"
    RUNNING = "is running"
    DRAINING = "is draining"
    CLOSED = "is closed"


class Runtime:
    """The parts of an engine below its operations. The constructor does no I/O."""

    def __init__(
        self,
        store: Store,
        settings: EngineSettings,
        settlement_service: SettlementService | None,
        channels: Mapping[Method, Channel] | None,
        verifier: Verifier | None,
        webhook_sender: WebhookSender | None,
        clock: Clock | None,
        ids: Ids | None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock or SystemClock()
        self.ids = ids or RandomIds()
        self.keys = CodeKeys(settings, verifier)
        self.second_step = SecondStep(self.keys)
        service = settlement_service or MockSettlementService(store)
        mock = MockChannel(store)
        reached: Mapping[Method, Channel] = {"email": mock, "sms": mock} if channels is None else channels
        self.channels = frozenset(reached)
        services = [("settlement", service), *reached.items(), ("verifier", verifier)]
        self._mocks = tuple(name for name, each in services if isinstance(each, MOCKS))
        owner = self.ids.new("eng", 0)
        # The end of a version 7 UUID is random: with a number, it is the id of a call of this engine.
        self._calls_named = count(1)
        self._call_prefix = owner[-8:]
        self.directory = Directory(store, self.clock, settings, owner)
        self.owners = Owners(store, self.directory)
        self._claims = Claims(store, self.clock)
        self.settlements = Settlements(store, service, self.clock, self._claims, settings, self._announce)
        interval_s = settings.agenda_interval_s
        self._partition_owners = PartitionOwners(store, owner)
        polled = (store, self._partition_owners, self.clock, interval_s)
        self._relay = Relay(store, reached, self.keys, self.clock, settings, owner, self._claims)
        self._relays = Polls("relay", self._relay.step, *polled)
        self._agendas = Polls("agenda", self._take_due_of, *polled)
        self.feed = Feed(store, self.clock, settings)
        self.webhooks = Webhooks(
            store, webhook_sender, self.clock, settings, self._partition_owners, self.new_call
        )
        self.waiters = Waiters()
        self.agenda = Loop("agenda", self._take_due, interval_s, self.clock)
        self.relay = Loop("relay", self._relay_news, interval_s, self.clock, pause_s=RELAY_PAUSE_S)
        self._announcement = Loop("engines", self._partition_owners.announce, ANNOUNCE_INTERVAL_S, self.clock)
        self._renewal = Loop("claims", self._claims.renew, RENEW_INTERVAL_S, self.clock)
        self._state = State.UNSTARTED
        self._loop: asyncio.AbstractEventLoop | None = None
        self._routes: dict[str, PaymentRoute] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._audit: asyncio.Task[Audit] | None = None
        self.reconciling = asyncio.Lock()

    async def start(self) -> None:
        """Bind the store to the secret and begin the background work.

        Raises:
            StoreUnfit: the store was used with another secret.

        """
        if self._state is not State.UNSTARTED:
            raise EngineClosed(f"The engine {self._state.value} and cannot be started.")
        bound = await self.store.run(BindSecret(self.keys.ids))
        if bound.code != "ok":
            raise StoreUnfit(
                "this store was used with another TECHNOPAY_SECRET; to change it, name that one in "
                "TECHNOPAY_SECRET_PREVIOUS"
            )
        self.keys.adopt(bound.value or "")
        self._loop = asyncio.get_running_loop()
        with suppress(Fault):  # until it knows the others, it polls all partitions
            await self._partition_owners.announce()
        for part in (
            self.agenda, self.relay, self.feed, self.webhooks, self._renewal, self._announcement
        ):  # fmt: skip
            part.start()
        self._state = State.RUNNING

    async def aclose(self) -> None:
        """Refuse new commands, finish the accepted ones, give up what takes longer than `drain_s`."""
        if self._state is State.RUNNING:
            self.require_running()
            self._state = State.DRAINING
            drain_s = self.settings.drain_s
            await self.feed.stop(drain_s)
            await self.agenda.stop(drain_s)
            await self._agendas.stop(drain_s)
            await self.directory.drain(drain_s)
            if self._calls:
                _, late = await asyncio.wait(self._calls, timeout=drain_s)
                for call in late:
                    call.cancel()
            await self.settlements.drain(drain_s)
            await self.relay.stop(drain_s)
            await self._relays.stop(drain_s)
            await self._relay.drain(drain_s)
            await self.webhooks.stop(drain_s)
            await self._announcement.stop(drain_s)
            await self._partition_owners.leave()
            await self._renewal.stop(drain_s)
            await self._claims.stop(drain_s)
            await self._claims.give_up("message", "relay")
            if self._audit is not None:
                self._audit.cancel()
                await asyncio.wait([self._audit])
        self._state = State.CLOSED

    def require_running(self) -> None:
        """Raise EngineClosed if the engine does not run, RuntimeError in another event loop."""
        if self._state is not State.RUNNING:
            raise EngineClosed(f"The engine {self._state.value}. Nothing happened.")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the engine was started in another event loop; nothing happened")

    @property
    def statistics(self) -> Statistics:
        return Statistics(
            live_actors=self.directory.live_actors,
            commands_waiting=self.directory.commands_waiting,
            mailbox_depth_max=self.directory.mailbox_depth_max,
            lease_waits=self.directory.lease_waits,
            settlements_in_flight=self.settlements.in_flight,
            claims_lost=self._claims.lost,
            listeners=self.feed.listeners,
            mocks=self._mocks,
            script_times=self.store.script_times,
            unreadable=self.store.unreadable.counts,
            payments=self._relay.payments,
            messages_dead=self._relay.messages_dead,
        )

    async def audit(self) -> Audit:
        """Wait for the running audit, or for a new one. It goes on even if its callers leave."""
        if self._audit is None or self._audit.done():
            self._audit = asyncio.get_running_loop().create_task(self.store.audit())
            self._audit.add_done_callback(lambda audit: audit.cancelled() or audit.exception())
        audit = self._audit
        try:
            return await asyncio.shield(audit)
        except asyncio.CancelledError:
            if audit.cancelled():
                raise EngineClosed from None
            raise

    def operation(
        self, name: str, scope: tuple[str, ...], key: str | None, arguments: object, *, recorded: bool = True
    ) -> Operation:
        """Return the identity of a call, by which its repeats are recognised: those with its key, and our own.

        Without a key, a call that is not `recorded` is recognised by the payment itself.
        """
        if key is None:
            fingerprint = _digest(arguments) if recorded else ""
            return Operation(self.new_call(), fingerprint, UNKEYED_KEPT_MS)
        kept_ms = self.settings.idempotency_kept_s * 1000
        return Operation(_digest([name, *scope, key]), _digest(arguments), kept_ms)

    def new_call(self) -> str:
        return f"{self._call_prefix}.{next(self._calls_named)}"

    async def value_of(self, command: Command[Value]) -> Value:
        """Run a command; return its value, or raise its refusal."""
        return unwrap(await self.store.run(command))

    def following(self) -> Callable[[Outcome[Payment]], None]:
        """Return the follow-up of a command that is sent now."""
        return partial(self.follow, since=self.clock.monotonic())

    def follow(self, outcome: Outcome[Payment], since: float) -> None:
        """Follow up an outcome about a payment, even if its caller has left.

        Cache its route, wake waiters and relay, begin the settlement or the refund, claimed `since`.
        """
        payment = outcome.value
        if payment is None or (outcome.code != "ok" and outcome.code not in NOTIFIED_REFUSALS):
            return
        self.remember(payment)
        self._announce(payment)
        if claim := outcome.details.get("claim"):
            self.settlements.begin(Claimed(payment, claim, outcome.details.get("refund")), since)

    async def run(
        self, command: Command[Value], on_outcome: Callable[[Outcome[Value]], None]
    ) -> Outcome[Value]:
        """Run a command and its follow-up; a task goes on with both if the caller leaves."""
        try:
            outcome = await self.store.run(command)
        except asyncio.CancelledError:
            if len(self._calls) < self.settings.commands_waiting_max:
                task = asyncio.get_running_loop().create_task(self._go_on(command, on_outcome))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
            raise
        if outcome.code == "ok":
            on_outcome(outcome)
        return outcome

    async def _go_on(self, command: Command[Value], on_outcome: Callable[[Outcome[Value]], None]) -> None:
        """Send a command again that may have run: then the store returns its first result."""
        with suppress(Fault):
            outcome = await self.store.run(command)
            if outcome.code == "ok":
                on_outcome(outcome)

    def route(self, payment_id: str, user_id: str | None) -> PaymentRoute | None:
        """Return the cached route of a payment; None if it has to be read."""
        route = self._routes.get(payment_id)
        return route if route and user_id in (None, route.user_id) else None

    def remember(self, payment: Payment) -> PaymentRoute:
        """Cache the wallet of a payment and the state of its codes."""
        if len(self._routes) >= ROUTES_MAX:
            del self._routes[next(iter(self._routes))]
        route = self._routes[payment.id] = PaymentRoute.of(payment)
        return route

    def forget(self, payment_id: str) -> None:
        self._routes.pop(payment_id, None)

    def wake_agenda(self, partition: int) -> None:
        """Take the due members of a partition's agenda now."""
        self._agendas.note_due(partition)
        self.agenda.wake()

    def wake_journal_readers(self, partition: int) -> None:
        """Have relay and feed read the journal of a partition now."""
        self._wake_relay(partition)
        self.wake_event_readers(partition)

    def wake_event_readers(self, partition: int) -> None:
        """Have feed and webhooks read the journal of a partition now."""
        self.feed.wake(partition)
        self.webhooks.wake(partition)

    def _wake_relay(self, partition: int) -> None:
        self._relays.note_due(partition)
        self.relay.wake()

    def _announce(self, payment: Payment) -> None:
        partition = partition_in(payment.id)
        if payment.status not in UNNOTIFIED_STATES:
            self._wake_relay(partition)
        self.wake_event_readers(partition)
        self.waiters.announce(payment)

    async def _take_due(self) -> bool:
        """Take the due members of the agenda; return whether there may be more."""
        taken = await self._agendas.run()
        coming = {each: due.next_in_ms for each, due in taken.items() if due.next_in_ms is not None}
        for partition, in_ms in coming.items():
            if self._partition_owners.rank(partition) == 0:
                self._agendas.note_due(partition, in_ms / 1000)
        return any(in_ms <= 0 for in_ms in coming.values())

    async def _relay_news(self) -> bool:
        """Relay the messages of journals with news; return whether there may be more."""
        relayed = await self._relays.run()
        with_more = [each for each, has_more in relayed.items() if has_more]
        for partition in with_more:
            self._relays.note_due(partition)
        return bool(with_more)

    async def _take_due_of(self, partition: int) -> Due:
        since = self.clock.monotonic()
        due = (await self.store.run(TakeDue(partition, DUE_MAX))).value or Due([], [], None)
        for claimed in due.payments:
            self.settlements.begin(claimed, since)
        for message in due.messages:
            self._relay.retry(partition, message, since)
        for member in due.unfinished:
            if member.startswith("whk_"):
                self.webhooks.finish_change(member)
                continue
            with suppress(Fault):  # it stays on the agenda
                await self.store.run(FinishDue(partition, member))
        return due

    async def wait_for_rest(
        self, payment: Payment, wait_s: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> Payment:
        """Wait until a payment is at rest. A change by this process ends the wait at once, others in 0.5 s."""
        deadline = self.clock.monotonic() + wait_s
        while not payment.is_at_rest and (left_s := deadline - self.clock.monotonic()) > 0:
            changed = await self.waiters.next_change(payment.id, left_s)
            if changed is None and not is_wanted():
                break
            # A payment that cannot be read now is returned as it was.
            with suppress(Fault):
                payment = changed or (await self.store.run(FindPayment(payment.id))).value or payment
        return payment


def _digest(value: object) -> str:
    digest = hashlib.sha256(CANONICAL.encode(value).encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode()


def unwrap(outcome: Outcome[Value]) -> Value:
    """Return the value of an outcome, or raise its refusal."""
    if outcome.code == "ok":
        if outcome.value is None:
            raise InternalError
        if outcome.replayed and isinstance(outcome.value, Record):
            return outcome.value.as_replay()
        return outcome.value
    refusal = REFUSALS.get(outcome.code)
    if refusal is None:
        raise InternalError(f"the store returned {outcome.code!r}")
    details = dict(outcome.details)
    if isinstance(outcome.value, Payment):
        details["payment"] = outcome.value
    raise refusal(**details)
