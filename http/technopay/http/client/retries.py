"""When a call is retried. A retry is safe: the server knows it by its key, or it changes nothing."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from technopay.engine.errors import (
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    TechnopayError,
    WalletBusy,
)
from technopay.http.client.errors import ServerUnreachable, UnexpectedAnswer, read_problem

UNAVAILABLE = frozenset({502, 503, 504})
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a call is retried."""

    retries: int = 3
    deadline_s: float = 30.0
    """For all tries and the pauses between them, beside the wait that the server is asked for."""
    timeout_s: float = 10.0
    """For one try, beside that wait."""
    backoff_s: float = 0.1
    """The longest pause before the second try; it doubles before each further one."""
    backoff_max_s: float = 2.0
    pick: Callable[[float, float], float] = random.uniform
    """Picks the pause between two bounds, by default at random, so that clients do not retry in step."""

    def pause_s(self, tries: int, retry_after_s: float | None) -> float:
        """Return the pause after so many tries; the server can ask for a longer one."""
        backoff_s = self.pick(0.0, min(self.backoff_max_s, self.backoff_s * 2 ** (tries - 1)))
        return max(backoff_s, retry_after_s or 0.0)


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply to one try."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def is_replay(self) -> bool:
        """Whether this is the reply to an earlier call, sent again."""
        return self.headers.get("Idempotent-Replayed") == "true"

    @property
    def retry_after_s(self) -> float | None:
        """The pause that the server asks for, in seconds or until a date."""
        given = self.headers.get("Retry-After", "")
        if given.isascii() and given.isdigit():
            return float(given)
        try:
            return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Failure:
    """A try without success."""

    error: TechnopayError
    is_unknown: bool = False
    """Whether the server may have made the change all the same."""
    may_retry: bool = False
    retry_after_s: float | None = None


def no_reply(error: Exception, *, was_sent: bool, changes: bool) -> Failure:
    """Return the failure of a try without a reply. A call that changes nothing is never in doubt."""
    in_doubt = was_sent and changes
    raised = OutcomeUnknown("The server did not reply.") if in_doubt else ServerUnreachable()
    raised.__cause__ = error
    return Failure(raised, is_unknown=in_doubt, may_retry=True)


def classify(reply: Reply, *, changes: bool) -> Failure:
    """Return the failure that a reply means."""
    after_s = reply.retry_after_s
    error = read_problem(reply.text, replayed=reply.is_replay, retry_after_s=after_s)
    if reply.status == TOO_MANY:
        raised = error or UnexpectedAnswer("Something between the client and the server replied 429.")
        return Failure(raised, may_retry=after_s is not None, retry_after_s=after_s)
    if reply.status not in UNAVAILABLE:
        described = f"Something that is not technopay, or another version of it, replied {reply.status}."
        return Failure(error or UnexpectedAnswer(described))
    if isinstance(error, WalletBusy | Overloaded | StoreUnavailable):
        return Failure(error, may_retry=True, retry_after_s=after_s)
    if error is None:
        # A gateway does not know the outcome of the request behind it.
        message = f"Something between the client and the server replied {reply.status}."
        error = OutcomeUnknown(message) if changes else ServerUnreachable(message)
    return Failure(error, is_unknown=changes, may_retry=True, retry_after_s=after_s)
