"""The webhooks of a store: read from its first partition, changed there, and made known to all partitions."""

import asyncio
import json
from collections.abc import Callable, Mapping

from technopay.engine.errors import OutcomeUnknown, StoreUnavailable
from technopay.engine.ports import Outcome, Store
from technopay.engine.values import Operation
from technopay.engine.webhooks.commands import FinishWebhook, NoteWebhook, ReadWebhooks, SaveWebhook
from technopay.engine.webhooks.models import Endpoint

TRIES_MAX = 8
ROUNDS_MAX = 500
"""Batches of a deleted webhook's records in one partition."""

Change = Callable[[Endpoint, int], Endpoint]
"""A change of a webhook, at a time of the store in milliseconds."""


class Registry:
    """The webhooks as this process knows them, and changes of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version = ""
        self.endpoints: Mapping[str, Endpoint] = {}
        """By id; those of the last `refresh` or `read`, deleted ones included."""

    async def refresh(self) -> bool:
        """Read the webhooks if they have changed; a step of a loop."""
        found = (await self._store.run(ReadWebhooks(self._version))).value
        if found is not None:
            self._version = found.version
            self.endpoints = {each.id: each for each in found.endpoints}
        return False

    async def read(self) -> tuple[Mapping[str, Endpoint], int]:
        """Read the webhooks that are not deleted, and the store's time."""
        found = (await self._store.run(ReadWebhooks())).value
        if found is None:
            raise StoreUnavailable
        self._version = found.version
        self.endpoints = {each.id: each for each in found.endpoints}
        return {each.id: each for each in found.endpoints if each.status != "deleted"}, found.now_ms

    async def change(self, operation: Operation, webhook_id: str, change: Change) -> Outcome[Endpoint]:
        """Change a webhook, once for an operation; one that is gone is only found by the operation."""
        for _ in range(TRIES_MAX):
            endpoints, now_ms = await self.read()
            endpoint = endpoints.get(webhook_id)
            changed = change(endpoint, now_ms) if endpoint else _gone(webhook_id)
            outcome = await self.save(operation, changed)
            if outcome.code != "conflict":
                return outcome
        raise StoreUnavailable

    async def save(self, operation: Operation, endpoint: Endpoint) -> Outcome[Endpoint]:
        """Save a webhook under the epoch that it was read with, or 0 for a new one; let all partitions know it.

        Raises:
            OutcomeUnknown: some of them do not know it yet; the agenda goes on with it.

        """
        outcome = await self._store.run(
            SaveWebhook(
                operation,
                endpoint.id,
                endpoint.epoch,
                endpoint.url,
                endpoint.merchant,
                endpoint.types,
                endpoint.status,
                json.dumps(endpoint.secrets),
            )
        )
        if outcome.code == "ok" and outcome.value is not None:
            try:
                await self.spread(outcome.value.id)
            except StoreUnavailable as error:
                raise OutcomeUnknown from error
        return outcome

    async def spread(self, webhook_id: str) -> None:
        """Let every partition know a webhook as it is now; can be repeated."""
        await self.read()
        endpoint = self.endpoints.get(webhook_id)
        if endpoint is None:
            await self._store.run(FinishWebhook(webhook_id, 0))
            return
        noting = (self._note(partition, endpoint) for partition in self._store.partitions)
        for result in await asyncio.gather(*noting, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        await self._store.run(FinishWebhook(webhook_id, endpoint.epoch))
        await self.refresh()

    async def _note(self, partition: int, endpoint: Endpoint) -> None:
        known = endpoint.id, endpoint.epoch, endpoint.status, endpoint.merchant, endpoint.types
        for _ in range(ROUNDS_MAX):
            if (await self._store.run(NoteWebhook(partition, *known))).code == "ok":
                return
        raise OutcomeUnknown


def _gone(webhook_id: str) -> Endpoint:
    return Endpoint(webhook_id, 1, "", "", (), "active", (), 0, None)
