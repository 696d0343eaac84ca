"""Operations on users."""

from typing import Literal

from technopay.engine.commands import CreateUser, SetUserStatus, UnlockUser, UpdateUser
from technopay.engine.fields import (
    UNSET,
    Email,
    JournalCursor,
    Key,
    PageLimit,
    Phone,
    Unset,
    UserId,
    nfc,
    user_or_unknown,
)
from technopay.engine.models import User
from technopay.engine.operation import operation
from technopay.engine.reads import ReadUser, SearchUsers
from technopay.engine.record import Page
from technopay.engine.runtime import Runtime, unwrap


@operation("user_exists idempotency_key_reused validation_failed")
async def create_user(
    runtime: Runtime, *, user_id: UserId, email: Email | None = None, phone: Phone | None = None,
    idempotency_key: Key = None
) -> User:  # fmt: skip
    """Create a user, with the id of the caller's identity system."""
    called = runtime.operation("create_user", (), idempotency_key, [user_id, email, phone])
    return await runtime.value_of(CreateUser(called, user_id, nfc(email), phone))


@operation("user_not_found")
async def get_user(runtime: Runtime, *, user_id: str) -> User:
    """Read a user."""
    return await runtime.value_of(ReadUser(user_or_unknown(user_id), runtime.settings.failures_per_day or None))


@operation("validation_failed archive_unavailable")
async def search_users(
    runtime: Runtime, *, user_id: UserId | None = None, status: Literal["active", "blocked"] | None = None,
    limit: PageLimit = 20, cursor: JournalCursor = ""
) -> Page[User]:  # fmt: skip
    """List users, newest first. A page can be short while there is a next one."""
    failures_per_day = runtime.settings.failures_per_day or None
    return await runtime.value_of(SearchUsers(user_id, status, failures_per_day, cursor, limit))


@operation("user_not_found validation_failed")
async def update_user(
    runtime: Runtime, *, user_id: str, email: Email | Unset | None = UNSET, phone: Phone | Unset | None = UNSET
) -> User:
    """Change the addresses of a user; null removes one. Codes that wait are dead until they are sent again.

    Each address that was there, and each new one, gets a message.
    """
    called = runtime.operation("update_user", (user_id,), None, [user_id])
    command = UpdateUser(
        called,
        user_or_unknown(user_id),
        email is not UNSET,
        None if email is UNSET else nfc(email),
        phone is not UNSET,
        None if phone is UNSET else phone,
        runtime.settings.failures_per_day or None,
    )
    partition = runtime.store.partition_of(command.user_id)
    return unwrap(await runtime.run(command, lambda _: runtime.wake_agenda(partition)))


@operation("user_not_found idempotency_key_reused validation_failed")
async def block_user(runtime: Runtime, *, user_id: str, idempotency_key: Key = None) -> User:
    """Block a user: no start, confirm or resend any more. Running payments are finished."""
    return await _set_user_status(runtime, "block_user", user_id, "blocked", idempotency_key)


@operation("user_not_found idempotency_key_reused validation_failed")
async def unblock_user(runtime: Runtime, *, user_id: str, idempotency_key: Key = None) -> User:
    """Unblock a user, who can pay again."""
    return await _set_user_status(runtime, "unblock_user", user_id, "active", idempotency_key)


@operation("user_not_found idempotency_key_reused validation_failed")
async def unlock_user(runtime: Runtime, *, user_id: str, idempotency_key: Key = None) -> User:
    """Clear a lock-out by wrong codes."""
    called = runtime.operation("unlock_user", (user_id,), idempotency_key, [])
    failures_per_day = runtime.settings.failures_per_day or None
    return await runtime.value_of(UnlockUser(called, user_or_unknown(user_id), failures_per_day))


async def _set_user_status(runtime: Runtime, name: str, user_id: str, status: str, key: str | None) -> User:
    called = runtime.operation(name, (user_id,), key, [])
    failures_per_day = runtime.settings.failures_per_day or None
    user_id = user_or_unknown(user_id)
    return await runtime.value_of(SetUserStatus(called, user_id, status, failures_per_day))
