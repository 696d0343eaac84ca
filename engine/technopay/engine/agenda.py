"""The background work of an engine: what is due on the agenda, and the messages of the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from technopay.engine.errors import Fault, OutcomeUnknown, StoreUnavailable
from technopay.engine.outage import Outage
from technopay.engine.ports import Clock, Store
from technopay.engine.relay import Relay
from technopay.engine.settings import EngineSettings
from technopay.engine.settlement import Settlements

logger = logging.getLogger(__name__)

DUE_MAX = 100
RELAY_PAUSE_S = 0.01
"""Between two readings of the journal: what comes meanwhile is relayed together, with no more round trips."""
PAUSE_AFTER_FAULT_S = 0.5


class Loop:
    """Repeats one step: at once while there is more, else when it is woken or after an interval.

    Between two steps there can be a pause, so that a step has more to do. A fault or a crash of a step is
    logged, and the loop goes on after a pause.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[bool]],
        interval_s: float,
        clock: Clock,
        *,
        pause_s: float = 0.0,
    ) -> None:
        self._pause_s = pause_s
        self._name = name
        self._step = step
        self._interval_s = interval_s
        self._clock = clock
        self._outage = Outage(logger, f"{name} fails and goes on", f"{name} works again")
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Make the next step come now."""
        self._wake.set()

    async def stop(self, drain_s: float) -> None:
        """Let the step that runs finish, but do not wait longer than `drain_s`."""
        self._stopping = True
        self._wake.set()
        if self._task:
            _, late = await asyncio.wait([self._task], timeout=drain_s)
            for task in late:
                task.cancel()

    async def _run(self) -> None:
        task = asyncio.current_task()
        # A client of the store can swallow a cancel on its way: the task still knows of it.
        while not self._stopping and not (task and task.cancelling()):
            self._wake.clear()
            try:
                more = await self._step()
            except (StoreUnavailable, OutcomeUnknown) as fault:
                logger.debug("%s pauses: %s", self._name, fault)  # the store itself logs why
                await self._clock.sleep(PAUSE_AFTER_FAULT_S)
                continue
            except Exception as error:
                self._outage.fail(repr(error), exc_info=not isinstance(error, Fault))
                await self._clock.sleep(PAUSE_AFTER_FAULT_S)
                continue
            self._outage.end()
            if not more and not self._stopping:
                await self._rest()

    async def _rest(self) -> None:
        if self._pause_s:
            await self._clock.sleep(self._pause_s)
        try:
            async with asyncio.timeout(self._interval_s):
                await self._wake.wait()
        except TimeoutError:
            pass


class Agenda:
    """Takes what is due and hands it to those who do it."""

    def __init__(self, store: Store, settlements: Settlements, relay: Relay) -> None:
        self._store = store
        self._settlements = settlements
        self._relay = relay

    async def step(self) -> bool:
        """Take what is due; answer whether there may be more."""
        due = await self._store.take_due(DUE_MAX)
        self._settlements.set_aside = due.set_aside
        for claimed in due.payments:
            self._settlements.begin(claimed)
        for message in due.messages:
            self._relay.begin_again(message)
        return due.next_in_ms is not None and due.next_in_ms <= 0


def make_loops(
    store: Store, settlements: Settlements, relay: Relay, clock: Clock, settings: EngineSettings
) -> tuple[Loop, Loop]:
    """Make the loops of the agenda and of the relay."""
    agenda = Agenda(store, settlements, relay)
    return (
        Loop("agenda", agenda.step, settings.agenda_interval_s, clock),
        Loop("relay", relay.relay, settings.agenda_interval_s, clock, pause_s=RELAY_PAUSE_S),
    )
