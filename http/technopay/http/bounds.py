"""The bounds of one server process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process takes on at most. Durations are in the unit that the name ends with."""

    connections_max: int = 1_000
    """Connections that are open. For one more, the one that is idle for longest is closed. Where none is idle,
    a few more are for health checks; beyond them, 503 is answered unread."""
    requests_max: int = 1_000
    """Requests under way; one more is answered 503 at once."""
    requests_per_user_max: int = 64
    """Of these, so many may be of one user."""
    waits_max: int = 512
    """Requests that wait for a payment take no place of those; with no wait free they are answered at once."""
    waits_per_user_max: int = 8
    """Of these, so many may be of one user."""
    request_deadline_s: float = 30.0
    """A request that has no answer by then is answered that its outcome is unknown."""
    audit_deadline_s: float = 600.0
    write_deadline_s: float = 10.0
    """A reader who takes nothing of what is written by then is cut off."""
    head_deadline_s: float = 15.0
    """A new connection on which no request has arrived by then, down to its last header, is closed."""
    keepalive_s: float = 75.0
    """A connection whose last answer is so long ago is closed. Load balancers give up theirs after 60 s: had we
    closed it before, their next request would be lost."""
    body_deadline_s: float = 5.0
    stream_s_max: float = 3_600.0
    """A stream ends after so long; whoever reads on has to sign in again."""
    ping_interval_s: float = 15.0
    """How often a stream of events without news shows that it is still there."""
