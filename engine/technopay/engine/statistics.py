"""Figures of a running engine and of its store."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from technopay.engine.models import Limit

logger = logging.getLogger(__name__)

UNREADABLE_KNOWN_MAX = 1_000


@dataclass(slots=True)
class ScriptTime:
    """The number of replies to a script, and the sum of their times, including the wait for earlier scripts."""

    calls: int = 0
    total_s: float = 0.0


@dataclass(slots=True)
class UnreadableRecords:
    """Unreadable records: each is counted and logged once.

    Only the ids of the latest are kept, so memory stays bounded.
    """

    counts: Counter[str] = field(default_factory=Counter)
    """Their numbers, by kind."""
    _known: dict[tuple[str, str], None] = field(default_factory=dict)

    def note(self, kind: str, record_id: str, error: Exception | None = None) -> None:
        """Note an unreadable record. The log has its id, but none of its content."""
        if (kind, record_id) in self._known:
            return
        if len(self._known) >= UNREADABLE_KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self._known[kind, record_id] = None
        self.counts[kind] += 1
        reason = f" ({type(error).__name__})" if error else ""
        logger.error("%s %.200r cannot be read%s; all others go on", kind, record_id, reason)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of a running engine."""

    live_actors: int = 0
    commands_waiting: int = 0
    mailbox_depth_max: int = 0
    """Of the busiest wallet."""
    lease_waits: int = 0
    """How often a command came to a wallet that another process had."""
    settlements_in_flight: int = 0
    claims_lost: int = 0
    """How often another process took over the work of this one."""
    listeners: int = 0
    """Listeners to events, in this process."""
    mocks: tuple[str, ...] = ()
    """The services that are mocks or doubles: `settlement`, `email`, `sms`, `verifier`."""
    script_times: Mapping[str, ScriptTime] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    """Numbers of unreadable records, by kind."""
    payments: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Numbers of payments by outcome and currency, of those whose journal entries this process relayed."""
    messages_dead: int = 0
    """Messages that this process gave up after their last attempt."""


@dataclass(frozen=True, slots=True)
class StoreGauges:
    """Figures of a store, about all engines on it."""

    message_age_ms: int
    """The age of the oldest journal entry that waits for the relay."""
    payments_set_aside: int
    """How many payments wait for an operator."""
    set_aside_age_ms: int
    """The age of the oldest debit that waits for an operator."""
    partitions_unreachable: int
    """How many partitions did not reply: the other figures are without them."""
    limits: Sequence[Limit]
    memory_bytes: int | None
    memory_bytes_max: int | None
    """None if the store does not show it, or has no bound."""
    server: str | None = None
    """The name and version of its server, if it shows them."""
    archive_lag_ms: int | None = None
    """The age of the oldest journal entry that is not archived, 0 if all are; None without an archive."""
