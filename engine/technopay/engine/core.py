"""What all operations of the engine stand on: its life, its parts, and how a call becomes an outcome."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from enum import Enum
from itertools import count
from typing import Any, NamedTuple, Self, TypeVar

from technopay.engine.agenda import Loop, make_loops
from technopay.engine.arguments import operation
from technopay.engine.claims import RENEW_INTERVAL_S, Claims
from technopay.engine.clock import RandomIds, SystemClock
from technopay.engine.code_keys import CodeKeys, CodeState, code_state_of
from technopay.engine.directory import Directory
from technopay.engine.doubles import FixedCode
from technopay.engine.errors import (
    REFUSALS,
    EngineClosed,
    Fault,
    InternalError,
    StoreUnfit,
)
from technopay.engine.feed import Feed
from technopay.engine.fields import USER_ID, is_record_id
from technopay.engine.mocks import MockChannel, MockSettlementService
from technopay.engine.models import Audit, Method, Payment, Record
from technopay.engine.owners import Owners
from technopay.engine.ports import (
    Channel,
    Claimed,
    Clock,
    Ids,
    Operation,
    Outcome,
    PaymentTerms,
    SettlementService,
    Store,
    Verifier,
)
from technopay.engine.relay import Relay
from technopay.engine.settings import EngineSettings
from technopay.engine.settlement import Settlements
from technopay.engine.statistics import Statistics, StoreGauges
from technopay.engine.watchers import Watchers

RecordT = TypeVar("RecordT", bound=Record)
Follow = Callable[[Outcome[RecordT]], None]
StoreCall = Callable[[], Coroutine[Any, Any, Outcome[RecordT]]]

MOCKS = (MockSettlementService, MockChannel, FixedCode)
ROUTES_MAX = 50_000
TOLD_REFUSALS = frozenset({"insufficient_funds", "daily_limit_exceeded", "confirmation_invalid"})
"""Refusals of a confirm that are written to the journal, and so cause a message."""
CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
UNKEYED_KEPT_MS = 600_000
"""How long a call without an idempotency key is remembered, for our own repeats after a lost reply."""


class Route(NamedTuple):
    """What is remembered of a payment; `code` only while it waited for one."""

    wallet_id: str
    user_id: str
    terms: PaymentTerms
    code: CodeState | None


class State(Enum):
    """The life of an engine, in this order."""

    UNSTARTED = "was not started"
    RUNNING = "is running"
    DRAINING = "is draining"
    CLOSED = "is closed"


class EngineCore:
    """The life of an engine. The operations are in its subclasses.

    The constructor does no I/O. `async with` starts and closes; `aclose` can be called more than once, and
    before the start. The store is not closed: whoever opened it closes it.
    """

    def __init__(
        self,
        store: Store,
        settings: EngineSettings,
        *,
        settlement_service: SettlementService | None = None,
        channels: Mapping[Method, Channel] | None = None,
        verifier: Verifier | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        if not isinstance(settings, EngineSettings) or not hasattr(store, "bind_secret"):
            raise TypeError("an engine takes a store and EngineSettings")
        self._store = store
        self._settings = settings
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._keys = CodeKeys(settings, verifier)
        service = settlement_service or MockSettlementService(store)
        mock = MockChannel(store)
        reached: Mapping[Method, Channel] = {"email": mock, "sms": mock} if channels is None else channels
        self._channels = frozenset(reached)
        services = [("settlement", service), *reached.items(), ("verifier", verifier)]
        self._mocks = tuple(name for name, each in services if isinstance(each, MOCKS))
        owner = self._ids.new("eng")
        # The end of a version 7 UUID is all chance: with a number behind it, it names a call of this engine.
        self._calls_named = count(1)
        self._call_prefix = owner[-8:]
        self._directory = Directory(store, self._clock, settings, owner)
        self._claims = Claims(store, self._clock)
        self._settlements = Settlements(
            store, self._directory, service, self._clock, self._claims, settings, self._announce
        )
        self._messages = Relay(store, reached, self._keys, settings, owner, self._claims)
        self._agenda, self._relay = make_loops(store, self._settlements, self._messages, self._clock, settings)
        self._renewal = Loop("claims", self._claims.renew, RENEW_INTERVAL_S, self._clock)
        self._feed = Feed(store, self._clock, settings)
        self._state = State.UNSTARTED
        self._loop: asyncio.AbstractEventLoop | None = None
        self._routes: dict[str, Route] = {}
        self._owners = Owners(store, self._directory)
        self._watchers = Watchers()
        self._calls: set[asyncio.Task[None]] = set()
        self._audit: asyncio.Task[Audit] | None = None

    async def start(self) -> None:
        """Tie the store to our secret and begin the background work.

        Raises:
            StoreUnfit: the store was used with another secret.

        """
        if self._state is not State.UNSTARTED:
            raise EngineClosed(f"The engine {self._state.value} and cannot be started.")
        bound = await self._store.bind_secret(self._keys.ids)
        if bound.code != "ok":
            raise StoreUnfit(
                "this store was used with another TECHNOPAY_SECRET; to change it, name that one in "
                "TECHNOPAY_SECRET_PREVIOUS"
            )
        self._keys.adopt(bound.value or "")
        self._loop = asyncio.get_running_loop()
        self._agenda.start()
        self._relay.start()
        self._feed.start()
        self._renewal.start()
        self._state = State.RUNNING

    async def aclose(self) -> None:
        """Refuse new commands, finish the accepted ones, give up what takes longer than `drain_s`."""
        if self._state is State.RUNNING:
            self.require_running()
            self._state = State.DRAINING
            drain_s = self._settings.drain_s
            await self._feed.stop(drain_s)
            await self._agenda.stop(drain_s)
            await self._directory.drain(drain_s)
            if self._calls:
                _, late = await asyncio.wait(self._calls, timeout=drain_s)
                for call in late:
                    call.cancel()
            await self._settlements.drain(drain_s)
            await self._relay.stop(drain_s)
            await self._messages.drain(drain_s)
            await self._renewal.stop(drain_s)
            await self._claims.give_up("message", "relay")
            if self._audit is not None:
                self._audit.cancel()
                await asyncio.wait([self._audit])
        self._state = State.CLOSED

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def settings(self) -> EngineSettings:
        """The settings that the engine was made with."""
        return self._settings

    @property
    def statistics(self) -> Statistics:
        """What the engine is doing right now."""
        return Statistics(
            live_actors=self._directory.live_actors,
            commands_waiting=self._directory.commands_waiting,
            mailbox_depth_max=self._directory.mailbox_depth_max,
            lease_waits=self._directory.lease_waits,
            settlements_in_flight=self._settlements.in_flight,
            claims_lost=self._claims.lost,
            listeners=self._feed.listeners,
            payments_set_aside=self._settlements.set_aside,
            mocks=self._mocks,
            script_times=self._store.script_times,
            unreadable=self._store.unreadable.counts,
        )

    @operation()
    async def measure(self) -> StoreGauges:
        """Ask the store about all engines on it.

        Raises:
            any Fault.

        """
        return await self._store.measure()

    @operation()
    async def check(self) -> None:
        """Find out whether the engine can work now.

        Raises:
            StoreUnavailable: the engine is not running, or the store does not answer.

        """
        await self._store.ping()

    def require_running(self) -> None:
        """Refuse calls while the engine does not run, and those from another event loop (RuntimeError)."""
        if self._state is not State.RUNNING:
            raise EngineClosed(f"The engine {self._state.value}. Nothing happened.")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the engine was started in another event loop; nothing happened")

    async def _share_audit(self) -> Audit:
        """Wait for the audit that runs, or for a new one. It goes on when whoever asked first has left."""
        if self._audit is None or self._audit.done():
            self._audit = asyncio.get_running_loop().create_task(self._store.audit())
            self._audit.add_done_callback(lambda audit: audit.cancelled() or audit.exception())
        audit = self._audit
        try:
            return await asyncio.shield(audit)
        except asyncio.CancelledError:
            if audit.cancelled():
                raise EngineClosed from None
            raise

    def _operation(
        self, name: str, scope: tuple[str, ...], key: str | None, arguments: object, *, recorded: bool = True
    ) -> Operation:
        """Name a call, so that a repeat is known: by its key or, without one, for our own repeats only.

        A call that is not `recorded` without a key leaves its trace in the payment itself.
        """
        if key is None:
            fingerprint = _digest(arguments) if recorded else ""
            return Operation(self._new_call(), fingerprint, UNKEYED_KEPT_MS)
        kept_ms = self._settings.idempotency_kept_s * 1000
        return Operation(_digest([name, *scope, key]), _digest(arguments), kept_ms)

    def _method(self, asked: Method | None) -> str:
        """Return the method by which the store has to send a code: '' is the first that the user has.

        'none' is one that this engine has no channel for; the store refuses it after all that goes before.
        """
        if asked is None:
            return "" if len(self._channels) > 1 else next(iter(self._channels), "none")
        return asked if asked in self._channels else "none"

    def _new_call(self) -> str:
        return f"{self._call_prefix}.{next(self._calls_named)}"

    def _follow(self, outcome: Outcome[Payment]) -> None:
        """Do what follows from an outcome about a payment, whether or not its asker has left.

        Remember its wallet, tell the watchers and the relay, begin the settlement or the refund.
        """
        payment = outcome.value
        if payment is None or (outcome.code != "ok" and outcome.code not in TOLD_REFUSALS):
            return
        self._remember(payment)
        self._announce(payment)
        if claim := outcome.details.get("claim"):
            self._settlements.begin(Claimed(payment, claim, outcome.details.get("refund", "")))

    async def _finish(self, call: StoreCall[RecordT], follow: Follow[RecordT]) -> Outcome[RecordT]:
        """Wait for a call of the store, and do what follows; a task goes on with both if the asker leaves."""
        try:
            outcome = await call()
        except asyncio.CancelledError:
            if len(self._calls) < self._settings.commands_waiting_max:
                task = asyncio.get_running_loop().create_task(self._go_on(call, follow))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
            raise
        if outcome.code == "ok":
            follow(outcome)
        return outcome

    async def _go_on(self, call: StoreCall[RecordT], follow: Follow[RecordT]) -> None:
        """Ask again for what may have run: it knows its own earlier result."""
        with suppress(Fault):
            outcome = await call()
            if outcome.code == "ok":
                follow(outcome)

    def _remember(self, payment: Payment) -> None:
        if len(self._routes) >= ROUTES_MAX:
            del self._routes[next(iter(self._routes))]
        old = self._routes.get(payment.id)  # its terms never change
        terms = (
            old.terms if old else PaymentTerms(payment.id, payment.amount, payment.currency, payment.merchant)
        )
        self._routes[payment.id] = Route(payment.wallet_id, payment.user_id, terms, code_state_of(payment))

    async def _route_of(self, payment_id: str, user_id: str | None) -> Route:
        """Find the wallet whose actor has to work on a payment, and what its codes are made of."""
        route = self._routes.get(payment_id)
        if route is None or user_id not in (None, route.user_id):
            self._remember(unwrap(await self._store.read_payment(known(payment_id), user_id)))
            route = self._routes[payment_id]
        return route

    def _wake_tellers(self) -> None:
        """Have told now what was just written to the journal."""
        self._relay.wake()
        self._feed.wake()

    def _announce(self, payment: Payment) -> None:
        self._wake_tellers()
        self._watchers.announce(payment)

    async def wait_for_rest(
        self, payment: Payment, wait_s: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> Payment:
        """Wait until a payment is at rest, but not longer than `wait_s`; return it as it is then.

        A change by this process ends the wait at once; one by another process, or that the wait is not wanted
        any more, within half a second.
        """
        deadline = self._clock.monotonic() + wait_s
        while not payment.is_at_rest and (left_s := deadline - self._clock.monotonic()) > 0:
            seen = await self._watchers.next_change(payment.id, left_s)
            if seen is None and not is_wanted():
                break
            # What was acknowledged stays so, whether or not we can look again.
            with suppress(Fault):
                payment = seen or unwrap(await self._store.read_payment(payment.id, None))
        return payment


def unwrap(outcome: Outcome[RecordT]) -> RecordT:
    """Answer the value of an outcome, or raise the refusal that it is."""
    if outcome.code == "ok":
        if outcome.value is None:
            raise InternalError
        return outcome.value.as_replay() if outcome.replayed else outcome.value
    refusal = REFUSALS.get(outcome.code)
    if refusal is None:
        raise InternalError(f"the store answered {outcome.code!r}")
    details = dict(outcome.details)
    if isinstance(outcome.value, Payment):
        details["payment"] = outcome.value
    raise refusal(**details)


def known(record_id: str) -> str:
    """Answer an id as it is if it can be one of ours, else one that does not exist."""
    return record_id if is_record_id(record_id) else "unknown"


def known_user(user_id: str) -> str:
    """Answer a user's id as it is if it can be one, else one that no user has."""
    return user_id if USER_ID.fullmatch(user_id) else ""


def _digest(value: object) -> str:
    digest = hashlib.sha256(CANONICAL.encode(value).encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode()
