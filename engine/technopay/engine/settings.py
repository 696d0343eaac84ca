"""The settings of an engine, and the rules for their values."""

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_type_hints

from technopay.engine.operation import Form

SECRET_LENGTH_MIN = 32
SECRET_CHARACTERS_MIN = 8
SECRETS_MAX = 8
NUMBER_MAX = 10**10
"""Durations are converted to milliseconds, whose sums have to stay exact."""
AT_LEAST_ONE = {
    "code_attempts", "mailbox_capacity", "settlement_attempts", "message_attempts", "events_waiting_max",
    "listeners_per_user_max", "listeners_max", "operator_listeners_max",
}  # fmt: skip
AT_MOST = {"webhook_timeout_s": 10}


def secret_error(secret: str) -> str | None:
    """Return what is wrong with a secret, without showing it."""
    if len(secret) < SECRET_LENGTH_MIN:
        return f"has {len(secret)} characters; it needs {SECRET_LENGTH_MIN}"
    if len(set(secret)) < SECRET_CHARACTERS_MIN:
        return f"has only {len(set(secret))} different characters; take a random text"
    return None


def derive_key(secret: str, purpose: str) -> bytes:
    """Derive the key for one purpose from a secret."""
    return hmac.digest(secret.encode(), f"technopay {purpose}".encode(), hashlib.sha256)


def key_id_of(secret: str) -> str:
    """Return the id of a secret's keys, which reveals nothing of them."""
    return derive_key(secret, "secret id").hex()[:8]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of an engine. Names end with the unit of a duration."""

    secret: str = field(repr=False)
    """The keys of codes and tokens are derived from it; at least 32 characters."""
    previous_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Other secrets whose codes are valid, too: former ones, or the next one during a rollout."""

    code_lifetime_s: int = 300
    code_attempts: int = 5
    """Wrong codes that end a payment (PSD2 RTS, Article 4: at most five)."""
    code_resends: int = 3

    codes_per_hour: int | None = 5
    """Codes for one user, by all payments together; 0 or None lifts this limit and the next two."""
    confirms_per_minute: int | None = 5
    """Confirms of one user whose code is checked."""
    failures_per_day: int | None = 10
    """Wrong codes of one user, by all payments together: the number of guesses out of a million codes."""

    mailbox_capacity: int = 1_000
    """The bound of commands that wait for one wallet; more are refused as overloaded."""
    commands_waiting_max: int = 20_000
    """The bound of commands that wait for all wallets."""
    command_deadline_s: float = 5.0
    """A command that was not sent by then is dropped."""

    settlement_timeout_s: float = 5.0
    settlement_attempts: int = 5
    settlement_backoff_s: float = 0.2
    """Before the second attempt; doubled before each further one."""
    settlement_silence_s: float = 15.0
    """After so long without a reply of the settlement service a payment is set aside."""
    settlements_max: int = 10_000
    """Settlements at a time; more of them wait on the agenda."""
    set_aside_interval_s: float = 300.0
    """The interval of requests about a payment that was set aside."""

    message_attempts: int = 6
    message_timeout_s: float = 2.0
    message_backoff_s: float = 1.0

    events_interval_s: float = 0.5
    """The interval of reads for changes by other processes, while there are listeners."""
    events_waiting_max: int = 100
    """Events that wait for one listener; more of them wait in the journal."""
    events_patience_s: float = 30.0
    """A listener that takes none of its waiting events for so long is disconnected."""
    listeners_per_user_max: int = 4
    listeners_max: int = 500
    """Listeners of this process; more are refused as overloaded."""
    operator_listeners_max: int = 16
    """Those among them that listen to all users."""

    webhook_private: Literal["refuse", "allow"] = "refuse"
    """Whether webhooks may be at private addresses, and without TLS."""
    webhook_timeout_s: float = 10.0
    """How long the answer of a webhook may take; a claim on a delivery lasts 15 s."""

    agenda_interval_s: float = 0.5
    idempotency_kept_s: int = 72 * 3600
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        """Check types and values.

        Raises:
            ValueError: names the setting and the rule.

        """
        forms = _forms()
        for name, form in forms.items():
            value = getattr(self, name)
            try:
                form.take(value)
            except TypeError as error:
                raise ValueError(f"{name} {error}") from None
            least = 1 if name in AT_LEAST_ONE else 0
            most = AT_MOST.get(name, NUMBER_MAX)
            if isinstance(value, int | float) and not least <= value <= most:
                raise ValueError(f"{name} has to be {least} to {most}")
        if not isinstance(self.previous_secrets, tuple):
            raise ValueError("previous_secrets has to be a tuple of texts")
        secrets = (self.secret, *self.previous_secrets)
        for secret in secrets:
            if type(secret) is not str:
                raise ValueError("previous_secrets has to be a tuple of texts")
            if wrong := secret_error(secret):
                raise ValueError(f"the secret {wrong}")
        if len(secrets) > SECRETS_MAX or len({key_id_of(secret) for secret in secrets}) < len(secrets):
            raise ValueError(f"the previous secrets have to be different ones, at most {SECRETS_MAX - 1}")
        if self.code_attempts > 5:
            raise ValueError("code_attempts has to be 1 to 5 (PSD2 RTS, Article 4)")
        for name in ("settlement_timeout_s", "message_timeout_s", "webhook_timeout_s"):
            if not getattr(self, name):
                raise ValueError(f"{name} has to be more than 0")

    def derive_key(self, purpose: str) -> bytes:
        """Derive the key for one purpose from the secret."""
        return derive_key(self.secret, purpose)


@cache
def _forms() -> dict[str, Form]:
    hints = get_type_hints(EngineSettings)
    return {name: Form(hint) for name, hint in hints.items() if name != "previous_secrets"}
