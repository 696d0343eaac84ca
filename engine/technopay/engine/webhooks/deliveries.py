"""Delivers events to webhooks: at least once, in order per payment. A slow endpoint delays no other one."""

import asyncio
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

from technopay.engine.background import Loop
from technopay.engine.errors import Fault
from technopay.engine.polling import RUNNER_UP_INTERVAL_S, PartitionOwners, Polls
from technopay.engine.ports import Clock, Store, WebhookAnswer, WebhookSender
from technopay.engine.settings import EngineSettings
from technopay.engine.values import Operation
from technopay.engine.webhooks.commands import NoteFailing, RecordDelivery, TakeDeliveries
from technopay.engine.webhooks.events import body_of
from technopay.engine.webhooks.models import (
    ClaimedDelivery,
    DeliveryFate,
    Endpoint,
    Room,
    TakenDeliveries,
)
from technopay.engine.webhooks.registry import Registry
from technopay.engine.webhooks.schedule import retry_ms
from technopay.engine.webhooks.secrets import WebhookSecrets, signed_headers

logger = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 1.0
"""An engine learns of a new webhook, or of a change by another one, that late."""
SENDS_MAX = 8
"""Of one webhook, at a time, by one process."""
CLAIM_S = 15.0
"""As long as a delivery is claimed, see take_deliveries.lua."""
BODY_S_MAX = 2.0
"""A sender has this time for the body of an answer; then the engine ends the call."""
ROOM_MAX = 4
"""Of these, for one partition at a time."""
PAUSE_S = 0.01
"""Between two reads of the journal: entries of that time are taken together."""
ANSWER_BYTES_MAX = 1_024
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
GONE = 410


class SenderIntervals:
    """An engine with a sender polls the partitions of other engines, too: those may have no sender."""

    def __init__(self, owners: PartitionOwners) -> None:
        self._owners = owners

    def poll_interval_s(self, partition: int, interval_s: float) -> float:
        return min(self._owners.poll_interval_s(partition, interval_s), RUNNER_UP_INTERVAL_S)


class Webhooks:
    """The webhooks of a store, and their deliveries by this process; without a sender it delivers none."""

    def __init__(
        self,
        store: Store,
        sender: WebhookSender | None,
        clock: Clock,
        settings: EngineSettings,
        owners: PartitionOwners,
        new_call: Callable[[], str],
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._owners = owners
        self._new_call = new_call
        self.registry = Registry(store)
        self.secrets = WebhookSecrets(settings)
        interval_s = settings.agenda_interval_s
        self._polls = Polls("webhooks", self._take, store, SenderIntervals(owners), clock, interval_s)
        self._loop = Loop("webhooks", self._deliver, interval_s, clock, pause_s=PAUSE_S)
        self._refreshes = Loop("registry of webhooks", self.registry.refresh, REFRESH_INTERVAL_S, clock)
        self._changes = Loop("changes of webhooks", self._finish_change, interval_s, clock)
        self._unfinished: dict[str, None] = {}
        """Webhooks with a change that some partitions do not know yet, in order."""
        self._taken: Counter[str] = Counter()
        """How many deliveries of each webhook are sent, or may be claimed by a call that runs."""
        self._starved: defaultdict[str, dict[int, None]] = defaultdict(dict)
        """The partitions in which a webhook may have more deliveries than there was room for, in order."""
        self._sends: set[asyncio.Task[None]] = set()
        self._turn = 0

    def start(self) -> None:
        self._changes.start()
        if self._sender is not None:
            self._refreshes.start()
            self._loop.start()

    async def stop(self, drain_s: float) -> None:
        """Wait for running deliveries, but not longer than `drain_s`."""
        await self._loop.stop(drain_s)
        await self._refreshes.stop(drain_s)
        await self._changes.stop(drain_s)
        await self._polls.stop(drain_s)
        if self._sends:
            _, late = await asyncio.wait(self._sends, timeout=drain_s)
            for task in late:
                task.cancel()

    def wake(self, partition: int) -> None:
        """Collect the events of a partition now, if there are webhooks."""
        if self.registry.endpoints:
            self._polls.note_due(partition)
            self._loop.wake()

    def finish_change(self, webhook_id: str) -> None:
        """Have all partitions know a change, without waiting for those that cannot be reached."""
        self._unfinished[webhook_id] = None
        self._changes.wake()

    async def _finish_change(self) -> bool:
        """Spread the first change; return whether there are more."""
        if self._unfinished:
            webhook_id = next(iter(self._unfinished))
            del self._unfinished[webhook_id]
            with suppress(Fault):  # it stays on the agenda
                await self.registry.spread(webhook_id)
        return bool(self._unfinished)

    async def _deliver(self) -> bool:
        """Take deliveries in the partitions that are due; return whether there may be more."""
        if not self._active():
            return False
        has_more = False
        for partition, taken in (await self._polls.run()).items():
            if taken.has_more:
                has_more = True
                self._polls.note_due(partition)
            if taken.next_in_ms is not None and self._owners.rank(partition) == 0:
                self._polls.note_due(partition, max(taken.next_in_ms, 0) / 1000)
        return has_more

    def _active(self) -> Sequence[Endpoint]:
        """Return the webhooks that this process can sign for; each is first in turn, as a script is bounded."""
        found = [
            each
            for each in self.registry.endpoints.values()
            if each.status == "active" and self.secrets.has_keys_of(each)
        ]
        self._turn = self._turn + 1 if self._turn < len(found) - 1 else 0
        return found[self._turn :] + found[: self._turn]

    async def _take(self, partition: int) -> TakenDeliveries:
        """Take the deliveries of one partition, and begin to send them."""
        rooms = [Room(each.id, self._reserve(each.id, partition)) for each in self._active()]
        claimed: Counter[str] = Counter()
        taken_at_s = self._clock.monotonic()
        try:
            taken = (await self._store.run(TakeDeliveries(partition, rooms))).value
            for delivery in taken.deliveries if taken else ():
                claimed[delivery.webhook_id] += 1
                self._begin(partition, delivery, taken_at_s)
        finally:
            for webhook_id, room in rooms:
                if room and claimed[webhook_id] == room:
                    self._starved[webhook_id][partition] = None
                self._release(webhook_id, room - claimed[webhook_id])
        return taken or TakenDeliveries([], has_more=False, next_in_ms=None)

    def _reserve(self, webhook_id: str, partition: int) -> int:
        room = min(SENDS_MAX - self._taken[webhook_id], ROOM_MAX)
        self._taken[webhook_id] += room
        if not room:
            self._starved[webhook_id][partition] = None
        return room

    def _release(self, webhook_id: str, count: int) -> None:
        """Give room back, to the partitions that wait longest for it."""
        self._taken[webhook_id] -= count
        starved = self._starved[webhook_id]
        for partition in list(starved)[:count]:
            del starved[partition]
            self._polls.note_due(partition)
            self._loop.wake()

    def _begin(self, partition: int, delivery: ClaimedDelivery, taken_at_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._send_and_record(partition, delivery, taken_at_s))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _send_and_record(self, partition: int, delivery: ClaimedDelivery, taken_at_s: float) -> None:
        try:
            endpoint = await self._endpoint_of(delivery)
            # A process that was stopped meanwhile must not send behind another one that has taken over.
            left_s = CLAIM_S - (self._clock.monotonic() - taken_at_s)
            if endpoint is not None and left_s >= self._settings.webhook_timeout_s + BODY_S_MAX:
                fate, answer = await self._send(endpoint, delivery)
                if answer.status == GONE:
                    await self._disable(endpoint)
                await self._record(partition, delivery, fate, answer)
                if fate != "dead":
                    await self._note_failing(endpoint, is_failing=fate == "failed")
        except Fault as fault:  # it is sent again when its claim has expired
            logger.warning("delivery %s of %s: %s", delivery.event_id, delivery.webhook_id, fault.code)
        except Exception:
            logger.exception("delivery %s of %s failed", delivery.event_id, delivery.webhook_id)
        finally:
            self._polls.note_due(partition)
            self._release(delivery.webhook_id, 1)
            self._loop.wake()

    async def _endpoint_of(self, delivery: ClaimedDelivery) -> Endpoint | None:
        """Return the webhook of a delivery, as new as its partition knows it."""
        endpoint = self.registry.endpoints.get(delivery.webhook_id)
        if endpoint is None or endpoint.epoch < delivery.epoch:
            await self.registry.refresh()
            endpoint = self.registry.endpoints.get(delivery.webhook_id)
        return endpoint if endpoint and endpoint.status == "active" else None

    async def _send(self, endpoint: Endpoint, delivery: ClaimedDelivery) -> tuple[DeliveryFate, WebhookAnswer]:
        """Send a delivery once."""
        assert self._sender is not None
        if delivery.subject is None:
            return "dead", WebhookAnswer(0, "the record of the event cannot be read")
        secrets = self.secrets.open_all(endpoint, delivery.now_ms)
        if secrets is None:
            return "failed", WebhookAnswer(0, "the secret of the webhook cannot be decrypted")
        body = body_of(delivery)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "technopay-webhooks",
            **signed_headers(secrets, delivery.event_id, delivery.now_ms, body.decode()),
        }
        timeout_s = self._settings.webhook_timeout_s
        try:
            async with asyncio.timeout(timeout_s + BODY_S_MAX):
                answer = await self._sender.send(endpoint.url, headers, body, timeout_s)
        except TimeoutError:
            return "failed", WebhookAnswer(0, f"no answer within {timeout_s:g} s")
        except Exception as error:
            return "failed", WebhookAnswer(0, str(error) or type(error).__name__)
        return "delivered" if 200 <= answer.status < 300 else "failed", answer

    async def _record(
        self, partition: int, delivery: ClaimedDelivery, fate: DeliveryFate, answer: WebhookAnswer
    ) -> None:
        delay_ms = retry_ms(delivery.webhook_id, delivery.event_id, delivery.attempts + 1)
        recorded = RecordDelivery(
            partition,
            delivery.webhook_id,
            delivery.entry_id,
            delivery.claim,
            fate,
            str(answer.status or ""),
            shown_answer(answer.text),
            delay_ms,
        )
        if (await self._store.run(recorded)).code != "ok":
            logger.info("the claim of delivery %s was lost", delivery.event_id)

    async def _note_failing(self, endpoint: Endpoint, *, is_failing: bool) -> None:
        known = self.registry.endpoints.get(endpoint.id, endpoint)
        if is_failing != (known.failing_since_ms is not None):
            with suppress(Fault):  # the next attempt notes it
                await self._store.run(NoteFailing(endpoint.id, is_failing))
                await self.registry.refresh()

    async def _disable(self, endpoint: Endpoint) -> None:
        """Switch a webhook off that answered 410, unless it was changed since."""
        with suppress(Fault):  # the next 410 does it
            await self.registry.save(
                Operation(self._new_call()),
                endpoint._replace(status="disabled", secrets=self.secrets.renewed(endpoint, 0)),
            )


def shown_answer(text: str) -> str:
    """Return the beginning of an answer, safe for terminals and JSON."""
    clean = UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)
    return clean.encode()[:ANSWER_BYTES_MAX].decode(errors="ignore")
