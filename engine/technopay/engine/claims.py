"""Claims: what this process works on, so that no other one does meanwhile.

A claim runs out after a while, so that others finish what a dead process began. It is renewed while the work
goes on, however long one call to the outside takes, and given up when the work is broken off.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from technopay.engine.errors import Fault
from technopay.engine.ports import ClaimKind, Clock, Store

logger = logging.getLogger(__name__)

CLAIM_S = {"payment": 15.0, "message": 15.0, "relay": 4.0}
"""How long each kind lasts; the scripts say so, see shared/claim.lua."""
RENEW_INTERVAL_S = 1.0
PORTION = 100
"""Claims that one script renews."""


@dataclass(slots=True, eq=False)
class Claim:
    """The right to work on something, by the token that the store gave out for it."""

    kind: ClaimKind
    id: str
    token: str
    renewed_at: float
    work_ends_at: float = float("inf")
    """By then the work is over, if nothing hangs: the claim of what hangs is left to others."""
    is_lost: bool = False


class Claims:
    """The claims that this process holds."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._held: set[Claim] = set()
        self.lost = 0
        """How many were lost while this process worked on what they are for."""

    def hold(self, kind: ClaimKind, record_id: str, token: str) -> Claim:
        """Hold a claim that the store just gave out."""
        claim = Claim(kind, record_id, token, self._clock.monotonic())
        self._held.add(claim)
        return claim

    @contextmanager
    def holding(self, kind: ClaimKind, record_id: str, token: str) -> Iterator[Claim]:
        """Hold a claim during a block. That of a block that is cancelled stays until it is given up."""
        claim = self.hold(kind, record_id, token)
        try:
            yield claim
        except Exception:
            self.release(claim)
            raise
        self.release(claim)

    def keep(self, claim: Claim) -> None:
        """Hold a claim again, so that it is given up."""
        self._held.add(claim)

    def release(self, claim: Claim) -> None:
        """Hold a claim no more: its work is done, and is written down under it."""
        self._held.discard(claim)

    def lose(self, claim: Claim, why: str = "another process has it") -> None:
        """Note that a claim was lost. What is done under it changes nothing any more."""
        self._held.discard(claim)
        if not claim.is_lost:
            claim.is_lost = True
            self.lost += 1
            about = {f"{claim.kind}_id": claim.id}
            logger.warning("the claim of %s %s was lost: %s", claim.kind, claim.id, why, extra=about)

    async def renew(self) -> bool:
        """Renew what is older than a third of its length; a step of a loop."""
        now = self._clock.monotonic()
        for claim in [each for each in self._held if now > each.work_ends_at]:
            self.lose(claim, "its service goes on past the deadline")
        old = [each for each in self._held if now - each.renewed_at >= CLAIM_S[each.kind] / 3]
        with suppress(Fault):
            await self._renew(old, keep=True)
        return False

    async def give_up(self, *kinds: ClaimKind) -> None:
        """Give up all claims of these kinds, so that nobody has to wait until they run out."""
        held = [each for each in self._held if each.kind in kinds]
        self._held.difference_update(held)
        with suppress(Fault):
            await self._renew(held, keep=False)

    async def _renew(self, claims: Sequence[Claim], *, keep: bool) -> None:
        for first in range(0, len(claims), PORTION):
            portion = claims[first : first + PORTION]
            now, sent = self._clock.monotonic(), [(each.kind, each.id, each.token) for each in portion]
            for claim, is_ours, (_, _, token) in zip(
                portion, await self._store.renew_claims(sent, keep=keep), sent, strict=True
            ):
                if is_ours:
                    claim.renewed_at = now
                elif claim in self._held and claim.token == token:
                    self.lose(claim)
