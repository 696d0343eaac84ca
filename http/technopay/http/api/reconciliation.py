"""The comparison with a settlement file."""

from technopay.engine import Engine
from technopay.http.api.fields import SETTLEMENT_PERIOD
from technopay.http.api.route import Route
from technopay.http.auth.tokens import ADMIN

RECONCILIATION_ROUTES = (
    Route(
        "POST", "/v1/admin/reconcile", ADMIN, Engine.reconcile, fields=SETTLEMENT_PERIOD,
        description="`missing` is looked for from `from` to the time before `to`: by default from the first "
        "end of a payment or refund of the file to the last one.",
        deadline="audit_deadline_s", body_length_max=256 * 1024,
    ),
)  # fmt: skip
