"""Invoices."""

from technopay.engine import Engine
from technopay.http.api.fields import INVOICE_FILTERS
from technopay.http.api.route import Route
from technopay.http.auth.tokens import ADMIN, PAYMENTS

INVOICE_ROUTES = (
    Route("GET", "/v1/invoices", PAYMENTS, Engine.list_invoices),
    Route("GET", "/v1/invoices/{invoice_id}", PAYMENTS, Engine.get_invoice),
    Route(
        "POST", "/v1/admin/invoices", ADMIN, Engine.create_invoice, status=201,
        description="A `reference` is used once per merchant; an invoice that is void or expired frees it.",
    ),
    Route(
        "GET", "/v1/admin/invoices", ADMIN, Engine.search_invoices, fields=INVOICE_FILTERS,
        description="`merchant` and `reference` together list the invoice that has the reference now; earlier "
        "ones, void or expired unpaid, have lost it.",
    ),
    Route("GET", "/v1/admin/invoices/{invoice_id}", ADMIN, Engine.find_invoice),
    Route(
        "POST", "/v1/admin/invoices/{invoice_id}/void", ADMIN, Engine.void_invoice,
        description="An unconfirmed payment of it is canceled. Refused while a payment is processing.",
    ),
)  # fmt: skip
