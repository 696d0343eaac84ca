"""What can be known of an engine and of its store while they work."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from technopay.engine.models import Limit

logger = logging.getLogger(__name__)

UNREADABLE_KNOWN_MAX = 1_000


@dataclass(slots=True)
class ScriptTime:
    """How often a script was answered, and how long its answers took altogether, waiting in line included."""

    calls: int = 0
    total_s: float = 0.0


@dataclass(slots=True)
class UnreadableRecords:
    """The records that cannot be read, while all others can: each is counted and logged once.

    The latest are known by their ids, so memory stays bounded.
    """

    counts: Counter[str] = field(default_factory=Counter)
    """How many there were, by kind."""
    _known: dict[tuple[str, str], None] = field(default_factory=dict)

    def note(self, kind: str, record_id: str, error: Exception | None = None) -> None:
        """Note a record that cannot be read. The log names its id, and nothing that is in it."""
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
    """What an engine is doing right now."""

    live_actors: int = 0
    commands_waiting: int = 0
    mailbox_depth_max: int = 0
    """Of the wallet for which most commands wait."""
    lease_waits: int = 0
    """How often a command came to a wallet that another process had."""
    settlements_in_flight: int = 0
    claims_lost: int = 0
    """How often another process took over what this one still worked on."""
    payments_set_aside: int = 0
    """Of all engines on this store, as it was when the agenda was looked at last."""
    listeners: int = 0
    """To events, in this process."""
    mocks: tuple[str, ...] = ()
    """The services that are mocks or doubles: `settlement`, `email`, `sms`, `verifier`."""
    script_times: Mapping[str, ScriptTime] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    """Records that this process could not read, by kind."""


@dataclass(frozen=True, slots=True)
class StoreGauges:
    """What a store tells of all engines on it together."""

    message_age_ms: int
    """How long the oldest entry of the journal waits that no message was made of."""
    set_aside_age_ms: int
    """How long ago the oldest payment was debited that waits for an operator."""
    limits: Sequence[Limit]
    memory_bytes: int | None
    memory_bytes_max: int | None
    """None where the store does not tell, or has no bound."""
