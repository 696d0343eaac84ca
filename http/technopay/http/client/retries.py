"""When a call is tried again. It is safe because a repeat is known by its key (or is no change at all)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from technopay.engine.errors import (
    Fault,
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
    """How often a call is tried, and for how long."""

    retries: int = 3
    deadline_s: float = 30.0
    """For all tries of a call and the pauses between them, beside the time that the server is asked to wait."""
    timeout_s: float = 10.0
    """For one try, beside that time."""
    backoff_s: float = 0.1
    """The longest pause before the second try; doubled before each further one."""
    backoff_max_s: float = 2.0
    pick: Callable[[float, float], float] = random.uniform
    """Picks the pause between two bounds: all of it is chance, so that clients do not come in step."""

    def pause_s(self, tries: int, retry_after_s: float | None) -> float:
        """Answer how long to pause after so many tries: by chance, but as long as the server asks."""
        backoff_s = self.pick(0.0, min(self.backoff_max_s, self.backoff_s * 2 ** (tries - 1)))
        return max(backoff_s, retry_after_s or 0.0)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered to one try."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def is_replay(self) -> bool:
        """Whether this is the answer to an earlier call, given again."""
        return self.headers.get("Idempotent-Replayed") == "true"

    @property
    def retry_after_s(self) -> float | None:
        """How long the server asks to wait: in seconds or until a date."""
        given = self.headers.get("Retry-After", "")
        if given.isascii() and given.isdigit():
            return float(given)
        try:
            return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Failure:
    """A try without the answer that was asked for."""

    error: TechnopayError
    is_unknown: bool = False
    """Whether the server may have done what it was asked for all the same."""
    may_repeat: bool = False
    retry_after_s: float | None = None


def no_answer(error: Exception, *, was_sent: bool, changes: bool) -> Failure:
    """Judge a try that nobody answered. One that changes nothing is never in doubt."""
    in_doubt = was_sent and changes
    raised = OutcomeUnknown("The server did not answer.") if in_doubt else ServerUnreachable()
    raised.__cause__ = error
    return Failure(raised, is_unknown=in_doubt, may_repeat=True)


def judge(reply: Reply, *, changes: bool) -> Failure:
    """Judge an answer that is no success."""
    after_s = reply.retry_after_s
    error = read_problem(reply.text, replayed=reply.is_replay, retry_after_s=after_s)
    if reply.status == TOO_MANY:
        raised = error or UnexpectedAnswer("Something between here and the server answered 429.")
        return Failure(raised, may_repeat=after_s is not None, retry_after_s=after_s)
    if reply.status not in UNAVAILABLE:
        described = f"Something that is not technopay, or another version of it, answered {reply.status}."
        return Failure(error or UnexpectedAnswer(described))
    if isinstance(error, WalletBusy | Overloaded | StoreUnavailable):
        return Failure(error, may_repeat=True, retry_after_s=after_s)
    if error is None:
        # A gateway does not know what became of the request behind it.
        error = _gateway_error(reply.status, changes=changes)
    return Failure(error, is_unknown=changes, may_repeat=True, retry_after_s=after_s)


def _gateway_error(status: int, *, changes: bool) -> Fault:
    said = f"Something between here and the server answered {status}."
    return OutcomeUnknown(said) if changes else ServerUnreachable(said)
