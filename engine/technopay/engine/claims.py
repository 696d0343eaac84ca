"""Claims: the exclusive right of this process to work on a record.

A claim expires, so that another process can finish the work of a dead one. It is renewed during the work and
given up when the work is interrupted.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from technopay.engine.background import PartitionTasks
from technopay.engine.commands import RenewClaims
from technopay.engine.errors import Fault
from technopay.engine.ports import Clock, Store
from technopay.engine.values import ClaimKind, HeldClaim

logger = logging.getLogger(__name__)

CLAIM_S = {"payment": 15.0, "message": 15.0, "relay": 4.0}
"""The length of each kind, as in shared/claim.lua."""
RENEW_INTERVAL_S = 1.0
BATCH = 100
"""Claims that one script renews."""


@dataclass(slots=True, eq=False)
class Claim:
    """The right to work on a record, with the token from the store."""

    kind: ClaimKind
    partition: int
    id: str
    token: str
    renewed_at: float
    work_ends_at: float = float("inf")
    """The deadline of the work: if it hangs, the claim is not renewed any more."""
    is_lost: bool = False


class Claims:
    """The claims that this process holds."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._held: set[Claim] = set()
        self._renewals = PartitionTasks("the renewal of claims", self._renew_old)
        self.lost = 0
        """How many were lost during the work."""

    def hold(self, kind: ClaimKind, partition: int, record_id: str, token: str, since: float) -> Claim:
        """Hold a new claim. `since` is when its script was sent: the reply can come much later."""
        claim = Claim(kind, partition, record_id, token, since)
        self._held.add(claim)
        return claim

    @contextmanager
    def holding(
        self, kind: ClaimKind, partition: int, record_id: str, token: str, since: float
    ) -> Iterator[Claim]:
        """Hold a claim during a block. If the block is cancelled, the claim stays held until `give_up`."""
        claim = self.hold(kind, partition, record_id, token, since)
        try:
            yield claim
        except Exception:
            self.release(claim)
            raise
        self.release(claim)

    def keep(self, claim: Claim) -> None:
        """Hold a claim again, so that `give_up` finds it."""
        self._held.add(claim)

    def release(self, claim: Claim) -> None:
        """Stop holding a claim: its work is done."""
        self._held.discard(claim)

    def lose(self, claim: Claim, reason: str = "another process has it") -> None:
        """Note that a claim was lost: the store refuses writes with its token."""
        self._held.discard(claim)
        if not claim.is_lost:
            claim.is_lost = True
            self.lost += 1
            about = {f"{claim.kind}_id": claim.id}
            logger.warning("the claim of %s %s was lost: %s", claim.kind, claim.id, reason, extra=about)

    async def renew(self) -> bool:
        """Renew the claims that are older than a third of their length; a step of a loop."""
        now = self._clock.monotonic()
        for claim in [each for each in self._held if now > each.work_ends_at]:
            self.lose(claim, "its work is past the deadline")
        await self._renewals.run({each.partition for each in self._held if _is_old(each, now)})
        return False

    async def stop(self, drain_s: float) -> None:
        """Wait for running renewals, but not longer than `drain_s`."""
        await self._renewals.stop(drain_s)

    async def give_up(self, *kinds: ClaimKind) -> None:
        """Give up all claims of these kinds, so that no process has to wait until they expire."""
        held = [each for each in self._held if each.kind in kinds]
        self._held.difference_update(held)
        partitions = {each.partition for each in held}
        renewals = (
            self._renew(each, [claim for claim in held if claim.partition == each]) for each in partitions
        )
        await asyncio.gather(*renewals)

    async def _renew_old(self, partition: int) -> None:
        now = self._clock.monotonic()
        old = [each for each in self._held if each.partition == partition and _is_old(each, now)]
        await self._renew(partition, old, keep=True)

    async def _renew(self, partition: int, claims: Sequence[Claim], *, keep: bool = False) -> None:
        with suppress(Fault):
            for first in range(0, len(claims), BATCH):
                await self._renew_batch(partition, claims[first : first + BATCH], keep=keep)

    async def _renew_batch(self, partition: int, batch: Sequence[Claim], *, keep: bool) -> None:
        now, sent = self._clock.monotonic(), [HeldClaim(each.kind, each.id, each.token) for each in batch]
        renewed = (await self._store.run(RenewClaims(partition, keep, sent))).value or []
        for claim, is_current, (_, _, token) in zip(batch, renewed, sent, strict=True):
            if is_current:
                claim.renewed_at = now
            elif claim in self._held and claim.token == token:
                self.lose(claim)


def _is_old(claim: Claim, now: float) -> bool:
    return now - claim.renewed_at >= CLAIM_S[claim.kind] / 3
