"""What is true of a store when everything came to rest: nothing lost, nothing twice, nothing left over."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from support.audit import assert_books_balance
from support.journal import named
from support.patience import see

REST_S_MAX = 60.0
PAUSE_S = 0.15
REAPED = frozenset({"failed", "canceled", "expired"})
"""What a payment on the agenda is when all that is left to do is to forget it."""
DONE = frozenset({"sent", "stale", "dead"})
"""The same of a message."""
TOLD = {
    "payment.started": "confirmation.code",
    "payment.code_resent": "confirmation.code",
    "payment.succeeded": "payment.succeeded",
    "payment.failed": "payment.failed",
    "payment.refunded": "payment.refunded",
    "payment.refused": "payment.refused",
    "payment.expired": "payment.expired",
}
"""Which entries of the journal users are told of, whatever they say."""

Entries = Sequence[tuple[str, dict[str, str]]]


@dataclass
class RawStore:
    """Reads a store as it lies there, past the product."""

    client: Redis
    namespace: str

    def key(self, kind: str) -> str:
        return f"{{{self.namespace}:00}}:{kind}"

    async def journal(self) -> Entries:
        entries: Any = await self.client.xrange(self.key("journal"))
        return [(entry, named(said)) for entry, said in entries]

    async def read(self, kind: str, record_id: str) -> dict[str, str]:
        record: Any = await self.client.hgetall(self.key(f"{kind}:{record_id}"))
        return dict(record)

    async def inbox(self, user_id: str) -> list[dict[str, Any]]:
        """What the mock channels delivered, oldest first."""
        lines: Any = await self.client.lrange(self.key(f"mock:inbox:{user_id}"), 0, -1)
        return [json.loads(line.partition(" ")[2]) for line in reversed(lines)]

    async def unrest(self) -> list[str]:
        """What is still to be done, on the agenda and by the relay; what is set aside is not."""
        members: Any = await self.client.zrange(self.key("agenda"), 0, -1)
        left = []
        for member in members:
            kind, _, rest = member.partition("_")
            if kind == "pay":
                payment = await self.read("payment", member)
                if payment["status"] not in REAPED and "set_aside" not in payment:
                    left.append(f"{member} {payment['status']}")
            elif kind == "msg":
                status = (await self.read("message", rest))["status"]
                left += [] if status in DONE else [f"{member} {status}"]
            else:
                assert kind == "op", member
        newest: Any = await self.client.xrevrange(self.key("journal"), count=1)
        relay: Any = await self.client.hgetall(self.key("relay"))
        if newest and relay.get("cursor") != newest[0][0]:
            left.append(f"the relay is at {relay}, the journal at {newest[0][0]}")
        return left

    async def live_leases(self) -> list[str]:
        """Wallets that somebody holds."""
        seconds, microseconds = await self.client.time()
        now_ms = seconds * 1000 + microseconds // 1000
        live = []
        for entry, said in await self.journal():
            if said["type"] == "wallet.created":
                wallet = await self.read("wallet", said["wallet"])
                if int(wallet.get("lease_until", 0)) > now_ms:
                    live.append(f"{said['wallet']}: {wallet} {entry}")
        return live


def open_client(url: str) -> Redis:
    """Make a client to read with. No retries: with them a lost reply would not show."""
    client: Redis = Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))
    return client


async def wait_for_rest(raw: RawStore) -> None:
    """Wait until nothing is left to be done but reaping, and nobody holds a wallet."""
    left: list[str] = []

    async def look() -> bool:
        left[:] = await raw.unrest() or await raw.live_leases()
        return not left

    try:
        await see(look, within_s=REST_S_MAX, pause_s=PAUSE_S)
    except AssertionError as error:
        error.add_note(f"left to be done: {left}")
        raise


async def assert_at_rest(url: str, raw: RawStore) -> Entries:
    """Check a store at rest: its books, and that users were told everything. Answers the journal."""
    await wait_for_rest(raw)
    await assert_books_balance(url, raw.namespace)
    journal = await raw.journal()
    await assert_all_was_told(raw, journal)
    return journal


async def assert_all_was_told(raw: RawStore, journal: Entries) -> None:
    """Every event reached its user at least once, always under the same id and with the same words."""
    users: dict[str, str] = {}
    expected: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for entry, said in journal:
        if said["type"] == "payment.started":
            users[said["payment"]] = (await raw.read("payment", said["payment"]))["user"]
        if kind := kind_of_message(said):
            expected[users[said["payment"]]][f"evt_00{entry}"] = kind
    for user_id, events in expected.items():
        told: dict[str, dict[str, Any]] = {}
        for message in await raw.inbox(user_id):
            first = told.setdefault(message["event_id"], message)
            assert message == first, f"one event, two messages: {message}, {first}"
        for event in events.keys() - told.keys():
            # A code that nobody can use any more is not sent.
            record = await raw.read("message", event.removeprefix("evt_00"))
            is_stale = events.pop(event) == "confirmation.code" and record.get("status") == "stale"
            assert is_stale, f"{user_id} was not told {event}: {record}"
        kinds = {event: message["kind"] for event, message in told.items()}
        assert kinds == events, f"{user_id} was told {kinds} of {events}"


def kind_of_message(said: Mapping[str, str]) -> str | None:
    """The kind of message that an entry asks for, or None."""
    if said["type"] == "payment.canceled":
        # Users know that they canceled; they do not know that the merchant withdrew the invoice.
        return "payment.canceled" if said["by"] == "void" else None
    return TOLD.get(said["type"])
