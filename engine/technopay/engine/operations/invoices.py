"""Operations on invoices."""

from technopay.engine import fields
from technopay.engine.commands import CreateInvoice, VoidInvoice
from technopay.engine.errors import FieldError, ValidationFailed
from technopay.engine.fields import (
    Amount,
    Currency,
    Description,
    InvoiceCursor,
    Key,
    Metadata,
    Name,
    PageLimit,
    Time,
    UserId,
    id_or_unknown,
    nfc,
    pack_metadata,
    partition_in,
)
from technopay.engine.models import Invoice, InvoiceStatus
from technopay.engine.operation import operation
from technopay.engine.reads import ListInvoices, ReadInvoice, SearchInvoices
from technopay.engine.record import Page
from technopay.engine.runtime import Runtime, unwrap


@operation("user_not_found reference_used idempotency_key_reused validation_failed archive_unavailable")
async def create_invoice(
    runtime: Runtime, *, user_id: UserId, amount: Amount, currency: Currency, merchant: Name, expires_at: Time,
    description: Description | None = None, reference: Name | None = None, metadata: Metadata | None = None,
    idempotency_key: Key = None
) -> Invoice:  # fmt: skip
    """Create an invoice for a user, payable until it expires."""
    # A repeat is recognised by the arguments of the caller, not by their normal form.
    arguments = [user_id, amount, currency, merchant, description, reference, expires_at.isoformat()]
    if metadata:  # without it they are those of earlier versions
        arguments.append(dict(sorted(metadata.items())))
    called = runtime.operation("create_invoice", (), idempotency_key, arguments)
    invoice_id = runtime.ids.new("inv", runtime.store.partition_of(user_id))
    texts = nfc(merchant), nfc(description), nfc(reference)
    command = CreateInvoice(
        called, invoice_id, user_id, amount, currency, *texts, expires_at, pack_metadata(metadata)
    )
    outcome = await runtime.run(command, lambda _: runtime.wake_event_readers(partition_in(invoice_id)))
    if outcome.code == "expiry_past":
        raise ValidationFailed([FieldError("expires_at", "has to be in the future")])
    return unwrap(outcome)


@operation("invoice_not_found archive_unavailable")
async def get_invoice(runtime: Runtime, *, user_id: UserId, invoice_id: str) -> Invoice:
    """Read an invoice."""
    return await runtime.value_of(ReadInvoice(id_or_unknown(invoice_id), user_id))


@operation("validation_failed archive_unavailable")
async def list_invoices(
    runtime: Runtime, *, user_id: UserId, limit: PageLimit = 20, cursor: InvoiceCursor = ""
) -> Page[Invoice]:
    """List a user's invoices, newest first."""
    return await runtime.value_of(ListInvoices(user_id, cursor, limit))


@operation("invoice_not_found archive_unavailable")
async def find_invoice(runtime: Runtime, *, invoice_id: str) -> Invoice:
    """Read an invoice of any user."""
    return await runtime.value_of(ReadInvoice(id_or_unknown(invoice_id)))


@operation("validation_failed archive_unavailable")
async def search_invoices(
    runtime: Runtime, *, user_id: UserId | None = None, merchant: Name | None = None,
    reference: Name | None = None, status: InvoiceStatus | None = None, limit: PageLimit = 20, cursor: str = ""
) -> Page[Invoice]:  # fmt: skip
    """List invoices of all users, newest first. A page can be short while there is a next one.

    Merchant and reference together list the invoice that has the reference now.
    """
    form = fields.JOURNAL_CURSOR if user_id is None else fields.INVOICE_CURSOR
    fields.require([("cursor", fields.cursor_error(cursor, form))])
    return await runtime.value_of(SearchInvoices(user_id, nfc(merchant), nfc(reference), status, cursor, limit))


@operation(
    "invoice_not_found invoice_not_voidable idempotency_key_reused validation_failed archive_unavailable"
)
async def void_invoice(runtime: Runtime, *, invoice_id: str, idempotency_key: Key = None) -> Invoice:
    """Withdraw an invoice; a payment of it that waits for its code is canceled."""
    called = runtime.operation("void_invoice", (invoice_id,), idempotency_key, [])
    command = VoidInvoice(called, id_or_unknown(invoice_id))
    wake = runtime.wake_journal_readers
    return unwrap(await runtime.run(command, lambda _: wake(partition_in(command.invoice_id))))
