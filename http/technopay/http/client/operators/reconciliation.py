"""The comparison with a settlement file."""

from collections.abc import Sequence
from datetime import datetime

from technopay.engine.reconciliation.models import Reconciliation, SettlementRow
from technopay.http.client.calls import Calls
from technopay.http.client.transport import Request

RECONCILE_WAIT_S = 60.0


async def reconcile(
    self: Calls,
    *,
    rows: Sequence[SettlementRow],
    settled_from: datetime | None = None,
    settled_to: datetime | None = None,
    wait_s: float = RECONCILE_WAIT_S,
) -> Reconciliation:
    """Compare at most a thousand rows of a settlement file with the payments and refunds there.

    It changes nothing, and so has no key.
    """
    body = {
        "rows": [row.model_dump(mode="json") for row in rows],
        "from": settled_from and settled_from.isoformat(),
        "to": settled_to and settled_to.isoformat(),
    }
    return await self._transport.call(
        Reconciliation, Request("POST", "/v1/admin/reconcile", body, wait_s=wait_s)
    )
