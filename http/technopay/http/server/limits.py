"""The limits of one server process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of one server process. Durations are in the unit at the end of the name."""

    connections_max: int = 1_000
    """Open connections. A new one replaces the one that is idle for longest. If none is idle, a few more are
    accepted for health checks; beyond those, the server replies 503 without reading the request."""
    requests_max: int = 1_000
    """Concurrent requests; one more gets 503 at once."""
    requests_per_user_max: int = 64
    """Concurrent requests of one user."""
    waits_max: int = 512
    """Requests that wait for a payment. They do not count as concurrent requests. One more does not wait."""
    waits_per_user_max: int = 8
    """Requests of one user that wait for a payment."""
    request_deadline_s: float = 30.0
    """After this time the response is 504 `outcome_unknown`."""
    audit_deadline_s: float = 600.0
    write_deadline_s: float = 10.0
    """A client that reads nothing of a response for so long is disconnected."""
    head_deadline_s: float = 15.0
    """A new connection without a complete request head is closed after this time."""
    keepalive_s: float = 75.0
    """An idle connection is closed after this time. Load balancers close theirs after 60 s: a shorter time here
    would lose their next request."""
    body_deadline_s: float = 5.0
    stream_s_max: float = 3_600.0
    """The longest stream; to go on, the client signs in again."""
    ping_interval_s: float = 15.0
    """The interval of pings on a stream without events."""
