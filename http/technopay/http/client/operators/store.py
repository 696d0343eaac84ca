"""The store."""

from technopay.engine.models import ArchiveStatus, Audit
from technopay.http.client.calls import Calls

AUDIT_WAIT_S = 300.0


async def audit(self: Calls, *, wait_s: float = AUDIT_WAIT_S) -> Audit:
    """Recompute everything from the journal; for millions of entries this takes minutes."""
    return await self._get(Audit, "/v1/admin/audit", wait_s=wait_s)


async def get_archive(self: Calls) -> ArchiveStatus:
    """Read how far the history is archived."""
    return await self._get(ArchiveStatus, "/v1/admin/archive")
