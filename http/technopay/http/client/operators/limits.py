"""Limits."""

from technopay.engine.models import Limit
from technopay.engine.record import Page
from technopay.http.client.calls import Calls, part

LIMITS = "/v1/admin/limits"


async def set_limit(self: Calls, *, currency: str, amount: int | None) -> Limit:
    """Set the global daily limit of a currency; None removes it, 0 stops all payments."""
    return await self._put(Limit, f"{LIMITS}/{part(currency)}", {"amount": amount})


async def list_all_limits(self: Calls, *, limit: int = 20, cursor: str = "") -> Page[Limit]:
    """List all limits; a removed one has the limit None."""
    return await self._get(Page[Limit], LIMITS, limit=limit, cursor=cursor)
