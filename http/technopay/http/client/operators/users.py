"""Users."""

from typing import Literal

from technopay.engine.fields import UNSET, Unset
from technopay.engine.models import User
from technopay.engine.record import Page
from technopay.http.client.calls import Calls, part

USERS = "/v1/admin/users"


async def create_user(
    self: Calls,
    *,
    user_id: str,
    email: str | None = None,
    phone: str | None = None,
    idempotency_key: str | None = None,
) -> User:
    """Create a user, with the id of your identity system."""
    return await self._post(User, USERS, {"id": user_id, "email": email, "phone": phone}, key=idempotency_key)


async def get_user(self: Calls, *, user_id: str) -> User:
    """Read a user."""
    return await self._get(User, f"{USERS}/{part(user_id)}")


async def update_user(
    self: Calls, *, user_id: str, email: str | Unset | None = UNSET, phone: str | Unset | None = UNSET
) -> User:
    """Change the addresses of a user; None removes one. Codes that were sent before are refused."""
    return await self._patch(User, f"{USERS}/{part(user_id)}", {"email": email, "phone": phone})


async def search_users(
    self: Calls,
    *,
    user_id: str | None = None,
    status: Literal["active", "blocked"] | None = None,
    limit: int = 20,
    cursor: str = "",
) -> Page[User]:
    """List users, newest first. A page can be short while there is a next one."""
    return await self._get(Page[User], USERS, user_id=user_id, status=status, limit=limit, cursor=cursor)


async def block_user(self: Calls, *, user_id: str, idempotency_key: str | None = None) -> User:
    """Block a user: payments cannot be started, confirmed or resent."""
    return await self._post(User, f"{USERS}/{part(user_id)}/block", key=idempotency_key)


async def unblock_user(self: Calls, *, user_id: str, idempotency_key: str | None = None) -> User:
    """Unblock a user."""
    return await self._post(User, f"{USERS}/{part(user_id)}/unblock", key=idempotency_key)


async def unlock_user(self: Calls, *, user_id: str, idempotency_key: str | None = None) -> User:
    """Clear a lock-out by wrong codes."""
    return await self._post(User, f"{USERS}/{part(user_id)}/unlock", key=idempotency_key)
